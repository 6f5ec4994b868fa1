"""Two recipes share their base's evaluations only if one grader graded them."""

from pathlib import Path

from laconic.config.load import load_recipe
from laconic.sweep.prompts import base_key

RECIPE = 'name = "r"\nmodel = "tiny"\nproblems = { train = "a.jsonl", watch = "b.jsonl" }\n[[phases]]\nname = "p"\nsteps = 1\n'


def test_another_grader_makes_another_base(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(RECIPE)
    keys = []
    for body in (None, "return True", "return True", "return False"):
        (tmp_path / "mine.py").write_text(f"def grade(attempt): {body}")
        recipe = load_recipe(tmp_path / "r.toml", [] if body is None else ["grader=mine.py:grade"])
        keys.append(base_key(recipe))
    assert keys[1] == keys[2] and len(set(map(str, keys))) == 3
