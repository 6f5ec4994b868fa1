"""Recipes with random mistakes: a value of the wrong kind, a number that is none, an unknown key, a key that is missing.

The recipes are those that come with the program and those of `runs.py`, with every key that they leave out filled in. A mistake
that can mean nothing must be refused; a value that is only unusual (a rate of a million, a name with a slash) may be refused or
planned. Either way the answer takes at most two lines and a minute.
"""

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tortures.case import Case
from tortures.outcome import run, trouble
from tortures.runs import KINDS, recipe_of, save_model, write_recipe

from laconic.config.load import dump
from laconic.recipes.find import find_recipe

Tree = dict[str, Any]
Leaf = tuple[list[Any], Any]
"""Where a value is, as keys from the root, and the value."""

BUNDLED = ("two_phase", "demo", "t1", "laser_d", "dler", "l1", "o1_pruner", "opsdc", "small_set", "long2short/dpo")
COMMANDS = (("train", "--dry-run"), ("doctor",))
NO_NUMBERS: tuple[Any, ...] = (float("nan"), float("inf"), -float("inf"), "five", True, [], {"a": 1}, "1.0")
ODD_NUMBERS: tuple[Any, ...] = (-1, 0, 1e-300, 1e300, 10**18, 0.5, 1.5)
NO_TEXTS: tuple[Any, ...] = (5, [], {"a": 1}, True)
ODD_TEXTS: tuple[Any, ...] = ("", "nope", "../../../escaped", "a\x1b[31mb", "\udcff", "x" * 100_000, "[red]", "1")
NO_SWITCHES: tuple[Any, ...] = ("yes", 2, [], None, 0.5)


def cases(place: Path, seed: int, count: int) -> Iterator[Case]:
    """`count` recipes with one or two mistakes each."""
    model = save_model(place / "model")
    trees = [dump(find_recipe(Path(name), [])) for name in BUNDLED]
    trees += [dump(find_recipe(write_recipe(place / "recipe.json", recipe_of(kind, model)), [])) for kind in KINDS]
    for number in range(count):
        rng = random.Random(f"{seed} recipes {number}")
        tree = copy.deepcopy(rng.choice(trees))
        done = [rng.choice(MISTAKES)(tree, rng) for _ in range(rng.choice((1, 1, 2)))]
        file = place / "mistaken.json"
        file.write_text(json.dumps(tree), encoding="utf-8")
        command, *options = rng.choice(COMMANDS)
        outcome = run([command, str(file), *options], place)
        must_refuse = any(is_senseless for _, is_senseless in done)
        what = f"{command} of {tree.get('name')!r:.40}: {'; '.join(what for what, _ in done)}, seed {seed}, number {number}"
        yield Case(what, trouble(outcome, must_refuse=must_refuse))


# --- mistakes: each changes the tree, and says what it did and whether that can only be refused ----------------------


def _another_value(tree: Tree, rng: random.Random) -> tuple[str, bool]:
    path, value = rng.choice([leaf for leaf in _leaves(tree) if leaf[1] is not None])
    senseless, odd = _values_for(value)
    is_senseless = rng.random() < 0.6
    new = rng.choice(senseless if is_senseless else odd)
    _put(tree, path, new)
    return f"{'.'.join(map(str, path))} = {new!r:.60}", is_senseless


def _values_for(value: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Values that cannot stand where `value` does, and unusual ones that may."""
    if isinstance(value, bool):
        return NO_SWITCHES, (not value,)
    if isinstance(value, int | float):
        return NO_NUMBERS, ODD_NUMBERS
    return NO_TEXTS, ODD_TEXTS


def _unknown_key(tree: Tree, rng: random.Random) -> tuple[str, bool]:
    table = rng.choice(list(_closed_tables(tree)))
    key = rng.choice(("lrr", "step", "Name", "", "a.b", "__class__"))
    table[key] = rng.choice((1, "x", [], {}))
    return f"unknown key {key!r}", True


def _missing_key(tree: Tree, rng: random.Random) -> tuple[str, bool]:
    key = rng.choice(("model", "problems", "phases", "name"))
    tree.pop(key, None)
    return f"no {key}", True


def _another_kind(tree: Tree, rng: random.Random) -> tuple[str, bool]:
    key = rng.choice(("problems", "phases", "policy", "watch", "report", "checkpoints", "grader", "prompt"))
    tree[key] = rng.choice((3, "x", True, [1], [[]], {"phases": {}}))
    return f"{key} = {tree[key]!r}", True


def _same_phase_twice(tree: Tree, rng: random.Random) -> tuple[str, bool]:
    phases = tree.get("phases")
    if not isinstance(phases, list) or not phases:
        return _missing_key(tree, rng)
    again = copy.deepcopy(rng.choice(phases))
    if isinstance(again, dict):
        again["name"] = str(again.get("name")).upper() if rng.random() < 0.5 else again.get("name")
    phases.append(again)
    return "a phase twice", True


MISTAKES: tuple[Callable[[Tree, random.Random], tuple[str, bool]], ...] = (
    *(_another_value,) * 12,
    _unknown_key,
    _missing_key,
    _another_kind,
    _same_phase_twice,
)


# --- the tree --------------------------------------------------------------------------------------------------------


def _leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every value of a tree that is no table and no list, except the options of a reward, an algorithm or a selection."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(value, (*path, key)) if key != "options" else ()
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _leaves(value, (*path, index))
    else:
        yield path, node


def _closed_tables(node: Any) -> Iterator[Tree]:
    """Every table whose keys are known: all but options."""
    if isinstance(node, dict):
        yield node
        for key, value in node.items():
            yield from _closed_tables(value) if key != "options" else ()
    elif isinstance(node, list):
        for value in node:
            yield from _closed_tables(value)


def _put(tree: Tree, path: tuple[Any, ...], value: Any) -> None:
    node: Any = tree
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
