"""docs/recipes.md, docs/api.md and docs/commands.md hold true: commands and examples run, tables are those of the code.

1. The tables of keys are held against the fields of `laconic.config`: every node, every key, its type and its default.
2. The tables of algorithms, selections and sources are held against the tables that they describe.
3. Commands run in order in one folder, training ones with smaller numbers; every fragment of a recipe loads and is accepted.
4. The examples of the API run in order in one session; what a comment says they print, they print.
5. docs/commands.md is what the commands say.
"""

import inspect
import json
import re
import shlex
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from commands_page import PAGE, commands_page
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from laconic.cli import app as cli
from laconic.config.algorithm import AlgorithmConfig
from laconic.config.evaluation import ReportConfig, WatchConfig
from laconic.config.load import load_recipe, parse_recipe
from laconic.config.node import Node
from laconic.config.optimizer import OptimizerConfig
from laconic.config.phase import AlarmsConfig, BudgetConfig, EndConfig, PhaseConfig
from laconic.config.policy import LoraConfig, PolicyConfig, ShapeConfig
from laconic.config.problems import ProblemsConfig, SelectConfig
from laconic.config.recipe import CheckpointConfig, Recipe
from laconic.config.rewards import RewardsConfig, RewardTermConfig
from laconic.config.solver import GraderConfig, PromptConfig, SamplerConfig
from laconic.errors import RecipeError
from laconic.rollouts.sources import SOURCES
from laconic.selection.rules import SELECTIONS
from laconic.training.algorithms import ALGORITHMS
from laconic.training.check.recipe import check_recipe
from laconic.training.preferences import PAIRS

DOCS = Path(__file__).parents[1] / "docs"
RECIPES = (DOCS / "recipes.md").read_text(encoding="utf-8")
API = (DOCS / "api.md").read_text(encoding="utf-8")

NODES: dict[str, type[BaseModel]] = {
    "The top": Recipe,
    "`[problems]`": ProblemsConfig,
    "`[policy]`": PolicyConfig,
    "`[policy.lora]`": LoraConfig,
    "`[policy.shape]`": ShapeConfig,
    "`[prompt]`": PromptConfig,
    "`[grader]`": GraderConfig,
    "`[watch]`": WatchConfig,
    "`[report]`": ReportConfig,
    "`[checkpoints]`": CheckpointConfig,
    "`[[phases]]`": PhaseConfig,
    "`[phases.select]`": SelectConfig,
    "`[phases.sampler]`": SamplerConfig,
    "`[phases.budget]`": BudgetConfig,
    "`[phases.rewards]`": RewardsConfig,
    "`[[phases.rewards.terms]]`": RewardTermConfig,
    "`[phases.algorithm]`": AlgorithmConfig,
    "`[phases.optimizer]`": OptimizerConfig,
    "`[phases.end]`": EndConfig,
    "`[phases.end.alarms]`": AlarmsConfig,
}
"""Heading of docs/recipes.md to the node that its table describes."""

# Smaller numbers for the commands that train or sample; they come last and win.
SMALL_TRAINING = (
    "phases.brevity.steps=2",
    "phases.brevity.problems_per_step=2",
    "phases.brevity.group_size=4",
    "phases.brevity.sampler.max_tokens=48",
    "problems.watch=tiny:mix?count=2&split=watch",
    "watch.samples=1",
    "threads=1",
)
REDUCED = {"laconic train": SMALL_TRAINING, "laconic probe": ("--samples", "4", "--max-tokens", "96")}


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def rows_under(heading: str) -> dict[str, list[str]]:
    """The first table under a heading of docs/recipes.md: cells after the first, by the first without backquotes."""
    section = re.split(r"\n#+ ", RECIPES.split(f"# {heading}\n", maxsplit=1)[1], maxsplit=1)[0]
    table = re.search(r"(?:^\|.*\n)+", section, re.M)
    assert table is not None, f"no table under {heading}"
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]
    return {name.strip("`"): cells for name, *cells in lines}


# --- the tables of keys ----------------------------------------------------------------------------------------------

WORDS: dict[Any, str] = {int: "int", float: "float", bool: "bool", str: "text", NoneType: "none"}
SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def bounds(metadata: Any) -> str:
    """The bounds of a number in words: " >= 0, <= 1"."""
    flat = [m for entry in metadata for m in (entry.metadata if isinstance(entry, FieldInfo) else [entry])]
    found = [f"{sign} {getattr(m, key):g}" for m in flat for key, sign in SIGNS.items() if hasattr(m, key)]
    return f" {', '.join(found)}" if found else ""


def type_words(kind: Any) -> str:
    """A type as the document writes it."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return type_words(args[0]) + bounds(args[1:])
    if origin is Literal:
        return ", ".join(f'`"{value}"`' for value in args)
    if origin in (Union, UnionType):
        return " or ".join(map(type_words, args))
    if origin is tuple:
        return tuple_words(args)
    return "table" if origin is dict or is_node(kind) else WORDS[kind]


def tuple_words(args: tuple[Any, ...]) -> str:
    """Tables, any number of values, or so many of them."""
    if is_node(args[0]):
        return "array of tables"
    return f"list of {type_words(args[0])}" if args[-1] is Ellipsis else f"{len(args)} x {type_words(args[0])}"


def is_node(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def default_matches(written: str, field: FieldInfo) -> bool:
    """Whether the cell of a default says what the field's default is: a TOML value in backquotes, or a word."""
    if field.is_required():
        return written == "required"
    if field.default is None or is_node(type(field.default)):
        return written == ("none" if field.default is None else "its own")
    given = list(field.default) if isinstance(field.default, tuple) else field.default
    value = tomllib.loads(f"value = {written.strip('`')}")["value"]
    return bool(value == given) and isinstance(value, bool) == isinstance(given, bool)


def test_every_node_of_a_recipe_has_its_table() -> None:
    """A node that is added to the recipe needs a table of its own."""
    assert set(NODES.values()) == set(Node.__subclasses__())


@pytest.mark.parametrize("heading", NODES)
def test_a_table_of_keys_holds_every_key_with_its_type_and_default(heading: str) -> None:
    """In the order of its node; nothing that does not exist is documented."""
    rows, fields = rows_under(heading), NODES[heading].model_fields
    assert list(rows) == list(fields)
    for name, field in fields.items():
        kind, default, meaning = rows[name]
        assert kind == type_words(field.annotation) + bounds(field.metadata), f"{heading} {name}: type {kind}"
        assert default_matches(default, field), f"{heading} {name}: default {default}"
        assert len(meaning) > 5, f"{heading} {name}: has no meaning"


def test_a_wrong_default_would_be_noticed() -> None:
    """The check itself: 0.3 for 0.2, true for 1, none for a value."""
    fields = AlgorithmConfig.model_fields
    assert default_matches("`0.2`", fields["clip_low"]) and not default_matches("`0.3`", fields["clip_low"])
    assert not default_matches("`true`", fields["reference_every"])
    with pytest.raises(tomllib.TOMLDecodeError):
        default_matches("none", fields["value_clip"])


def test_the_keys_said_to_be_never_none_in_toml_are_all_there_are() -> None:
    """A key with a default that is not none, yet may be none: TOML has no word for that."""
    found = {
        name
        for node in NODES.values()
        for name, field in node.model_fields.items()
        if field.default is not None and NoneType in get_args(field.annotation)
    }
    assert found == {"guard_drop", "value_clip"}
    assert "`guard_drop = 1.0` never acts, `value_clip = 1e9` never clips" in RECIPES


# --- the other tables ------------------------------------------------------------------------------------------------


def settings(values: dict[str, Any]) -> set[str]:
    """`key = value` as the tables write them."""
    return {f"`{name} = {'none' if value is None else json.dumps(value)}`" for name, value in values.items()}


def found_settings(cell: str) -> set[str]:
    return set(re.findall(r"`\w+ = [^`]+`", cell))


def options_of(function: Any, num_first: int) -> dict[str, Any]:
    parameters = list(inspect.signature(function).parameters.values())[num_first:]
    return {p.name: p.default for p in parameters if p.name not in ("count", "seed")}


def test_the_table_of_algorithms_says_what_each_requires_and_its_options() -> None:
    """Required settings, group sizes and options with their defaults; a reference where one is needed."""
    rows = rows_under("Algorithms")
    assert list(rows) == list(ALGORITHMS)
    for name, algorithm in ALGORITHMS.items():
        _, needs, options = rows[name]
        assert found_settings(needs) == settings({k: v for k, v in algorithm.requires.items() if k != "whitening"}), (
            name
        )
        assert ("`group_size` of 2" in needs) == (algorithm.min_group_size == 2), name
        assert ("a critic" in needs) == algorithm.has_critic, name
        assert any(word in needs for word in ("reference", "teacher")) == algorithm.needs_reference, name
        assert found_settings(options) == settings(options_of(algorithm.estimate, 2)), name
    unwhitened = ", ".join(f"`{name}`" for name, algorithm in ALGORITHMS.items() if "whitening" in algorithm.requires)
    assert f"- {unwhitened}: whitening would turn their advantages into something" in RECIPES
    assert all(f'`"{pairs}"`' in RECIPES for pairs in PAIRS)


def test_the_table_of_selections_has_every_option_with_its_default() -> None:
    rows = rows_under("Selections")
    assert list(rows) == list(SELECTIONS)
    for name, selection in SELECTIONS.items():
        assert found_settings(rows[name][1]) == settings(options_of(selection, 1)), name


def test_the_table_of_sources_is_the_one_of_the_code() -> None:
    assert list(rows_under("Sources of rollouts")) == list(SOURCES)


# --- recipes and commands --------------------------------------------------------------------------------------------

SMALLEST, *FRAGMENTS = blocks(RECIPES, "toml")


def whole(fragment: str) -> dict[str, Any]:
    """A fragment as part of a recipe: the smallest one's top, and what the fragment says over it."""
    base, said = tomllib.loads(SMALLEST), tomllib.loads(fragment)
    return base | said | {"problems": base["problems"] | said.get("problems", {})}


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_every_fragment_of_a_recipe_is_accepted(fragment: str, tmp_path: Path) -> None:
    """Loaded and checked as `laconic train` does before it loads a model; the reward of one's own is that of rewards.md."""
    (own,) = blocks((DOCS / "rewards.md").read_text(encoding="utf-8"), "python")
    (tmp_path / "my_rewards.py").write_text(own, encoding="utf-8")
    check_recipe(parse_recipe(whole(fragment), "fragment", tmp_path))


def test_the_smallest_recipe_says_no_more_than_it_must() -> None:
    """Without any of its keys it is refused."""
    tree = tomllib.loads(SMALLEST)
    places = [(tree, key) for key in tree] + [(tree["problems"], key) for key in tree["problems"]]
    places += [(tree["phases"][0], key) for key in tree["phases"][0]]
    for table, key in places:
        value = table.pop(key)
        with pytest.raises(RecipeError):
            parse_recipe(tree, "smallest")
        table[key] = value
    parse_recipe(tree, "smallest")


def run(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command as a shell would start it, with smaller numbers."""
    words = shlex.split(command, comments=True)
    more = next((extra for start, extra in REDUCED.items() if command.startswith(start)), ())
    monkeypatch.setattr(sys, "argv", [*words, *more])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code, command


def test_every_command_of_the_page_on_recipes_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In order, in one folder that holds the smallest recipe."""
    monkeypatch.chdir(tmp_path)
    Path("smallest.toml").write_text(SMALLEST, encoding="utf-8")
    commands = [line for block in blocks(RECIPES, "bash") for line in block.splitlines() if line.strip()]
    assert len(commands) >= 9
    for command in commands:
        run(command, monkeypatch)
    for name in ("smallest", "rloo", "lora", "selected", "again"):
        assert (tmp_path / "runs" / name / "model" / "model.safetensors").exists(), name
    resolved = json.loads((tmp_path / "runs" / "rloo" / "config.json").read_text())
    assert resolved["seed"] == 1 and resolved["phases"][0]["algorithm"]["name"] == "rloo"


def test_changes_act_as_the_page_says(tmp_path: Path) -> None:
    """A phase by number, a term by its name, an array as a whole; a default that every phase's own key hides is refused."""
    (tmp_path / "r.toml").write_text(SMALLEST + '[[phases.rewards.terms]]\nname = "kimi_length"\n', encoding="utf-8")
    changes = [
        "phases.0.group_size=2",
        "phases.brevity.rewards.terms.kimi_length.weight=0.4",
        "report.temperatures=[1.0]",
    ]
    recipe = load_recipe(tmp_path / "r.toml", changes)
    phase = recipe.phases[0]
    assert (phase.steps, phase.group_size, phase.rewards.terms[0].weight) == (10, 2, 0.4)
    assert recipe.report.temperatures == (1.0,)
    with pytest.raises(RecipeError, match=r"defaults\.steps=20': changes nothing"):
        load_recipe(tmp_path / "r.toml", [*changes, "defaults.steps=20"])
    replaced = load_recipe(tmp_path / "r.toml", ['phases.brevity.rewards.terms=[{name="overlong"}]'])
    assert [term.name for term in replaced.phases[0].rewards.terms] == ["overlong"]


# --- the API ---------------------------------------------------------------------------------------------------------


SHORTER = {
    "max_tokens=200": "max_tokens=96",
    "max_tokens = 160": "max_tokens = 64",
    '"threads=1",': '"threads=1", "defaults.sampler.max_tokens=64", "report.max_tokens=64",',
}
"""Caps of the examples, and what they are here."""


def test_every_example_of_the_api_runs_and_prints_what_it_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One session and one folder; a comment `# prints X` is a line of the output, in order. Responses are capped lower."""
    monkeypatch.chdir(tmp_path)
    session: dict[str, Any] = {"__name__": "api"}
    text = API
    for said, here in SHORTER.items():
        assert said in text
        text = text.replace(said, here)
    examples = blocks(text, "python")
    assert 12 <= len(examples) <= 18
    for number, example in enumerate(examples, 1):
        exec(compile(example, f"docs/api.md, example {number}", "exec"), session)
        printed = iter(capsys.readouterr().out.splitlines())
        for expected in re.findall(r"# prints (.*)", example):
            assert expected in printed, f"example {number}: does not print {expected}"


def test_the_modules_that_the_page_on_the_api_names_exist() -> None:
    """Those of its table, and those that its text points to."""
    table = "".join(re.findall(r"^\|.*\n", API, re.M))
    names = set(re.findall(r"`([a-z_]+)`", table)) | set(re.findall(r"`laconic\.([a-z_]+)`", API))
    assert len(names) > 15
    assert not [name for name in names if find_spec(f"laconic.{name}") is None]


# --- commands --------------------------------------------------------------------------------------------------------


def test_the_page_of_commands_is_what_they_say():
    """If not, `python docs/hooks/commands_page.py` writes it anew."""
    assert PAGE.read_text(encoding="utf-8") == commands_page()
    assert "| `--top-p` | number | `1.0` |" in commands_page() and "## laconic traffic\n" in commands_page()
