"""Recipes found by their path, or by the name of a shipped one: `two_phase`, `long2short/dpo`."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from laconic.config.load import load_recipe
from laconic.config.recipe import Recipe
from laconic.errors import RecipeError

RECIPES = Path(__file__).parent


def recipe_paths() -> dict[str, Path]:
    """The path of every recipe that comes with the package, by the recipe's name."""
    return {str(path.relative_to(RECIPES).with_suffix("")): path for path in sorted(RECIPES.rglob("*.toml"))}


def find_recipe(recipe: str | Path, changes: Sequence[str] = (), *, accept_changes: bool = False) -> Recipe:
    """The recipe in the file `recipe`, or the shipped one of that name, with `key=value` changes applied; `accept_changes` as for
    `load_recipe`.

    Raises `RecipeError` where there is neither, or the recipe is wrong.
    """
    known, file = recipe_paths(), Path(recipe)
    path = known[str(recipe)] if str(recipe) in known and not file.exists() else file
    if not path.exists():
        near = difflib.get_close_matches(path.stem, known, n=3)
        hint = f"near it: {', '.join(near)}" if near else "laconic list recipes names the shipped ones"
        raise RecipeError(f"{recipe}: cannot be read (no such file, no recipe of that name); {hint}")
    return load_recipe(path, changes, accept_changes=accept_changes)
