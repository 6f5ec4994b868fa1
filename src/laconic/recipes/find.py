"""The shipped recipes by name: `two_phase`, `long2short/dpo`."""

from pathlib import Path

RECIPES = Path(__file__).parent


def recipe_paths() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    return {str(path.relative_to(RECIPES).with_suffix("")): path for path in sorted(RECIPES.rglob("*.toml"))}
