"""The claims of Hou et al. 2025, "T1" (arXiv 2501.11651): methods.md, section 7.2."""

from collections.abc import Callable, Sequence
from math import nan
from pathlib import Path

import numpy as np
from deciding.claim import Arms, Claim, Probed, Trained
from deciding.fatemi import POINTS, better

from laconic.comparison.folders import read_samples
from laconic.comparison.places import find_evaluations
from laconic.statistics.claims import per_problem
from laconic.statistics.verdicts import all_of, any_of, is_at_most

PAPER = "T1"
SHARE = 1.0  # the least rise of a share that counts, in points
BUDGETS = (16, 32, 48, 64, 96, 128)  # tokens of thinking
FEW_TOKENS = 48  # half of what the start model takes
FLAT = f"start, accuracy gained from {BUDGETS[0]} to {BUDGETS[-1]} tokens, points"
STEEPER = f"gained from {BUDGETS[0]} to {BUDGETS[-1]} tokens, phase 1 minus start, points"
SHIFT = f"accuracy at {FEW_TOKENS} tokens, phase 2 minus start, points"


def longer(label: str, other: str) -> Callable[[Arms], float]:
    """Sampled tokens of one arm over those of another, in percent more."""
    return lambda arms: 100.0 * (arms[label].tokens() / arms[other].tokens() - 1.0)


def greedier(label: str, other: str) -> Callable[[Arms], float]:
    """Greedy accuracy of one arm minus that of another, in points."""
    return lambda arms: arms[label].accuracy("greedy") - arms[other].accuracy("greedy")


def kl_per_reward(label: str) -> Callable[[Arms], float]:
    """By how many nats per token the policy moved for each point of held-out accuracy that it gained; `nan` if it gained none."""
    return lambda arms: arms[label].path_nats[-1] / arms[label].gain() if arms[label].gain() > 0.0 else nan


def at_equal_kl(label: str, other: str) -> Callable[[Arms], float]:
    """Reward of one arm minus that of another where both have moved as far as the one of the sweep that moved least, in
    points."""

    def difference(arms: Arms) -> float:
        nats = min(arm.path_nats[-1] for arm in arms.values())
        return 100.0 * (arms[label].reward_after(nats) - arms[other].reward_after(nats))

    return difference


def effect(with_it: tuple[str, str], without: tuple[str, str]) -> Callable[[Arms], float]:
    """The mean of two differences at equal KL: a main effect of a 2 x 2."""
    differences = [at_equal_kl(label, other) for label, other in zip(with_it, without, strict=True)]
    return lambda arms: sum(difference(arms) for difference in differences) / len(differences)


def overlong(label: str) -> Callable[[Arms], float]:
    """The share of rollouts that the cap cut off in the last quarter of the steps, in percent."""
    return lambda arms: 100.0 * arms[label].at_end("rollouts/truncated_frac")


def curve_of(folder: Path) -> list[float]:
    """Accuracy with thinking cut at each budget, in percent."""
    (place,) = find_evaluations(folder)
    rows = list(read_samples(place))
    cuts = [[row.forced[budget] for row in rows] for budget in BUDGETS]
    ids = [row.problem_id for row in rows]
    tables = [per_problem(ids, [cut.grade for cut in found], [cut.num_tokens for cut in found]) for found in cuts]
    return [100.0 * float(np.nanmean(table.accuracy)) for table in tables]


def truncation_curves(folders: Sequence[Path]) -> dict[str, float]:
    """The curve of the start model; how much steeper phase 1 makes it, and how far phase 2 lifts it at few tokens, in points."""
    curves = [curve_of(folder) for folder in folders]
    start = curves[0]
    figures = {f"start, accuracy at {budget} tokens, %": value for budget, value in zip(BUDGETS, start, strict=True)}
    figures[FLAT] = start[-1] - start[0]
    if len(curves) == 3:
        figures[STEEPER] = curves[1][-1] - curves[1][0] - figures[FLAT]
        figures[SHIFT] = curves[2][BUDGETS.index(FEW_TOKENS)] - start[BUDGETS.index(FEW_TOKENS)]
    return figures


EQUAL, FEW = ("K = 64, 4 problems", "K = 4, 64 problems"), "K = 4, 4 problems"
MOVING, FROZEN = ("moving, centred", "moving, plain"), ("frozen, centred", "frozen, plain")
CENTRED, PLAIN = ("moving, centred", "frozen, centred"), ("moving, plain", "frozen, plain")

CLAIMS = (
    Claim(
        "T1a",
        PAPER,
        "more samples per prompt (K 4/16/64) raise accuracy and length, with less KL per unit reward",
        "equal total rollouts AND equal prompts variants",
        "gain vanishes at equal total rollouts",
        Trained(
            "T1a",
            {
                "accuracy at equal rollouts, K 64 minus 4, points": better(*EQUAL),
                "tokens at equal rollouts, K 64 over 4, %": longer(*EQUAL),
                "accuracy at equal problems, K 64 minus 4, points": better(EQUAL[0], FEW),
                "tokens at equal problems, K 64 over 4, %": longer(EQUAL[0], FEW),
                "nats per point gained, K 64": kl_per_reward(EQUAL[0]),
                "nats per point gained, K 4 at equal rollouts": kl_per_reward(EQUAL[1]),
            },
        ),
        is_at_most("accuracy at equal rollouts, K 64 minus 4, points", POINTS, clear=0.0),
        reading=f"Vanishes: less than {POINTS:g} points are left.",
    ),
    Claim(
        "T1b",
        PAPER,
        "rollout T about 1.2 is best, > 1.3 harms",
        "T grid .8-1.4",
        "monotone or flat",
        Trained(
            "T1b",
            {
                "accuracy, T 1.2 minus 0.8, points": better("T = 1.2", "T = 0.8"),
                "accuracy, T 1.2 minus 1.4, points": better("T = 1.2", "T = 1.4"),
                "accuracy, T 1.2 minus 1.0, points": better("T = 1.2", "T = 1.0"),
                "accuracy, T 1.2 minus 1.3, points": better("T = 1.2", "T = 1.3"),
                "greedy accuracy, T 1.2 minus 0.8, points": greedier("T = 1.2", "T = 0.8"),
                "greedy accuracy, T 1.2 minus 1.4, points": greedier("T = 1.2", "T = 1.4"),
                "pass@8, T 1.2 minus 0.8, points": lambda arms: arms["T = 1.2"].pass_at(8) - arms["T = 0.8"].pass_at(8),
                "pass@8, T 1.2 minus 1.4, points": lambda arms: arms["T = 1.2"].pass_at(8) - arms["T = 1.4"].pass_at(8),
            },
        ),
        any_of(
            is_at_most("greedy accuracy, T 1.2 minus 0.8, points", SHARE, clear=0.0),
            is_at_most("greedy accuracy, T 1.2 minus 1.4, points", SHARE, clear=0.0),
        ),
        reading=f"Monotone or flat: 1.2 is not better than both ends of the grid by {SHARE:g} point, greedily. What samples at a "
        "higher temperature must be right in spite of it, and is then surer of itself at T = 1 than what samples at a lower one: "
        "sampled accuracy would favour heat by this alone, and is shown beside.",
    ),
    Claim(
        "T1c",
        PAPER,
        "-1 penalty for repetition/overlong is needed for stability",
        "on/off",
        "no rise in overlong share, no accuracy loss when off",
        Trained(
            "T1c",
            {
                "overlong share, off minus on, points": lambda arms: (
                    overlong("no penalties")(arms) - overlong("penalties")(arms)
                ),
                "accuracy, on minus off, points": better("penalties", "no penalties"),
                "tokens, off over on, %": longer("no penalties", "penalties"),
            },
        ),
        all_of(
            is_at_most("overlong share, off minus on, points", SHARE, clear=0.0),
            is_at_most("accuracy, on minus off, points", SHARE, clear=0.0),
        ),
        reading=f"No rise and no loss: less than {SHARE:g} point.",
    ),
    Claim(
        "T1d",
        PAPER,
        "EMA reference beats frozen reference; centred KL beats plain KL",
        "2x2",
        "no difference in final reward at equal KL",
        Trained(
            "T1d",
            {
                "reward at equal KL, moving minus frozen, points": effect(MOVING, FROZEN),
                "reward at equal KL, centred minus plain, points": effect(CENTRED, PLAIN),
                "accuracy, moving minus frozen (both centred), points": better(MOVING[0], FROZEN[0]),
                "accuracy, centred minus plain (both moving), points": better(CENTRED[0], PLAIN[0]),
            },
        ),
        any_of(
            is_at_most("reward at equal KL, moving minus frozen, points", POINTS, clear=0.0),
            is_at_most("reward at equal KL, centred minus plain, points", POINTS, clear=0.0),
        ),
        reading="KL is the way that the policy has gone, the sum of each step's KL to the policy before it: that to the "
        "first model is not known where the reference moves. Plain is a KL that no baseline centres, subtracted from the "
        "advantages: in the reward, RLOO's baseline would centre it as well. No difference: less than "
        f"{POINTS:g} points of the reward's 100. "
        "The claim has two halves, and either can fall.",
    ),
    Claim(
        "T1e",
        PAPER,
        "entropy bonus delays collapse",
        "on/off; entropy and pass@k",
        "same pass@k",
        Trained(
            "T1e",
            {
                "pass@8, bonus minus none, points": lambda arms: arms["bonus"].pass_at(8) - arms["no bonus"].pass_at(8),
                "accuracy, bonus minus none, points": better("bonus", "no bonus"),
                "entropy at the end, bonus over none": lambda arms: (
                    arms["bonus"].at_end("update/entropy_nats") / arms["no bonus"].at_end("update/entropy_nats")
                ),
            },
        ),
        is_at_most("pass@8, bonus minus none, points", SHARE, clear=0.0),
        reading=f"The same: less than {SHARE:g} point higher.",
    ),
    Claim(
        "T1f",
        PAPER,
        "longer thinking alone buys accuracy (truncation curve), slope grows with RL",
        "truncation probe at 6 budgets for start, phase 1, phase 2",
        "flat curve, or phase 2 does not shift it left",
        Probed(
            "F10",
            "hard, then solvable",
            "budgets",
            "mix?count=112&split=report",
            ("--samples", "8", "--budgets", ",".join(map(str, BUDGETS))),
            truncation_curves,
        ),
        any_of(is_at_most(FLAT, POINTS), is_at_most(SHIFT, 0.0)),
        reading="A curve lies further left if it is higher at a number of tokens that is half of what the start model takes.",
    ),
    Claim(
        "T1g",
        PAPER,
        "trial-and-error SFT start raises the RL ceiling vs clean chains",
        "two SFT sets, same RL",
        "same ceiling",
        Trained(
            "T1g",
            {
                "accuracy, trial and error minus clean, points": better("trial and error", "clean chains"),
                "tokens, trial and error over clean, %": longer("trial and error", "clean chains"),
            },
        ),
        is_at_most("accuracy, trial and error minus clean, points", POINTS, clear=0.0),
        reading=f"The same: less than {POINTS:g} points higher at the last step.",
    ),
)
