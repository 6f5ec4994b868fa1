"""A reward of one's own, in a short training.

    python examples/own_reward.py --out runs/own_reward

`at_most` is the reward: it gets the numbers of one problem's group (K responses) and returns one number per response. A recipe
names it as FILE.py:FUNCTION, and FILE.py is this file. The run stores a hash of the file, so that it is only resumed with the
same reward.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import laconic
from laconic.rewards.numbers import GroupNumbers


def at_most(numbers: GroupNumbers, tokens: float = 60.0) -> NDArray[np.float64]:
    """1 for a correct answer of at most `tokens` tokens, falling to 0 at twice as many; 0 for any other. Shape [K]."""
    over = np.clip((numbers.lengths - tokens) / tokens, 0.0, 1.0)
    return np.where(numbers.is_correct, 1.0 - over, 0.0)


RECIPE = """
name = "own_reward"
model = "tiny"

[problems]
train = "tiny:mix?count=200&split=train"
watch = "tiny:mix?count=32&split=watch"
report = "tiny:mix?count=64&split=report"

[[phases]]
name = "brevity"
steps = 20
algorithm = { name = "rloo" }
sampler = { max_tokens = 200 }

[phases.rewards]
correct = 1.0
wrong = 0.0
no_answer = 0.0
truncated = 0.0

[[phases.rewards.terms]]
name = "REWARD"
weight = 1.0
options = { tokens = 60.0 }
"""


def main() -> None:
    """Write the recipe, train it, and say what came of it."""
    parser = argparse.ArgumentParser(description="Train with a reward of one's own.")
    parser.add_argument("--out", type=Path, default=Path("runs/own_reward"), help="the run's folder, a new one")
    parser.add_argument("changes", nargs="*", help="changes to the recipe, such as phases.brevity.steps=40")
    options = parser.parse_args()

    recipe = options.out.with_suffix(".toml")
    recipe.parent.mkdir(parents=True, exist_ok=True)
    recipe.write_text(RECIPE.replace("REWARD", f"{Path(__file__).resolve()}:at_most"), encoding="utf-8")
    result = laconic.train(recipe, *options.changes, out=options.out)

    for step in result.metrics:
        print(
            f"step {step['step']}: reward {step['rollouts/reward_mean']:.3f}, tokens {step['rollouts/mean_tokens']:.1f}"
        )
    for name, evaluation in result.evaluations.items():
        print(f"{name}: accuracy {evaluation.accuracy:.1%}, tokens {evaluation.tokens:.1f}")
    print(f"result: {result.model}")


if __name__ == "__main__":
    main()
