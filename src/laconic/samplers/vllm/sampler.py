"""The sampler that draws from a vLLM server, which has the policy's weights.

    hand the weights over if they are others than the server has
    draw every response of the call
    if the server lost the weights or died meanwhile: wait for it, and do all of this again

1. A call's responses come from one set of weights. Before and after a call the server is asked which weights it has; a server
   that was started again has others, and then nothing of the call is kept. Random numbers are addressed by problem and sample, so
   that the call is drawn again with the same ones.
2. Every hand-over is proved (`handover.py`, `proof.py`).
3. How long a server may be away is bounded. Then `EngineLost` says how to go on. One that returns is checked as at the beginning:
   a person may have started it otherwise.

Of several processes that train together the first alone has this sampler, and draws for all (`rollouts/solver.py`).
"""

import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from laconic.config.solver import SamplerConfig
from laconic.errors import EngineLost, LaconicWarning, ModelError, RunFailed
from laconic.models.policy import Policy
from laconic.samplers.protocol import Request
from laconic.samplers.vllm.handover import Handover, transfer_to
from laconic.samplers.vllm.proof import Proof
from laconic.samplers.vllm.server import (
    INITIAL_VERSION,
    ServerFacts,
    ServerGone,
    VllmServer,
    wait_until_healthy,
)
from laconic.samplers.vllm.starting import OWN_MODE, OwnServer
from laconic.samplers.vllm.wire import completion_of, drawn_response
from laconic.types import Progress, Response

MOST_DRAWS = 5  # of one call
LOOK_SECONDS = 1.0
TRIED_TEXT = "How many of 12 + 30 = 42 apples?\n"


class VllmSampler:
    """Draws responses of `policy` from `server`. `folder` holds weights on their way; `own` is the server's process where the run
    started it; `seconds` is how long the server may be away, and `remedy` what a person then does."""

    def __init__(
        self,
        policy: Policy,
        server: VllmServer,
        folder: Path,
        *,
        seconds: float,
        remedy: str,
        own: OwnServer | None = None,
    ) -> None:
        self.policy, self.server, self.seconds, self.remedy, self.own = policy, server, seconds, remedy, own
        self.folder, self.num_redrawn, self.was_away = folder, 0, False
        if own is None and not server.is_healthy():
            say(f"{server.url}: no vLLM server yet; waiting for it up to {seconds:g} s")
        self._await(self._first_reason)
        if own is not None:
            own.has_worked = True
        try:
            self.facts = self._checked_facts()
        except ServerGone as error:
            raise EngineLost(f"{error}. {remedy}") from None
        transfer = transfer_to(server, self.facts, folder, policy.lm.device)
        self.handover = Handover(policy, server, transfer, self.facts.dtype)
        self.proof = Proof(policy, server, self.facts)

    def sample(
        self, requests: Sequence[Request], decoding: SamplerConfig, *, seed: int, on_progress: Progress | None = None
    ) -> list[list[Response]]:
        """The responses to each request, in the order of requests and samples.

        Raises `ModelError` where the server is not what the trainer needs, `EngineLost` where it stays away, and `Diverged` where
        log-probabilities are not finite.
        """
        if not requests:
            return []
        self._check_fit(requests, decoding.max_tokens)
        reason = ""
        for _ in range(MOST_DRAWS):
            count = Tally(on_progress)
            try:
                self._hand_over(requests, decoding)
                rows = self._draw(requests, decoding, seed, count)
                if self._still_has_weights():
                    return rows
                reason = f"{self.server.url}: was started again while it was asked"
            except ServerGone as error:
                reason = str(error)
            self.was_away = True
            self.num_redrawn += 1
            count.take_back()
            say(f"{reason}; waiting for the server, then drawing again")
            self._await(partial(str, reason))
        raise EngineLost(f"{reason}; {MOST_DRAWS} tries in a row failed. {self.remedy}")

    def close(self) -> None:
        """Remove what is left of hand-overs, and end the server if the run started it."""
        self.handover.transfer.close()
        if self.own is not None:
            self.own.end()

    # --- weights -----------------------------------------------------------------------------------------------------

    def _hand_over(self, requests: Sequence[Request], decoding: SamplerConfig) -> None:
        """Where the policy moved or the server lost the weights; then the proofs that they arrived."""
        if self.was_away or (self.handover.version and not self._still_has_weights()):
            self._meet_again()
        if self.handover.update():
            began = time.monotonic()
            if self.proof.text is None:
                self.proof.compare_greedily(requests, decoding, self._draw)
            self.proof.compare_scores()
            self.handover.seconds += time.monotonic() - began

    def _still_has_weights(self) -> bool:
        """Whether the server has the weights of the last hand-over. Raises `RunFailed` where another program gave it others."""
        version = self.server.version()
        if version not in (self.handover.version, INITIAL_VERSION):
            raise RunFailed(
                f"{self.server.url}: another program gave the server its weights ({version}); a run needs a server of its own. "
                f"{self.remedy}"
            )
        return version == self.handover.version

    def _meet_again(self) -> None:
        """Check a server that was away as one that is new: it has lost the weights, and may have been started otherwise."""
        facts, handover = self._checked_facts(), self.handover
        handover.forget()
        if facts.dtype != self.facts.dtype:
            handover.dtype, handover.digests, handover.checksums = facts.dtype, {}, {}
        if facts.transfer != self.facts.transfer:
            handover.transfer.close()
            handover.transfer = transfer_to(self.server, facts, self.folder, self.policy.lm.device)
        self.facts = self.proof.facts = facts
        self.was_away = False

    def _await(self, reason: Callable[[], str]) -> None:
        if not wait_until_healthy(self.server, self.seconds, LOOK_SECONDS, self._look_after_own):
            raise EngineLost(f"{reason()}; it did not answer for {self.seconds:g} s. {self.remedy}")

    def _first_reason(self) -> str:
        log = f" ({self.own.log}: {self.own.last_words()})" if self.own else ""
        return f"{self.server.url}: no vLLM server{log}"

    def _look_after_own(self) -> None:
        """Start the run's own server again where it has died. One that has never worked is not tried again."""
        own = self.own
        if own is None or own.exit_code is None:
            return
        if not own.has_worked:
            raise ModelError(f"{own.name}: vLLM ended with code {own.exit_code} ({own.log}: {own.last_words()})")
        own.begin()

    # --- drawing -----------------------------------------------------------------------------------------------------

    def _draw(
        self, requests: Sequence[Request], decoding: SamplerConfig, seed: int, count: Progress
    ) -> list[list[Response]]:
        places = [(row, sample) for row, request in enumerate(requests) for sample in range(request.num_samples)]
        stops, lm = self.policy.lm.stop_ids, self.policy.lm
        bodies = [
            completion_of(self.facts.served_as, requests[r], requests[r].first_sample + s, decoding, stops, seed=seed)
            for r, s in places
        ]
        drawn: dict[int, Response] = {}

        def note(place: int, reply: Any) -> None:
            drawn[place] = drawn_response(self.server.url, reply, decoding.max_tokens, stops, lm.decode)
            count(1, drawn[place].num_tokens)

        self.server.draw(bodies, decoding.batch_size, note)
        answers = iter([drawn[place] for place in range(len(places))])
        return [[next(answers) for _ in range(request.num_samples)] for request in requests]

    def _check_fit(self, requests: Sequence[Request], max_tokens: int) -> None:
        for request in requests:
            if not request.prompt_ids:
                raise ModelError(f"{request.key}: the prompt is empty; expected at least one token")
            self.policy.lm.check_ids(request.prompt_ids, f"the prompt of {request.key}")
            if len(request.prompt_ids) + max_tokens > self.facts.context:
                raise ModelError(
                    f"{request.key}: a prompt of {len(request.prompt_ids)} tokens and max_tokens {max_tokens} exceed what "
                    f"{self.server.url} takes, {self.facts.context} tokens; start it with a larger --max-model-len"
                )

    # --- is it the right server? -------------------------------------------------------------------------------------

    def _checked_facts(self) -> ServerFacts:
        """What the server says of itself. Raises `ModelError` where its settings or its tokenizer are not what the trainer needs,
        and `ServerGone`."""
        url, facts = self.server.url, self.server.facts()
        if facts.logprobs_mode != OWN_MODE:
            raise ModelError(f"{url}: reports {facts.logprobs_mode}; start the server with --logprobs-mode {OWN_MODE}")
        if facts.quantization:
            raise ModelError(
                f"{url}: holds weights quantized by {facts.quantization}; expected a server without --quantization"
            )
        theirs = self.server.token_ids(facts.served_as, TRIED_TEXT)
        ours = self.policy.lm.tokenizer.encode(TRIED_TEXT, add_special_tokens=False)
        if theirs != ours:
            raise ModelError(
                f"{url}: serves {facts.loaded_from}, whose tokenizer is not that of {self.policy.lm.name}: it makes "
                f"{theirs[:8]} of {TRIED_TEXT.strip()!r}, not {ours[:8]}; expected a server of the same model"
            )
        return facts


class Tally:
    """What was drawn in one try, told to `on_progress`, if there is one, until it is taken back."""

    def __init__(self, on_progress: Progress | None) -> None:
        self.on_progress = on_progress
        self.responses = self.tokens = 0

    def __call__(self, responses: int, tokens: int) -> None:
        """Count so many responses and tokens more."""
        self.responses, self.tokens = self.responses + responses, self.tokens + tokens
        if self.on_progress is not None:
            self.on_progress(responses, tokens)

    def take_back(self) -> None:
        """Uncount all of them, since they are drawn again."""
        self(-self.responses, -self.tokens)


def say(what: str) -> None:
    """Tell the person who waits."""
    warnings.warn(what, LaconicWarning, stacklevel=3)
