"""summary.json as a record: what was measured and how, and the resulting figures.

1. `Setup` holds the settings with which the responses were drawn, as far as results depend on them.
2. `Figures` are what `summary.py` computes from the rows. A figure that does not exist is None, or `nan` inside an interval.
3. `Summary` has both. `to_json` is the content of summary.json, and `from_json` reads it back. Keys that an older file lacks
   become None. A value of another type is an `InputError` that names file and key.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import nan
from typing import Any, Self, TypeVar

from laconic.statistics.intervals import Interval, or_null
from laconic.system.fields import Fields, warn_of_unread
from laconic.types import Grade, LengthSource

_K = TypeVar("_K")
Share = float | None


@dataclass(frozen=True, slots=True)
class SetupPrompt:
    """The prompt by its name; `instruction` is its text, None where each problem has its own; `system` is the system's turn."""

    name: str
    instruction: str | None = None
    system: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The object that settings.json and summary.json store."""
        return {"name": self.name, "instruction": self.instruction, "system": self.system}


@dataclass(frozen=True, slots=True)
class Setup:
    """What was measured and how: the part of settings.json that summary.json repeats. A field is None if the file lacks it.
    `penalty` says by how much the logits of which words were lowered."""

    benchmark: str | None = None
    model: str | None = None
    num_problems: int | None = None
    num_samples: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    min_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    prompt: SetupPrompt | None = None
    grader: str | None = None
    penalty: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The first keys of summary.json."""
        return {
            "benchmark": self.benchmark,
            "model": self.model,
            "num_problems": self.num_problems,
            "num_samples": self.num_samples,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "min_p": self.min_p,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            "prompt": None if self.prompt is None else self.prompt.to_json(),
            "grader": self.grader,
            **({} if self.penalty is None else {"penalty": self.penalty}),
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """The record of the fields of settings.json or summary.json."""
        prompt = fields.object("prompt")
        has_name = prompt.record.get("name") is not None
        return cls(
            benchmark=fields.maybe("benchmark", fields.text),
            model=fields.maybe("model", fields.text),
            num_problems=fields.maybe("num_problems", fields.whole),
            num_samples=fields.maybe("num_samples", fields.whole),
            temperature=fields.maybe("temperature", fields.number),
            top_p=fields.maybe("top_p", fields.number),
            min_p=fields.maybe("min_p", fields.number),
            max_tokens=fields.maybe("max_tokens", fields.whole),
            seed=fields.maybe("seed", fields.integer),
            prompt=_prompt(prompt) if has_name else None,
            grader=fields.maybe("grader", fields.text),
            penalty=fields.maybe("penalty", fields.text),
        )


def _prompt(fields: Fields) -> SetupPrompt:
    text = fields.text
    return SetupPrompt(text("name"), fields.maybe("instruction", text), fields.maybe("system", text))


@dataclass(frozen=True, slots=True)
class Complexity:
    """Token complexity over the problems, and what its oracle gets at this evaluation's own figures (arXiv 2503.01141)."""

    median: float | None = None
    solvable_frac: float | None = None
    oracle_accuracy: float | None = None
    oracle_tokens: float | None = None
    constant_accuracy: float | None = None
    kendall_tau: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The object that summary.json stores."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """The record that `to_json` wrote."""
        return cls(**{name: fields.maybe(name, fields.number) for name in cls.__dataclass_fields__})


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of an evaluation; lengths in tokens, intervals over problems.

    `accuracy` is avg@k. `length_difference` is the length of correct minus wrong responses to the same problem, over the
    `num_mixed` problems that have both. `oracle_tokens` is None unless the shortest chain of every problem is known. `bleu` is
    None if it was not requested and `nan` if no problem had a reference. `maj_at_k` is None for older files without answers.
    `length_sources` counts the responses whose length an endpoint cannot have counted, by what was taken instead.
    """

    accuracy: Interval | None = None
    tokens: Interval | None = None
    median_tokens: float | None = None
    p95_tokens: float | None = None
    thinking_tokens: Interval | None = None
    answer_tokens: Interval | None = None
    tokens_by_grade: Mapping[Grade, float | None] = field(default_factory=dict)
    grade_frac: Mapping[Grade, float] = field(default_factory=dict)
    pass_at_k: Mapping[int, Share] = field(default_factory=dict)
    maj_at_k: Mapping[int, Share] | None = None
    length_difference: Interval | None = None
    num_mixed: int | None = None
    token_complexity: Complexity | None = None
    oracle_tokens: float | None = None
    bleu: float | None = None
    length_sources: Mapping[LengthSource, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The figures of summary.json, in the order of the file."""
        tokens, difference = _mean_json(self.tokens), self.length_difference
        replaced = {source.value: count for source, count in self.length_sources.items()}
        return {
            "accuracy": _mean_json(self.accuracy),
            "tokens": tokens and tokens | {"median": self.median_tokens, "p95": self.p95_tokens},
            "thinking_tokens": _mean_json(self.thinking_tokens),
            "answer_tokens": _mean_json(self.answer_tokens),
            "tokens_by_grade": {grade.value: tokens for grade, tokens in self.tokens_by_grade.items()},
            "grade_frac": {grade.value: share for grade, share in self.grade_frac.items()},
            "pass_at_k": _by_k(self.pass_at_k),
            "maj_at_k": None if self.maj_at_k is None else _by_k(self.maj_at_k),
            "length_difference": difference and difference.to_json() | {"num_problems": self.num_mixed},
            "token_complexity": None if self.token_complexity is None else self.token_complexity.to_json(),
            **({} if self.oracle_tokens is None else {"oracle_tokens": self.oracle_tokens}),
            **({} if self.bleu is None else {"bleu": or_null(self.bleu)}),
            **({"length_sources": replaced} if replaced else {}),
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """The figures that summary.json stores."""
        tokens, difference = fields.object("tokens"), fields.object("length_difference")
        complexity = fields.maybe("token_complexity", fields.object)
        return cls(
            accuracy=_interval(fields, "accuracy"),
            tokens=_interval(fields, "tokens"),
            median_tokens=tokens.maybe("median", tokens.number),
            p95_tokens=tokens.maybe("p95", tokens.number),
            thinking_tokens=_interval(fields, "thinking_tokens"),
            answer_tokens=_interval(fields, "answer_tokens"),
            tokens_by_grade=_named(fields, "tokens_by_grade", Grade, "numbers by grade"),
            grade_frac={
                g: n for g, n in _named(fields, "grade_frac", Grade, "numbers by grade").items() if n is not None
            },
            pass_at_k=_named(fields, "pass_at_k", int, "numbers by k"),
            maj_at_k=fields.maybe("maj_at_k", lambda key: _named(fields, key, int, "numbers by k")),
            length_difference=_interval(fields, "length_difference", "estimate"),
            num_mixed=difference.maybe("num_problems", difference.whole),
            token_complexity=None if complexity is None else Complexity.from_fields(complexity),
            oracle_tokens=fields.maybe("oracle_tokens", fields.number),
            bleu=nan if fields.record.get("bleu", 0) is None else fields.maybe("bleu", fields.number),
            length_sources=_counts(fields.object("length_sources")),
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """The content of summary.json. `planning` is the cost of finding a budget for each problem, empty if none was sought."""

    setup: Setup
    figures: Figures
    planning: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The content of summary.json, keys in the order of the file."""
        planning = {"planning": dict(self.planning)} if self.planning else {}
        return self.setup.to_json() | self.figures.to_json() | planning

    @classmethod
    def from_json(cls, record: Mapping[str, Any], where: str) -> Self:
        """The record of summary.json; `where` names the file. A key that nothing reads is a warning.

        Raises `InputError` for a value of another type, and for accuracy or tokens of null: every evaluation has them, though an
        older file may lack the keys.
        """
        fields = Fields(record, where)
        for key in ("accuracy", "tokens"):
            if key in fields and record[key] is None:
                raise fields.wrong(key, "a mean with its interval; remove the file, and it is computed again")
        planning = fields.object("planning").record
        summary = cls(Setup.from_fields(fields), Figures.from_fields(fields), planning)
        warn_of_unread(record, summary.to_json(), where)
        return summary


def _mean_json(interval: Interval | None) -> dict[str, Any] | None:
    return None if interval is None else interval.to_json("mean")


def _by_k(shares: Mapping[int, Share]) -> dict[str, Share]:
    return {str(k): share for k, share in shares.items()}


def _interval(fields: Fields, key: str, estimate: str = "mean") -> Interval | None:
    return fields.maybe(key, lambda key: Interval.from_fields(fields.object(key), estimate))


def _counts(fields: Fields) -> dict[LengthSource, int]:
    unknown = sorted(set(fields.record) - set(LengthSource))
    if unknown:
        raise fields.wrong(unknown[0], f"one of {', '.join(LengthSource)}")
    return {LengthSource(source): fields.whole(source) for source in fields.record}


def _named(fields: Fields, key: str, kind: Callable[[str], _K], expected: str) -> dict[_K, float | None]:
    """Numbers by name, with each name converted by `kind`; null becomes None."""
    part = fields.object(key)
    try:
        return {kind(name): part.maybe(name, part.number) for name in part.record}
    except ValueError:
        raise fields.wrong(key, expected) from None
