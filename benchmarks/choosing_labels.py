"""What does it gain to choose by expected information, `--how uncertain` and `laconic traffic next`, beside chance?

    python benchmarks/choosing_labels.py > benchmarks/choosing_labels.md

1. The bundled reasoner answers each of many questions some times at temperature 1. The gold answers play the expert.
2. Labels: an expert says of one response to a question whether it is right. A question has a gold answer where the expert
   called one right, or, unlabelled, where the responses agree (`harvest/golds.py`). Which response is labelled next is chosen by
   expected information, by chance, or as the most agreed; counted are questions with a right and with a wrong gold answer.
3. Attempts: the solve rates of the same questions, from many samples, are taken for true. Every question has two attempts, and
   as many again are dealt one by one: by expected information, evenly by chance, or to those most surely medium (as `band` ranks
   them). Counted is how far the estimates are from the truth.
"""

import argparse
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import numpy as np

from laconic.config.defaults import AGREEMENT_SHARE, AGREEMENT_VOTES
from laconic.config.solver import SamplerConfig
from laconic.grading.extraction import extract_answer
from laconic.harvest.votes import AnswerTally, is_same, tally
from laconic.notebook.solvers import open_solver
from laconic.problems.load import load_problems
from laconic.rng import stream
from laconic.statistics.information import attempt_information, beliefs, label_information
from laconic.statistics.solve_rate import mass_inside
from laconic.system.processor import processor_name

VOTES, SAMPLES = 4, 16
ROUNDS = 200


class Asked:
    """A question: its votes, and whether each different answer is right."""

    def __init__(self, gold: str, answers: Sequence[str | None]) -> None:
        self.counted: AnswerTally = tally(answers[:VOTES])
        self.is_right = [is_same(gold, answer) for answer, _ in self.counted.votes]
        self.solve_rate = sum(a is not None and is_same(gold, a) for a in answers) / len(answers)

    def information(self, place: int) -> float:
        """What a label of the answer at a place is expected to tell."""
        return label_information(beliefs([votes for _, votes in self.counted.votes])[place])

    @property
    def most_informative(self) -> int:
        """The place of the answer whose label tells most."""
        return max(range(len(self.counted.votes)), key=self.information)

    def gold(self, labelled: int | None) -> bool | None:
        """Whether the gold answer is right, given which answer was labelled (None: none); None where there is no gold answer."""
        if labelled is not None and self.is_right[labelled]:
            return True
        counted = self.counted
        agrees = counted.leader is not None and counted.share >= AGREEMENT_SHARE
        if not agrees or counted.num_responses < AGREEMENT_VOTES or labelled == 0:  # a label says: wrong
            return None
        return self.is_right[0]


Order = Callable[[Sequence[Asked], int], list[tuple[int, int]]]
"""Questions in the order in which they are labelled, each with the place of the answer."""


def by_information(asked: Sequence[Asked], _round: int) -> list[tuple[int, int]]:
    """Most informative first."""
    wishes = [(n, one.most_informative) for n, one in enumerate(asked)]
    return sorted(wishes, key=lambda wish: -asked[wish[0]].information(wish[1]))


def by_chance(asked: Sequence[Asked], number: int) -> list[tuple[int, int]]:
    """Questions by chance, of each the answer with most votes."""
    order = list(range(len(asked)))
    stream(number, "order of labels").shuffle(order)
    return [(n, 0) for n in order]


def by_agreement(asked: Sequence[Asked], _round: int) -> list[tuple[int, int]]:
    """The most agreed first."""
    return [(n, 0) for n in sorted(range(len(asked)), key=lambda n: -asked[n].counted.share)]


def gold_counts(asked: Sequence[Asked], order: Sequence[tuple[int, int]], num_labels: int) -> tuple[int, int]:
    """How many questions have a right and a wrong gold answer after so many labels."""
    labelled = dict(order[:num_labels])
    golds = [one.gold(labelled.get(n)) for n, one in enumerate(asked)]
    return golds.count(True), golds.count(False)


# --- attempts --------------------------------------------------------------------------------------------------------


def solve_rate_error(rates: Sequence[float], rank: Callable[[int, int], float] | None, number: int) -> float:
    """Root mean squared error of the solve rates' posterior means after two attempts each and as many again, dealt one by one to
    the lowest rank of (attempts, correct), or by chance."""
    rng = np.random.default_rng(stream(number, "attempts").getrandbits(64))
    size = len(rates)
    attempts, correct = np.full(size, 2), rng.binomial(2, rates)
    ranks = [rank(2, int(c)) if rank else 0.0 for c in correct]
    for _ in range(2 * size):
        n = int(rng.integers(size)) if rank is None else int(np.argmin(ranks))
        attempts[n] += 1
        correct[n] += rng.random() < rates[n]
        if rank:
            ranks[n] = rank(int(attempts[n]), int(correct[n]))
    return float(np.sqrt(np.mean(((correct + 1) / (attempts + 2) - np.asarray(rates)) ** 2)))


# --- the page --------------------------------------------------------------------------------------------------------


def draw(count: int, seed: int) -> list[Asked]:
    """The questions with the base's answers."""
    problems = load_problems(f"tiny:mix?count={count}&split=train", seed=seed)
    solver = open_solver("tiny")
    with solver.grader:
        groups = solver.attempt(problems, SAMPLES, SamplerConfig(temperature=1.0, max_tokens=320), seed=seed)
    answers = [
        [None if r.response.is_truncated else extract_answer(r.response.text) for r in g.rollouts] for g in groups
    ]
    return [asked for p, a in zip(problems, answers, strict=True) if (asked := Asked(p.answer, a)).counted.votes]


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    asked = draw(options.questions, options.seed)
    print("# Choosing what to label, and what to attempt, by expected information\n")
    print(
        f"`python benchmarks/choosing_labels.py --questions {options.questions} --seed {options.seed}`, "
        f"{datetime.now(UTC):%Y-%m-%d}, {processor_name()}, one thread. {len(asked)} questions of `tiny:mix`, "
        f"{VOTES} votes each at T=1; means over {ROUNDS} rounds where chance decides, ± their standard deviation.\n"
    )
    print("## Labels: questions with a right and with a wrong gold answer\n")
    print("| labels | by information | by chance | the most agreed first |\n|---:|---:|---:|---:|")
    for num_labels in (0, len(asked) // 8, len(asked) // 4, len(asked) // 2, len(asked)):
        cells = [_labels(asked, order, num_labels) for order in (by_information, by_chance, by_agreement)]
        print(f"| {num_labels} | {' | '.join(cells)} |")
    _say_beliefs(asked)
    print("\n## Attempts: error of the solve rates, root mean square\n")
    print("| attempts | by information | by chance | the most surely medium |\n|---:|---:|---:|---:|")
    ranks = (lambda n, c: -attempt_information(n, c), None, lambda n, c: -mass_inside(n, c, 0.3, 0.9))
    rates = [one.solve_rate for one in asked]
    cells = [_mean([solve_rate_error(rates, rank, number) for number in range(ROUNDS // 10)], 3) for rank in ranks]
    print(f"| {4 * len(asked)} | {' | '.join(cells)} |")


def _say_beliefs(asked: Sequence[Asked]) -> None:
    """How often the first answer is right beside the belief in it, by the votes."""
    by_votes: dict[tuple[int, ...], list[bool]] = {}
    for one in asked:
        by_votes.setdefault(tuple(votes for _, votes in one.counted.votes), []).append(one.is_right[0])
    print("\n## The belief in the first answer, and how often it is right\n")
    print("| votes | questions | belief | right |\n|---|---:|---:|---:|")
    for votes, right in sorted(by_votes.items(), reverse=True):
        print(f"| {', '.join(map(str, votes))} | {len(right)} | {beliefs(votes)[0]:.2f} | {np.mean(right):.2f} |")


def _labels(asked: Sequence[Asked], order: Order, num_labels: int) -> str:
    rounds = ROUNDS if order is by_chance else 1
    counts = [gold_counts(asked, order(asked, number), num_labels) for number in range(rounds)]
    right, wrong = zip(*counts, strict=True)
    return f"{_mean(right, 1)} right, {_mean(wrong, 1)} wrong"


def _mean(values: Sequence[float], digits: int) -> str:
    spread = f" ± {np.std(values):.{digits}f}" if len(values) > 1 and np.std(values) > 0 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


if __name__ == "__main__":
    main()
