"""`laconic doctor`: what fits, what does not, and what would mend it."""

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from small import save_small_model, write_small_recipe

from laconic.cli import app as cli
from laconic.config.load import load_recipe
from laconic.doctor import examination
from laconic.doctor.checks import recipe as checks_recipe
from laconic.doctor.checks.memory import _remedies, changed_recipes
from laconic.doctor.examination import examine
from laconic.doctor.findings import LEVELS
from laconic.doctor.memory_model import GIB, Moment
from laconic.doctor.memory_needs import Needs
from laconic.doctor.run import CHECKS, find
from laconic.system.text import counted

RECIPES = Path(cli.__file__).parents[1] / "recipes"


@pytest.fixture
def recipe(tmp_path):
    return write_small_recipe(tmp_path / "small.toml", save_small_model(tmp_path / "model"))


@pytest.fixture
def run(monkeypatch, capsys):
    """The command's exit code, standard output and standard error."""

    def call(*arguments):
        capsys.readouterr()  # what saving the model printed
        monkeypatch.setattr(sys, "argv", ["laconic", "doctor", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return call


@pytest.fixture
def half_a_gib(monkeypatch):
    """A process that holds 0.5 GiB before the model comes; the small recipe adds a few MiB."""
    monkeypatch.setattr(examination, "outside_bytes", lambda recipe: GIB // 2)


def with_room(monkeypatch, gib):
    monkeypatch.setattr(examination, "device_room", lambda device: None if gib is None else int(gib * GIB))


def test_a_recipe_that_fits_is_fine(run, recipe):
    """Exit code 0, the table, and one line a phase: here with this machine's own numbers."""
    code, out, err = run(recipe)
    assert (code, err) == (0, "")
    assert "memory of the largest phase" in out and "process" in out
    assert "fine: phases.first: needs" in out and "fine: phases.second: needs" in out


@pytest.mark.usefixtures("half_a_gib")
def test_a_recipe_that_cannot_fit_is_an_error_with_a_remedy(run, recipe, monkeypatch):
    """Exit code 2 and one line that names the phase, what it needs and what there is; the changes that help stand above it."""
    with_room(monkeypatch, 0.25)
    code, out, err = run(recipe)
    assert code == 2 and err.count("\n") == 1
    assert "phases.first: needs 0.5" in err and "the device has 0.25 GiB" in err
    assert "error: phases.first" in out and "needs a larger device even with " in out and " (0.5" in out


@pytest.mark.usefixtures("half_a_gib")
def test_within_the_predictions_own_error_is_a_warning(run, recipe, monkeypatch):
    """0.50 GiB predicted might be 0.57 measured: said, but no error."""
    with_room(monkeypatch, 0.55)
    code, out, _ = run(recipe)
    assert code == 0 and "warning: phases.first" in out and ": close\n  -> try " in out


@pytest.mark.usefixtures("half_a_gib")
def test_a_device_that_does_not_say_is_a_warning(run, recipe, monkeypatch):
    """Unknown is neither fine nor wrong."""
    with_room(monkeypatch, None)
    code, out, _ = run(recipe)
    assert code == 0 and "warning: phases.first: needs" in out and "does not say" in out


def test_a_wrong_recipe_is_one_line(run, recipe):
    """What a dry run refuses, doctor refuses."""
    code, out, err = run(recipe, "phases.first.algorithm.name=nothing")
    assert (code, out) == (2, "") and "phases.first.algorithm.name: unknown algorithm 'nothing'" in err


@pytest.mark.usefixtures("half_a_gib")
def test_remedies_are_overrides_that_can_be_typed(recipe):
    """Given to the recipe as they are printed, each makes the recipe whose peak was predicted; the best lowers it."""
    examined = examine(load_recipe(recipe))
    before = examined.needs(examined.recipe, examined.phases)[0].peak.total
    changes = {overrides: (changed, phases) for overrides, changed, phases in changed_recipes(examined.recipe, 0)}
    assert "policy.gradient_checkpointing=true" in changes
    for overrides, (changed, _) in changes.items():
        assert load_recipe(recipe, overrides.split()) == changed
    assert min(examined.needs(*pair)[0].peak.total for pair in changes.values()) < before


@pytest.mark.usefixtures("half_a_gib")
def test_a_change_that_the_recipe_cannot_have_is_no_remedy(recipe):
    """A response that bootstraps its value needs a critic."""
    examined = examine(load_recipe(recipe, ["phases.first.algorithm.truncated=bootstrap"]))
    changes = [overrides for overrides, _, _ in changed_recipes(examined.recipe, 0)]
    assert changes and not any("critic=zero" in change for change in changes)


def test_a_report_that_does_not_fit_may_be_measured_afterwards(recipe):
    """With a report set the last phase needs 3 GiB of 2, without it 1."""
    loaded = load_recipe(recipe)

    def needs_of(changed, phases):
        size = GIB if changed.problems.report is None else 3 * GIB
        return [Needs(phase.name, (Moment("measuring the report", {"evaluated model": size}),), "") for phase in phases]

    remedy = _remedies(loaded, 1, 3 * GIB, needs_of, 2 * GIB)
    assert remedy == "try leaving problems.report to laconic evaluate (1.00 GiB)"


# --- the table -------------------------------------------------------------------------------------------------------


def test_a_level_too_many_is_not_forgotten_in_print(run, recipe):
    """The worst stands last, and the last line counts every level."""
    code, out, _ = run(recipe, "problems.report=tiny:mix?count=4&split=train")
    lines = [line for line in out.splitlines() if line.partition(":")[0] in LEVELS]
    ranks = [LEVELS.index(line.partition(":")[0]) for line in lines]
    assert code == 0 and ranks == sorted(ranks)
    counts = [ranks.count(rank) for rank in range(len(LEVELS))]
    assert out.splitlines()[-1] == f"{counts[0]} fine, {counts[1]} unknown, {counts[2]} warning, {counts[3]} error"
    assert any("warning: problems.train: 4 questions found in problems.report too" in line for line in lines)


@pytest.mark.usefixtures("half_a_gib")
def test_what_cannot_be_looked_at_names_the_checks_that_were_not_made(recipe):
    """Without a probe four checks are not made and two are made in part; the command that would mend it is the remedy."""
    (unmade,) = [finding for finding in find(examine(load_recipe(recipe))) if finding.where == "--probe"]
    assert unmade.level == "unknown" and unmade.remedy.startswith("laconic probe ")
    assert unmade.what == (
        "no probe is given; not checked: how the probe was made, caps against lengths, uniform groups, slices; "
        "checked in part only: selection, pressure on length"
    )


def test_every_check_is_named_once_and_needs_what_can_be_missing():
    """A need that nothing is ever missing under would let its check run on None."""
    parts = {"model", "tokenizer", "prompts", "probe", "shape", "problems.train", "problems.watch", "problems.report"}
    titles = [check.title for check in CHECKS]
    assert len(set(titles)) == len(titles) and len({check.look for check in CHECKS}) == len(CHECKS)
    assert all({*check.needs, *check.partly} <= parts for check in CHECKS)


@pytest.mark.usefixtures("half_a_gib")
def test_a_broken_problem_file_is_an_error_and_the_rest_is_still_checked(run, recipe, tmp_path):
    (tmp_path / "bad.jsonl").write_text("{")
    code, out, err = run(recipe, f"problems.watch={tmp_path / 'bad.jsonl'}")
    assert code == 2 and "bad.jsonl, line 1" in err and err.count("\n") == 1
    assert "fine: problems.train: 8 problems, none asked twice" in out


def test_a_probe_that_is_none_is_one_line(run, recipe, tmp_path):
    code, out, err = run(recipe, "--probe", tmp_path / "absent.jsonl")
    assert (code, out) == (2, "") and "absent.jsonl: cannot be read" in err


@pytest.mark.usefixtures("half_a_gib")
def test_a_teacher_is_looked_at_before_it_is_needed(run, recipe, tmp_path):
    """None there, one like the student, an instruction that the template drops, and one that it passes on."""
    model = tmp_path / "model"
    place = "phases.second.algorithm"
    told = {
        f"{place}.reference_model={tmp_path / 'none'}": (2, "no such folder"),
        f"{place}.reference_model={model}": (0, f"{str(model)!r} can teach"),
        f"{place}.reference_instruction=be_concise": (2, "the teacher would be the student"),
        f"{place}.reference_instruction=tale:40": (0, "'tale:40' can teach"),
    }
    for change, (expected, words) in told.items():
        code, out, _ = run(recipe, change)
        assert (code, words in " ".join(out.split())) == (expected, True), change


# --- the recipes that come with the package --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["two_phase", "gym_chain_sum"])
@pytest.mark.usefixtures("half_a_gib")
def test_shipped_recipes_have_no_error(name, monkeypatch):
    """On a machine with 8 GiB; nothing but the missing probe is unknown."""
    if name == "gym_chain_sum" and not find_spec("reasoning_gym"):
        pytest.skip("reasoning-gym is not installed")
    with_room(monkeypatch, 8)
    findings = list(find(examine(load_recipe(RECIPES / f"{name}.toml"))))
    assert [str(finding) for finding in findings if finding.level == "error"] == []
    assert {finding.where for finding in findings if finding.level == "unknown"} <= {
        "--probe",
        "phases.brevity.rewards",
    }


def test_a_model_on_a_hub_out_of_reach_is_one_line_and_the_rest_is_checked(monkeypatch):
    """One line names every check that needs it; memory is still predicted, by the recipe's shape: no error on a large machine."""
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1000 * GIB))
    monkeypatch.setattr(checks_recipe, "is_installed", lambda module: True)
    with_room(monkeypatch, 1000)
    findings = list(find(examine(load_recipe(RECIPES / "r1-distill-1.5b.toml"))))
    assert [str(finding) for finding in findings if finding.level == "error"] == []
    (model,) = [finding for finding in findings if finding.where == "model"]
    assert model.level == "unknown" and "chat template" in model.what and "end tokens" in model.what
    assert any(finding.where == "phases.brevity" and "needs" in finding.what for finding in findings)


def test_counts_have_their_nouns():
    assert counted(1, "problem") == "1 problem" and counted(0, "problem") == "0 problems"
