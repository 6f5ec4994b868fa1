"""The claims of Fatemi et al. 2025, "Concise Reasoning via Reinforcement Learning" (arXiv 2504.05185): methods.md, section
7.1."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from deciding.claim import Arms, Claim, Computed, Evaluated, Trained
from scipy.stats import spearmanr

from laconic.comparison.folders import read_evaluations
from laconic.rl.advantages import group_standardized
from laconic.rl.losses import clipped_surrogate, kl
from laconic.statistics.claims import length_difference
from laconic.statistics.intervals import Interval
from laconic.statistics.verdicts import all_of, any_of, is_at_least, is_at_most

PAPER = "Fatemi et al."
AS_MUCH = 5.0  # two cuts within this many points of the base's length are as much as one another
POINTS = 2.0  # the least difference of accuracy that counts, in points: that of F1
BUCKETS = ("0", "0.06", "0.125", "0.25", "0.375", "0.5", "0.75", "1")
RATES = tuple(map(float, BUCKETS))
BUDGETS = (32, 64, 96, 128)  # tokens

Figures = Mapping[str, Callable[[Arms], float]]


def spread(values: list[float]) -> float:
    """Standard deviation of a training figure over steps, over its mean size."""
    numbers = torch.tensor(values, dtype=torch.float64)
    return float(numbers.std() / numbers.abs().mean())


def cut(label: str) -> Callable[[Arms], float]:
    """The cut of an arm, sampled, in percent of the base's tokens."""
    return lambda arms: arms[label].cut()


def lengthening(label: str) -> Callable[[Arms], float]:
    """By how many percent of the base's tokens an arm became longer, sampled."""
    return lambda arms: -arms[label].cut()


def gain(label: str) -> Callable[[Arms], float]:
    """The gain in accuracy of an arm, sampled, in points."""
    return lambda arms: arms[label].gain()


def less_cut(label: str, other: str) -> Callable[[Arms], float]:
    """The cut of one arm minus that of another."""
    return lambda arms: arms[label].cut() - arms[other].cut()


def better(label: str, other: str) -> Callable[[Arms], float]:
    """Sampled accuracy of one arm minus that of another, in points."""
    return lambda arms: arms[label].accuracy() - arms[other].accuracy()


def trend(arms: Arms) -> float:
    """Spearman's correlation of the change in length with the solve rate of the problems trained on, over all buckets."""
    return float(spearmanr(RATES, [-arms[f"p = {name}"].cut() for name in BUCKETS]).statistic)


def unrepeated_growth(label: str) -> Callable[[Arms], float]:
    """Percent by which rollouts became longer from the first to the last quarter of the steps, repeated sequences not counted."""

    def growth(arms: Arms) -> float:
        ends = [
            get("rollouts/mean_tokens") * (1.0 - get("rollouts/repeated_frac"))
            for get in (arms[label].at_start, arms[label].at_end)
        ]
        return 100.0 * (ends[1] / ends[0] - 1.0)

    return growth


def greedy_gap_growth(label: str) -> Callable[[Arms], float]:
    """How much further apart sampled and greedy accuracy lie after phase 2 than before it, in points."""

    def growth(arms: Arms) -> float:
        arm = arms[label]
        after = abs(arm.accuracy() - arm.accuracy("greedy"))
        before = abs(arm.accuracy() - arm.gain() - arm.accuracy("greedy") + arm.gain("greedy"))
        return after - before

    return growth


def within(label: str, budget: int) -> Callable[[Arms], float]:
    """Accuracy within a budget, of an arm minus that of the two phases, in points."""
    return lambda arms: arms[label].within(budget) - arms["two phases"].within(budget)


def against_order(label: str) -> Figures:
    """What the order "hard, then solvable" has over another arm: area and accuracy in points, tokens in percent."""
    first = "hard, then solvable"
    return {
        f"area, first order minus {label}, points": lambda arms: (
            arms[first].area(AREA_TOKENS) - arms[label].area(AREA_TOKENS)
        ),
        f"accuracy, first order minus {label}, points": lambda arms: arms[first].accuracy() - arms[label].accuracy(),
        f"tokens, first order over {label}, %": lambda arms: (
            100.0 * (arms[first].tokens() / arms[label].tokens() - 1.0)
        ),
    }


def uniform_groups() -> dict[str, float]:
    """One GRPO update on an all-correct and an all-wrong group, of a table of random logits.

    The largest gradient of the surrogate; then, with KL alone left, by how much one small step along its gradient moves the KL
    to the reference.
    """
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(16, 9, 7, generator=generator, requires_grad=True)  # 16 responses, 9 tokens, 7 words
    tokens = torch.randint(7, (16, 9, 1), generator=generator)
    rewards = torch.tensor([1.0] * 8 + [-0.5] * 8)
    groups = torch.tensor([0] * 8 + [1] * 8)
    advantages = group_standardized(rewards, groups, torch.ones(16, dtype=torch.bool))[:, None].expand(16, 9)
    logprobs = logits.log_softmax(-1).gather(2, tokens)[..., 0]
    surrogate = clipped_surrogate(logprobs - logprobs.detach(), advantages, clip_low=0.2, clip_high=0.2)
    (policy_gradient,) = torch.autograd.grad(surrogate.mean(), logits, retain_graph=True)

    reference = torch.randn(16, 9, 7, generator=generator).log_softmax(-1)

    def distance(of: torch.Tensor) -> torch.Tensor:
        now = of.log_softmax(-1)
        return (now.exp() * (now - reference)).sum(-1).mean()

    penalty = kl(logprobs - reference.gather(2, tokens)[..., 0], "k3").mean()
    (kl_gradient,) = torch.autograd.grad(penalty, logits)
    moved = distance((logits - kl_gradient).detach()) - distance(logits.detach())
    return {
        "largest policy gradient": float(policy_gradient.abs().max()),
        "KL to the reference after a step minus before, nats": float(moved),
    }


def lengths_within(folder: Path) -> dict[str, Interval]:
    """Tokens of correct minus wrong answers within a problem, and pooled over problems."""
    (evaluation,) = read_evaluations(folder)
    tokens = {grade.value: mean for grade, mean in evaluation.tokens_by_grade.items()}
    pooled = tokens["correct"] - tokens["wrong"]
    return {
        "tokens of correct minus wrong, within a problem": length_difference(evaluation.problems, seed=0),
        "tokens of correct minus wrong, pooled": Interval(pooled, float("nan"), float("nan")),
    }


OTHER_ORDERS = ("mixed", "solvable in both", "phase 2 alone", "solvable, then hard")
AREA_TOKENS = 96  # about what the start model takes
PAPER_ARM = "whitened, KL, critic"
CRITICS = ("whole returns, warmed up", "whole returns", "released targets, warmed up", "released targets", "zero")
MANY = "128 problems"
EIGHT = (
    "8 problems",
    "8, KL 0.1",
    "8, KL 0.3",
    "8, a third of the rate",
    "8, rank 4",
    "8, critic 0",
    "8, GRPO",
    "8, groups of 48 in 6 steps",
)

CLAIMS = (
    Claim(
        "F1",
        PAPER,
        "phase 2 on occasionally solvable problems cuts held-out length > 40% with no accuracy loss",
        "8 problems, p in 0.3-0.9, PPO lambda .95, 40-150 steps",
        "held-out length falls < 20%, or held-out accuracy on the domain falls by more than 2 points "
        "(95% interval excludes 0)",
        Trained(
            "F1",
            {
                "cut, 8 problems, %": cut("8 problems"),
                "accuracy gained, 8 problems, points": gain("8 problems"),
                "cut, 32 problems, %": cut("32 problems"),
                "accuracy gained, 32 problems, points": gain("32 problems"),
                "accuracy gained greedily, 8 problems, points": lambda arms: arms["8 problems"].gain("greedy"),
                "accuracy gained greedily, 32 problems, points": lambda arms: arms["32 problems"].gain("greedy"),
            },
        ),
        any_of(
            is_at_most("cut, 8 problems, %", 20.0),
            is_at_most("accuracy gained, 8 problems, points", -POINTS, sure=0.0, clear=-POINTS),
        ),
        reading="The verdict is on 8 problems and sampled responses, as the paper's are; 32 problems and greedy responses are "
        "shown beside them.",
    ),
    Claim(
        "F2",
        PAPER,
        "higher p gives stronger shortening",
        "p buckets 0 / .06 / .125 / .25 / .375 / .5 / .75 / 1",
        "no monotone trend (Spearman of dLength with p >= -0.5)",
        Trained("F2", {"Spearman of dLength with p": trend}),
        is_at_least("Spearman of dLength with p", -0.5),
        reading="The last bucket is what comes nearest to 1: at least 30 right of 32.",
    ),
    Claim(
        "F3",
        PAPER,
        "unsolvable problems (p=0) lengthen",
        "PPO on p=0 pool",
        "length does not rise beyond seed noise, or only via truncation/repetition",
        Trained(
            "F3",
            {
                "length gained, %": lengthening("unsolved, PPO, signed"),
                "length gained by responses that ended, %": lambda arms: -arms["unsolved, PPO, signed"].finished_cut(),
                "rollouts' growth without repetition, %": unrepeated_growth("unsolved, PPO, signed"),
                **{
                    f"length gained, {pool}, {estimator}, {reward} rewards, %": lengthening(
                        f"{pool}, {estimator}, {reward}"
                    )
                    for pool in ("unsolved", "hard", "easy")
                    for estimator in ("PPO", "GRPO")
                    for reward in ("signed", "truncated")
                },
            },
        ),
        any_of(
            is_at_most("length gained, %", 0.0),
            is_at_most("length gained by responses that ended, %", 0.0),
            is_at_most("rollouts' growth without repetition, %", 0.0),
        ),
        reading="Repetition is any sequence of 20 tokens that occurred before in the response, a problem that is worked "
        'through once more after "wait" among them.',
    ),
    Claim(
        "F4",
        PAPER,
        "the pressure comes from the sign of r in GAE with lambda<1",
        "lambda in {.9, .95, .99, 1}, gamma=1, same rest",
        "lambda=1 shortens as much as .95, with a calibrated critic",
        Trained(
            "F4",
            {
                "cut at lambda 0.95 minus at 1, points": less_cut("lambda 0.95", "lambda 1"),
                "cut at lambda 0.95, %": cut("lambda 0.95"),
                "cut at lambda 1, %": cut("lambda 1"),
                "cut at lambda 0.9, %": cut("lambda 0.9"),
                "cut at lambda 0.99, %": cut("lambda 0.99"),
                "accuracy gained at lambda 0.95, points": gain("lambda 0.95"),
                "accuracy gained at lambda 1, points": gain("lambda 1"),
                "variance explained by the critic at lambda 1, %": lambda arms: (
                    100.0 * arms["lambda 1"].at_end("update/explained_variance_frac", 0.75)
                ),
            },
        ),
        is_at_most("cut at lambda 0.95 minus at 1, points", AS_MUCH, clear=0.0),
        premise=all_of(
            is_at_least("variance explained by the critic at lambda 1, %", 0.0),
            any_of(is_at_least("cut at lambda 0.95, %", AS_MUCH), is_at_least("cut at lambda 1, %", AS_MUCH)),
        ),
        reading=f"As much: to within {AS_MUCH:g} points of the base's length. Calibrated: the critic explains more "
        "of the returns' variance than a constant would, on average over the last three quarters of its steps, which "
        "begin inside its warm-up of 12 steps. Presupposed is also that one of the two shortens at all.",
    ),
    Claim(
        "F4b",
        PAPER,
        "lambda=1 is dominated by critic error",
        "measure sd of L_avg and of gradient norm vs critic bias",
        "no larger variance at lambda=1",
        Trained(
            "F4",
            {
                "spread of the gradient norm over steps, lambda 1 minus 0.95": lambda arms: (
                    spread(arms["lambda 1"].logged("update/policy_grad_norm"))
                    - spread(arms["lambda 0.95"].logged("update/policy_grad_norm"))
                ),
                "sd of the loss over steps, lambda 1 over 0.95": lambda arms: float(
                    torch.tensor(arms["lambda 1"].logged("update/policy_loss")).std()
                    / torch.tensor(arms["lambda 0.95"].logged("update/policy_loss")).std()
                ),
            },
        ),
        all_of(
            is_at_most("spread of the gradient norm over steps, lambda 1 minus 0.95", 0.0),
            is_at_most("sd of the loss over steps, lambda 1 over 0.95", 1.0),
        ),
        reading="Over the steps in which the policy learns. The spread is the standard deviation over the mean.",
    ),
    Claim(
        "F4c",
        PAPER,
        "PPO shortens because its critic knows little (our account, after F4 and F5)",
        "the released critic beside one that learns whole returns before the policy moves, at the same rate and steps",
        "a critic that has learnt whole returns lets length fall as much",
        Trained(
            "F4c",
            {
                "cut, released minus whole returns, warmed up, points": less_cut(
                    "released targets", "whole returns, warmed up"
                ),
                **{f"cut, {label}, %": cut(label) for label in CRITICS},
                **{f"accuracy gained, {label}, points": gain(label) for label in CRITICS},
                **{
                    f"variance explained, {label}, %": lambda arms, label=label: (
                        100.0 * arms[label].at_end("update/explained_variance_frac", 0.5)
                    )
                    for label in CRITICS[:-1]
                },
            },
        ),
        is_at_most("cut, released minus whole returns, warmed up, points", AS_MUCH, clear=0.0),
        premise=is_at_least("cut, released targets, %", AS_MUCH),
        reading=f"As much: to within {AS_MUCH:g} points of the base's length. Every arm has 12 steps of the policy at a constant "
        "rate.",
    ),
    Claim(
        "F5",
        PAPER,
        "mechanism is credit, not whitening or KL (our rival)",
        "2x2x2: whitening on/off, KL .01/0, critic trained/frozen at 0",
        "shortening vanishes without whitening or without KL: then the paper's account is wrong",
        Trained(
            "F5",
            {
                "cut without whitening, %": cut("not whitened, KL, critic"),
                "cut without the KL, %": cut("whitened, no KL, critic"),
                "cut with both, %": cut(PAPER_ARM),
                "cut without either, %": cut("not whitened, no KL, critic"),
                "cut with both, critic 0, %": cut("whitened, KL, zero"),
                "cut without whitening, critic 0, %": cut("not whitened, KL, zero"),
                "cut without the KL, critic 0, %": cut("whitened, no KL, zero"),
                "cut without either, critic 0, %": cut("not whitened, no KL, zero"),
                "accuracy gained with both, points": gain(PAPER_ARM),
                "accuracy gained without whitening, points": gain("not whitened, KL, critic"),
            },
        ),
        any_of(is_at_most("cut without whitening, %", AS_MUCH), is_at_most("cut without the KL, %", AS_MUCH)),
        premise=is_at_least("cut with both, %", AS_MUCH),
        reading=f"Vanishes: at most {AS_MUCH:g}% is left. The verdict is on the critic that learns, as in the paper.",
    ),
    Claim(
        "F5b",
        PAPER,
        "mechanism is credit, not whitening or KL (our rival): the reward of a wrong answer moves no neutral point",
        "wrong reward 0 / -.5 / -1",
        "the neutral point moves to p = 0 / .33 / .5, as under the whitening account; not at all under a "
        "calibrated-critic account",
        Trained(
            "F5b",
            {
                "cut at p 0.3 to 0.5, wrong 0 minus -1, points": less_cut(
                    "wrong 0, p 0.3 to 0.5", "wrong -1, p 0.3 to 0.5"
                ),
                "cut at p 0.05 to 0.25, wrong 0 minus -0.5, points": less_cut(
                    "wrong 0, p 0.05 to 0.25", "wrong -0.5, p 0.05 to 0.25"
                ),
            },
        ),
        any_of(
            is_at_least("cut at p 0.3 to 0.5, wrong 0 minus -1, points", AS_MUCH, sure=0.0, clear=AS_MUCH),
            is_at_least("cut at p 0.05 to 0.25, wrong 0 minus -0.5, points", AS_MUCH, sure=0.0, clear=AS_MUCH),
        ),
        reading="Where the neutral point lies below the pool's solve rate length should fall, and rise where it lies above. "
        f"It moves if the two rewards differ by at least {AS_MUCH:g} points of the base's length, in the direction foretold.",
    ),
    Claim(
        "F6",
        PAPER,
        "GRPO has zero policy gradient in uniform groups; only KL acts",
        "unit test: all-correct and all-wrong group, KL=0 -> exactly zero update; with KL -> drift toward reference",
        "any non-zero policy-gradient term",
        Computed(uniform_groups),
        any_of(
            is_at_least("largest policy gradient", 1e-300),
            is_at_least("KL to the reference after a step minus before, nats", 0.0),
        ),
    ),
    Claim(
        "F6b",
        PAPER,
        "so GRPO stalls where PPO keeps shortening",
        "p=1 pool, GRPO vs PPO",
        "GRPO shortens as much on p=1",
        Trained(
            "F6b",
            {
                "cut, PPO minus GRPO, points": less_cut("PPO", "GRPO"),
                "cut, PPO, %": cut("PPO"),
                "cut, GRPO, %": cut("GRPO"),
            },
        ),
        is_at_most("cut, PPO minus GRPO, points", AS_MUCH, clear=0.0),
        reading=f"As much: to within {AS_MUCH:g} points of the base's length.",
    ),
    Claim(
        "F7",
        PAPER,
        "correct answers are shorter than wrong, not only because of difficulty",
        "compare within problem (mixed-outcome problems only)",
        "within-problem difference <= 0; the paper's pooled comparison cannot separate this",
        Evaluated("samples", "mix?count=112&split=report", ("--samples", "64"), lengths_within),
        is_at_least("tokens of correct minus wrong, within a problem", 0.0),
        reading="The difference in the falsifier is wrong minus correct, here correct minus wrong.",
    ),
    Claim(
        "F8",
        PAPER,
        "4-8 problems suffice and transfer",
        "phase-2 size 1/4/8/32/128, held-out domains",
        "8 worse than 128 at equal rollouts by > 10 points of length cut, or no transfer off-domain",
        Trained(
            "F8",
            {
                "cut, 128 minus 8 problems, points": less_cut("128 problems", "8 problems"),
                "cut off-domain, %": cut("8 of one family, abroad"),
                **{
                    f"cut, {n}, %": cut(n)
                    for n in ("1 problem", "4 problems", "8 problems", "32 problems", "128 problems")
                },
                **{f"accuracy gained, {n}, points": gain(n) for n in ("4 problems", "8 problems", "128 problems")},
                "cut at home, %": cut("8 of one family, at home"),
                "accuracy gained off-domain, points": gain("8 of one family, abroad"),
            },
        ),
        any_of(
            is_at_least("cut, 128 minus 8 problems, points", 10.0), is_at_most("cut off-domain, %", AS_MUCH, clear=0.0)
        ),
        reading=f"No transfer: a cut of at most {AS_MUCH:g}% on a family that was not trained on.",
    ),
    Claim(
        "F8b",
        PAPER,
        "4-8 problems suffice: at some setting they are not learnt by heart (our question)",
        "8 problems: KL .01/.1/.3, a third of the rate, rank 4, critic 0, GRPO, larger groups in fewer steps",
        "at every setting length falls by < 20% or accuracy stays more than 2 points below that of 128 problems",
        Trained(
            "F8b",
            {
                **{f"cut, {label}, %": cut(label) for label in (*EIGHT, MANY)},
                **{f"accuracy, {label} minus 128, points": better(label, MANY) for label in EIGHT},
                f"accuracy gained, {MANY}, points": gain(MANY),
            },
        ),
        all_of(
            *(
                any_of(
                    is_at_most(f"cut, {label}, %", 20.0), is_at_most(f"accuracy, {label} minus 128, points", -POINTS)
                )
                for label in EIGHT
            )
        ),
        reading="The claim holds if one setting does both. Of eight settings the best is looked at, so one that holds barely "
        "needs another look at fresh seeds.",
    ),
    Claim(
        "F9",
        PAPER,
        "better accuracy at T=0 after phase 2",
        "greedy vs T=.6 before/after",
        "gap does not shrink",
        Trained(
            "F5",
            {
                "gap of sampled and greedy accuracy, after minus before, points": greedy_gap_growth(PAPER_ARM),
                "accuracy gained greedy, points": lambda arms: arms[PAPER_ARM].gain("greedy"),
                "accuracy gained sampled, points": gain(PAPER_ARM),
            },
        ),
        is_at_least("gap of sampled and greedy accuracy, after minus before, points", 0.0),
        reading="The gap is the absolute difference, at T = 1 instead of 0.6. The embedded reasoner is better greedy than "
        "sampled, where the paper's models are worse.",
    ),
    Claim(
        "F10",
        PAPER,
        "phase order matters (1 then 2)",
        "full loop: hard -> solvable, solvable -> hard, mixed, phase 2 only",
        "mixed or phase 2 alone reaches the same frontier",
        Trained(
            "F10",
            {name: figure for label in OTHER_ORDERS for name, figure in against_order(label).items()},
        ),
        any_of(
            *(
                all_of(
                    is_at_most(f"area, first order minus {label}, points", POINTS, clear=0.0),
                    is_at_most(f"accuracy, first order minus {label}, points", POINTS, clear=0.0),
                )
                for label in OTHER_ORDERS[:-1]
            )
        ),
        reading=f"The same frontier: at most {POINTS:g} points less, both of the mean share of right answers within each "
        f"budget up to {AREA_TOKENS} tokens (area), and of right answers without a budget. An arm that is only elsewhere on "
        "the frontier, longer and more often right, is not worse for it. The order reversed is shown and not part of the "
        "falsifier.",
    ),
    Claim(
        "F11",
        PAPER,
        "no explicit penalty needed",
        "vs DLER truncation and Arora-Zanette at equal rollouts",
        "dominated at every budget",
        Trained(
            "F11",
            {
                f"accuracy within {budget} tokens, {label} minus two phases, points": within(label, budget)
                for label in ("truncation", "Arora and Zanette")
                for budget in BUDGETS
            },
        ),
        any_of(
            *(
                all_of(
                    *(
                        is_at_least(f"accuracy within {budget} tokens, {label} minus two phases, points", 0.0)
                        for budget in BUDGETS
                    )
                )
                for label in ("truncation", "Arora and Zanette")
            )
        ),
        reading="Accuracy within a budget: the share of sampled responses that are correct and no longer than it.",
    ),
)
