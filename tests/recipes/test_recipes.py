"""Every recipe that comes with the package runs to its end and resumes exactly, at a reduced size: two steps a phase, few and
short responses. What is changed stands in `reduced`; everything else is the recipe's own."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from small import save_small_model
from test_train import is_same_run, run

from laconic.config.load import dump, load_recipe, parse_recipe
from laconic.config.recipe import Recipe
from laconic.models.loading import TINY
from laconic.recipes.find import recipe_paths
from laconic.system.files import read_jsonl
from laconic.training.phase import PhaseRun

NEEDS_WEIGHTS = {"r1-distill-1.5b"}
COLLAPSES = {name for name in recipe_paths() if name.startswith("collapse/")}
"""They are no recipes to copy; benchmarks/collapse.py trains them as they are."""
NAMES = sorted(set(recipe_paths()) - NEEDS_WEIGHTS - COLLAPSES)
CAP = 40
STUDENT = "runs/student"


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small, freshly initialised model in place of the student that a recipe's first command builds."""
    return save_small_model(tmp_path_factory.mktemp("student"))


def reduced(name: str, student: Path) -> Recipe:
    """The recipe with small numbers; a selection keeps whatever was graded, and a model that is not at hand is the base."""
    tree: dict[str, Any] = dump(load_recipe(recipe_paths()[name]))
    tree["model"] = str(student) if tree["model"] == STUDENT else TINY
    tree |= {"threads": 1, "watch": {"every": 2, "samples": 1}, "checkpoints": {"every": 1, "keep": 2}}
    tree["report"] |= {"max_tokens": CAP, "samples": 2}
    for key, count in (("train", 6), ("watch", 2), ("report", 2)):
        source, _, query = tree["problems"][key].partition("?")
        source = "tiny:mix" if source.endswith(".jsonl") else source  # which traffic has yet to make
        source = source if "solutions=" in query else source.replace("words:", "tiny:")  # the base reads no English
        kept = [piece for piece in query.split("&") if piece and not piece.startswith(("count=", "levels="))]
        easy = ["levels=1"] if source.startswith(("tiny:", "words:")) else []
        tree["problems"][key] = f"{source}?{'&'.join([*kept, *easy, f'count={count}'])}"
    for phase in tree["phases"]:
        phase |= {"steps": 2, "problems_per_step": 3, "group_size": min(4, phase["group_size"])}
        phase["sampler"] |= {"max_tokens": CAP, "batch_size": 12}
        phase["end"] |= {"guard_drop": None}
        if phase["budget"]:
            phase["budget"] |= {"high": CAP}
        if phase["select"]["how"] != "everything":
            phase["select"] = {"how": "all", "count": 4, "samples": 2}
        if phase["algorithm"]["reference_model"]:
            phase["algorithm"]["reference_model"] = "tiny"
    return parse_recipe(tree, name)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_runs_to_its_end_and_resumes_exactly(
    name: str, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before its last step and resumed, its weights, logs and rollouts are those of the run that was not. (Runs that are
    killed in an earlier phase are those of test_train.py and test_sources.py.)"""
    recipe = reduced(name, student)
    taken, original = [], PhaseRun.take_step

    def copying(self: PhaseRun) -> None:
        if len(taken) == 2 * len(recipe.phases) - 1:  # what is on disk then is all that a run killed there leaves
            shutil.copytree(tmp_path / "whole", tmp_path / "stopped")
        taken.append(1)
        original(self)

    monkeypatch.setattr(PhaseRun, "take_step", copying)
    whole = run(recipe, tmp_path / "whole")
    monkeypatch.setattr(PhaseRun, "take_step", original)
    assert (tmp_path / "whole" / "model" / "model.safetensors").exists()
    assert len(whole.finished) == len(recipe.phases)
    learnt = [row.get("update/policy_grad_norm", 0.0) for row in read_jsonl(tmp_path / "whole" / "metrics.jsonl")]
    assert any(learnt), "runs in which nothing was learnt would be equal anyhow"
    assert is_same_run(tmp_path / "whole", run(recipe, tmp_path / "stopped", resume=True).run.directory.path)


@pytest.mark.parametrize("name", sorted(recipe_paths()))
def test_a_recipe_opens_with_what_it_is_and_how_to_run_it(name: str) -> None:
    """Title, command, hardware and where its figures stand, in comments before the first key."""
    head = recipe_paths()[name].read_text().split("\nname = ")[0]
    assert head.startswith("# ") and f"recipes/{name}.toml" in head
    assert "Hardware:" in head and "xpected" in head
