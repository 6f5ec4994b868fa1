"""What the tokens of a trace were num_tokens on: steps, checks, detours, repetition, the answer.

1. The thinking is cut at `;`. A piece that starts with `check` is a check; one that starts with `wait,` mends or doubts the
   step before it and is a detour; everything after `wait,again:` repeats the chain (its checks count as checks).
2. The rest of the thinking counts as steps. What follows `</think>` is the answer.

Checks, detours and repetition are redundant: a writer who makes no slips needs none of them.
"""

from dataclasses import dataclass

from laconic.tiny.tokens import count_tokens
from laconic.types import END_THINK


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Tokens of one response by what they were num_tokens on; the five numbers sum to the response's length."""

    steps: int = 0
    checks: int = 0
    detours: int = 0
    repeats: int = 0
    answer: int = 0

    @property
    def total(self) -> int:
        """All tokens."""
        return self.steps + self.checks + self.detours + self.repeats + self.answer

    @property
    def redundant(self) -> int:
        """Checks, detours and repetition."""
        return self.checks + self.detours + self.repeats


def dissect(text: str) -> Anatomy:
    """The anatomy of a response given as text with its special tokens.

    >>> dissect("1+2=4;wait,1+2=3;check3-2=1ok;</think>\\\\boxed{3}<|end|>")
    Anatomy(steps=6, checks=8, detours=8, repeats=0, answer=5)
    """
    thinking, tag, answer = text.partition(END_THINK)
    num_tokens = {"steps": 0, "checks": 0, "detours": 0, "repeats": 0}
    has_begun_again = False
    for piece in thinking.split(";"):
        segment = piece + ";" if piece else ""
        has_begun_again = has_begun_again or segment.startswith("wait,again")
        num_tokens[_kind(segment, has_begun_again)] += count_tokens(segment)
    num_tokens["steps"] -= int(not thinking.endswith(";") and bool(thinking))  # the last piece had no `;` of its own
    return Anatomy(**num_tokens, answer=count_tokens(tag + answer))


def _kind(segment: str, has_begun_again: bool) -> str:
    if segment.startswith("check"):
        return "checks"
    if has_begun_again:
        return "repeats"
    return "detours" if segment.startswith("wait") else "steps"
