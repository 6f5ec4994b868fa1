"""The claims of Luo et al. 2025, "O1-Pruner" (arXiv 2501.12570): methods.md, section 7.3."""

from itertools import pairwise
from pathlib import Path

from deciding.claim import Claim, Evaluated, Trained
from deciding.fatemi import POINTS, better, cut, gain
from deciding.t1 import longer

from laconic.comparison.folders import read_samples
from laconic.comparison.places import find_evaluations
from laconic.statistics.claims import accuracy_by_length
from laconic.statistics.intervals import Interval, mean_interval
from laconic.statistics.verdicts import all_of, any_of, is_at_least, is_at_most

PAPER = "O1-Pruner"
EQUAL_LENGTH = 5.0  # percent of tokens within which two lengths are equal
RIVALS = ("shortest", "DPO")
LAMBDAS = ("lambda 0", "lambda 1", "lambda 2", "lambda 5")


def quartiles(folder: Path) -> dict[str, Interval]:
    """Accuracy by length within problems that are solved sometimes: the longest quarter of samples minus the shortest, in
    points."""
    (place,) = find_evaluations(folder)
    rows = list(read_samples(place))
    shares = 100.0 * accuracy_by_length(
        [row.problem_id for row in rows], [row.grade for row in rows], [row.num_tokens for row in rows]
    )
    names = ("shortest quarter", "second quarter", "third quarter", "longest quarter")
    return {
        "accuracy of the longest minus the shortest quarter, points": mean_interval(
            shares[:, -1] - shares[:, 0], seed=0
        ),
        **{f"accuracy, {name}, %": mean_interval(column, seed=0) for name, column in zip(names, shares.T, strict=True)},
    }


CLAIMS = (
    Claim(
        "O1",
        PAPER,
        "offline length-harmonising gives -30 to -40% tokens AND higher accuracy",
        "1 epoch, K=16, 2 samples per problem",
        "accuracy not above base, or not above a lambda-matched control with the length term removed "
        "(isolates self-training gain)",
        Trained(
            "O1",
            {
                "accuracy gained, points": gain("O1-Pruner"),
                "accuracy minus the control's, points": better("O1-Pruner", "no length term"),
                "cut, %": cut("O1-Pruner"),
                "cut of the control, %": cut("no length term"),
                "accuracy gained greedy, points": lambda arms: arms["O1-Pruner"].gain("greedy"),
                "cut greedy, %": lambda arms: arms["O1-Pruner"].cut("greedy"),
            },
        ),
        any_of(is_at_most("accuracy gained, points", 0.0), is_at_most("accuracy minus the control's, points", 0.0)),
    ),
    Claim(
        "O2",
        PAPER,
        "accuracy and length both rise with lambda (0, 1, 2, 5)",
        "sweep",
        "not monotone in length",
        Trained(
            "O2",
            {
                **{f"tokens, {high} over {low}, %": longer(high, low) for low, high in pairwise(LAMBDAS)},
                "accuracy, lambda 5 minus 0, points": better("lambda 5", "lambda 0"),
            },
        ),
        any_of(*(is_at_most(f"tokens, {high} over {low}, %", 0.0) for low, high in pairwise(LAMBDAS))),
    ),
    Claim(
        "O3",
        PAPER,
        "beats shortest-SFT and shortest-vs-longest DPO at equal data",
        "same samples",
        "dominated on accuracy at equal length",
        Trained(
            "O3",
            {
                **{f"accuracy, {rival} minus O1-Pruner, points": better(rival, "O1-Pruner") for rival in RIVALS},
                **{f"tokens, {rival} over O1-Pruner, %": longer(rival, "O1-Pruner") for rival in RIVALS},
            },
        ),
        any_of(
            *(
                all_of(
                    is_at_least(f"accuracy, {rival} minus O1-Pruner, points", 0.0),
                    is_at_most(f"tokens, {rival} over O1-Pruner, %", EQUAL_LENGTH),
                )
                for rival in RIVALS
            )
        ),
        reading=f"Equal length: at most {EQUAL_LENGTH:g}% more tokens.",
    ),
    Claim(
        "O4",
        PAPER,
        "off-policy approximation is good enough",
        "on-policy refresh every n steps vs fixed",
        "on-policy better by > 2 points at equal length",
        Trained(
            "O4",
            {
                "accuracy, refreshed minus fixed, points": better("refreshed", "fixed"),
                "tokens, refreshed over fixed, %": longer("refreshed", "fixed"),
            },
        ),
        all_of(
            is_at_least("accuracy, refreshed minus fixed, points", POINTS),
            is_at_most("tokens, refreshed over fixed, %", EQUAL_LENGTH),
        ),
        reading=f"Equal length: at most {EQUAL_LENGTH:g}% more tokens.",
    ),
    Claim(
        "O5",
        PAPER,
        "difficulty-sensitive: less cut on hard items",
        "dLength vs p_ref",
        "no correlation",
        Trained(
            "O1",
            {"Spearman of cut with p_ref, over problems": lambda arms: arms["O1-Pruner"].cut_follows_ease()},
        ),
        is_at_most("Spearman of cut with p_ref, over problems", 0.1, clear=0.0),
        reading="p_ref is the base's accuracy on a problem, over 16 samples. No correlation: less than 0.1.",
    ),
    Claim(
        "O6",
        PAPER,
        "clamp and global z-score are incidental",
        "remove each",
        "effect disappears or training diverges",
        Trained(
            "O6",
            {
                f"cut, {label}, minus half the cut with both, points": lambda arms, label=label: (
                    arms[label].cut() - 0.5 * arms["both"].cut()
                )
                for label in ("no clamp", "no z-score")
            }
            | {
                f"accuracy gained, {label}, points": gain(label)
                for label in ("both", "no clamp", "no z-score", "neither")
            }
            | {f"cut, {label}, %": cut(label) for label in ("both", "no clamp", "no z-score", "neither")},
        ),
        any_of(
            *(
                is_at_most(f"cut, {label}, minus half the cut with both, points", 0.0)
                for label in ("no clamp", "no z-score")
            ),
            *(is_at_most(f"accuracy gained, {label}, points", -POINTS) for label in ("no clamp", "no z-score")),
        ),
        reading=f"Disappears: less than half the cut is left, or accuracy falls by {POINTS:g} points or more.",
    ),
    Claim(
        "O7",
        PAPER,
        "short quartile is at least as accurate within problem",
        "within-problem quartiles on >= 64 samples",
        "accuracy increases with length within problem",
        Evaluated("samples", "mix?count=112&split=report", ("--samples", "64"), quartiles),
        is_at_least("accuracy of the longest minus the shortest quarter, points", 0.0),
        reading="Over problems of which some samples are right and some wrong.",
    ),
)
