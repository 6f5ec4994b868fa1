"""The interface of engines that draw responses.

Every sampler takes `Request`s and returns one list of `Response`s per request, in order. `local`, the default, takes token ids
and returns token ids with their log-probabilities; `http` takes the turns of a conversation and returns text and token counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from laconic.config.solver import SamplerConfig
from laconic.types import Progress, Response


@dataclass(frozen=True, slots=True)
class Request:
    """A request for `num_samples` responses to `prompt_ids`, or, where an endpoint renders the prompt itself, to `messages`.

    `key` names the problem in the address of its random numbers; samples are numbered from `first_sample`.
    """

    key: str
    prompt_ids: tuple[int, ...]
    num_samples: int
    first_sample: int = 0
    messages: tuple[Mapping[str, str], ...] = ()


class Sampler(Protocol):
    """An engine that draws responses."""

    def sample(
        self, requests: Sequence[Request], decoding: SamplerConfig, *, seed: int, on_progress: Progress | None = None
    ) -> list[list[Response]]:
        """The responses to each request, in the order of requests and samples.

        `on_progress` is called with (responses finished, tokens generated) since its last call.
        """
        ...
