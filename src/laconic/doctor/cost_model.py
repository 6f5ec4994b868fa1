"""Predicts the arithmetic of sampling, scoring and updating from shapes, and how long a machine takes for it.

1. `load_of` counts what goes through the layers: tokens, states that the output head reads, and pairs of a token and a position
   that it attends to.
2. A forward pass takes 2 operations (a product and a sum) for each weight of the linear maps and token, 2 for each weight of the
   head and state, and 4 for each pair, layer and number of the queries (`forward`). A backward pass takes as much again for the
   gradients of the inputs, and once more for those of the weights, which frozen weights do not have (`backward`). So an update of
   all weights is the well-known 6 N per token, and one of adapters about 4 N.
3. `sampling_flops`, `scoring_flops` and `update_flops` put these together for the roles of a phase.
4. A `Machine` turns them into seconds. While responses are drawn, a step reads all weights and the keys and values of its rows:
   that is the floor (`step_floor_seconds`). Its products take as long for one row as for twenty, so they are counted for all rows
   with which a call begins. A step is assumed to take `step_factor` times as long as the longer of the two. Prompts, scoring and
   updates run at the machine's rate of large products.

Norms, softmax, rotations, drawing, AdamW, grading and waiting are not counted as operations. They are the reason why a step takes
longer than its floor and an update does not reach the rate of products.

Legend: `E` width of all queries, `n` responses.
"""

import math
from dataclasses import dataclass, replace

from laconic.config.policy import PolicyConfig, ShapeConfig
from laconic.doctor.gpus import Gpu
from laconic.doctor.memory_model import BF16, F32
from laconic.doctor.spread import GpuSpread
from laconic.doctor.weights import Weights, count_weights, position_numbers, query_width

ATTENTION_BACKWARD = 2.5
"""The backward pass of fused attention over its forward pass, because it computes the scores again: FlashAttention-2
(arXiv 2307.08691), section 4.1."""
BANDWIDTH_SHARE = 0.9
STEP_FACTOR = 3.0
PRODUCTS_SHARE = 0.4
"""What is assumed of a GPU: the share of the sheet's bandwidth at which weights are read, how many times as long as this floor a
step takes, and the share of the sheet's rate of products that prompts, scoring and updates reach."""


@dataclass(frozen=True, slots=True)
class Load:
    """What goes through a model: `tokens` through the layers, `states` through the output head, and `pairs` of a token and a
    position that it attends to. They are numbers of means, so they need not be whole."""

    tokens: float
    states: float
    pairs: float

    def times(self, factor: float) -> "Load":
        """So many times this load."""
        return Load(self.tokens * factor, self.states * factor, self.pairs * factor)


def load_of(responses: float, prompt_tokens: float, response_tokens: float, prompts: float | None = None) -> Load:
    """The load of responses that are read whole, each with its prompt: a position attends to those before it. Where prompts are
    shared, `prompts` of them go through the layers, and attention alone is computed for whole rows (`models/prefixes.py`).

    >>> load_of(2, 4, 6)  # 2 x 10 tokens, of which 2 x 6 predict a token; 2 x 10 x 10 / 2 pairs
    Load(tokens=20, states=12, pairs=100.0)
    >>> load_of(2, 4, 6, prompts=1)  # 4 + 2 x 6 tokens
    Load(tokens=16, states=12, pairs=100.0)
    """
    length = prompt_tokens + response_tokens
    tokens = responses * response_tokens + (responses if prompts is None else prompts) * prompt_tokens
    return Load(tokens, responses * response_tokens, responses * length**2 / 2)


@dataclass(frozen=True, slots=True)
class Flops:
    """Floating-point operations of the linear maps, of attention, and of the output head."""

    maps: float
    attention: float
    head: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.maps + self.attention + self.head


def forward(shape: ShapeConfig, weights: Weights, load: Load, *, has_head: bool = True) -> Flops:
    """The operations of a forward pass. The output head has as many weights as the embedding, tied or not.

    >>> shape = ShapeConfig(layers=2, hidden=8, heads=2, kv_heads=1, intermediate=16, vocabulary=100)
    >>> weights = count_weights(shape, PolicyConfig())  # maps 1,152, head 800
    >>> forward(shape, weights, load_of(1, 4, 6))  # 2 x 1,152 x 10, 4 x 2 layers x 8 x 50 pairs, 2 x 800 x 6
    Flops(maps=23040, attention=3200.0, head=9600)
    """
    return Flops(
        2 * (shape.active_weights or weights.maps) * load.tokens,
        4 * shape.layers * query_width(shape) * load.pairs,
        2 * weights.embedding * load.states * has_head,
    )


def backward(passed: Flops, *, learns: bool) -> Flops:
    """The operations of the backward pass after a forward pass of `passed`; frozen weights need no gradients of their own.

    >>> backward(Flops(100, 10, 40), learns=True), backward(Flops(100, 10, 40), learns=False)
    (Flops(maps=200, attention=25.0, head=80), Flops(maps=100, attention=25.0, head=40))
    """
    factor = 2 if learns else 1
    return Flops(factor * passed.maps, ATTENTION_BACKWARD * passed.attention, factor * passed.head)


# --- the work of a phase ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sampling:
    """Responses that are drawn: `calls` times, `responses` to `prompts` distinct prompts, at most `slots` at once.

    `longest` is the length of a call's longest response, and the other lengths are means, in tokens.
    """

    calls: int
    responses: float
    prompts: float
    slots: int
    prompt_tokens: float
    response_tokens: float
    longest: float

    def shared(self, spread: GpuSpread) -> "Sampling":
        """What the busiest engine of the `spread` draws: one GPU, or several that hold one copy of the weights together. All
        responses to a prompt are drawn by the same.

        >>> Sampling(1, 64, 8, 4, 100, 1000, 2000).shared(GpuSpread(8, 2))  # 4 engines with 2 prompts each
        Sampling(calls=1, responses=16.0, prompts=2.0, slots=8, prompt_tokens=100, response_tokens=1000, longest=2000)
        """
        share = spread.busiest_share(self.prompts, spread.gpus // spread.drawing_together)
        slots = self.slots * spread.drawing_together
        return replace(self, responses=self.responses * share, prompts=self.prompts * share, slots=slots)

    @property
    def rows(self) -> float:
        """Responses that are drawn at once."""
        return min(self.slots, self.responses)

    @property
    def steps(self) -> float:
        """Steps in which every row draws one token; a call ends with its longest response.

        >>> Sampling(10, 8, 2, 4, 5, 30, 50).steps  # 8 x 30 tokens in 4 slots are 60 steps, more than the longest response
        600.0
        """
        return self.calls * max(self.longest, self.responses * self.response_tokens / max(1, self.rows))

    @property
    def read(self) -> Load:
        """The prompts: each distinct one is read once for all of its responses."""
        read = load_of(self.prompts, self.prompt_tokens, 0).times(self.calls)
        return Load(read.tokens, self.calls * self.prompts, read.pairs)

    @property
    def drawn(self) -> Load:
        """The responses, token by token, each of which attends to its prompt and to those before it."""
        tokens = self.calls * self.responses * self.response_tokens
        return Load(tokens, tokens, tokens * (self.prompt_tokens + self.response_tokens / 2))


@dataclass(frozen=True, slots=True)
class Training:
    """Responses that are trained on: `calls` steps of `responses` each, of which `trained_share` is gone through `epochs`
    times; lengths are means. In the first `warmup_calls` of them a critic learns alone.

    `scored_prompts` and `learnt_prompts` are how many prompts of a step go through the layers when its responses are scored, and
    in each epoch of its updates; None means one with every response.
    """

    calls: int
    responses: float
    epochs: int
    prompt_tokens: float
    response_tokens: float
    trained_share: float = 1.0
    warmup_calls: int = 0
    scored_prompts: float | None = None
    learnt_prompts: float | None = None

    @property
    def load(self) -> Load:
        """One pass over all of them, as they are scored."""
        scored = load_of(self.responses, self.prompt_tokens, self.response_tokens, self.scored_prompts)
        return scored.times(self.calls)

    @property
    def learnt(self) -> Load:
        """What goes through a role that learns in every step, in all epochs."""
        responses = self.responses * self.trained_share
        epoch = load_of(responses, self.prompt_tokens, self.response_tokens, self.learnt_prompts)
        return epoch.times(self.calls * self.epochs)

    @property
    def policy_share(self) -> float:
        """The share of the steps in which the policy learns."""
        return max(0.0, 1.0 - self.warmup_calls / self.calls) if self.calls else 1.0


@dataclass(frozen=True, slots=True)
class Roles:
    """What a phase scores and trains besides its policy. `critic` is "zero" (none), "separate" or "lora"; `reference` is the
    shape of the reference, None if there is none; `scores_policy` is true if old log-probabilities are computed, and
    `has_exact_kl` if the loss has a KL over the whole vocabulary, for which policy and reference read each response again."""

    critic: str
    reference: ShapeConfig | None
    scores_policy: bool
    has_exact_kl: bool = False


def sampling_flops(shape: ShapeConfig, sampling: Sampling) -> float:
    """The operations of drawing responses; adapters are merged into the weights first and cost nothing."""
    weights = count_weights(shape, PolicyConfig())
    return sum(forward(shape, weights, load).total for load in (sampling.read, sampling.drawn))


def scoring_flops(shape: ShapeConfig, roles: Roles, training: Training) -> float:
    """The operations of reading each response once under policy, reference and critic, before the update."""
    weights, load, total = count_weights(shape, PolicyConfig()), training.load, 0.0
    if roles.scores_policy:
        total += forward(shape, weights, load).total
    if roles.reference is not None:
        total += forward(roles.reference, count_weights(roles.reference, PolicyConfig()), load).total
    if roles.critic != "zero":
        total += forward(shape, weights, load, has_head=False).total
    return total


def update_flops(shape: ShapeConfig, policy: PolicyConfig, roles: Roles, training: Training, head_passes: int) -> float:
    """The operations of the updates of policy and critic. `head_passes` counts how often the head runs forwards: twice where
    logits are computed in chunks, and again in the backward pass. An exact KL is a second pass of the policy, with gradients,
    and one of the reference, with both heads."""
    load, is_lora = training.learnt.times(training.policy_share), policy.lora is not None
    total = _learning(shape, policy, load, is_lora=is_lora, head_passes=head_passes)
    if roles.has_exact_kl and roles.reference is not None:
        total += _learning(shape, policy, load, is_lora=is_lora, head_passes=head_passes)
        read = forward(roles.reference, count_weights(roles.reference, PolicyConfig()), load)
        total += read.total + read.head * (head_passes - 1)
    if roles.critic != "zero":
        total += _learning(shape, policy, training.learnt, is_lora=is_lora, head_passes=0)
    return total


def _learning(shape: ShapeConfig, policy: PolicyConfig, load: Load, *, is_lora: bool, head_passes: int) -> float:
    """Forward and backward pass of a role that learns; with gradient checkpointing the layers run forwards twice."""
    weights = count_weights(shape, policy)
    passed = forward(shape, weights, load, has_head=head_passes > 0)
    back = backward(passed, learns=not is_lora)
    again = passed.maps + passed.attention if policy.gradient_checkpointing else 0
    adapters = 6 * weights.adapters * load.tokens
    return passed.total + back.total + again + adapters + passed.head * max(0, head_passes - 1)


# --- the machine -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine does in a second: bytes that a step of sampling reads, operations of a step's products, and of those of
    prompts, scoring and updates.

    A step takes `step_factor` times as long as its floor. `memory` is its size in bytes, None if it is not known.
    """

    name: str
    bandwidth: float
    step_rate: float
    rate: float
    step_factor: float
    memory: int | None = None

    def together(self, count: int) -> "Machine":
        """So many of them, which share the work evenly."""
        rates = {name: count * getattr(self, name) for name in ("bandwidth", "step_rate", "rate")}
        return replace(self, **rates)


def machine_of(name: str, gpu: Gpu, *, is_bfloat16: bool) -> Machine:
    """A GPU with the assumed shares of what its data sheet states."""
    products = 1e12 * (gpu.bfloat16_tflops if is_bfloat16 else gpu.float32_tflops)
    bandwidth = BANDWIDTH_SHARE * 1e12 * gpu.bandwidth_tb
    return Machine(name, bandwidth, products, PRODUCTS_SHARE * products, STEP_FACTOR, gpu.memory)


def step_floor_seconds(
    shape: ShapeConfig, rows: float, context: float, machine: Machine, *, is_bfloat16: bool
) -> float:
    """The least time in which every row draws a token: that of reading all maps that a row goes through, the head, and every
    row's keys and values. In a mixture of experts rows take different ones, as if by chance."""
    weights = count_weights(shape, PolicyConfig())
    left_out = math.pow(1.0 - (shape.active_weights or weights.maps) / weights.maps, rows)
    numbers = weights.maps * (1.0 - left_out) + weights.embedding + rows * context * position_numbers(shape)
    return numbers * (BF16 if is_bfloat16 else F32) / machine.bandwidth


def sampling_seconds(shape: ShapeConfig, sampling: Sampling, machine: Machine, *, is_bfloat16: bool) -> float:
    """How long drawing the responses takes."""
    weights = count_weights(shape, PolicyConfig())
    steps, drawn = sampling.steps, sampling.drawn
    reading = forward(shape, weights, sampling.read).total / machine.rate
    if not steps or not drawn.tokens:
        return reading
    context = drawn.pairs / drawn.tokens
    floor = step_floor_seconds(shape, drawn.tokens / steps, context, machine, is_bfloat16=is_bfloat16)
    products = forward(shape, weights, drawn).total / drawn.tokens * sampling.rows / machine.step_rate
    return steps * machine.step_factor * max(floor, products) + reading
