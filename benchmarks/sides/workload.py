"""What all sides are given: prompts, a batch of graded rollouts to learn from, two checkpoints, and the reward.

The Laconic side writes these files once (`laconic_side.prepare`); every side reads them, in whatever environment it runs. The
second checkpoint is the first one without its end token: responses drawn from it all reach the cap.

Imports nothing outside the standard library but `laconic.grading.rules`, which needs nothing else either.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from laconic.grading.rules import Graded, grade_response
from laconic.types import Grade

GROUP_SIZE = 8
LEARNING_RATE = 1e-6
BETAS = (0.9, 0.95)
MAX_GRAD_NORM = 1.0
CLIP = 0.2
CORRECT, NOT_CORRECT = 1.0, -0.5


@dataclass(frozen=True, slots=True)
class Prompt:
    """One problem as it is fed: `text` tokenizes to `token_ids`."""

    question: str
    text: str
    token_ids: list[int]
    answer: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One graded response to prompt number `prompt`. `old_logprobs` are the sampler's with noise added, so that ratios differ
    from 1 and some are clipped; `advantage` is the group-standardised reward."""

    prompt: int
    token_ids: list[int]
    old_logprobs: list[float]
    reward: float
    advantage: float


@dataclass(frozen=True, slots=True)
class Workload:
    """A folder with the files, and what they hold."""

    folder: Path

    @property
    def checkpoint(self) -> Path:
        """The model with its end token."""
        return self.folder / "checkpoint"

    @property
    def endless(self) -> Path:
        """The same weights without an end token."""
        return self.folder / "endless"

    def model(self, *, is_fixed: bool) -> Path:
        """Which of the two draws fixed or natural lengths."""
        return self.endless if is_fixed else self.checkpoint

    def prompts(self) -> list[Prompt]:
        """All prompts; a batch of n takes the first n."""
        return [Prompt(**line) for line in json.loads((self.folder / "prompts.json").read_text(encoding="utf-8"))]

    def write_prompts(self, prompts: list[Prompt]) -> None:
        """Once, by the Laconic side."""
        (self.folder / "prompts.json").write_text(json.dumps([asdict(p) for p in prompts]), encoding="utf-8")

    def problems_file(self, count: int) -> Path:
        """The first `count` problems as JSON lines, the way `laconic train` reads them; written when first asked for."""
        file = self.folder / f"problems-{count}.jsonl"
        lines = [
            json.dumps({"id": str(i), "problem": prompt.question, "answer": prompt.answer})
            for i, prompt in enumerate(self.prompts()[:count])
        ]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return file

    def attempts(self) -> list[Attempt]:
        """The batch to learn from, group by group."""
        return [Attempt(**line) for line in json.loads((self.folder / "attempts.json").read_text(encoding="utf-8"))]

    def write_attempts(self, attempts: list[Attempt]) -> None:
        """Once, by the Laconic side."""
        (self.folder / "attempts.json").write_text(json.dumps([asdict(a) for a in attempts]), encoding="utf-8")


def reward(text: str, answer: str) -> float:
    """What both trainers pay for a response."""
    graded = grade_response(text, answer, is_truncated=False)
    is_correct = isinstance(graded, Graded) and graded.grade is Grade.CORRECT
    return CORRECT if is_correct else NOT_CORRECT
