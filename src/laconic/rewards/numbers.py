"""The input of a reward: the numbers of one group, and the run's memory of earlier steps.

1. `GroupNumbers` holds K responses to one problem as arrays. `numbers_of` takes them from a sampled group.
2. Some fields are there only where something provided them (a probe, a budget in the prompt, token ids). A term that
   needs one calls `needed`, which raises an error that says what is missing.
3. `Memory` is what terms remember between steps: some numbers for each problem, some for the whole run. It is frozen, can be
   converted to JSON and back without loss, and is saved with checkpoints, so that a resumed run pays the same rewards.

What is left out: what each term remembers (`remembering.py`, `laser.py`, `lead.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from laconic.types import Grade, Group

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Remembered = float | list[float]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, eq=False)
class GroupNumbers:
    """K responses to one problem.

    `lengths` [K] are numbers of generated tokens, end token included, at least 1; `grades` has K entries. `ref_mean_tokens` and
    `ref_solve_rate` are the reference model's mean length and solve rate on this problem (None: not probed). `max_tokens` is the
    sampling cap; `budget_tokens` is the number of tokens that the prompt asked for (None: it asked for none). `thinking_tokens`
    [K] count the tokens up to the end of thinking (None: unknown for some response). `texts` and `token_ids` have K entries, or
    none. `memory` is what the run remembers about this problem and about the whole run (`Memory.of`). `group_size` is the number
    of gradable responses of an ordinary group, where those of several draws of one problem are put together here (None: it is
    one draw). Raises `ValueError` naming the field where one of these does not hold.
    """

    lengths: NDArray[np.int64]
    grades: tuple[Grade, ...]
    ref_mean_tokens: float | None = None
    ref_solve_rate: float | None = None
    max_tokens: int = 1
    budget_tokens: float | None = None
    thinking_tokens: NDArray[np.int64] | None = None
    texts: tuple[str, ...] = ()
    token_ids: tuple[tuple[int, ...], ...] = ()
    memory: Mapping[str, Remembered] = field(default_factory=dict)
    group_size: int | None = None

    def __post_init__(self) -> None:
        if not all(isinstance(grade, Grade) for grade in self.grades):
            raise ValueError(f"grades: expected members of Grade, got {self.grades!r:.80}")
        if not isinstance(self.lengths, np.ndarray) or self.lengths.dtype.kind not in "iu":
            raise ValueError(f"lengths: expected an array of whole numbers, got {self.lengths!r:.80}")
        if self.lengths.shape != (len(self.grades),):
            raise ValueError(f"lengths: expected shape [{len(self.grades)}] as grades have, got {self.lengths.shape}")
        object.__setattr__(self, "lengths", self.lengths.astype(np.int64))  # differences of unsigned ones wrap around
        if (self.lengths < 1).any():
            raise ValueError("lengths: a response has at least one token")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens: expected at least 1, got {self.max_tokens}")
        if self.budget_tokens is not None and not self.budget_tokens > 0:
            raise ValueError(f"budget_tokens: expected a positive number of tokens, got {self.budget_tokens}")
        self._check_optional()

    def _check_optional(self) -> None:
        thinking = self.thinking_tokens
        if thinking is not None and thinking.shape != self.lengths.shape:
            raise ValueError(f"thinking_tokens: expected shape [{len(self.grades)}], got {thinking.shape}")
        if thinking is not None:
            object.__setattr__(self, "thinking_tokens", thinking.astype(np.int64))
        if thinking is not None and ((thinking < 0) | (thinking > self.lengths)).any():
            raise ValueError("thinking_tokens: expected between 0 and the length of each response")
        for name, values in (("texts", self.texts), ("token_ids", self.token_ids)):
            if len(values) not in (0, len(self.grades)):
                raise ValueError(f"{name}: expected {len(self.grades)} or none, got {len(values)}")

    @property
    def is_gradable(self) -> BoolArray:
        """True where the grader could grade the response, shape [K]."""
        return np.array([grade is not Grade.UNGRADABLE for grade in self.grades], dtype=bool)

    @property
    def is_correct(self) -> BoolArray:
        """True where the answer is correct, shape [K]."""
        return np.array([grade is Grade.CORRECT for grade in self.grades], dtype=bool)

    @property
    def is_truncated(self) -> BoolArray:
        """True where the cap cut the response off, shape [K]."""
        return np.array([grade is Grade.TRUNCATED for grade in self.grades], dtype=bool)

    @property
    def correct_lengths(self) -> NDArray[np.int64]:
        """Lengths of the correct responses, shape [number correct]."""
        return self.lengths[self.is_correct]

    @property
    def gradable_lengths(self) -> NDArray[np.int64]:
        """Lengths of the responses that could be graded, shape [number gradable]."""
        return self.lengths[self.is_gradable]

    @property
    def num_drawn_together(self) -> int:
        """The number of gradable responses of one draw."""
        return int(self.is_gradable.sum()) if self.group_size is None else self.group_size

    @property
    def solve_rate(self) -> float:
        """Correct / gradable; `nan` where nothing could be graded."""
        num_gradable = int(self.is_gradable.sum())
        return float(self.is_correct.sum()) / num_gradable if num_gradable else float("nan")


def numbers_of(group: Group, max_tokens: int, memory: "Memory | None" = None) -> GroupNumbers:
    """The numbers of a sampled group; `max_tokens` is the cap under which it was sampled, `memory` the run's memory so far.

    `thinking_tokens` is None where it is unknown for one response; `token_ids` is empty where the engine returned no ids.
    """
    responses = [rollout.response for rollout in group.rollouts]
    thinking = [response.thinking_tokens for response in responses]
    ids = tuple(response.token_ids for response in responses)
    return GroupNumbers(
        np.array(group.lengths, dtype=np.int64),
        group.grades,
        group.ref_mean_tokens,
        group.ref_solve_rate,
        max_tokens,
        budget_tokens=group.budget_tokens,
        thinking_tokens=None if None in thinking else np.array(thinking, dtype=np.int64),
        texts=tuple(response.text for response in responses),
        token_ids=ids if all(ids) else (),
        memory=memory.of(group.problem.id) if memory else {},
    )


def needed(value: _T | None, term: str, what: str) -> _T:
    """`value`, unless it is None; then raises `ValueError` with the text "term: needs what".

    >>> needed(None, "l1_max", "budget_tokens: ask for a budget in the prompt")
    Traceback (most recent call last):
    ValueError: l1_max: needs budget_tokens: ask for a budget in the prompt
    """
    if value is None:
        raise ValueError(f"{term}: needs {what}")
    return value


def of_correct(numbers: GroupNumbers, values: Any, otherwise: Any = 0.0) -> FloatArray:
    """`values` [K] for correct responses, `otherwise` for other gradable ones, 0 for ungradable ones.

    >>> of_correct(GroupNumbers(np.array([2, 4]), (Grade.CORRECT, Grade.WRONG)), [5.0, 6.0], -1.0).tolist()
    [5.0, -1.0]
    """
    paid = np.where(numbers.is_correct, values, otherwise)
    return np.where(numbers.is_gradable, paid, 0.0).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Memory:
    """What reward terms remember: `problems` by problem id, `shared` for the whole run. Keys have the form "term/name".

    >>> memory = Memory({"p7": {"hapo/shortest_correct": 120.0}}).with_shared({"lead/weight": 0.5})
    >>> sorted(memory.of("p7").items())
    [('hapo/shortest_correct', 120.0), ('lead/weight', 0.5)]
    >>> dict(memory.of("p8"))
    {'lead/weight': 0.5}
    """

    problems: Mapping[str, Mapping[str, Remembered]] = field(default_factory=dict)
    shared: Mapping[str, Remembered] = field(default_factory=dict)

    def of(self, problem_id: str) -> Mapping[str, Remembered]:
        """What is remembered about this problem and about the whole run."""
        return {**self.shared, **self.problems.get(problem_id, {})}

    def with_problems(self, values: Mapping[str, Mapping[str, Remembered]]) -> "Memory":
        """This memory with `values` added, by problem id."""
        known = {key: {**self.problems.get(key, {}), **numbers} for key, numbers in values.items()}
        return Memory({**self.problems, **known}, self.shared)

    def with_shared(self, values: Mapping[str, Remembered]) -> "Memory":
        """This memory with `values` added for the whole run."""
        return Memory(self.problems, {**self.shared, **values})

    def to_json(self) -> dict[str, Any]:
        """A JSON object, from which `from_json` makes the same memory, bit for bit."""
        return {"problems": {key: dict(values) for key, values in self.problems.items()}, "shared": dict(self.shared)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Memory":
        """The memory that `to_json` wrote. Raises `ValueError` where it is not such an object."""
        if not isinstance(record, Mapping) or set(record) != {"problems", "shared"}:
            raise ValueError(f"reward memory: expected an object with problems and shared, got {record!r:.80}")
        try:
            problems = {str(key): _remembered_of(values) for key, values in record["problems"].items()}
            return cls(problems, _remembered_of(record["shared"]))
        except (AttributeError, TypeError) as error:
            raise ValueError(f"reward memory: expected numbers by name, got {record!r:.80}") from error


def as_floats(values: object) -> FloatArray | None:
    """`values` as float64; None where they are not numbers, do not form an array, or are masked: what is hidden is no number.

    >>> as_floats([True, 2]), as_floats(["a"]), as_floats([[1], [2, 3]])
    (array([1., 2.]), None, None)
    """
    try:
        array = np.asarray(values)
    except ValueError:
        return None
    is_masked = np.ma.is_masked(values)
    return array.astype(np.float64) if array.dtype.kind in "biuf" and not is_masked else None


def whole(name: str, value: float, minimum: int = 1) -> int:
    """An option that is a count, as an int. Raises `ValueError` naming it where it is not whole or is below `minimum`.

    >>> whole("ngram_tokens", 40.0)
    40
    """
    if value != int(value) or value < minimum:
        raise ValueError(f"{name}: expected a whole number of at least {minimum}, got {value}")
    return int(value)


def known_number(memory: Mapping[str, Remembered], key: str, default: float) -> float:
    """The number remembered under `key`, or `default` where none is."""
    value = memory.get(key, default)
    assert not isinstance(value, list), f"{key}: a list is remembered where a number was expected"
    return float(value)


def known_list(memory: Mapping[str, Remembered], key: str) -> list[float]:
    """The list remembered under `key`, or an empty one where none is."""
    value = memory.get(key, [])
    assert isinstance(value, list), f"{key}: a number is remembered where a list was expected"
    return value


def _remembered_of(values: Mapping[Any, Any]) -> dict[str, Remembered]:
    return {str(key): _remembered(value) for key, value in values.items()}


def _remembered(value: Any) -> Remembered:
    return [float(entry) for entry in value] if isinstance(value, list) else float(value)
