"""The text on which a scheme is calibrated: responses that the model itself writes to problems of the kind it will meet.

Rounding is corrected where this text needs it. A reasoning model's own chains are unlike web text, on which libraries calibrate
by default; text like that of the model's use is better (arXiv 2601.14888, on calibration before further training).

1. `draw_text` renders the problems and draws responses as everywhere (`rollouts/solver.py`). Nothing is graded: wrong
   and truncated responses are what the model writes, too.
2. Prompt and response together are one text. There must be at least as many tokens as the widest layer has inputs: with fewer,
   GPTQ's second moments of the inputs are singular, and the correction is made up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from laconic.config.solver import SamplerConfig
from laconic.errors import InputError
from laconic.rollouts.solver import Assignment, Solver
from laconic.types import Problem, Progress


@dataclass(frozen=True, slots=True)
class CalibrationRequest:
    """Which responses are drawn: the address of the problems and those of it that are used, and how many to each."""

    source: str
    problems: tuple[Problem, ...]
    num_samples: int
    decoding: SamplerConfig
    prompt: str
    seed: int


@dataclass(frozen=True, slots=True)
class CalibrationText:
    """Token ids of prompts with their responses; `num_response_tokens` counts those of the responses alone."""

    texts: tuple[tuple[int, ...], ...]
    num_response_tokens: int

    @property
    def num_tokens(self) -> int:
        """All tokens, prompts included."""
        return sum(map(len, self.texts))


def draw_text(solver: Solver, request: CalibrationRequest, *, on_progress: Progress | None = None) -> CalibrationText:
    """The model's responses to the problems, each after its prompt."""
    asked = [solver.request(Assignment(problem, request.num_samples)) for problem in request.problems]
    drawn = solver.sampler.sample(asked, request.decoding, seed=request.seed, on_progress=on_progress or _ignore)
    texts = [(*ask.prompt_ids, *one.token_ids) for ask, row in zip(asked, drawn, strict=True) for one in row]
    return CalibrationText(tuple(texts), sum(len(one.token_ids) for row in drawn for one in row))


def check_enough(text: CalibrationText, widths: Sequence[int]) -> None:
    """Raise `InputError` where there are fewer tokens than the widest layer has inputs. A text that was drawn twice says nothing
    new, and counts once."""
    widest, different = max(widths), set(text.texts)
    num_tokens = sum(map(len, different))
    if num_tokens < widest:
        raise InputError(
            f"--problems: {len(different)} different responses with their prompts are {num_tokens} tokens, too few to "
            "calibrate on; "
            f"expected at least {widest}, the inputs of the widest layer: name more problems, or more --samples"
        )


def describe_text(request: CalibrationRequest, text: CalibrationText) -> dict[str, Any]:
    """What quantization.json says of the calibration."""
    decoding = request.decoding
    return {
        "problems": request.source,
        "num_problems": len(request.problems),
        "num_responses": len(text.texts),
        "num_tokens": text.num_tokens,
        "num_response_tokens": text.num_response_tokens,
        "prompt": request.prompt,
        "seed": request.seed,
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        "min_p": decoding.min_p,
        "max_tokens": decoding.max_tokens,
    }


def _ignore(responses: int, tokens: int) -> None:
    """Progress that nobody watches."""
