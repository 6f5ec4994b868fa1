"""What experts say of stored responses: what they are shown, what they answer, and how far two of them agree.

1. `label_tasks` pairs two responses to the same conversation by different versions of the weights; where only one version
   answered, the response stands alone. Of several responses of a version the earliest counts, so that every labeller gets the
   same tasks. Only texts that are in the store are shown, that is with consent and not yet forgotten or out of time.
2. The order of tasks is drawn once for all labellers, pairs first, so that two of them soon have tasks in common, or is that of a
   file, such as `traffic next` writes. Which response stands on the left is drawn for each labeller and task.
3. `add_label` stores an answer in words of fixed lists, in place of an earlier one of the same labeller. There is no free text.
4. `agreement_of` compares two labellers on the tasks that both have answered.

A label names its responses by their requests' ids, in alphabetical order: `first` and `second`, which is "" for one alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import IntegrityError

from laconic.config.defaults import LEAST_COMMON_LABELS
from laconic.errors import InputError
from laconic.problems.sets import question_key
from laconic.rng import seed_of, stream
from laconic.statistics.agreement import Agreement, agreement
from laconic.system.fields import Fields
from laconic.system.files import read_numbered_jsonl
from laconic.system.text import counted
from laconic.traffic.conversations import Message, messages_of
from laconic.traffic.store import TrafficStore
from laconic.traffic.tables import LABELS, REQUESTS, TEXTS
from laconic.types import Problem

LABEL_VERDICTS = ("first", "second", "same")
RIGHTS = ("yes", "no", "unsure")
JUDGED_LENGTHS = ("too_long", "fine", "too_short")
MOST_NAME = 100
QUESTIONS = {"verdict": "which is better", "right": "is it right", "length": "too long or too short"}


@dataclass(frozen=True, slots=True)
class LabelTask:
    """Two responses to compare, or one to judge: ids of requests, `second` "" for one alone."""

    first: str
    second: str

    @property
    def ids(self) -> tuple[str, ...]:
        """The requests whose responses are shown."""
        return (self.first, self.second) if self.second else (self.first,)

    def is_swapped(self, labeller: str, seed: int) -> bool:
        """Whether a labeller sees the second response on the left."""
        return bool(self.second) and stream(seed, "label sides", labeller, self.first, self.second).random() < 0.5


@dataclass(frozen=True, slots=True)
class Shown:
    """The texts of a task: the conversation, and the responses in the order of the task's ids."""

    messages: Sequence[Message]
    responses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExpertLabel:
    """What was said of a task in the words of `LABEL_VERDICTS`, `RIGHTS` and `JUDGED_LENGTHS`; "" where none was asked."""

    labeller: str
    first: str
    second: str
    at: float
    verdict: str
    first_right: str
    second_right: str
    first_length: str
    second_length: str
    is_swapped: bool


# --- what is shown ---------------------------------------------------------------------------------------------------


def label_tasks(store: TrafficStore, seed: int) -> list[LabelTask]:
    """Every task that the stored texts make, in the order in which all labellers get them."""
    columns = (REQUESTS.c.id, REQUESTS.c.model, REQUESTS.c.version, TEXTS.c.prompt)
    query = select(*columns).join(TEXTS, TEXTS.c.request_id == REQUESTS.c.id).where(REQUESTS.c.status == 200)
    by_prompt: dict[str, dict[tuple[str, str], str]] = {}
    with store.engine.connect() as connection:
        for name, model, version, prompt in connection.execute(query.order_by(REQUESTS.c.at, REQUESTS.c.id)):
            by_prompt.setdefault(prompt, {}).setdefault((model, version), name)
    tasks = [task for versions in by_prompt.values() for task in _tasks_of(sorted(versions.values()))]
    return sorted(tasks, key=lambda task: (not task.second, seed_of(seed, "label order", task.first, task.second)))


def _tasks_of(ids: Sequence[str]) -> Iterable[LabelTask]:
    return [task_of(*ids)] if len(ids) == 1 else [task_of(*pair) for pair in combinations(ids, 2)]


def task_rows(tasks: Iterable[LabelTask]) -> list[dict[str, str]]:
    """The tasks as rows of a file, in their order, which `tasks_of_file` reads. They name requests, and hold no words."""
    return [{"first": task.first, "second": task.second} for task in tasks]


def tasks_of_file(store: TrafficStore, path: Path) -> list[LabelTask]:
    """The tasks of a file, in its order, as far as their texts are stored: every labeller who is given the file gets the same.

    Raises `InputError` where a line is no task, a task stands there twice, or its responses are to two conversations, and where
    none of the tasks has its texts in the store.
    """
    named: dict[LabelTask, str] = {}
    for number, row in read_numbered_jsonl(path):
        where = f"{path}, line {number}"
        fields = Fields(row, where)
        first, second = fields.text("first"), fields.text("second", "")
        task = task_of(first, second)
        if not first or first == second or task in named:
            raise InputError(f"{where}: expected the id of a response, or of two, and each task once")
        named[task] = where
    with store.engine.connect() as connection:
        tasks = [task for task, where in named.items() if _has_texts(connection, task, where)]
    if not tasks:
        raise InputError(f"{path}: names {counted(len(named), 'task')}, of which none has its texts in the store")
    return tasks


def _has_texts(connection: Connection, task: LabelTask, where: str) -> bool:
    query = select(TEXTS.c.prompt).where(TEXTS.c.request_id.in_(task.ids))
    prompts = list(connection.execute(query).scalars())
    if len({_asked(prompt) for prompt in prompts}) > 1:
        raise InputError(f"{where}: these are responses to two conversations, expected one")
    return len(prompts) == len(task.ids)


def _asked(prompt: str) -> tuple[str, ...]:
    """What a conversation says, but for its spaces and words about length."""
    return tuple(question_key(Problem("", message["content"], "")) for message in messages_of(prompt))


def task_of(one: str, other: str = "") -> LabelTask:
    """The task of one response or of two, in the order in which a label names them."""
    return LabelTask(*sorted((one, other))) if other else LabelTask(one, "")


def texts_of(store: TrafficStore, task: LabelTask) -> Shown | None:
    """The texts of a task; None where one of them is no longer in the store."""
    with store.engine.connect() as connection:
        query = select(TEXTS.c.request_id, TEXTS.c.prompt, TEXTS.c.response).where(TEXTS.c.request_id.in_(task.ids))
        found = {name: (prompt, response) for name, prompt, response in connection.execute(query)}
    if len(found) < len(task.ids):
        return None
    return Shown(messages_of(found[task.first][0]), tuple(found[name][1] for name in task.ids))


# --- what is answered ------------------------------------------------------------------------------------------------


def check_labeller(name: str) -> str:
    """The name. Raises `InputError` where it is no name that can be stored."""
    if not 0 < len(name) <= MOST_NAME or not name.isprintable() or name != name.strip():
        raise InputError(f"--as: expected a name of 1 to {MOST_NAME} characters")
    return name


def make_label(task: LabelTask, labeller: str, answers: Mapping[str, str], *, seed: int, at: float) -> ExpertLabel:
    """The label that answers make: `verdict` left, right or same; `left_right`, `left_length` and those of the right side.

    A response alone stands on the left, and has no verdict. Raises `ValueError` where an answer is missing or unknown.
    """
    is_swapped = task.is_swapped(labeller, seed)
    sides = ("right", "left") if is_swapped else ("left", "right")
    shown = sides[: len(task.ids)]
    words = {"left": LABEL_VERDICTS[sides.index("left")], "right": LABEL_VERDICTS[sides.index("right")], "same": "same"}
    rights = [_one_of(answers, f"{side}_right", RIGHTS) for side in shown] + [""]
    lengths = [_one_of(answers, f"{side}_length", JUDGED_LENGTHS) for side in shown] + [""]
    verdict = words[_one_of(answers, "verdict", tuple(words))] if task.second else ""
    return ExpertLabel(
        labeller, task.first, task.second, at, verdict, rights[0], rights[1], lengths[0], lengths[1], is_swapped
    )


def _one_of(answers: Mapping[str, str], name: str, known: Sequence[str]) -> str:
    word = answers.get(name, "")
    if word not in known:
        raise ValueError(f"{name}: expected one of {', '.join(known)}")
    return word


def add_label(store: TrafficStore, label: ExpertLabel) -> bool:
    """Store a label in place of an earlier one of the same labeller; False where a text of it is no longer in the store."""
    names = {label.first, label.second} - {""}
    with suppress(IntegrityError), store.engine.begin() as connection:
        store.wait_for_others(connection)
        store.put(connection, LABELS, asdict(label))
        held = select(func.count()).select_from(TEXTS).where(TEXTS.c.request_id.in_(names))
        if connection.execute(held).scalar() == len(names):
            return True
        connection.rollback()
    return False


def labelled_by(store: TrafficStore, labeller: str) -> frozenset[LabelTask]:
    """The tasks that a labeller has answered."""
    with store.engine.connect() as connection:
        query = select(LABELS.c.first, LABELS.c.second).where(LABELS.c.labeller == labeller)
        return frozenset(LabelTask(first, second) for first, second in connection.execute(query))


# --- agreement -------------------------------------------------------------------------------------------------------


def agreement_of(store: TrafficStore, labellers: Sequence[str], *, seed: int) -> dict[str, Agreement]:
    """How far two labellers agree, by question; where none are named, the two with the most tasks in common.

    Questions that fewer than `LEAST_COMMON_LABELS` answers of both speak of are left out. Raises `InputError` where that leaves
    none, and where `labellers` are not two.
    """
    by_labeller: dict[str, dict[LabelTask, dict[str, Any]]] = {}
    for row in store.rows(LABELS):
        by_labeller.setdefault(row["labeller"], {})[LabelTask(row["first"], row["second"])] = row
    one, other = _two(by_labeller, labellers)
    common = sorted(by_labeller[one].keys() & by_labeller[other].keys(), key=lambda task: task.ids)
    rows = [(by_labeller[one][task], by_labeller[other][task]) for task in common]
    found = {}
    for question in QUESTIONS:
        pairs = [pair for mine, theirs in rows for pair in _answers(question, mine, theirs)]
        if len(pairs) >= LEAST_COMMON_LABELS:
            found[question] = agreement(*zip(*pairs, strict=True), seed=seed)
    if not found:
        raise InputError(
            f"agreement of {one} and {other}: {len(common)} tasks are labelled by both, expected at least {LEAST_COMMON_LABELS}"
        )
    return found


def _two(by_labeller: Mapping[str, Mapping[LabelTask, object]], labellers: Sequence[str]) -> tuple[str, str]:
    if not labellers:
        pairs = list(combinations(sorted(by_labeller), 2))
        if not pairs:
            raise InputError(f"agreement: {counted(len(by_labeller), 'labeller')}, expected two")
        return max(pairs, key=lambda pair: len(by_labeller[pair[0]].keys() & by_labeller[pair[1]].keys()))
    if len(labellers) != 2 or labellers[0] == labellers[1]:
        raise InputError("--between: expected two labellers, each given once")
    for name in labellers:
        if name not in by_labeller:
            raise InputError(
                f"--between {name}: has labelled nothing; known are {', '.join(sorted(by_labeller)) or 'none'}"
            )
    return labellers[0], labellers[1]


def _answers(question: str, mine: Mapping[str, str], theirs: Mapping[str, str]) -> list[tuple[str, str]]:
    """What both said to a question of one task: one pair, or one for each of two responses."""
    keys = [question] if question == "verdict" else [f"first_{question}", f"second_{question}"]
    return [(mine[key], theirs[key]) for key in keys if mine[key]]
