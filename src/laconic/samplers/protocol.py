"""Doors to engines that draw responses.

Every sampler takes `Request`s and returns one list of `Response`s a request, in order. `local`, the default, takes token ids
and gives token ids with their log-probabilities; `http` takes the turns of a conversation and gives text and counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from laconic.config.solver import SamplerConfig
from laconic.types import Progress, Response


@dataclass(frozen=True, slots=True)
class Request:
    """`num_samples` responses are wanted to `prompt_ids`, or, where an endpoint renders the prompt itself, to `messages`. `key`
    names the problem in the address of its random numbers; samples are numbered from `first_sample`."""

    key: str
    prompt_ids: tuple[int, ...]
    num_samples: int
    first_sample: int = 0
    messages: tuple[Mapping[str, str], ...] = ()


class Sampler(Protocol):
    """What every engine can do."""

    def sample(
        self, requests: Sequence[Request], decoding: SamplerConfig, *, seed: int, on_progress: Progress | None = None
    ) -> list[list[Response]]:
        """Responses to each request, in the order of requests and samples."""
        ...
