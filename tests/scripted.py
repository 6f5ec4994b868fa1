"""A sampler that plays a model: what it answers depends on the problem, the sample and the prompt alone. Not a test module."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from laconic.config.solver import PromptConfig, SamplerConfig
from laconic.grading.grader import Grader
from laconic.rollouts.solver import Solver
from laconic.samplers.protocol import Request
from laconic.types import FinishReason, Problem, Progress, Response

PROBLEMS = [Problem(f"p{i}", f"What is {i} + {i}?", str(2 * i), meta={"oracle_tokens": 3}) for i in range(10)]


@dataclass
class ScriptedSampler:
    """Answers `script(key, sample, last turn)` as (answer, tokens); `fail_at` raises at that call of `sample`."""

    script: Callable[[str, int, str], tuple[str, int]]
    fail_at: int | None = None
    calls: list[list[Request]] = field(default_factory=list)

    def sample(
        self, requests: Sequence[Request], decoding: SamplerConfig, *, seed: int, on_progress: Progress | None = None
    ) -> list[list[Response]]:
        if self.fail_at == len(self.calls):
            raise KeyboardInterrupt
        self.calls.append(list(requests))
        return [[self._response(r, r.first_sample + i) for i in range(r.num_samples)] for r in requests]

    def _response(self, request: Request, sample: int) -> Response:
        answer, tokens = self.script(request.key, sample, request.messages[-1]["content"])
        text = f"so</think>\\boxed{{{answer}}}"
        return Response((), (), text, FinishReason.STOP, reported_tokens=tokens, thinking_tokens=tokens - 2)


@dataclass(frozen=True)
class ScriptedModel:
    """A model behind an endpoint: it renders its own prompts."""

    name: str = "scripted"
    weights: str = "first"
    tokenizer = None
    context_length = None
    context_words = "unknown"

    def fingerprint(self) -> str:
        return self.weights


def doubling(key: str, sample: int, _turn: str) -> tuple[str, int]:
    """Right for even problems, for odd ones every other time; longer for later problems and samples."""
    number = int(key[1:])
    is_right = number % 2 == 0 or sample % 2 == 0
    return str(2 * number if is_right else -1), 10 + number + sample


def scripted_solver(
    sampler: ScriptedSampler, grader: Grader, instruction: str = "boxed", weights: str = "first"
) -> Solver:
    """A solver that asks the scripted model."""
    return Solver(ScriptedModel(weights=weights), sampler, grader, PromptConfig(instruction=instruction))
