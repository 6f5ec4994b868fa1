"""Predicts what GPUs send each other in a training step, from shapes, and how long it takes.

1. Before a pass over a layer FSDP2 gathers its weights from all GPUs: forwards and backwards in an update, once for each score.
   After the backward pass the gradients are summed, and each GPU keeps those of its part. With N GPUs either brings (N - 1) / N
   of the bytes to every GPU: the ring algorithm, and section 7.2 of ZeRO (Rajbhandari et al. 2020, arXiv 1910.02054), which
   counts 3 times the weights in a step, as this does where a step is one micro-batch.
2. This is repeated for each micro-batch, since no GPU has room for all weights or gradients in between.
3. Once in a step the new weights are handed over to whoever draws the responses: of processes of `laconic train`, to each one's
   whole policy, and with adapters only these.
4. The time is that of the slowest link on the way. While a layer is computed FSDP2 fetches the next one, so an update takes as
   long as the longer of the two, and only the hand-over is added.

Left out: how long a message takes to begin, which matters for small models, and what tensor parallelism sends while responses are
drawn.
"""

from dataclasses import dataclass
from math import ceil

from laconic.config.policy import PolicyConfig, ShapeConfig
from laconic.doctor.cost_model import Roles, Training
from laconic.doctor.gpus import Links
from laconic.doctor.memory_model import BF16, F32, gathered_bytes
from laconic.doctor.spread import GpuSpread
from laconic.doctor.weights import count_weights
from laconic.training.batching import ATTENDED

LINK_SHARE = 0.5
"""What is assumed of a link: the share of its bandwidth that is reached. 200 of 400 GB/s were reported for gathering over 32
machines with H100s (NVIDIA/nccl#1218), and about 200 of 300 inside one machine with A100s (NVIDIA/nccl-tests#149)."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes that one GPU receives in one training step: weights that it gathers, sums of gradients, and new weights for
    sampling."""

    gathered: float
    reduced: float
    handed_over: float

    @property
    def update(self) -> float:
        """Those of scoring and updating."""
        return self.gathered + self.reduced

    @property
    def total(self) -> float:
        """All of them."""
        return self.update + self.handed_over


NONE = Traffic(0, 0, 0)


def num_passes(training: Training, share: float, token_budget: int, at_least: int = 1) -> int:
    """The micro-batches of a GPU that has this share of a step's responses, in one pass over those that train: filled up to
    `token_budget`, and `at_least` so many.

    >>> num_passes(Training(1, 64, 1, 100, 900), 1 / 8, 4096)  # 8 responses of 1,000 tokens
    2
    >>> num_passes(Training(1, 64, 1, 100, 900, trained_share=0.5), 1 / 8, 4096)
    1
    """
    responses = training.responses * training.trained_share
    return max(at_least, ceil(share * attended_tokens(training, responses, training.learnt_prompts) / token_budget))


def attended_tokens(training: Training, responses: float, prompts: float | None) -> float:
    """The tokens of so many of a step's responses as micro-batches count them: the repeats of a shared prompt count `ATTENDED`.

    >>> attended_tokens(Training(1, 8, 1, 100, 900), 8, prompts=1)  # 7 x 100 tokens are a quarter of 700
    7475.0
    """
    whole = responses * (training.prompt_tokens + training.response_tokens)
    repeated = 0.0 if prompts is None else (responses - prompts) * training.prompt_tokens
    return whole - (1.0 - ATTENDED) * repeated


def step_traffic(
    shape: ShapeConfig,
    policy: PolicyConfig,
    roles: Roles,
    spread: GpuSpread,
    *,
    scoring_passes: int,
    update_passes: int,
    is_bfloat16: bool,
) -> Traffic:
    """The traffic of a step whose responses are scored in `scoring_passes` micro-batches on each GPU and updated in
    `update_passes`, over all its epochs. For an exact KL the weights of the policy are gathered twice as often, and those of the
    reference once more."""
    if not spread.is_sharded:
        return NONE
    share, compute = (spread.gpus - 1) / spread.gpus, BF16 if is_bfloat16 else F32
    weights = count_weights(shape, policy)
    held = gathered_bytes(policy, spread, compute)
    whole, body = held * weights.total, held * weights.body
    learnt = [weights.adapters if policy.lora else weights.total]
    gathered = 2 * update_passes * (1 + roles.has_exact_kl) * whole + scoring_passes * whole * roles.scores_policy
    if roles.critic != "zero":
        gathered += (2 * update_passes + scoring_passes) * body
        learnt.append(weights.adapters if policy.lora else weights.body)
    if roles.reference is not None:
        reference = count_weights(roles.reference, PolicyConfig())
        read_passes = scoring_passes + update_passes * roles.has_exact_kl
        gathered += read_passes * (compute * reference.maps + held * (reference.embedding + reference.head))
    reduced = update_passes * F32 * sum(learnt)
    handed_over = whole / spread.engine if spread.engine else F32 * learnt[0]
    return Traffic(share * gathered, share * reduced, share * handed_over)


def link_bandwidth(links: Links, spread: GpuSpread) -> float:
    """Bytes per second that reach every GPU when all gather the same weights: inside one machine those of its own links, over
    several machines at most those of a whole machine, because it passes on inside what it has received once."""
    between = links.between_gb if spread.machines > 1 else links.inside_gb
    return LINK_SHARE * 1e9 * min(links.inside_gb, between)
