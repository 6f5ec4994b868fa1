"""Recipes: loading, defaults for phases, overrides, and mistakes that name their field."""

import json
import warnings

import pytest

from laconic.config.load import dump, load_recipe, parse_recipe
from laconic.errors import LaconicWarning, RecipeError

RECIPE = """
name = "r"
model = "tiny"
[problems]
train = "a.jsonl"
watch = "b.jsonl"
[defaults]
steps = 5
optimizer = { lr = 1e-4, epochs = 2 }
[[phases]]
name = "accuracy"
[[phases]]
name = "brevity"
steps = 7
optimizer = { lr = 2e-5 }
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text(RECIPE)
    return path


def test_defaults_reach_every_phase_and_its_own_keys_win(recipe):
    """[defaults] is merged table by table."""
    accuracy, brevity = load_recipe(recipe).phases
    assert (accuracy.steps, accuracy.optimizer.lr, accuracy.optimizer.epochs) == (5, 1e-4, 2)
    assert (brevity.steps, brevity.optimizer.lr, brevity.optimizer.epochs) == (7, 2e-5, 2)


def test_overrides_reach_fields_by_name_and_index(recipe):
    """Values are TOML where they parse, else text; phases are named or numbered; defaults may be overridden too."""
    loaded = load_recipe(
        recipe, ["seed=3", "phases.brevity.steps=9", "phases.0.steps=1", "defaults.group_size=4", "model=some/model"]
    )
    assert (loaded.seed, loaded.model, [p.steps for p in loaded.phases]) == (3, "some/model", [1, 9])
    assert all(phase.group_size == 4 for phase in loaded.phases)


def test_an_option_of_ones_own_reward_is_overridden_by_the_rewards_name(recipe, tmp_path):
    """The name has a dot, as the file has; a phase's number and the term's serve too."""
    (recipe.parent / "mine.py").write_text("def short(numbers, scale=1.0):\n    return scale - 0.0 * numbers.lengths\n")
    terms = 'phases.brevity.rewards.terms=[{name="mine.py:short", options={scale=0.5}}]'
    for place in ("phases.brevity.rewards.terms.mine.py:short", "phases.1.rewards.terms.0"):
        loaded = load_recipe(recipe, [terms, f"{place}.options.scale=0.3", f"{place}.weight=2"])
        (term,) = loaded.phases[1].rewards.terms
        assert (term.options, term.weight) == ({"scale": 0.3}, 2.0)


def test_a_dumped_recipe_is_the_recipe(recipe, tmp_path):
    """config.json loads back to an equal recipe."""
    loaded = load_recipe(recipe)
    (tmp_path / "config.json").write_text(json.dumps(dump(loaded)))
    assert load_recipe(tmp_path / "config.json") == loaded


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("phases.brevity.optimizer.lrr=1", "phases.brevity.optimizer.lrr: unknown key"),
        ("phases.brevity.steps=0", "phases.brevity.steps: input should be greater than 0, got 0"),
        ("phases.brevity.steps=many", "phases.brevity.steps"),
        ("colour=red", "colour: unknown key"),
        ("phases.third.steps=1", "nothing is named 'third' there; expected accuracy, brevity"),
        ("phases.accuracy.name=brevity", "names must be distinct"),
        ("seed", "expected key=value"),
        ("name.first=x", "'name' is a value, not a table"),
        ("phases.0=1", "expected a field after 'phases'"),
        ("defaults=1", "expected a table"),
        (
            "phases.0.rewards.terms.kimi_length.weight=0.4",
            "terms: expected an array, got a table; it holds nothing that is named",
        ),
        ("phases.0.rewards.terms=[{name=kimi}]", "put the whole change in single quotes"),
        ("phases.0.algorithm.entropy_target=0.5", "entropy_coef above 0"),
        ("phases.0.sampler.top_p=1.5", "phases.accuracy.sampler.top_p"),
        ('seed=1\nmodel="x"', "holds several values; expected one override for each"),
        ("seed=1\n[problems]", "holds several values; expected one override for each"),
    ],
)
def test_mistakes_name_the_field(recipe, override, message):
    """One line that says which field, what was expected, what was found."""
    with pytest.raises(RecipeError) as error:
        load_recipe(recipe, [override])
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "lost", "later"),
    [
        (["seed=1", "seed=2"], "seed=1", "seed=2"),
        (["seed=1", " seed =3"], "seed=1", " seed =3"),
        (["phases.0.steps=5", "name=x", "phases.accuracy.steps=6"], "phases.0.steps=5", "phases.accuracy.steps=6"),
        (
            ["phases.brevity.optimizer.lr=1e-4", "phases.brevity.optimizer={epochs=2}"],
            "phases.brevity.optimizer.lr=1e-4",
            "phases.brevity.optimizer={epochs=2}",
        ),
    ],
)
def test_an_override_that_a_later_one_replaces_is_a_warning(recipe, overrides, lost, later):
    """By whatever name a phase is addressed; the last one counts. A table whose parts are set afterwards is not replaced."""
    with pytest.warns(LaconicWarning) as caught:
        loaded = load_recipe(recipe, overrides)
    (warning,) = caught
    assert str(warning.message) == f"override {lost!r}: changes nothing, since {later!r} follows"
    kept = [override for override in overrides if override != lost]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert loaded == load_recipe(recipe, kept)
        parts_of_a_table = ["phases.brevity.optimizer={epochs=2}", "phases.brevity.optimizer.lr=1e-4"]
        assert load_recipe(recipe, parts_of_a_table).phases[1].optimizer.lr == 1e-4


def test_a_missing_field_a_missing_file_and_bad_toml_are_said(tmp_path):
    """What is required, what cannot be read and what cannot be parsed."""
    with pytest.raises(RecipeError, match="problems: missing, but required"):
        parse_recipe({"name": "r", "model": "tiny", "phases": [{"name": "a", "steps": 1}]}, "r.toml")
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(RecipeError, match=r"bad\.toml"):
        load_recipe(tmp_path / "bad.toml")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(RecipeError, match="expected a table"):
        load_recipe(tmp_path / "list.json")
