"""What a server computes, beside what the trainer computes: the proof that weights arrived, whatever the server made of them.

1. At the first hand-over of a process both decode the first prompts greedily and must choose the same tokens. They compute in
   another order, so at a tie one may choose otherwise: the model's own forward pass says whether it was one.
2. Then, and at every later hand-over, the server scores the first of these prompts with its response. What it finds must lie near
   the trainer's scores by the new weights, and nearer to them than to those by the weights of before, where these two differ by
   more than rounding. So weights that the server did not take are found even where its checksum does not cover them: vLLM on a
   CPU packs the weights of linear layers, and their checksum is that of nothing.

A score is the log-probability of a token at temperature 1, in nats.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from laconic.config.solver import SamplerConfig
from laconic.errors import ModelError
from laconic.models.policy import Policy
from laconic.samplers.local import LocalSampler
from laconic.samplers.protocol import Request
from laconic.samplers.vllm.server import ServerFacts, VllmServer
from laconic.types import Progress, Response

PROVED_PROMPTS, RESPONSE_TOKENS = 4, 64
FINE_NATS, COARSE_NATS = 1e-3, 0.2  # where both compute in float32, and where one of them computes in 16 bits
SAME_SCORES = 0.1  # of what counts as near, by which new and old scores must differ to be told apart

DrawRows = Callable[[Sequence[Request], SamplerConfig, int, Progress], list[list[Response]]]


class Proof:
    """Compares what `server` computes with what `policy` does. `text` is what is scored, None until the first comparison, and
    `scores` are those of the weights of before."""

    def __init__(self, policy: Policy, server: VllmServer, facts: ServerFacts) -> None:
        self.policy, self.server, self.facts = policy, server, facts
        self.local = LocalSampler(policy.lm)
        self.text: tuple[int, ...] | None = None
        self.scores: Tensor | None = None

    @property
    def near_nats(self) -> float:
        """By how much the two may differ."""
        lm = self.policy.lm
        is_fine = lm.autocast_dtype is None and {lm.model.dtype, self.facts.dtype} == {torch.float32}
        return FINE_NATS if is_fine else COARSE_NATS

    # --- greedy decoding ---------------------------------------------------------------------------------------------

    def compare_greedily(self, requests: Sequence[Request], decoding: SamplerConfig, draw: DrawRows) -> None:
        """Decode the first prompts by `draw`, which asks the server, and by the local sampler, up to the first tie of each.

        Raises `ModelError` where they choose differently elsewhere.
        """
        asked = [replace(request, num_samples=1) for request in requests[:PROVED_PROMPTS]]
        cap = min(RESPONSE_TOKENS, decoding.max_tokens)
        greedy = SamplerConfig(temperature=0.0, max_tokens=cap, batch_size=PROVED_PROMPTS)
        theirs, ours = draw(asked, greedy, 0, lambda *_: None), self.local.sample(asked, greedy, seed=0)
        self.local.release()
        for request, (their,), (our,) in zip(asked, theirs, ours, strict=True):
            self.check_choices(request, our.token_ids, their.token_ids)
        whole = asked[0].prompt_ids + ours[0][0].token_ids
        self.text = whole[: self.facts.context - 1]  # a server that scores draws one token more

    def check_choices(self, request: Request, ours: Sequence[int], theirs: Sequence[int]) -> None:
        """Raise `ModelError` where the first token that differs is no tie."""
        same = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
        if same is None:
            return
        logprobs = self._logprobs([*request.prompt_ids, *ours[:same]])[-1]
        loss = float(logprobs[ours[same]] - logprobs[theirs[same]])
        if loss > self.near_nats:
            raise ModelError(
                f"{self.server.url}: after {same} tokens of {request.key} it chooses {theirs[same]} where the model prefers "
                f"{ours[same]} by {loss:.3g} nats: it serves another model ({self.facts.loaded_from}) or computes otherwise"
            )

    # --- scores ------------------------------------------------------------------------------------------------------

    def compare_scores(self) -> None:
        """Let both score the text. Raises `ModelError` where the server's scores are not those of the weights it was given."""
        assert self.text is not None, "greedy decoding comes first"
        ours = self._logprobs(self.text[:-1]).gather(-1, torch.tensor(self.text[1:])[:, None])[:, 0]
        theirs = torch.tensor(self.server.scores(self.facts.served_as, self.text))
        gap = mean_gap(theirs, ours)
        if gap > self.near_nats:
            raise ModelError(
                f"{self.server.url}: its scores are {gap:.3g} nats per token from the trainer's: it did not take the weights, or "
                "computes otherwise"
            )
        before, self.scores = self.scores, ours
        if (
            before is not None
            and mean_gap(ours, before) > SAME_SCORES * self.near_nats
            and gap >= mean_gap(theirs, before)
        ):
            raise ModelError(
                f"{self.server.url}: its scores are those of the weights of before: it did not take the new ones"
            )

    @torch.inference_mode()
    def _logprobs(self, ids: Sequence[int]) -> Tensor:
        """The log-probabilities [L, V] of what follows each of the `ids`, by one plain forward pass."""
        lm = self.policy.lm
        with lm.autocast():
            hidden = lm.backbone(torch.tensor([list(ids)], device=lm.device), use_cache=False).last_hidden_state[0]
            return lm.head(hidden).log_softmax(-1).float().cpu()


def mean_gap(one: Tensor, other: Tensor) -> float:
    """The mean distance of two rows of scores [L], in nats.

    >>> mean_gap(torch.tensor([-1.0, -2.0]), torch.tensor([-1.0, -3.0]))
    0.5
    """
    return float((one - other).abs().mean())
