"""`laconic doctor`: what fits, what does not, and what would mend it."""

import sys

import pytest
from small import save_small_model, write_small_recipe

from laconic import cli, doctor
from laconic.config import load_recipe
from laconic.memory import GIB


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
    monkeypatch.setattr(doctor, "outside_bytes", lambda recipe: GIB // 2)


def with_room(monkeypatch, gib):
    monkeypatch.setattr(doctor, "device_room", lambda device: None if gib is None else int(gib * GIB))


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
    assert "error: phases.first" in out and "phases.first.algorithm.critic=zero (0.5" in out


@pytest.mark.usefixtures("half_a_gib")
def test_within_the_predictions_own_error_is_a_warning(run, recipe, monkeypatch):
    """0.50 GiB predicted might be 0.57 measured: said, but no error."""
    with_room(monkeypatch, 0.55)
    code, out, _ = run(recipe)
    assert code == 0 and "warning: phases.first" in out and ": close; try" in out


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
    examined = doctor.examine(load_recipe(recipe))
    before = examined.needs(examined.recipe)[0].peak.total
    changes = dict(doctor._changed_recipes(examined.recipe, 0))
    assert "policy.gradient_checkpointing=true" in changes
    for overrides, changed in changes.items():
        assert load_recipe(recipe, overrides.split()) == changed
    assert min(examined.needs(changed)[0].peak.total for changed in changes.values()) < before


@pytest.mark.usefixtures("half_a_gib")
def test_a_change_that_the_recipe_cannot_have_is_no_remedy(recipe):
    """A response that bootstraps its value needs a critic."""
    examined = doctor.examine(load_recipe(recipe, ["phases.first.algorithm.truncated=bootstrap"]))
    changes = dict(doctor._changed_recipes(examined.recipe, 0))
    assert changes and not any("critic=zero" in change for change in changes)
