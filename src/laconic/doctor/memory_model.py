"""Predicts the peak memory of a phase from shapes: at which moment it is reached, and what the memory is used for.

1. A decoder's weights are counted from its shape (`weights.py`). `_roles` turns them into the bytes that are used during the
   whole phase: the weights of policy, critic and reference, and two moments for every weight that learns.
2. A step passes through moments: sampling, scoring, the updates, the optimizer's step, saving. Each moment adds memory of its
   own, derived from what the code and autograd keep (`layer_bytes` lists the tensors that are saved of a layer). After the last
   phase the run is measured: a second model is loaded, and draws responses with the cap of the report.
3. The peak is the largest moment, not the sum of all: the memory of sampling is free again when the update begins.
4. Over several GPUs (`GpuSpread`) each holds its part of weights, gradients and moments, and gathers the weights of the layer
   that it computes; rows are shared out. This is stage 3 of ZeRO (Rajbhandari et al. 2020, arXiv 1910.02054, section 5.3), as
   FSDP2 does it. Beside that each holds the policy whole, as one process would, to draw responses from; that of rank 0 is saved
   too. When a phase begins, it holds one whole copy of each role until it is spread. (An engine of another trainer may have its
   copies on several GPUs together.)

Lengths are the worst case: every response runs to its cap, the problems' own texts are as long as the longest, and micro-batches
are full. The memory of the process (interpreter and libraries) is counted separately on a CPU, that of the context on CUDA.

Left out: loading and resuming, attention that is not fused (soft caps need rows x heads x length^2 more), the rollouts' text and
numbers on the host (about 150 bytes per token), and fragmentation.

Legend: `E` hidden size, `A`, `K` width of all queries, all keys, `I` intermediate size, `V` vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from laconic.config.algorithm import AlgorithmConfig
from laconic.config.phase import PhaseConfig
from laconic.config.policy import PolicyConfig, ShapeConfig
from laconic.doctor.spread import ONE_GPU, GpuSpread
from laconic.doctor.weights import adapted_maps, count_weights, key_width, linear_maps, position_numbers, query_width
from laconic.models.loading import computes_in_bfloat16
from laconic.models.prefixes import is_worth_sharing
from laconic.models.scoring import KEPT_CHUNKS, logits_per_chunk
from laconic.samplers.cache import FUSED_WIDTH
from laconic.samplers.decoders import JOINED_BYTES, packed_limit
from laconic.samplers.local import PREFILL_TOKENS
from laconic.training.batching import ATTENDED, token_budget
from laconic.training.check.phases import ResolvedPhase
from laconic.training.time_left import group_of, most_trained_of

GIB = 2**30
F32, BF16 = 4, 2
DRAWING = ("prefilling", "sampling")
"""The moments in which responses are drawn."""
OPTIMIZER = "optimizer moments"
LOGITS_FORWARD = 2  # float32 copies of a chunk's logits while scoring: the logits, and a scaled or exponentiated copy
LOGITS_BACKWARD = 5  # in the update: the saved logits and probabilities, and three gradients in the backward pass
LOGITS_SAVED = 2  # of these, what the forward pass leaves
EXACT_KL_BACKWARD = (
    5  # of an exact KL: log-probabilities, probabilities and differences that are saved, and two gradients
)
EXACT_KL_AGAIN = (
    7  # where a chunk of it is computed again: logits and log-probabilities of both, and what becomes of them
)
KERNEL_BYTES = {
    False: 40 * 2**20,
    True: 96 * 2**20,
}  # what oneDNN compiled for the shapes at hand, by "is bfloat16": measured
DRAWN_BYTES = (
    4 * F32
)  # a logit while a token is drawn: itself, over the temperature, its probability, what top-p leaves of it


@dataclass(frozen=True, slots=True)
class Moment:
    """A point of the step and the bytes in use at it, by purpose."""

    name: str
    parts: dict[str, int]

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True)
class OtherDraws:
    """Responses that are drawn beside the rollouts: rows decoded at once, distinct prompts among them, their cap, and the length
    of a prompt where it is another than the longest problem's."""

    rows: int
    prompts: int
    max_tokens: int
    prompt_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """The size of the largest step: rows decoded at once, distinct prompts among them, the longest prompt, and the device on
    which it runs ("cpu", "cuda"). `process_bytes` is the memory of the device that is used by anything but tensors. Rows and
    prompts are those of one GPU of the `spread`. `other_weights` are those of the model that are no text model's: they are held
    and copied with it, and never learn, as no gradient reaches them. `watch` is what a watch draws, where its responses may be
    longer than rollouts, `exits` are the answers that are forced on cut traces, and `report` is what is drawn when the run is
    measured after this phase; None where nothing is. `response_tokens` is the longest response that is trained on, and
    `mean_tokens` the mean length in a group whose longest response has so many; None where both are the phase's cap."""

    rows: int
    prompts: int
    prompt_tokens: int
    device: str
    process_bytes: int
    spread: GpuSpread = ONE_GPU
    other_weights: int = 0
    watch: OtherDraws | None = None
    report: OtherDraws | None = None
    exits: OtherDraws | None = None
    response_tokens: int | None = None
    mean_tokens: int | None = None


# --- what stays ------------------------------------------------------------------------------------------------------


def runs_in_bfloat16(shape: ShapeConfig, policy: PolicyConfig) -> bool:
    """Whether the layers' arithmetic of a model of this shape runs in bfloat16."""
    return computes_in_bfloat16(policy, shape.stored_bytes == BF16 and not shape.float16)


@dataclass(frozen=True, slots=True)
class _Roles:
    """Bytes that policy, critic and reference use during the whole phase, and how many weights of each learn."""

    policy: int
    critic: int
    reference: int
    policy_learns: int
    critic_learns: int

    @property
    def learns(self) -> int:
        return self.policy_learns + self.critic_learns

    def parts(self, spread: GpuSpread) -> dict[str, int]:
        """What stays during the whole phase on one GPU."""
        drawing = {"whole policy, which draws": self.policy} if spread.holds_whole_policy else {}
        whole = {
            "policy weights": self.policy,
            "critic weights": self.critic,
            "reference weights": self.reference,
            OPTIMIZER: 2 * F32 * self.learns,
        }
        return drawing | {name: spread.part(size) for name, size in whole.items()}

    def beginning(self, spread: GpuSpread) -> dict[str, int]:
        """What is there when a phase begins: a whole copy of each role is made of the whole policy, and then spread, critic and
        reference one after the other, the policy last."""
        return {
            "whole policy, which draws": self.policy,
            "policy weights, not spread yet": self.policy,
            "another role, not spread yet": max(self.critic, self.reference + spread.part(self.critic)),
        }


def _roles(
    shape: ShapeConfig, phase: ResolvedPhase, policy: PolicyConfig, teacher: ShapeConfig | None, others: int
) -> _Roles:
    """With LoRA the base is stored once, in the compute dtype, and every role is an adapter on it in float32. A teacher, or a
    copy of the policy, is a separate model in float32, but for the linear maps of one that never moves."""
    weights, critic = count_weights(shape, policy), phase.critic
    adapters = F32 * weights.adapters
    dtype_bytes = BF16 if policy.lora and runs_in_bfloat16(shape, policy) else F32
    separate = (weights.body + others) * dtype_bytes + adapters
    if phase.config.algorithm.reference_model is not None:
        reference = _model_bytes(teacher or shape, policy, is_rounded=True)
    elif not policy.lora:
        reference = _model_bytes(shape, policy, is_rounded=not phase.has_moving_reference) + F32 * others
    else:
        reference = adapters
    return _Roles(
        policy=(weights.total + others) * dtype_bytes + adapters,
        critic={"zero": 0, "lora": adapters, "separate": separate}[critic],
        reference=phase.needs_reference * reference,
        policy_learns=weights.adapters if policy.lora else weights.total,
        critic_learns=0 if critic == "zero" else weights.adapters if policy.lora else weights.body,
    )


def _model_bytes(shape: ShapeConfig, policy: PolicyConfig, *, is_rounded: bool) -> int:
    """Bytes of a model that stands beside the policy. One that never changes is held rounded where the arithmetic is bfloat16."""
    weights = count_weights(shape, PolicyConfig())
    maps = BF16 if is_rounded and runs_in_bfloat16(shape, policy) else F32
    return maps * weights.maps + F32 * (weights.embedding + weights.head)


# --- what comes and goes ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Setting:
    """The arguments of a prediction, with what several moments read off them."""

    shape: ShapeConfig
    phase: PhaseConfig
    policy: PolicyConfig
    work: Work
    is_rounded: bool = False

    @property
    def is_bfloat16(self) -> bool:
        return runs_in_bfloat16(self.shape, self.policy)

    @property
    def compute(self) -> int:
        """Bytes of a number in the layers' arithmetic."""
        return BF16 if self.is_bfloat16 else F32

    @property
    def drawn_tokens(self) -> int:
        """Tokens of the longest row that is drawn."""
        return self.work.prompt_tokens + self.phase.sampler.max_tokens

    @property
    def row_tokens(self) -> int:
        """Tokens of the longest row that is trained on."""
        return self.work.prompt_tokens + (self.work.response_tokens or self.phase.sampler.max_tokens)

    @property
    def mean_tokens(self) -> int:
        """The mean length of the responses of a group that is trained on."""
        return self.work.mean_tokens or self.row_tokens - self.work.prompt_tokens

    @property
    def position_bytes(self) -> int:
        """Keys and values of one position in all layers."""
        return position_numbers(self.shape) * self.compute

    @property
    def table(self) -> int:
        """Weights of the embedding, and of the output map."""
        return self.shape.vocabulary * self.shape.hidden

    @property
    def problems(self) -> int:
        """Problems of the step whose groups one GPU has."""
        return self.work.spread.part(self.phase.problems_per_step)

    @property
    def scored_rows(self) -> int:
        """Responses of the step."""
        return self.problems * group_of(self.phase)

    @property
    def learnt_rows(self) -> int:
        """Responses of one update. (Where a critic learns, the algorithm leaves none of a group out.)"""
        return -(-self.problems * most_trained_of(self.phase) // self.phase.optimizer.minibatches)

    def tokens_of(self, rows: int) -> int:
        """Tokens of `rows` responses with their prompts. Where prompts are computed once, their repeats count `ATTENDED`."""
        whole = rows * (self.work.prompt_tokens + self.mean_tokens)
        prompts = min(rows, self.problems)  # as many as there may be, since minibatches are shuffled
        distinct = rows * self.mean_tokens + prompts * self.work.prompt_tokens
        if may_share_prompts(self.policy) and is_worth_sharing(distinct, whole, self.shape.hidden):
            return distinct + round(ATTENDED * (whole - distinct))
        return whole

    def micro_tokens(self, rows: int) -> int:
        """Tokens of the largest micro-batch that `rows` responses are cut into: a budget, but at least one row."""
        budget = token_budget(self.phase.optimizer, torch.device(self.work.device))
        return max(self.row_tokens, min(budget, self.tokens_of(rows)))

    def response_share(self, rows: int) -> int:
        """How many of the tokens of that micro-batch are response tokens."""
        return self.micro_tokens(rows) * rows * self.mean_tokens // self.tokens_of(rows)

    def num_micro_batches(self, rows: int) -> int:
        return -(-self.tokens_of(rows) // self.micro_tokens(rows))

    def chunk_bytes(self, rows: int) -> int:
        """Float32 logits of one chunk of that micro-batch."""
        a_chunk = max(logits_per_chunk(self.work.device), self.shape.vocabulary)
        return min(F32 * a_chunk, self.logits_bytes(rows))

    def logits_bytes(self, rows: int) -> int:
        """Float32 logits of all response tokens of that micro-batch."""
        return F32 * self.response_share(rows) * self.shape.vocabulary

    def cast_bytes(self) -> int:
        """Autocast keeps a bfloat16 copy of every float32 map, as long as its region lasts; in a model that is held rounded only
        the head is one. (Trainers with an engine gather the weights in bfloat16 instead.)"""
        if self.policy.lora or not self.is_bfloat16 or self.work.spread.engine:
            return 0
        maps = count_weights(self.shape, self.policy).maps
        if self.is_rounded:
            size = _model_bytes(self.shape, self.policy, is_rounded=True)
            maps = maps if size <= JOINED_BYTES else 0  # matrices of a small model are joined, in copies
        return BF16 * (maps + self.table)

    def whole_weights(self) -> dict[str, int]:
        """What is whole on a GPU that otherwise holds a part of the weights: the layer that is computed and the next one, which
        is fetched meanwhile, and what belongs to no layer, which FSDP2 keeps as long as a pass lasts."""
        if not self.work.spread.is_sharded:
            return {}
        weights = count_weights(self.shape, self.policy)
        whole = 2 * self.layer_maps + weights.embedding + weights.head
        return {"weights of two layers": gathered_bytes(self.policy, self.work.spread, self.compute) * whole}

    def whole_gradients(self) -> dict[str, int]:
        """Gradients of the layer whose backward pass is done and of the one before, in float32, before they are divided."""
        if not self.work.spread.is_sharded or self.policy.lora:
            return {}
        return {"gradients of two layers": F32 * 2 * self.layer_maps}

    @property
    def layer_maps(self) -> int:
        return count_weights(self.shape, self.policy).maps // self.shape.layers

    def engine_weights(self) -> dict[str, int]:
        """The engine's copy of the weights with which responses are drawn, or this GPU's part of it."""
        engine = self.work.spread.engine
        if engine is None:
            return {}
        return {"weights for sampling": self.compute * count_weights(self.shape, self.policy).total // engine}


def may_share_prompts(policy: PolicyConfig) -> bool:
    """Whether an update may compute a prompt once for several responses: not where layers are in training mode."""
    return not policy.gradient_checkpointing and not (policy.lora and policy.lora.dropout)


def has_exact_kl(algorithm: AlgorithmConfig) -> bool:
    """Whether the loss has a KL over the whole vocabulary, for which policy and reference read every micro-batch again."""
    return algorithm.kl_estimator == "exact" and algorithm.kl_in == "loss" and algorithm.kl_coef > 0


def gathered_bytes(policy: PolicyConfig, spread: GpuSpread, compute: int) -> int:
    """Bytes of a policy's weight that GPUs gather, where a number of the arithmetic has `compute`: processes of `laconic train`
    gather weights in the dtype in which they hold them."""
    return F32 if spread.holds_whole_policy and policy.lora is None else compute


def layer_bytes(shape: ShapeConfig, policy: PolicyConfig) -> int:
    """Bytes that autograd saves of one layer for one token. The counts of numbers, before they are turned into bytes:

    float32         2E residual stream, 2E normalized (only where norms learn), 2E into the maps, A queries, 2K keys and values,
                    A attended, 4I: gate, its silu, up, their product
    under autocast  the stream and the normalized stay float32; each of q, k, v, gate and up gets a bfloat16 copy of its input:
                    5E; the rest as above in bfloat16
    with adapters   r a map; under autocast A more for the copy that the output map's adapter reads
    """
    lora, is_bfloat16 = policy.lora, runs_in_bfloat16(shape, policy)
    stream = (2 if lora else 4) * shape.hidden
    inputs = (5 if is_bfloat16 else 2) * shape.hidden
    attention = (3 if lora and is_bfloat16 else 2) * query_width(shape) + 2 * key_width(shape)
    adapters = lora.rank * len(adapted_maps(shape, policy)) if lora else 0
    compute = BF16 if is_bfloat16 else F32
    return F32 * stream + compute * (inputs + attention + 4 * shape.intermediate + adapters)


def _passing_bytes(setting: _Setting, num_wide: int) -> int:
    """Bytes per token of one layer while it is computed: `num_wide` tensors of the intermediate size, and the stream twice."""
    return setting.compute * num_wide * setting.shape.intermediate + F32 * 2 * setting.shape.hidden


def _saved_bytes(setting: _Setting, tokens: int, response_tokens: int, passes: int = 1) -> int:
    """Activations that forward passes leave for the backward pass; with gradient checkpointing one layer at a time."""
    shape = setting.shape
    ends = F32 * shape.hidden * (2 * tokens + 2 * response_tokens)  # the last norm; the states that are read
    if setting.policy.gradient_checkpointing:
        layers = tokens * (passes * shape.layers * F32 * shape.hidden + layer_bytes(shape, setting.policy))
    else:
        layers = passes * tokens * shape.layers * layer_bytes(shape, setting.policy)
    return layers + passes * ends


# --- moments ---------------------------------------------------------------------------------------------------------


def predict_moments(
    shape: ShapeConfig, phase: ResolvedPhase, policy: PolicyConfig, work: Work, teacher: ShapeConfig | None = None
) -> tuple[Moment, ...]:
    """Every moment of a step of `phase` and its memory, in the order in which they come; before them the phase's beginning on
    one of several GPUs, and after them the measuring of the run, where it follows. `teacher` is the shape of the phase's
    `reference_model`; if it is None, the teacher is taken to be as large as the model."""
    setting, roles = (
        _Setting(shape, phase.config, policy, work),
        _roles(shape, phase, policy, teacher, work.other_weights),
    )
    outside = "process" if work.device == "cpu" else "device context"
    kernels = KERNEL_BYTES[setting.is_bfloat16] if work.device == "cpu" else 0
    process = {outside: work.process_bytes, "compiled kernels": kernels}
    stays = process | roles.parts(work.spread)
    own_parts = [
        *zip(DRAWING, (_prefilling_all(setting), _sampling_all(setting)), strict=True),
        ("scoring", _scoring(setting)),
        *_updates(setting, roles),
        ("optimizer step", _optimizer_step(setting, roles)),
        ("saving a checkpoint", _saving(setting)),
    ]
    begins = [("a phase begins", process | roles.beginning(work.spread))] if work.spread.holds_whole_policy else []
    measures = [("measuring the report", process | _measuring(setting, roles))] if work.report else []
    moments = [*begins, *((name, stays | parts) for name, parts in own_parts), *measures]
    return tuple(Moment(name, {key: size for key, size in parts.items() if size}) for name, parts in moments)


def peak(moments: tuple[Moment, ...]) -> Moment:
    """The moment that needs the most memory."""
    return max(moments, key=lambda moment: moment.total)


def _prefilling(setting: _Setting) -> dict[str, int]:
    """Prompts that enter together go through the model in parts of a fixed number of tokens. Their keys and values are kept until
    they have been copied to every row."""
    tokens = setting.work.prompts * setting.work.prompt_tokens
    budget = PREFILL_TOKENS.get(setting.work.device, PREFILL_TOKENS["cuda"])
    at_once = min(tokens, max(budget, setting.work.prompt_tokens))
    return setting.engine_weights() | {
        "bfloat16 copies of the weights": setting.cast_bytes(),
        "fused copy of the layers": _fused_bytes(setting),
        "key-value cache": tokens * setting.position_bytes,
        "activations of the prompts": at_once * _passing_bytes(setting, num_wide=3),
        "logits of a token a row": 2 * F32 * setting.work.prompts * setting.shape.vocabulary,
    }


def _drawing(setting: _Setting, drawing: OtherDraws) -> _Setting:
    """The setting in which responses other than rollouts are drawn."""
    sampler = setting.phase.sampler.model_copy(update={"max_tokens": drawing.max_tokens})
    phase = setting.phase.model_copy(update={"sampler": sampler})
    prompt = drawing.prompt_tokens or setting.work.prompt_tokens
    work = replace(setting.work, rows=drawing.rows, prompts=drawing.prompts, prompt_tokens=prompt)
    return replace(setting, phase=phase, work=work)


def _prefilling_all(setting: _Setting) -> dict[str, int]:
    """The larger of the prompts of problems, and of those of exits, each of which holds a part of a trace."""
    exits = [_prefilling(_drawing(setting, setting.work.exits))] if setting.work.exits else []
    return max([_prefilling(setting), *exits], key=lambda parts: sum(parts.values()))


def _sampling_all(setting: _Setting) -> dict[str, int]:
    """The largest of what is drawn: rollouts with the phase's cap, exits, and the watch set with the cap of the report, where it
    has one."""
    others = [other for other in (setting.work.watch, setting.work.exits) if other]
    drawn = [_sampling(setting), *(_sampling(_drawing(setting, other)) for other in others)]
    return max(drawn, key=lambda parts: sum(parts.values()))


def _measuring(setting: _Setting, roles: _Roles) -> dict[str, int]:
    """A model is evaluated that is loaded whole, without adapters, and held rounded, beside the run's own roles; the optimizer's
    moments are gone by then."""
    assert setting.work.report is not None
    plain = replace(setting, policy=setting.policy.model_copy(update={"lora": None}), is_rounded=True)
    drawn = _drawing(plain, setting.work.report)
    evaluated = _model_bytes(plain.shape, plain.policy, is_rounded=True) + F32 * setting.work.other_weights
    stays = {name: size for name, size in roles.parts(setting.work.spread).items() if name != OPTIMIZER}
    larger = max(_prefilling(drawn), _sampling(drawn), key=lambda parts: sum(parts.values()))
    return stays | {"evaluated model": evaluated} | larger


def _sampling(setting: _Setting) -> dict[str, int]:
    """The whole cache is reserved at once; on a CPU in float32 only the written part takes memory."""
    shape, rows = setting.shape, setting.work.rows
    is_paged = setting.work.device == "cpu" and not setting.is_bfloat16
    reserved = -(-setting.drawn_tokens // FUSED_WIDTH) * FUSED_WIDTH
    positions = setting.drawn_tokens if is_paged else reserved
    prompts = setting.work.prompts * setting.work.prompt_tokens
    return setting.engine_weights() | {
        "bfloat16 copies of the weights": setting.cast_bytes(),
        "fused copy of the layers": _fused_bytes(setting),
        "key-value cache": (rows * positions + prompts) * setting.position_bytes,
        "attention scores": (3 if is_paged else 1) * F32 * rows * positions * shape.heads,
        "logits of a token a row": rows * shape.vocabulary * DRAWN_BYTES,
    }


def _fused_bytes(setting: _Setting) -> int:
    """In float32 the fused decoder holds a second copy of the maps into a layer where the model is small, and of those into which
    it merges an adapter; of a larger model, on a CPU, a packed copy of all maps. (In bfloat16 it has the copies that autocast
    would make.)"""
    if setting.is_bfloat16:
        return 0
    size = F32 * count_weights(setting.shape, setting.policy).total
    is_joined = size <= JOINED_BYTES
    is_packed = setting.work.device == "cpu" and not is_joined and size <= packed_limit()
    adapted = adapted_maps(setting.shape, setting.policy)
    copied = [
        a * b
        for name, (a, b) in linear_maps(setting.shape).items()
        if name in adapted or (is_joined and not name.endswith(("o_proj", "down_proj")))
    ]
    maps = linear_maps(setting.shape).values() if is_packed else ()
    packed = (
        setting.shape.layers * sum(a * b for a, b in maps) + is_packed * setting.shape.vocabulary * setting.shape.hidden
    )
    return F32 * (setting.shape.layers * sum(copied) + packed)


def _scoring(setting: _Setting) -> dict[str, int]:
    rows = setting.scored_rows
    return setting.whole_weights() | {
        "bfloat16 copies of the weights": setting.cast_bytes(),
        "activations of one micro-batch": setting.micro_tokens(rows) * _passing_bytes(setting, num_wide=3),
        "logits of one chunk": LOGITS_FORWARD * setting.chunk_bytes(rows),
    }


def _updates(setting: _Setting, roles: _Roles) -> Iterator[tuple[str, dict[str, int]]]:
    """The two ends of each backward pass. At its start all activations are there, at its end all gradients.

    The critic is updated after the policy's step, so the gradients of both are never in memory at the same time.
    """
    rows, has_exact = setting.learnt_rows, has_exact_kl(setting.phase.algorithm)
    tokens, accumulates = setting.micro_tokens(rows), setting.num_micro_batches(rows) > 1
    policy, critic = (setting.work.spread.part(F32 * learns) for learns in (roles.policy_learns, roles.critic_learns))
    whole = setting.whole_weights() | setting.whole_gradients()
    saved = _saved_bytes(setting, tokens, setting.response_share(rows))
    again = _saved_bytes(setting, tokens, setting.response_share(rows), passes=2) - saved if has_exact else 0
    passing = tokens * _passing_bytes(setting, num_wide=2)
    table = 0 if setting.policy.lora else F32 * setting.table
    casts = setting.cast_bytes()
    yield (
        "policy update, backward begins",
        whole
        | {
            "gradients": accumulates * policy,
            "bfloat16 copies of the weights": casts,
            "activations of one micro-batch": saved,
            "activations of the exact KL": again,
            "logits": max(
                _logits_backward(setting, rows, table), has_exact * _exact_kl_logits(setting, rows, table), passing
            ),
        },
    )
    doubled = table * (setting.shape.tied + accumulates)
    yield "policy update, backward ends", whole | {"gradients": policy + doubled}
    if critic:
        yield (
            "critic update, backward begins",
            whole
            | {
                "gradients": accumulates * critic,
                "bfloat16 copies of the weights": casts,
                "activations of one micro-batch": saved + passing,
            },
        )
        yield "critic update, backward ends", whole | {"gradients": critic + accumulates * table}


def _logits_backward(setting: _Setting, rows: int, table: int) -> int:
    """Logits with their gradients, and the output map's gradient of `table` bytes.

    With one chunk, the most memory is used either inside its loss, or when its gradient is multiplied with the output map, which
    needs the gradient and a copy in another order. With several, of which some are kept, half a chunk is computed beside them and
    copied, or its gradient is multiplied, beside the sum of the gradients so far.
    """
    chunk, whole = setting.chunk_bytes(rows), setting.logits_bytes(rows)
    if chunk == whole:
        return max(LOGITS_BACKWARD * chunk, 2 * chunk + table)
    return min(whole, KEPT_CHUNKS * chunk) + max(chunk, chunk // 2 + 2 * table)


def _exact_kl_logits(setting: _Setting, rows: int, table: int) -> int:
    """Logits while an exact KL is turned into gradients, beside what the pass before it keeps of its own. Its chunks are half as
    large, since there are logits of policy and reference."""
    whole, chunk = setting.logits_bytes(rows), setting.chunk_bytes(rows)
    kept = LOGITS_SAVED * chunk if chunk == whole else min(whole, KEPT_CHUNKS * chunk)
    half = F32 * max(logits_per_chunk(setting.work.device) // 2, setting.shape.vocabulary)
    if half >= whole:
        return kept + max(EXACT_KL_BACKWARD * whole, 2 * whole + table)
    return kept + max(EXACT_KL_AGAIN * half, half + 2 * table)


def _optimizer_step(setting: _Setting, roles: _Roles) -> dict[str, int]:
    """On a CPU AdamW computes square roots of one weight tensor at a time, in two copies; elsewhere one kernel needs no
    copies."""
    largest = 0 if setting.policy.lora else F32 * setting.table
    roots = 2 * largest if setting.work.device == "cpu" else 0
    gradients = setting.work.spread.part(F32 * max(roles.policy_learns, roles.critic_learns))
    return {"gradients": gradients, "optimizer's temporaries": roots}


def _saving(setting: _Setting) -> dict[str, int]:
    """The model in the dtype of its files, if that differs from the dtype in memory, with LoRA's maps merged; of several
    processes the first does this. Where there is an engine, one weight at a time is put together and handed to the host."""
    weights = count_weights(setting.shape, setting.policy)
    if setting.work.spread.engine:
        return {"the largest weight, whole": F32 * setting.table}
    dtype_bytes = BF16 if setting.policy.lora and setting.is_bfloat16 else F32
    merged = weights.maps if setting.policy.lora else 0
    others = weights.total + setting.work.other_weights - merged if setting.shape.stored_bytes != dtype_bytes else 0
    return {"copies to be written": setting.shape.stored_bytes * (merged + others)}
