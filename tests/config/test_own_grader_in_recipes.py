"""`grader = "mine.py:grade"` in a recipe: found beside it, pinned by its hash, and never changed unnoticed."""

from pathlib import Path

import pytest

from laconic.config.load import dump, load_recipe, parse_recipe
from laconic.config.resumption import changes_measuring, freedom
from laconic.errors import RecipeError
from laconic.system.checksums import file_digest
from laconic.system.files import write_json_atomically

RECIPE = 'name = "r"\nmodel = "tiny"\nproblems = { train = "a.jsonl", watch = "b.jsonl" }\n[[phases]]\nname = "p"\nsteps = 1\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text("def grade(attempt): return True\n")
    (tmp_path / "rubric.toml").write_text("")
    return tmp_path


def recipe_with(folder: Path, line: str) -> Path:
    (folder / "recipe.toml").write_text(f"{line}\n{RECIPE}")
    return folder / "recipe.toml"


@pytest.mark.parametrize("line", ['grader = "mine.py:grade"', 'grader = { name = "mine.py:grade", workers = 1 }'])
def test_the_file_is_found_beside_the_recipe_and_pinned(folder: Path, line: str) -> None:
    grader = load_recipe(recipe_with(folder, line)).grader
    assert grader.name == f"{folder.resolve()}/mine.py:grade" and grader.sha256 == file_digest(folder / "mine.py")
    assert load_recipe(recipe_with(folder, ""), ["grader=rubric.toml"]).grader.name == f"{folder.resolve()}/rubric.toml"


def test_without_one_a_run_s_config_is_what_it_was(folder: Path) -> None:
    tree = dump(load_recipe(recipe_with(folder, "")))
    assert tree["grader"] == {"workers": 1, "timeout_seconds": 3.0}
    assert parse_recipe(tree, "config.json").grader.name is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            'grader = "none.py:grade"',
            "grader: .*none.py: cannot be read .*a grader's file is looked up from the recipe's folder",
        ),
        ('grader = "sympy"', "grader: 'sympy' is no grader; expected FILE.py:FUNCTION, or a rubric's FILE.toml"),
        ('grader = { sha256 = "00" }', "grader.sha256: goes with the name of a grader's file"),
    ],
)
def test_a_grader_that_is_not_there_is_one_line(folder: Path, line: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load_recipe(recipe_with(folder, line))


def test_a_changed_file_is_refused_unless_it_is_accepted(folder: Path) -> None:
    """As a changed reward is; results that were graded by the old one are then measured again."""
    config = folder / "config.json"
    write_json_atomically(config, dump(load_recipe(recipe_with(folder, 'grader = "mine.py:grade"'))))
    (folder / "mine.py").write_text("def grade(attempt): return False\n")
    with pytest.raises(RecipeError, match=r"grader: .*mine.py: is not the file that the run began with"):
        load_recipe(config)
    assert load_recipe(config, accept_changes=True).grader.sha256 == file_digest(folder / "mine.py")
    assert freedom("grader.sha256", is_trained=False) == "acceptable" and changes_measuring("grader.sha256")
