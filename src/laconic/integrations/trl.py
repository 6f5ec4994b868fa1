"""Laconic inside TRL: our rewards, problems and metrics for `GRPOTrainer` and `RLOOTrainer`.

1. `dataset` makes the trainer's data set of problems, such as the file that `select` wrote.
2. `reward` makes a reward function: a term of `laconic list rewards` with its options, or several terms with the levels of the
   grades, as in a recipe. The same code pays it as in our own trainer.
3. `callback` logs tokens by grade with the trainer's metrics, and checks the trainer's settings before anything is drawn.

Nothing here imports TRL: the trainer calls. What is left out: tools, environments and other conversations of several turns, since
a response is here what the model wrote after one prompt.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laconic.config.defaults import INSTRUCTION, SEED
from laconic.config.node import make_node
from laconic.config.phase import BudgetConfig
from laconic.config.rewards import RewardsConfig, RewardTermConfig
from laconic.errors import InputError
from laconic.integrations.in_trl.reward_function import RewardFunction
from laconic.statistics.solve_rate import ProblemStats
from laconic.system.text import brief
from laconic.types import Problem

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import TrainerCallback

LEVELS_ALONE = "levels"


def reward(term: str | None = None, /, **settings: Any) -> RewardFunction:
    """A reward function for the trainer's `reward_funcs`; it can be pickled.

    With a `term`, a row of `laconic list rewards` or `FILE.py:FUNCTION`, the function pays this term alone, and `settings` are
    the term's options: `reward("laser_d", every=10)`. The trainer adds up its functions, with `reward_weights`. Without one,
    `settings` are those of a recipe's `[phases.rewards]`: `reward(correct=1.0, wrong=-0.5, terms=[{"name": "laser_d"}])`. Files
    are looked up from the working directory. Raises `InputError` for an unknown term, option or value.
    """
    if term is None:
        return RewardFunction("laconic", make_node(RewardsConfig, **settings), Path.cwd())
    _check_name(term)
    name = term.rpartition(":")[2]
    nothing = {"correct": 0.0, "wrong": 0.0, "no_answer": 0.0, "truncated": 0.0}
    if term == LEVELS_ALONE:
        return RewardFunction(name, make_node(RewardsConfig, f"{LEVELS_ALONE}: {{}}".format, **settings), Path.cwd())
    alone = make_node(RewardTermConfig, f"{term}: {{}}".format, name=term, options=settings)
    return RewardFunction(name, make_node(RewardsConfig, **nothing, terms=(alone,)), Path.cwd())


def _check_name(term: object) -> None:
    if not isinstance(term, str):
        raise InputError(f"reward: expected the name of a term, got {brief(term)}; settings are given by their names")


def dataset(
    problems: str | Path | Sequence[Problem],
    tokenizer: Any,
    *,
    prompt: str = INSTRUCTION,
    system: str | None = None,
    probe: str | Path | Sequence[ProblemStats] | None = None,
    budget: BudgetConfig | Mapping[str, Any] | None = None,
    count: int | None = None,
    seed: int = SEED,
) -> "Dataset":
    """A data set for the trainer: a row for each problem, with the columns `prompt`, `id` and `answer`, and others where they are
    known.

    `problems` is an address, such as the file of `select`, or a list. `tokenizer` is the one that the trainer gets, or the name
    of its model; prompts are turns where it has a chat template, and texts where it has none. `prompt` is a name of
    `laconic list prompts` or a text, `system` the system's turn. `probe` is a file of `laconic probe`, or its statistics, and
    adds `ref_mean_tokens` and `ref_solve_rate`. `budget` is as in a recipe, `{"low": 100, "high": 400}`: every prompt asks for a
    number of tokens, which is drawn once for each problem, and stands in `budget_tokens`. Raises `InputError` for problems that
    cannot be used, `ModelError` where TRL would render a prompt to other tokens than our solver does, and `MissingExtraError`
    without the library datasets.
    """
    from laconic.integrations.in_trl.rows import make_rows

    asked = budget if isinstance(budget, BudgetConfig | None) else make_node(BudgetConfig, "budget.{}".format, **budget)
    return make_rows(problems, tokenizer, prompt, system, probe, asked, count=count, seed=seed)


def callback() -> "TrainerCallback":
    """A callback for the trainer's `callbacks`: the trainer logs `rollouts/*`, among them tokens by grade, with its metrics.

    Its settings and the columns of its data set are checked when training begins, before anything is drawn; without the callback
    that is done when the rewards are first called.
    """
    from laconic.integrations.in_trl.token_log import TokenLog

    return TokenLog()
