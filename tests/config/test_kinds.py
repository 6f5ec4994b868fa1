"""What no key of a recipe may be, tried on every key of every table: a number that is none, a text for a number, a name that no
folder can have.

1. `WHERE` has a recipe in which every table stands, and the place of each.
2. Every key gets every value that its type excludes. It is refused in one line that names the key.
3. Zero and negative numbers are refused too, except where the two lists at the head allow them.
"""

import copy
import json
import math
import types
import warnings
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest

from laconic.config import load
from laconic.config.load import dump, load_recipe, parse_recipe
from laconic.config.node import MOST_CHARACTERS, Node
from laconic.config.sense.complaints import complaints_about_run
from laconic.errors import InputError, RecipeError
from laconic.sweep.config import load_sweep

RECIPE: dict[str, Any] = {
    "name": "r",
    "model": "tiny",
    "problems": {"train": "a.jsonl", "watch": "b.jsonl"},
    "policy": {
        "lora": {},
        "shape": {
            "layers": 2,
            "hidden": 8,
            "heads": 2,
            "kv_heads": 1,
            "intermediate": 16,
            "vocabulary": 100,
        },
    },
    "prompt": {},
    "grader": {},
    "watch": {},
    "report": {},
    "checkpoints": {},
    "phases": [
        {
            "name": "p",
            "steps": 4,
            "budget": {"low": 1, "high": 9},
            "select": {},
            "sampler": {},
            "algorithm": {},
            "optimizer": {},
            "end": {"alarms": {}},
            "rewards": {"terms": [{"name": "overlong"}]},
        }
    ],
}
WHERE: dict[str, tuple[str | int, ...]] = {
    "Recipe": (),
    "ProblemsConfig": ("problems",),
    "PolicyConfig": ("policy",),
    "LoraConfig": ("policy", "lora"),
    "ShapeConfig": ("policy", "shape"),
    "PromptConfig": ("prompt",),
    "GraderConfig": ("grader",),
    "WatchConfig": ("watch",),
    "ReportConfig": ("report",),
    "CheckpointConfig": ("checkpoints",),
    "PhaseConfig": ("phases", 0),
    "BudgetConfig": ("phases", 0, "budget"),
    "SelectConfig": ("phases", 0, "select"),
    "SamplerConfig": ("phases", 0, "sampler"),
    "AlgorithmConfig": ("phases", 0, "algorithm"),
    "OptimizerConfig": ("phases", 0, "optimizer"),
    "EndConfig": ("phases", 0, "end"),
    "AlarmsConfig": ("phases", 0, "end", "alarms"),
    "RewardsConfig": ("phases", 0, "rewards"),
    "RewardTermConfig": ("phases", 0, "rewards", "terms", 0),
}
MAY_BE_ZERO = {
    "seed", "dropout", "entry_share", "temperatures", "temperature", "min_p", "margin", "gamma", "gae_lambda", "value_gae_lambda",
    "kl_coef", "ema_decay", "entropy_coef", "entropy_target", "betas", "weight_decay", "warmup_steps", "min_lr_frac",
    "critic_warmup_steps", "guard_drop", "correct", "wrong", "no_answer", "truncated", "weight", "options",
}  # fmt: skip
MAY_BE_NEGATIVE = {"correct", "wrong", "no_answer", "truncated", "weight", "options"}

HUGE = 0x1 << 20_000  # of more digits than Python writes
NO_NUMBER: list[Any] = [math.nan, math.inf, -math.inf, True, "5", "", 1e300, -1e300, HUGE, -HUGE, [], [1, 1], {"a": 1}]
EXCLUDED: dict[type, list[Any]] = {
    float: NO_NUMBER,
    int: [*NO_NUMBER, 0.5, 2.0, 2**70],
    bool: [1, 0, 1.0, "true", "yes", "", [], math.nan],
    str: ["", "  ", "\n", "a\0b", "\ud800", 5, 0.5, True, {"a": 1}],
}


def tables() -> dict[str, type[Node]]:
    assert load  # every table is defined once it is imported
    return {node.__name__: node for node in Node.__subclasses__() if node.__module__.startswith("laconic.")}


def base(kind: Any) -> Any:
    """The type below what annotates it and what says that it may be none."""
    while get_origin(kind) in (Annotated, Union, types.UnionType):
        kind = next(part for part in get_args(kind) if part is not types.NoneType)
    return kind


def excluded(name: str, kind: Any) -> Iterator[Any]:
    """Values that a key of this name and type cannot have."""
    kind = base(kind)
    if get_origin(kind) is tuple and base(get_args(kind)[0]) in EXCLUDED:
        yield from ([value, value] for value in (0.5, "a") if get_args(kind)[-1] is Ellipsis)  # one value twice
        yield from ([value] for value in excluded(name, get_args(kind)[0]))
        yield from ([], 5, "", [[]])
    elif get_origin(kind) is dict:
        yield from ({"x": value} for value in NO_NUMBER if value is not True and not isinstance(value, str))
        yield from ([], 5, "x")
    elif get_origin(kind) is Literal:
        yield from ("", "nothing", 5, True, [], math.nan)
    elif kind in EXCLUDED:
        yield from EXCLUDED[kind]
        if kind in (int, float):
            yield from () if name in MAY_BE_ZERO else (0, kind(0))
            yield from () if name in MAY_BE_NEGATIVE else (-1, kind(-1))


def with_value(place: tuple[str | int, ...], key: str, value: Any) -> dict[str, Any]:
    tree = copy.deepcopy(RECIPE)
    table: Any = tree
    for part in place:
        table = table[part]
    table[key] = value
    return tree


def named(place: tuple[str | int, ...], key: str) -> str:
    """The key as a message names it: a phase by its name."""
    phase = "0" if (*place, key) == ("phases", 0, "name") else "p"  # that has no name then
    return ".".join(map(str, (*place, key))).replace("phases.0.", f"phases.{phase}.")


def test_every_table_of_a_recipe_is_tried() -> None:
    assert set(tables()) == set(WHERE)
    parse_recipe(RECIPE, "r.toml")


@pytest.mark.parametrize("table", WHERE)
def test_no_key_takes_what_its_type_excludes(table: str) -> None:
    """Refused in one short line that names the key."""
    accepted = []
    for name, field in tables()[table].model_fields.items():
        kind = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        for value in excluded(name, kind):
            try:
                parse_recipe(with_value(WHERE[table], name, value), "r.toml")
            except RecipeError as error:
                message = str(error)
                place = "r.toml: " + named(WHERE[table], name)
                assert message.startswith(place) and "\n" not in message and len(message) < 300, message
            else:
                accepted.append((name, str(value)[:40] if not isinstance(value, int) else "an int"))
    assert not accepted


@pytest.mark.parametrize("name", ["two_phase", "r1-distill-1.5b", "A", "0", "a.b", "c++", "_", "x" * MOST_CHARACTERS])
def test_a_name_that_can_be_a_folders_is_taken(name: str) -> None:
    parse_recipe(with_value((), "name", name), "r.toml")
    parse_recipe(with_value(("phases", 0), "name", name), "r.toml")


NO_NAMES = [
    "../../../../escaped", "a/b", "a\\b", "..", ".", ".hidden", "a.", "-x", "", " ", "a b", "a\nb", "a\0", "\x1b[31m", "é",
    "con:", "~", "x" * (MOST_CHARACTERS + 1),
]  # fmt: skip


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_name_that_leaves_its_folder_is_refused_wherever_names_become_paths(name: str, tmp_path: Any) -> None:
    """Of recipes, phases and sweeps, in one line without control characters."""
    for place, field in (((), "name"), (("phases", 0), "phases.0.name")):
        with pytest.raises(RecipeError, match=field) as error:
            parse_recipe(with_value(place, "name", name), "r.toml")
        assert str(error.value).isprintable()
    (tmp_path / "s.toml").write_text(f"name = {json.dumps(name)}\nseeds = [0]\nrecipes = ['demo']\n")
    with pytest.raises(InputError, match=r"s\.toml: "):
        load_sweep(tmp_path / "s.toml")


def test_phases_that_differ_in_capitals_are_one_folder() -> None:
    tree = copy.deepcopy(RECIPE)
    tree["phases"] = [{"name": "A", "steps": 1}, {"name": "a", "steps": 1}]
    with pytest.raises(RecipeError, match="distinct, whatever their capitals, got A and a"):
        parse_recipe(tree, "r.toml")


# --- what a type does not say ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "key", "value", "says"),
    [
        (("report",), "temperatures", [], "report.temperatures"),
        (("report",), "temperatures", [1.0, 0.0, 1.0], "expected each temperature once"),
        (("report",), "temperatures", [0.5, 0.5000000001], "have one name"),
        (("report",), "margin", 1.0, "less than 1"),
        (("policy", "lora"), "dropout", 1.0, "less than 1"),
        (("policy", "lora"), "rank", 100_000, "expected at most 16,384"),
        (("policy", "lora"), "targets", ["q_proj", "q_proj"], "q_proj occurs twice"),
        (("policy", "shape"), "heads", 3, "expected a divisor of hidden"),
        (("policy", "shape"), "kv_heads", 3, "expected a divisor of heads"),
        (("phases", 0), "entry_share", 1.0, "less than 1"),
        (("phases", 0), "group_size", 10**9, "expected at most 65,536"),
        (("phases", 0), "problems_per_step", 10**9, "expected at most 10,000,000"),
        (("phases", 0, "select"), "pool", 10**9, "expected at most 10,000,000"),
        (("phases", 0, "select"), "count", 10**9, "expected at most 10,000,000"),
        (("phases", 0, "optimizer"), "betas", [0.9, 1.0], "less than 1"),
        (("phases", 0, "sampler"), "temperature", 1e-30, r"0 \(greedy decoding\) or 0.01 to 10"),
        (("phases", 0, "sampler"), "temperature", 1000.0, "or 0.01 to 10"),
        (("phases", 0, "optimizer"), "lr", 1e-320, r"greater than or equal to 0\.000000000001,"),
        (("phases", 0, "optimizer"), "critic_lr", 1e-320, r"greater than or equal to 0\.000000000001,"),
        (("phases", 0, "optimizer"), "max_grad_norm", 1e-300, r"greater than or equal to 0\.000000001,"),
        (("phases", 0, "optimizer"), "eps", 1e9, "less than or equal to 1"),
        (("phases", 0, "algorithm"), "clip_low", 1e-300, r"greater than or equal to 0\.000001,"),
        (("phases", 0, "algorithm"), "kl_coef", 1e9, "less than or equal to 1000"),
        (("phases", 0, "algorithm"), "entropy_coef", 1e-300, "expected 0, or 1e-09 to 1000"),
        (("phases", 0, "algorithm"), "entropy_target", 1e9, "less than or equal to 20"),
        (("phases", 0, "sampler"), "top_p", 1e-300, r"greater than or equal to 0\.01"),
        (("policy", "lora"), "alpha", 1e-300, r"greater than or equal to 0\.001"),
        (("grader",), "timeout_seconds", 1e-9, r"greater than or equal to 0\.01"),
        ((), "threads", 10**9, "expected at most 1,024"),
        (("grader",), "workers", 10**9, "expected at most 1,024"),
        ((), "phases", [], "phases"),
    ],
)
def test_a_value_without_sense_is_refused(place: tuple[str | int, ...], key: str, value: Any, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        parse_recipe(with_value(place, key, value), "r.toml")


def test_every_documented_form_of_a_value_is_written_as_data_without_a_warning() -> None:
    """Where a key may hold values of several kinds. A recipe in JSON gives the same recipe back."""
    forms: list[tuple[tuple[str | int, ...], str, Any]] = [
        *((("policy", "lora"), "targets", form) for form in ("all-linear", ".*_proj", ["q_proj", "v_proj"])),
        *((("report",), "temperatures", form) for form in ([1.0], [0, 1])),
        *((("phases", 0, "select"), "options", {"x": form}) for form in (1, 0.5, True)),
        *((("phases", 0, "algorithm"), "options", {"x": form}) for form in (1, 0.5, True, "text")),
        (
            ("phases", 0, "rewards"),
            "terms",
            [{"name": "linear_length", "options": {"per_tokens": 9, "only_correct": True}}],
        ),
        (("phases", 0, "optimizer"), "betas", [0, 0.5]),
    ]
    several = {
        name
        for table in tables().values()
        for name, field in table.model_fields.items()
        if get_origin(kind := field.annotation) in (tuple, dict)
        or (get_origin(kind) in (Union, types.UnionType) and type(None) not in get_args(kind))
    }
    assert several <= {key for _, key, _ in forms} | {"phases"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for place, key, form in forms:
            made = parse_recipe(with_value(place, key, form), "r.toml")
            assert parse_recipe(json.loads(json.dumps(dump(made))), "r.json") == made


# --- files and overrides ---------------------------------------------------------------------------------------------

FILE = """
name = "r"
model = "tiny"
problems = { train = "a.jsonl", watch = "b.jsonl" }
report = { temperatures = [1.0] }
[defaults]
steps = 5
[[phases]]
name = "accuracy"
[[phases]]
name = "brevity"
steps = 7
"""


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("phases.0.optimizer.lr=nan", "phases.accuracy.optimizer.lr: input should be a finite number, got nan"),
        ("phases.0.optimizer.lr=true", "phases.accuracy.optimizer.lr: input should be a valid number, got True"),
        ("phases.0.steps='5'", "phases.accuracy.steps: input should be a valid integer, got '5'"),
        ("seed=-1", "seed: input should be greater than or equal to 0"),
        ("seed=" + "9" * 5000, "is no value that a recipe can have"),
        ("seed=0x" + "f" * 5000, "seed: expected at most"),
        ("model=" + "[" * 5000, "is no value that a recipe can have"),
        ("report.temperatures.0=1", "expected a field after 'report.temperatures'"),
        ("report.temperatures.0.x=1", "nothing is named '0' there"),
        ("phases.²=1", "expected a field after 'phases'"),
        ("phases.².steps=1", "nothing is named '²' there; expected accuracy, brevity"),
        ("report.temperatures=[nan]", "report.temperatures.0: input should be a finite number"),
    ],
)
def test_an_override_that_cannot_be_is_one_line(override: str, says: str, tmp_path: Any) -> None:
    (tmp_path / "r.toml").write_text(FILE)
    with pytest.raises(RecipeError) as error:
        load_recipe(tmp_path / "r.toml", [override])
    assert says in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 400


def test_a_file_of_brackets_is_one_line(tmp_path: Any) -> None:
    for name in ("deep.toml", "deep.json"):
        (tmp_path / name).write_text(("a = " if name.endswith("toml") else "") + "[" * 100_000)
        with pytest.raises(RecipeError, match="nested more than 100 deep"):
            load_recipe(tmp_path / name)


def test_a_default_that_every_phase_hides_is_refused_or_remembered(tmp_path: Any) -> None:
    """Refused as an override, remembered from a file; but a phase may be given its own value over a default of the file."""
    path = tmp_path / "r.toml"
    path.write_text(FILE)
    loaded = load_recipe(path, ["phases.accuracy.steps=1"])
    assert ([phase.steps for phase in loaded.phases], loaded.hidden_defaults) == ([1, 7], ())
    assert [phase.steps for phase in load_recipe(path, ["defaults.steps=9"]).phases] == [9, 7]
    with pytest.raises(RecipeError, match=r"override 'defaults.steps=9': changes nothing, since every phase"):
        load_recipe(path, ["phases.accuracy.steps=1", "defaults.steps=9"])
    with pytest.raises(RecipeError, match=r"override 'defaults.optimizer.lr=1e-3': changes nothing"):
        load_recipe(path, ["defaults.optimizer.lr=1e-3", *(f"phases.{n}.optimizer.lr=1e-4" for n in (0, 1))])
    path.write_text(FILE.replace('"accuracy"', '"accuracy"\nsteps = 3'))
    loaded = load_recipe(path, ["seed=1"])
    assert loaded.hidden_defaults == ("defaults.steps",) and "hidden" not in str(dump(loaded))
    assert next((found.level, found.where) for found in complaints_about_run(loaded)) == ("warning", "defaults.steps")


def test_the_place_where_a_reward_is_looked_up_is_said(tmp_path: Any) -> None:
    (tmp_path / "r.toml").write_text(FILE)
    with pytest.raises(RecipeError, match="looked up from the recipe's folder"):
        load_recipe(tmp_path / "r.toml", ['phases.0.rewards.terms=[{name="mine.py:short"}]'])
