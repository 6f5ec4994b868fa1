"""What in a recipe changes nothing or contradicts itself is said by training, the dry run and doctor alike.

Every row of the tables of `config/sense/` has a recipe here that it speaks of. It speaks of none that comes with the package,
and of none in the sweeps of `benchmarks/`.
"""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from small import save_small_model, write_small_recipe

from laconic.collapse.alarms import ALARMS, Applicability
from laconic.config.load import load_recipe, parse_recipe
from laconic.config.recipe import Recipe
from laconic.config.sense.complaints import Complaint
from laconic.config.sense.contradictions import SENSELESS
from laconic.config.sense.unread import ALARMS_OF_DRAWN, LEVERS, UNREAD, UNREAD_OF_RUN
from laconic.config.sense.unusual import LEVERS_THAT_DIVERGE, unusual_levers
from laconic.doctor.checks.recipe import check_sense
from laconic.doctor.dry_run import print_plan
from laconic.doctor.examination import examine
from laconic.errors import InputError, RecipeError
from laconic.models.loading import TINY_FOLDER
from laconic.problems.load import load_problems
from laconic.recipes.find import recipe_paths
from laconic.rewards.table import REWARDS
from laconic.sweep.config import load_sweep, runs_of
from laconic.system.files import read_json
from laconic.system.progress import Reporter
from laconic.training.algorithms import ALGORITHMS
from laconic.training.check.model import CONFIG_NAMES
from laconic.training.check.recipe import check_recipe, complaints_about, warnings_about
from laconic.training.run import start
from laconic.types import Problem

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def recipe(phase: dict[str, Any], **top: Any) -> Recipe:
    """One phase of ten steps over the bundled reasoner."""
    tree = {"name": "r", "model": "tiny", "problems": {"train": "tiny:mix?count=64", "watch": "tiny:mix?count=4"}}
    return parse_recipe(tree | top | {"phases": [{"name": "p", "steps": 10} | phase]}, "a test")


def said(phase: dict[str, Any], **top: Any) -> list[Complaint]:
    """The warnings, or the error that is raised."""
    made = recipe(phase, **top)
    try:
        return complaints_about(made, check_recipe(made))
    except RecipeError as error:
        where, _, what = str(error).partition(": ")
        return [Complaint("error", where, what)]


def algorithm(**levers: Any) -> dict[str, Any]:
    return {"algorithm": levers}


GRPO = {"name": "grpo"}
REPORTED = {"train": "tiny:mix?count=64", "watch": "tiny:mix?count=4", "report": "tiny:mix?count=4&split=report"}
SFT = {"name": "sft", "old_logprobs": "current"}
DPO = {"name": "dpo", "old_logprobs": "current", "aggregation": "sum", "options": {"pairs": "given"}}
GIVEN = {"rollouts": "pairs", "group_size": 2}
PRUNED = {"rollouts": "offline"} | algorithm(name="o1_pruner", ratio="sequence", old_logprobs="sampler")
ZERO = {"correct": 0.0, "wrong": 0.0, "no_answer": 0.0, "truncated": 0.0}


def terms(*names: str, levels: dict[str, float] | None = None, **options: float) -> dict[str, Any]:
    """Rewards of these terms, beside zero levels or `levels`; the options are those of the last."""
    rows: list[dict[str, Any]] = [{"name": name} for name in names]
    rows[-1]["options"] = options
    return {"rewards": (ZERO if levels is None else levels) | {"terms": rows}}


# (the phase, the top, the keys that are named)
UNREAD_CASES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (algorithm(**GRPO, gamma=0.9), {}, "algorithm.gamma"),
    (algorithm(**GRPO, gae_lambda=0.9), {}, "algorithm.gae_lambda"),
    (algorithm(**GRPO, critic="zero"), {}, "algorithm.critic"),
    (algorithm(name="rloo", scale_by_std=False), {}, "algorithm.scale_by_std"),
    (algorithm(name="reinforce_pp", whitening="batch"), {}, "algorithm.whitening"),
    (
        algorithm(
            name="logit_distill",
            reference_model="tiny",
            kl_estimator="exact",
            kl_coef=1.0,
            ratio="sequence",
            clip_low=0.1,
            clip_high=0.3,
            old_logprobs="sampler",
        ),
        {},
        "algorithm.ratio algorithm.clip_low algorithm.clip_high algorithm.old_logprobs",
    ),
    (
        algorithm(name="logit_distill", reference_model="tiny", kl_estimator="exact", kl_coef=1.0, importance_cap=2.0),
        {},
        "algorithm.importance_cap",
    ),
    (algorithm(**GRPO, importance_cap=2.0), {}, "algorithm.importance_cap"),
    ({"sampler": {"server": "http://127.0.0.1:8000"}}, {}, "sampler.server"),
    ({"sampler": {"engine": "vllm", "compile": True}}, {}, "sampler.compile"),
    (algorithm(**GRPO, clip_high=0.28), {}, "algorithm.clip_high"),
    (algorithm(**SFT, clip_low=0.1), {}, "algorithm.clip_low"),
    (algorithm(value_gae_lambda=1.0, critic="zero"), {}, "algorithm.value_gae_lambda"),
    (algorithm(**GRPO) | {"optimizer": {"critic_lr": 0.1, "lr": 0.1}}, {}, "optimizer.critic_lr"),
    (algorithm(value_clip=0.5), {}, "algorithm.value_clip"),
    (algorithm(kl_in="reward", kl_estimator="k1"), {}, "algorithm.kl_in algorithm.kl_estimator"),
    (algorithm(reference_model="tiny"), {}, "algorithm.reference_model"),
    (algorithm(reference_instruction="tale:40"), {}, "algorithm.reference_instruction"),
    (algorithm(reference="ema"), {}, "algorithm.reference"),
    (algorithm(kl_coef=0.1, reference_model="tiny", reference="reset"), {}, "algorithm.reference"),
    (algorithm(kl_coef=0.1, ema_decay=0.5), {}, "algorithm.ema_decay"),
    (algorithm(kl_coef=0.1, reference_every=3), {}, "algorithm.reference_every"),
    (algorithm(entropy_coef=0.1, entropy_coef_step=0.1), {}, "algorithm.entropy_coef_step"),
    (algorithm(uniform_groups="drop", max_draws=5), {}, "algorithm.max_draws"),
    (
        algorithm(name="simpo", old_logprobs="current", options={"pairs": "reward", "ratio": 2.0}),
        {},
        "algorithm.options.ratio",
    ),
    (algorithm(**SFT, truncated="mask") | {"rollouts": "solutions"}, {}, "algorithm.truncated"),
    (GIVEN | algorithm(**DPO, truncated="mask"), {}, "algorithm.truncated"),
    (GIVEN | algorithm(**DPO, uniform_groups="drop"), {}, "algorithm.uniform_groups"),
    (GIVEN | algorithm(**DPO) | {"rewards": {"correct": -2.0}}, {}, "rewards.correct"),
    (
        GIVEN | algorithm(**DPO, uniform_groups="drop") | {"rewards": {"correct": -2.0}},
        {},
        "algorithm.uniform_groups rewards.correct",
    ),
    (algorithm(**SFT, truncated="mask"), {}, "algorithm.truncated"),
    (algorithm(truncated="bootstrap") | {"rewards": {"truncated": -0.7}}, {}, "rewards.truncated"),
    (algorithm(truncated="bootstrap") | {"rewards": {"truncated": 2.0}}, {}, "rewards.truncated"),
    (algorithm(**SFT) | {"rewards": {"wrong": 0.0, "standardize": True}}, {}, "rewards.wrong rewards.standardize"),
    (algorithm(**SFT) | {"rollouts": "solutions", "group_size": 4}, {}, "group_size"),
    ({"select": {"options": {"low": 0.1}, "samples": 4}}, {}, "select.options select.samples"),
    ({"select": {"pool": 32, "count": 16}}, {}, "select.pool"),
    ({"select": {"pool": 16, "count": 32}}, {}, "select.count"),
    ({"select": {"how": "all", "pool": 16, "count": 32}}, {}, "select.count"),
    ({"steps": 1, "optimizer": {"schedule": "linear"}}, {}, "optimizer.schedule"),
    ({"optimizer": {"schedule": "linear", "min_lr_frac": 1.0}}, {}, "optimizer.schedule"),
    ({"optimizer": {"min_lr_frac": 0.1}}, {}, "optimizer.min_lr_frac"),
    ({"rewards": {"timeout_seconds": 5.0}}, {}, "rewards.timeout_seconds"),
    ({"end": {"alarms": dict.fromkeys(ALARMS, "off") | {"steps": 2}}}, {}, "end.alarms.steps"),
    *(
        (PRUNED | {"end": {"alarms": {name: "stop"}}}, {}, f"end.alarms.{name}")
        for name in ALARMS
        if name not in ("rewards", "kl")
    ),
    (GIVEN | algorithm(**DPO) | {"end": {"alarms": {"format": "rollback"}}}, {}, "end.alarms.format"),
    (algorithm(**SFT) | {"end": {"alarms": {"rewards": "stop"}}}, {}, "end.alarms.rewards"),
    ({"end": {"patience": 2}}, {}, "end.patience"),
    ({"end": {"alarms": {"steps": 9} | dict.fromkeys(ALARMS, "off")}}, {}, "end.alarms.steps"),
    ({"end": {"goal": "tokens", "guard_drop": 1.0}}, {}, "end.goal"),
    ({}, {"report": {"samples": 2, "margin": 0.1}}, "report.samples report.margin"),
    ({}, {"report": {"temperatures": [0.0], "samples": 2}, "problems": REPORTED}, "report.samples"),
    (
        {},
        {"grader": {"name": str(BENCHMARKS / "frontier.toml"), "workers": 4, "timeout_seconds": 9.0}},
        "grader.workers grader.timeout_seconds",
    ),
]

ALONE = {"group_size": 1}
MOVING = {"optimizer": {"minibatches": 2}}

# (the phase, the level, the key that is named)
SENSELESS_CASES: list[tuple[dict[str, Any], str, str]] = [
    ({"optimizer": {"critic_warmup_steps": 10}}, "error", "optimizer.critic_warmup_steps"),
    ({"optimizer": {"lr": 10.0, "weight_decay": 0.1}}, "error", "optimizer.weight_decay"),
    ({"rewards": {"correct": -1.0}}, "error", "rewards.correct"),
    ({"rewards": {"correct": 0.0, "wrong": -1.0, "truncated": 0.5}}, "error", "rewards.correct"),
    ({"rewards": ZERO}, "error", "rewards"),
    ({"rewards": ZERO | {"terms": [{"name": "overlong", "weight": 0.0}]}}, "error", "rewards"),
    ({"group_size": 1} | algorithm(uniform_groups="drop"), "error", "algorithm.uniform_groups"),
    ({"rollouts": "solutions"} | algorithm(**GRPO), "error", "rollouts"),
    (algorithm(**SFT, kl_coef=0.1, kl_in="reward"), "error", "algorithm.kl_in"),
    ({"group_size": 1} | algorithm(kl_coef=0.1, kl_in="centred"), "error", "algorithm.kl_in"),
    (algorithm(**GRPO, kl_coef=0.1, kl_in="loss", kl_estimator="k1"), "error", "algorithm.kl_estimator"),
    (algorithm(**GRPO, uniform_groups="resample") | {"rewards": {"standardize": True}}, "error", "rewards.standardize"),
    (algorithm(truncated="bootstrap") | {"rewards": {"terms": [{"name": "overlong"}]}}, "warning", "rewards.terms"),
    (algorithm(clip_low=0.8, clip_high=1.2, old_logprobs="sampler"), "error", "algorithm.clip_low"),
    (algorithm(clip_low=1.0, old_logprobs="sampler"), "warning", "algorithm.clip_low"),
    (algorithm(clip_low=0.8, old_logprobs="sampler"), "warning", "algorithm.clip_low"),
    (algorithm(clip_high=1.2, old_logprobs="sampler"), "warning", "algorithm.clip_high"),
    ({"budget": {"low": 1, "high": 65}, "sampler": {"max_tokens": 64}}, "error", "budget.high"),
    ({"rewards": {"wrong": 1.0}}, "warning", "rewards.wrong"),
    ({"rewards": {"terms": [{"name": "overlong", "weight": 0.0}]}}, "warning", "rewards.terms"),
    ({"optimizer": {"lr": 1e-12}}, "warning", "optimizer.lr"),
    (algorithm(kl_coef=0.1, reference="ema", ema_decay=0.0), "warning", "algorithm.ema_decay"),
    ({"rewards": {"terms": [{"name": "overlong", "weight": 1e-300}]}}, "warning", "rewards.terms"),
    ({"rewards": {"terms": [{"name": "truncation"}]}}, "warning", "rewards.terms"),
    ({"rewards": {"terms": [{"name": "repetition"}]}, "sampler": {"max_tokens": 12}}, "warning", "rewards.terms"),
    ({"budget": {"low": 8, "high": 9}}, "warning", "budget"),
    ({"select": {"how": "band", "options": {"low": 0.0, "high": 0.0}}}, "warning", "select.options"),
    ({"entry_share": 0.999999}, "warning", "entry_share"),
    ({"sampler": {"top_p": 0.01}}, "warning", "sampler.top_p"),
    ({"sampler": {"min_p": 0.99}}, "warning", "sampler.min_p"),
    ({"end": {"alarms": {"steps": 20}}}, "warning", "end.alarms.steps"),
    ({"sampler": {"compile": True}}, "warning", "sampler.compile"),
    (algorithm(entropy_coef=0.1, entropy_target=19.0), "error", "algorithm.entropy_target"),
    ({"optimizer": {"warmup_steps": 10}}, "warning", "optimizer.warmup_steps"),
    ({"optimizer": {"minibatches": 65}}, "warning", "optimizer.minibatches"),
    (algorithm(kl_coef=0.1, reference="reset", reference_every=10), "warning", "algorithm.reference_every"),
    (algorithm(kl_coef=0.1, reference="ema", ema_decay=1.0), "warning", "algorithm.ema_decay"),
    (algorithm(uniform_groups="resample", max_draws=1), "warning", "algorithm.max_draws"),
    (algorithm(kl_coef=0.1, reference="reset"), "warning", "algorithm.reference_every"),
    (algorithm(kl_coef=0.1, kl_in="reward", reference="reset") | MOVING, "warning", "algorithm.reference_every"),
    (algorithm(truncated="bootstrap") | {"rewards": ZERO | {"truncated": -1.0}}, "error", "rewards"),
    (terms("linear_length"), "warning", "rewards.correct"),
    (terms("kimi_length"), "warning", "rewards.correct"),
    (terms("linear_length", "overlong", levels={"wrong": 1.0}), "warning", "rewards.correct"),
    (terms("arora_zanette", "gr3"), "warning", "rewards.terms"),
    ({"rewards": ZERO | {"terms": [{"name": "truncation", "weight": -1.0}]}}, "warning", "rewards.terms"),
    *((ALONE | terms(name), "warning", "rewards.terms") for name, row in REWARDS.items() if row.alone == "grade"),
    (ALONE | terms("kimi_length", levels={}), "warning", "rewards.terms"),
    (ALONE | terms("kimi_length"), "error", "rewards.terms"),
    (ALONE | terms("lead", min_target_tokens=10.0), "error", "rewards.terms"),
    (terms("laser_d", levels={}), "warning", "rewards.terms"),
    (terms("laser_de", levels={}, every=10.0), "warning", "rewards.terms"),
    (terms("acoer", warmup=9.0, window=1.0, min_budget_tokens=9.0), "warning", "rewards.terms"),
    (terms("short_rl", levels={}) | {"steps": 1}, "warning", "rewards.terms"),
    (terms("discounted", gamma=1.0), "warning", "rewards.terms"),
    (terms("serial_exits", decay=1.0), "warning", "rewards.terms"),
    (algorithm(name="gfpo", options={"by_efficiency": True}), "warning", "algorithm.options.by_efficiency"),
]

SENSIBLE_CASES: list[dict[str, Any]] = [
    algorithm(kl_coef=0.1, reference="reset") | MOVING,
    algorithm(kl_coef=0.1, reference="ema", ema_decay=0.0) | MOVING,
    algorithm(kl_coef=0.1, reference="reset", reference_every=2),
    algorithm(kl_coef=0.1, reference="reset", reference_instruction="tale:40"),
    algorithm(truncated="bootstrap") | terms("truncation", levels=ZERO | {"truncated": -1.0}),
    *(terms(name) for name in ("laser", "hapo", "truncation")),
    *(ALONE | terms(name) for name in ("alp", "hapo")),
    terms("linear_length", levels={}),
    terms("laser_d", levels={}, every=9.0),
    terms("acoer", warmup=8.0, window=9.0, min_budget_tokens=9.0),
    terms("short_rl", levels={}) | {"steps": 2},
    terms("discounted", gamma=0.999),
    algorithm(name="gfpo", options={"by_efficiency": True}) | {"rewards": ZERO | {"correct": 1.0}},
    algorithm(**SFT) | {"rollouts": "offline", "end": {"alarms": {"kl": "stop"}}},
    PRUNED | {"end": {"alarms": {"rewards": "stop"}}},
]
"""Each next to one that is spoken of."""


@pytest.mark.parametrize(("phase", "top", "keys"), UNREAD_CASES)
def test_a_key_that_changes_nothing_is_a_warning_that_names_it(
    phase: dict[str, Any], top: dict[str, Any], keys: str
) -> None:
    found = said(phase, **top)
    wheres = [key if key.startswith(("report", "grader")) else f"phases.p.{key}" for key in keys.split()]
    assert [(complaint.level, complaint.where) for complaint in found] == [("warning", where) for where in wheres]
    assert all("changes nothing: " in complaint.what for complaint in found)


@pytest.mark.parametrize("band", [{"low": 0.26, "high": 0.3}, {"low": 0.51, "high": 0.99}])
def test_a_band_that_no_probe_can_hit_is_refused(band: dict[str, float]) -> None:
    """Of two samples 0, 1 or 2 are correct; with four, three are 0.75."""
    select = {"how": "band", "samples": 2, "options": band}
    with pytest.raises(RecipeError, match=r"phases\.p: select: keeps no problem, however many of its 2 samples are"):
        check_recipe(recipe({"select": select}))
    check_recipe(recipe({"select": select | {"samples": 4, "options": {"low": 0.26, "high": 0.8}}}))


@pytest.mark.parametrize(("phase", "level", "key"), SENSELESS_CASES)
def test_a_setting_that_cannot_do_what_it_says_is_said(phase: dict[str, Any], level: str, key: str) -> None:
    assert [(found.level, found.where) for found in said(phase)] == [(level, f"phases.p.{key}")]


@pytest.mark.parametrize("phase", SENSIBLE_CASES)
def test_a_setting_that_does_what_it_says_is_not_spoken_of(phase: dict[str, Any]) -> None:
    assert said(phase) == []


def test_the_alarms_that_are_spoken_of_are_those_that_are_not_looked_for() -> None:
    """By the rows of `collapse/alarms.py`: all but two need the policy's own rollouts, and one needs rewards."""
    idle = [name for name, row in ALARMS.items() if not row.applies(Applicability(draws_rollouts=False))]
    assert [f"end.alarms.{name}" for name in idle] == list(ALARMS_OF_DRAWN)
    idle = [name for name, row in ALARMS.items() if not row.applies(Applicability(reads_rewards=False))]
    assert idle == ["rewards"]


def test_every_row_of_the_tables_has_its_case() -> None:
    """By a key of it and its reason. The keys that some algorithms read alone are those that the table of algorithms names."""
    found = [complaint for phase, top, _ in UNREAD_CASES for complaint in said(phase, **top)]
    spoken = {(complaint.where.removeprefix("phases.p."), complaint.what) for complaint in found}
    for row in (*UNREAD, *UNREAD_OF_RUN):
        words = row.why.rpartition("}")[2]
        assert any(key in row.keys and words in what for key, what in spoken), row.why
    said_of_cases = [complaint.what for phase, *_ in SENSELESS_CASES for complaint in said(phase)]
    said_of_cases += [complaint.what for complaint in said({"entry_share": 0.5}, policy={"lora": {"rank": 2}})]
    for rule in SENSELESS:
        assert any(rule.what.rpartition("}")[2] in what for what in said_of_cases), rule.what
    of_model = {("warning", "sampler.compile"), ("error", "algorithm.entropy_target")}
    cases = {(level, key) for _, level, key in SENSELESS_CASES}
    of_run = {("error", "entry_share")}
    assert {(rule.level, rule.key) for rule in SENSELESS} == (cases | of_run) - of_model


def test_an_adapter_is_not_averaged_with_the_one_that_entered() -> None:
    """(A1 + A2) (B1 + B2) / 4 is not (A1 B1 + A2 B2) / 2."""
    found = said({"entry_share": 0.5}, policy={"lora": {"rank": 2}})
    assert [(complaint.level, complaint.where) for complaint in found] == [("error", "phases.p.entry_share")]
    assert set(LEVERS) == set().union(*(row.levers for row in ALGORITHMS.values()))


def test_a_key_that_another_phase_reads_is_no_waste() -> None:
    """One rate for the critics of all phases, of which one has a critic."""
    shared = {"optimizer": {"lr": 1e-4, "critic_lr": 1e-3}, "steps": 10}
    phases = [{"name": "one", **shared}, {"name": "two", "algorithm": GRPO, **shared}]
    tree = {"name": "r", "model": "tiny", "problems": {"train": "tiny:mix", "watch": "tiny:mix"}, "phases": phases}
    made = parse_recipe(tree, "a test")
    assert complaints_about(made, check_recipe(made)) == []
    phases[1] = phases[1] | {"optimizer": {"critic_lr": 1e-2}}
    made = parse_recipe(tree, "a test")
    assert [found.where for found in complaints_about(made, check_recipe(made))] == ["phases.two.optimizer.critic_lr"]


def test_adapters_that_are_larger_than_the_maps_are_a_warning() -> None:
    """The bundled reasoner's maps have as many rows as it is wide."""
    width = read_json(TINY_FOLDER / "config.json")["hidden_size"]
    assert said({}, policy={"lora": {"rank": width}}) == []
    (found,) = said({}, policy={"lora": {"rank": width + 1}})
    assert str(found).startswith(f"policy.lora.rank: {width + 1} is more than the {width} rows of the model's maps")


def test_a_cap_on_weights_is_read_where_engine_or_arithmetic_may_differ() -> None:
    capped = algorithm(**GRPO, importance_cap=2.0)
    assert said(capped, policy={"dtype": "bfloat16"}) == [] == said(capped | {"sampler": {"engine": "vllm"}})


def test_a_plain_recipe_makes_sense() -> None:
    assert said({}) == []
    assert said({}, report={"samples": 2}, problems=REPORTED) == []


def test_a_prompt_that_asks_for_more_tokens_than_any_response_may_have_is_a_warning() -> None:
    phase = {"sampler": {"max_tokens": 64}}
    assert (
        said(phase, prompt={"instruction": "l1_max:64"}) == [] == said(phase, prompt={"instruction": "word_limit:99"})
    )
    (found,) = said(phase, prompt={"instruction": "l1_max:65"})
    assert str(found) == "prompt.instruction: asks for up to 65 tokens, but no phase lets a response have more than 64"


@pytest.mark.parametrize("name", sorted(recipe_paths()))
def test_the_shipped_recipes_make_sense(name: str) -> None:
    """Not a word about any of them, but of the one that is made to show what a reward without correctness does."""
    shipped = load_recipe(recipe_paths()[name])
    found = [complaint.where for complaint in warnings_about(shipped, check_recipe(shipped), None)]
    assert found == (["phases.collapsing.rewards.correct"] if name == "collapse/repetition" else [])


@pytest.mark.parametrize("sweep", sorted(BENCHMARKS.glob("*.toml")), ids=lambda path: path.stem)
def test_the_recipes_of_the_sweeps_make_sense(sweep: Path) -> None:
    if sweep.stem == "warm_start":
        runs = [load_recipe(sweep)]
    else:
        config, entries = load_sweep(sweep)
        runs = [run.recipe for run in runs_of(config.model_copy(update={"seeds": (0,)}), entries, Path("out"))]
    found = [str(complaint) for made in runs for complaint in complaints_about(made, check_recipe(made))]
    assert [
        line for line in found if "drpo learns from no reward" not in line
    ] == []  # a variant, over its recipe's levels


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "says"),
    [
        (algorithm(name="gfpo", options={"keep": True}), "options.keep: expected a number, got True"),
        (algorithm(name="gfpo", options={"by_efficiency": "yes"}), "by_efficiency: expected true or false"),
        (algorithm(name="gfpo", options={"keep": "0.5"}), "options.keep: expected a number, got '0.5'"),
        (algorithm(name="simpo", old_logprobs="current", options={"pairs": 1.0}), "pairs: expected a text"),
        ({"select": {"how": "hard", "options": {"ceiling": True}}}, "option ceiling: expected a number"),
        ({"select": {"how": "hard", "options": {"allow_unsolved": 1.0}}}, "allow_unsolved: expected true or false"),
        (
            {"rewards": {"terms": [{"name": "linear_length", "options": {"only_correct": 0.5}}]}},
            "only_correct: expected true",
        ),
        (
            {"rewards": {"terms": [{"name": "linear_length", "options": {"per_tokens": True}}]}},
            "per_tokens: expected a number",
        ),
    ],
)
def test_an_option_of_another_kind_is_refused(phase: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        check_recipe(recipe(phase))


def test_an_endpoint_cannot_be_trained() -> None:
    address = "http://127.0.0.1:8000/v1#m"
    with pytest.raises(RecipeError, match=r"^model: http.* is an endpoint, which can be measured"):
        check_recipe(recipe({}, model=address))
    with pytest.raises(RecipeError, match=r"^phases\.p\.algorithm\.reference_model: http.* is an endpoint"):
        check_recipe(recipe(algorithm(kl_coef=0.1, reference_model=address)))


# --- problems --------------------------------------------------------------------------------------------------------


def about(phase: dict[str, Any], problems: list[Problem] | None) -> list[str]:
    made = recipe(phase)
    return list(map(str, warnings_about(made, check_recipe(made), problems)))


def test_fewer_problems_than_a_step_takes_are_a_warning_and_none_an_error() -> None:
    """Eight a step, of five; of a pool of four; of an unknown number."""
    problems = load_problems("tiny:mix?count=5")
    small = "phases.p.problems_per_step: a step takes 8 problems, but the phase has at most {}: steps are smaller; expected {}"
    assert about({}, problems) == [small.format(5, 5)]
    assert about({"select": {"count": 4}}, problems) == about({"select": {"count": 4}}, None) == [small.format(4, 4)]
    assert about({}, None) == about({"problems_per_step": 5}, problems) == []
    with pytest.raises(RecipeError, match="there is none to choose from"):
        about({}, [])


def test_solutions_that_are_missing_are_found_before_the_first_step() -> None:
    phase = algorithm(**SFT) | {"rollouts": "solutions", "problems_per_step": 2}
    with pytest.raises(RecipeError, match=r"phases\.p\.rollouts: problem .* has no 'solution'"):
        about(phase, load_problems("tiny:mix?count=4"))
    assert about(phase, load_problems("tiny:mix?count=4&solutions=plain")) == []
    few = load_problems("tiny:mix?count=4&solutions=plain") + load_problems("tiny:mix?count=4&seed=9")
    assert about(phase | {"select": {"count": 4}}, few) == []  # the phase looks at those alone that have one


# --- three programs, one check ---------------------------------------------------------------------------------------


def test_training_the_dry_run_and_doctor_say_the_same(tmp_path: Path) -> None:
    """Each of them every warning once."""
    model = save_small_model(tmp_path / "model")
    made = load_recipe(
        write_small_recipe(tmp_path / "r.toml", model),
        ["phases.second.optimizer.warmup_steps=9", "phases.second.algorithm.gamma=0.5", "phases.0.problems_per_step=7"],
    )
    output = {"train": io.StringIO(), "dry run": io.StringIO()}
    start(made, tmp_path / "run", resume=False, reporter=Reporter(Console(file=output["train"], width=400)))
    print_plan(made, Console(file=output["dry run"], width=400))
    lines = {
        name: [line for line in text.getvalue().splitlines() if line.startswith("warning: ")]
        for name, text in output.items()
    }
    assert lines["train"] == lines["dry run"] and len(lines["train"]) == len(set(lines["train"])) == 3
    findings = [f"{finding.level}: {finding}" for finding in check_sense(examine(made))]
    assert set(findings) < set(lines["train"]) and len(findings) == 2  # the third is of the problems: check_selection


def test_what_must_fit_the_context_is_held_against_it_before_the_first_step(tmp_path: Path) -> None:
    """The cap of reports, which nothing reads before training is paid for, and prompts with a budget."""
    model = save_small_model(tmp_path / "model")
    file = write_small_recipe(tmp_path / "r.toml", model)
    for change, field in (
        ("report.max_tokens=5000", r"report\.max_tokens"),
        ("phases.first.sampler.max_tokens=2040", r"phases\.first\.sampler\.max_tokens"),
    ):
        made = load_recipe(file, [change])
        with pytest.raises(InputError, match=f"^{field}: .* exceed the context of .*, 2048 tokens"):
            start(made, tmp_path / "run", resume=False, reporter=Reporter(is_silent=True))
        with pytest.raises(InputError, match=f"^{field}: .* exceed the context of .*, 2048 tokens"):
            print_plan(made, Console(file=io.StringIO()))
        assert not (tmp_path / "run").exists()


def test_a_dry_run_is_bounded_whatever_the_recipe_says(tmp_path: Path) -> None:
    """Each is refused before anything is generated or allocated."""
    for change in (
        "problems.train=tiny:mix?count=1000000000",
        "problems.train=gym:chain_sum?count=1000000000",
        "policy.lora.rank=100000",
        "phases.0.group_size=1000000000",
        "threads=1000000000",
    ):
        with pytest.raises(InputError, match="at most"):
            print_plan(load_recipe(recipe_paths()["demo"], [change]), Console(file=io.StringIO()))


def test_a_shape_beside_a_model_that_has_one_is_a_warning_where_they_differ() -> None:
    """It names what differs. A recipe that states the shape of a hub model may be run on a folder with that model."""
    stated = read_json(TINY_FOLDER / "config.json")
    shape = {key: stated[name] for key, name in CONFIG_NAMES.items()}
    for model in ("tiny", str(TINY_FOLDER)):
        assert said({}, model=model, policy={"shape": shape}) == []
        (found,) = said({}, model=model, policy={"shape": shape | {"vocabulary": 999}})
        assert found.where == "policy.shape" and found.level == "warning"
        assert found.what.endswith(f": vocabulary 999 (vocab_size {shape['vocabulary']})")
    assert said({}, model="some/model", policy={"shape": shape | {"vocabulary": 999}}) == []


def test_trust_in_code_that_is_not_there_is_a_warning(tmp_path: Path) -> None:
    for model in ("tiny", str(TINY_FOLDER)):
        (found,) = said({}, model=model, policy={"trust_remote_code": True})
        assert found.where == "policy.trust_remote_code" and found.level == "warning"
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoConfig": "x--y.Z"}}')
    for model in ("some/model", str(tmp_path)):
        assert said({}, model=model, policy={"trust_remote_code": True}) == []


def test_the_levers_that_are_to_blame_for_a_divergence_are_far_above_the_usual() -> None:
    """None of a shipped recipe, and what the advice proposes is none either."""
    plain = recipe({})
    assert unusual_levers(plain, plain.phases[0]) == {}
    for name in recipe_paths():
        shipped = load_recipe(recipe_paths()[name])
        assert not any(unusual_levers(shipped, phase) for phase in shipped.phases)
    made = recipe({"optimizer": {"lr": 1e9}}, policy={"lora": {"alpha": 1e5}})
    found = unusual_levers(made, made.phases[0])
    assert found == {"phases.p.optimizer.lr": (1e9, 1e-4), "policy.lora.alpha": (1e5, 32)}
    assert all(lever.usual < lever.most for lever in LEVERS_THAT_DIVERGE)


def test_a_hash_belongs_to_a_reward_of_a_file() -> None:
    with pytest.raises(RecipeError, match="'overlong' is a reward of the package, not of a file; leave out its sha256"):
        recipe({"rewards": {"terms": [{"name": "overlong", "sha256": "x"}]}})
