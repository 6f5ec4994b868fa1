"""Loading a recipe.

1. `load_recipe` reads a recipe in TOML, or the resolved `config.json` of a run.
2. `key=value` overrides are applied to the raw tree: `seed=1`, `phases.brevity.steps=40`, `defaults.optimizer.lr=1e-5`. One whose
   value a later one replaces is warned of.
3. The table `[defaults]` is merged into every phase (a phase's own keys win), then dropped. A default changes nothing where every
   phase has its own value: as an override it is refused; those in the file are remembered, so that they are warned of.
4. The tree is validated; every mistake is a `RecipeError` that names the dotted field.
5. `dump` turns the resolved recipe into JSON-ready data: a run's `config.json`.
"""

import difflib
import tomllib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from laconic.config.node import Node, checked_name
from laconic.config.recipe import Recipe
from laconic.config.rewards import RewardTermConfig
from laconic.config.solver import GraderConfig
from laconic.errors import InputError, LaconicWarning, RecipeError
from laconic.system.checksums import file_digest
from laconic.system.files import read_bytes
from laconic.system.text import brief, check_values, parse_json, parse_toml

_Place = tuple[str | int, ...]
"""Where a value stands in a raw tree: keys of tables and indices of lists."""

MOST_INDEX_DIGITS = 9


def load_recipe(path: Path, overrides: Sequence[str] = (), *, accept_changes: bool = False) -> Recipe:
    """The recipe at `path` (`.toml`, or a run's `config.json`) with `key=value` overrides applied.

    With `accept_changes` the file of a user's own reward or grader may be another than the one whose hash a `config.json` holds.
    Raises `RecipeError` with one line: which file, which field, what was expected.
    """
    tree = _without_hashes(_read(path)) if accept_changes else _read(path)
    hidden = _hidden_defaults(tree)
    places = [_apply(tree, override) for override in overrides]
    _warn_of_replaced(overrides, places)
    still_hidden = _hidden_defaults(tree)
    for override in overrides:
        key = override.partition("=")[0].strip()
        if any(f"{name}.".startswith(f"{key}.") for name in still_hidden):
            raise RecipeError(f"override {override!r}: changes nothing, since every phase has its own value")
    recipe = parse_recipe(tree, where=str(path), folder=path.parent)
    _check_texts(tree, str(path))
    return recipe.with_hidden_defaults(hidden)


def parse_recipe(tree: dict[str, Any], where: str, folder: Path = Path()) -> Recipe:
    """The recipe that a raw tree describes. Errors begin with `where`; a user's own files are looked up from `folder`.
    Raises `RecipeError`."""
    merged = dict(tree)
    defaults = merged.pop("defaults", {})
    phases = merged.get("phases", [])
    if not isinstance(defaults, dict) or not isinstance(phases, list) or not all(isinstance(p, dict) for p in phases):
        raise RecipeError(f"{where}: expected a table [defaults] and an array of tables [[phases]]")
    merged["phases"] = [_merge(defaults, phase) for phase in phases]
    try:
        return _with_own_files(Recipe.model_validate(merged), folder)
    except ValidationError as error:
        raise RecipeError(f"{where}: {_first_mistake(error, merged['phases'])}") from None


def dump(recipe: Recipe) -> dict[str, Any]:
    """The resolved tree as JSON-ready data; `parse_recipe` gives the same recipe back."""
    return recipe.model_dump(mode="json")


def with_defaults(tree: dict[str, Any]) -> dict[str, Any]:
    """A resolved tree that an older version may have written, with the keys that are new since then at their defaults; the tree
    itself where it is no recipe of today."""
    try:
        return dump(Recipe.model_validate(tree))
    except ValidationError:
        return tree


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_bytes(path)
    except InputError as error:
        raise RecipeError(f"{error}; expected a recipe in TOML") from None
    try:
        tree = (parse_json if path.suffix == ".json" else parse_toml)(content, str(path))
    except InputError as error:
        raise RecipeError(str(error)) from None
    if not isinstance(tree, dict):
        raise RecipeError(f"{path}: expected a table at the top level")
    return tree


def _without_hashes(tree: Any) -> Any:
    """A tree without the hashes of the files that a run began with."""
    if isinstance(tree, dict):
        return {key: _without_hashes(value) for key, value in tree.items() if key != "sha256"}
    return [_without_hashes(item) for item in tree] if isinstance(tree, list) else tree


def _check_texts(tree: dict[str, Any], where: str) -> None:
    """Raise `RecipeError` where overrides made the tree too deep, or a text of it cannot be written to a file or name one."""
    try:
        check_values(tree, where, refused="\0")
    except InputError as error:
        raise RecipeError(str(error)) from None


def _warn_of_replaced(overrides: Sequence[str], places: Sequence[_Place]) -> None:
    """Warn of an override that sets what a later one sets again, or a part of it. It is no error: scripts append overrides."""
    for number, (override, place) in enumerate(zip(overrides, places, strict=True), start=1):
        for later, other in zip(overrides[number:], places[number:], strict=True):
            if place[: len(other)] == other:
                what = f"override {brief(override)}: changes nothing, since {brief(later)} follows"
                warnings.warn(what, LaconicWarning, stacklevel=3)
                break


def _apply(tree: dict[str, Any], override: str) -> _Place:
    """Set one dotted key of the raw tree in place; phases are addressed by name or index. Returns where the value stands."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"override {override!r}: expected key=value, for example seed=1")
    node: Any = tree
    place: _Place = ()
    *parents, last = key.strip().split(".")
    while parents:
        taken = _parts_of_name(node, parents)
        part, parents = _part(node, ".".join(parents[:taken]), key), parents[taken:]
        node, place = _child(node, part, key), (*place, part)
    if isinstance(node, list):
        raise RecipeError(f"override {key!r}: expected a field after {key.strip().rpartition('.')[0]!r}")
    node[last] = _value(text)
    return *place, last


def _parts_of_name(node: Any, parts: Sequence[str]) -> int:
    """How many of `parts` make up the next name, since items of a list may have names with dots (`my_rewards.py:short`)."""
    names = [str(item.get("name")) for item in node if isinstance(item, dict)] if isinstance(node, list) else []
    return max((n for n in range(1, len(parts) + 1) if ".".join(parts[:n]) in names), default=1)


def _part(node: Any, part: str, key: str) -> str | int:
    """`part` as it addresses a child of `node`: the index of an item of a list, the key of a table."""
    if not isinstance(node, list):
        return part
    names = [item.get("name") if isinstance(item, dict) else None for item in node]
    is_index = part.isascii() and part.isdecimal() and len(part) <= MOST_INDEX_DIGITS
    found = names.index(part) if part in names else int(part) if is_index else len(node)
    if found < len(node) and isinstance(node[found], dict | list):
        return found
    known = ", ".join(str(number if name is None else name) for number, name in enumerate(names)) or "nothing"
    raise RecipeError(f"override {brief(key)}: nothing is named {brief(part)} there; expected {known}")


def _child(node: Any, part: str | int, key: str) -> Any:
    if isinstance(part, int):
        return node[part]
    child = node.setdefault(part, {})
    if not isinstance(child, dict | list):
        raise RecipeError(f"override {key!r}: {part!r} is a value, not a table")
    return child


def _value(text: str) -> Any:
    """The text as a TOML value where it is one, else the text itself."""
    try:
        tree = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    except (ValueError, RecursionError):  # a number of thousands of digits, thousands of brackets
        raise RecipeError(f"override value {brief(text)}: is no value that a recipe can have") from None
    if len(tree) > 1:  # further lines are further keys
        raise RecipeError(f"override value {brief(text)}: holds several values; expected one override for each")
    return tree["value"]


def _merge(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        both_are_tables = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both_are_tables else value
    return merged


def _hidden_defaults(tree: dict[str, Any]) -> list[str]:
    """The keys of a raw tree's `[defaults]` for which every phase has its own value."""
    defaults, phases = tree.get("defaults"), tree.get("phases")
    if not isinstance(defaults, dict) or not isinstance(phases, list) or not phases:
        return []  # what is wrong is said when the tree is parsed
    hidden = [path for path in _leaves(defaults) if all(_has_own(phase, path) for phase in phases)]
    return [".".join(("defaults", *path)) for path in hidden]


def _leaves(table: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The path of every value of a raw table that is not itself a table."""
    found: list[tuple[str, ...]] = []
    for key, value in table.items():
        found += _leaves(value, (*path, key)) if isinstance(value, dict) else [(*path, key)]
    return found


def _has_own(phase: Any, path: Sequence[str]) -> bool:
    """Whether a raw phase has its own value at `path`, or one on the way to it that is no table."""
    for key in path:
        if not isinstance(phase, dict):
            return True
        if key not in phase:
            return False
        phase = phase[key]
    return True


def _with_own_files(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with a user's own rewards and grader named by their whole path, the hash of each file beside the name."""
    phases = tuple(
        phase.model_copy(
            update={
                "rewards": phase.rewards.model_copy(
                    update={"terms": tuple(_pinned(term, folder, phase.name) for term in phase.rewards.terms)}
                )
            }
        )
        for phase in recipe.phases
    )
    return recipe.model_copy(update={"phases": phases, "grader": _pinned_grader(recipe.grader, folder)})


def _pinned_grader(grader: GraderConfig, folder: Path) -> GraderConfig:
    if grader.name is None:
        if grader.sha256 is not None:
            raise RecipeError("grader.sha256: goes with the name of a grader's file; leave it out")
        return grader
    file, is_python, function = grader.name.partition(".py:")
    if not is_python and not file.endswith(".toml"):
        raise RecipeError(
            f"grader: {brief(grader.name)} is no grader; expected FILE.py:FUNCTION, or a rubric's FILE.toml"
        )
    path = (folder / f"{file}{'.py' * bool(is_python)}").resolve()
    digest = _digest(path, grader.sha256, "grader", "a grader's file")
    return grader.model_copy(update={"name": f"{path}:{function}" if is_python else f"{path}", "sha256": digest})


def _pinned(term: RewardTermConfig, folder: Path, phase: str) -> RewardTermConfig:
    file, is_own, function = term.name.partition(".py:")
    if not is_own and term.sha256 is not None:
        raise RecipeError(
            f"phases.{phase}.rewards.terms: {brief(term.name)} is a reward of the package, not of a file; leave out its sha256"
        )
    if not is_own:
        return term
    path = (folder / f"{file}.py").resolve()
    digest = _digest(path, term.sha256, f"phases.{phase}.rewards.terms", "a reward's file")
    return term.model_copy(update={"name": f"{path}:{function}", "sha256": digest})


def _digest(path: Path, begun: str | None, field: str, what: str) -> str:
    """The hash of a user's own file. Raises `RecipeError` where it cannot be read, or is not the one that the run began with."""
    if path.exists() and not path.is_file():  # reading a pipe or a device might never end
        raise RecipeError(f"{field}: {path}: is no file; expected {what}")
    try:
        digest = file_digest(path)
    except OSError as error:
        place = f"{what} is looked up from the recipe's folder"
        raise RecipeError(f"{field}: {path}: cannot be read ({error.strerror}); {place}") from None
    if begun not in (None, digest):
        raise RecipeError(
            f"{field}: {path}: is not the file that the run began with; expected sha256 {begun} "
            "(--resume --accept-changes goes on with the new one)"
        )
    return digest


def _first_mistake(error: ValidationError, phases: list[dict[str, Any]]) -> str:
    mistake = error.errors()[0]
    parts = [str(part) for part in mistake["loc"]]
    if len(parts) > 1 and parts[0] == "phases" and parts[1].isdigit():
        parts[1] = _spelled(phases[int(parts[1])].get("name"), parts[1])
    field = ".".join(parts) or "recipe"
    if mistake["type"] == "extra_forbidden":
        near = difflib.get_close_matches(parts[-1], _ALL_KEYS, n=3)
        return f"{brief(field)[1:-1]}: unknown key" + (f"; near it: {', '.join(near)}" if near else "")
    if mistake["type"] == "missing":
        return f"{field}: missing, but required"
    if mistake["type"] in ("model_type", "model_attributes_type"):
        return f"{field}: expected a table, got {brief(mistake['input'])}; for example {field}.name=..."
    if mistake["type"] in ("tuple_type", "list_type"):
        return f"{field}: expected an array, got {_instead_of_array(mistake['input'])}"
    message = mistake["msg"].removeprefix("Value error, ")
    if not mistake["loc"]:
        return message
    got = "" if isinstance(mistake["input"], dict) else f", got {brief(mistake['input'])}"
    return f"{field}: {message[0].lower()}{message[1:]}{got}"


def _instead_of_array(given: Any) -> str:
    if isinstance(given, dict):
        return f"a table; it holds nothing that is named {', '.join(map(brief, given))}" if given else "a table"
    lost = "; a shell takes quotes away: put the whole change in single quotes" if str(given).startswith("[") else ""
    return f"{brief(given)}{lost}"


def _spelled(name: Any, number: str) -> str:
    """A phase in a message: its name if that is one, else its number."""
    try:
        return checked_name(name) if isinstance(name, str) else number
    except ValueError:
        return number


_ALL_KEYS = sorted({name for node in Node.__subclasses__() for name in node.model_fields})
