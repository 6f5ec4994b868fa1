"""What `gpu.py` measures with: shapes, the arithmetic of floors and FLOPs, made-up models, rollouts and phases, clocks.

Everything here runs on any device. Figures: bytes, seconds, FLOPs; lengths in tokens.
"""

import functools
import gc
import math
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from laconic.config.algorithm import AlgorithmConfig
from laconic.config.load import load_recipe
from laconic.config.optimizer import OptimizerConfig
from laconic.config.phase import PhaseConfig
from laconic.config.policy import LoraConfig, PolicyConfig, ShapeConfig
from laconic.config.solver import SamplerConfig
from laconic.models.causal_lm import CausalLM
from laconic.models.policy import Policy
from laconic.rng import stream
from laconic.samplers.local import LocalSampler
from laconic.samplers.protocol import Request
from laconic.tiny.build import make_tokenizer
from laconic.training.check.phases import resolve_phase
from laconic.types import FinishReason, Grade, Group, Problem, Response, Rollout

RECIPE = Path(__file__).parents[1] / "recipes" / "r1-distill-1.5b.toml"
GIB, BF16_BYTES = 2**30, 2
Ids = tuple[int, ...]
Drawn = list[tuple[Ids, list[Response]]]


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured: of decoding, the `cells` of (rows, context), the most telling first."""

    name: str
    shape: ShapeConfig
    cells: tuple[tuple[int, int], ...]
    prompt_tokens: int
    new_tokens: int
    group: int  # problems per step, and responses per problem
    mean_tokens: int
    max_tokens: int
    micro_batch_tokens: int
    matrix_rows: int
    read_bytes: int


QWEN_1B = ShapeConfig(layers=28, hidden=1536, heads=12, kv_heads=2, intermediate=8960, vocabulary=151_936, tied=True)
SMALL = ShapeConfig(layers=2, hidden=64, heads=4, kv_heads=2, intermediate=128, vocabulary=512, tied=True)
CELLS = (
    (64, 256),
    (64, 4096),
    (8, 16_384),
    (1, 256),
    (8, 256),
    (256, 256),
    (8, 4096),
    (256, 4096),
    (1, 16_384),
    (1, 4096),
)
FULL = Scale("1.5B", QWEN_1B, (*CELLS, (64, 16_384), (256, 16_384)), 128, 64, 8, 2500, 8192, 16_384, 8192, 4 * GIB)
TOY = Scale("toy", SMALL, ((1, 8), (4, 8)), 8, 16, 2, 12, 32, 128, 64, 2**24)


# --- arithmetic a reader can redo ------------------------------------------------------------------------------------


def layer_maps(shape: ShapeConfig) -> list[tuple[int, int, int]]:
    """(inputs, outputs, how many) of a layer's linear maps."""
    hidden, keys = shape.hidden, shape.hidden // shape.heads * shape.kv_heads
    return [(hidden, hidden, 2), (hidden, keys, 2), (hidden, shape.intermediate, 2), (shape.intermediate, hidden, 1)]


def num_weights(shape: ShapeConfig) -> tuple[int, int]:
    """Weights of the layers' linear maps and of the head; norms and biases (under 0.1%) are left out."""
    return shape.layers * sum(a * b * n for a, b, n in layer_maps(shape)), shape.vocabulary * shape.hidden


def decode_floor_seconds(shape: ShapeConfig, batch: int, context: float, bandwidth: float) -> float:
    """Seconds a step cannot go below: (layers, head, and keys and values of batch * context) * 2 bytes / bandwidth."""
    cached = 2 * shape.layers * shape.kv_heads * (shape.hidden // shape.heads) * batch * context
    return (sum(num_weights(shape)) + cached) * BF16_BYTES / bandwidth


def update_flops(
    shape: ShapeConfig, lengths: Sequence[tuple[int, int]], *, learns_all: bool, has_critic: bool, recomputes: bool
) -> float:
    """FLOPs of an update on rows of (prompt, response) tokens.

    Forward: 2 a weight and token (the head reads response tokens only); attention 4 layers hidden T/2 a token of a row of T.
    Backward: twice the forward, but once for weights that are frozen under adapters (the adapters' own are left out): 6 N a
    token for full fine-tuning. Hardware FLOPs: one more forward where activations are recomputed. A critic has no head.
    """
    body, head = (2.0 * weights for weights in num_weights(shape))
    tokens, read = sum(p + r for p, r in lengths), sum(r for _, r in lengths)
    attention = 2.0 * shape.layers * shape.hidden * sum((p + r) ** 2 for p, r in lengths)
    passes, bodies = (3 if learns_all else 2) + recomputes, 2 if has_critic else 1
    return passes * (bodies * body * tokens + head * read) + (3 + recomputes) * bodies * attention


def natural_lengths(count: int, mean: float, cap: int) -> list[int]:
    """`count` lengths at the quantiles of a log-normal with this mean and sigma 0.6, none above `cap`."""
    normal = statistics.NormalDist(-0.18, 0.6)  # exp has mean 1: -0.18 = -0.6^2 / 2
    factors = (math.exp(normal.inv_cdf((i + 0.5) / count)) for i in range(count))
    return [min(cap, max(1, round(mean * factor))) for factor in factors]


# --- models and rollouts that are made up ----------------------------------------------------------------------------


class RandomLM(CausalLM):
    """A model of random weights. `ends` are its end tokens: many make natural lengths, one past the vocabulary none."""

    ends: frozenset[int] = frozenset()

    @property
    def stop_ids(self) -> frozenset[int]:
        """The chosen end tokens."""
        return self.ends


def make_lm(shape: ShapeConfig, device: torch.device, dtype: torch.dtype, mean_tokens: int | None = None) -> RandomLM:
    """A model of this shape with weights held in `dtype`; responses end after about `mean_tokens` (none: at the cap)."""
    config = Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        tie_word_embeddings=shape.tied,
        max_position_embeddings=32_768,
    )
    torch.manual_seed(0)
    with device:
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
    lm = RandomLM(model.eval(), make_tokenizer(), "random")
    num_ends = shape.vocabulary // mean_tokens if mean_tokens else 0
    lm.ends = frozenset(range(shape.vocabulary - num_ends, shape.vocabulary)) or frozenset({shape.vocabulary})
    return lm


def random_ids(shape: ShapeConfig, count: int, *address: str | int) -> Ids:
    """Token ids from a stream of their own."""
    return tuple(stream(0, "gpu", *address).choices(range(shape.vocabulary), k=count))


def graded(problem: int, prompt: Ids, responses: Sequence[Response]) -> Group:
    """The responses to one problem as a group: what was cut off is truncated, the shorter half is correct."""
    middle = statistics.median(response.num_tokens for response in responses)
    grades = [Grade.CORRECT if response.num_tokens <= middle else Grade.WRONG for response in responses]
    pairs = zip(responses, grades, strict=True)
    rollouts = [Rollout(r, Grade.TRUNCATED if r.is_truncated else grade, i) for i, (r, grade) in enumerate(pairs)]
    return Group(Problem(str(problem), "", ""), prompt, tuple(rollouts))


def made_up_groups(scale: Scale, shape: ShapeConfig) -> list[Group]:
    """A step's groups without sampling: random tokens, natural lengths dealt out to the problems in turn."""
    lengths = natural_lengths(scale.group**2, scale.mean_tokens, scale.max_tokens)
    groups = []
    for problem in range(scale.group):
        ids = [random_ids(shape, n, "response", problem, n) for n in lengths[problem :: scale.group]]
        responses = [Response(i, (0.0,) * len(i), "", FinishReason.STOP) for i in ids]
        groups.append(graded(problem, random_ids(shape, scale.prompt_tokens, "prompt", problem), responses))
    return groups


def draw(sampler: LocalSampler, shape: ShapeConfig, prompt_tokens: Sequence[int], num: int, **decoding: Any) -> Drawn:
    """(prompt, `num` responses) for random prompts of these lengths."""
    prompts = [random_ids(shape, n, "prompt", i) for i, n in enumerate(prompt_tokens)]
    requests = [Request(str(i), prompt, num) for i, prompt in enumerate(prompts)]
    return list(zip(prompts, sampler.sample(requests, SamplerConfig(**decoding), seed=0), strict=True))


def make_policy(scale: Scale, device: torch.device, role: str, phase: PhaseConfig, *, recomputes: bool) -> Policy:
    """The phase's roles, held as `load_model` holds them: float32 masters, or a bfloat16 base with adapters; autocast."""
    dtype = torch.bfloat16 if role == "lora" else torch.float32
    lm = make_lm(scale.shape, device, dtype, scale.mean_tokens)
    lm.autocast_dtype = torch.bfloat16
    lora = LoraConfig() if role == "lora" else None
    config = PolicyConfig(dtype="bfloat16", lora=lora, gradient_checkpointing=recomputes)
    policy = Policy(lm, config, seed=0)
    resolved = resolve_phase(phase, config)
    policy.begin_phase(
        critic=resolved.critic, needs_reference=resolved.needs_reference, reference_moves=resolved.has_moving_reference
    )
    return policy


def paper_phase(scale: Scale, role: str) -> PhaseConfig:
    """PPO as in the paper's recipe, at this scale; for LoRA with the three roles on one base."""
    phase = load_recipe(RECIPE).phases[0]
    algorithm = phase.algorithm.model_copy(update={"critic": "lora" if role == "lora" else "separate"})
    sampler = phase.sampler.model_copy(update={"max_tokens": scale.max_tokens, "batch_size": scale.group**2})
    return phase.model_copy(update={"algorithm": algorithm, "sampler": sampler, "group_size": scale.group})


def rloo_phase(scale: Scale) -> PhaseConfig:
    """The policy's update alone: no critic, no reference."""
    optimizer = OptimizerConfig(micro_batch_tokens=scale.micro_batch_tokens)
    sampler = SamplerConfig(max_tokens=scale.max_tokens)
    algorithm = AlgorithmConfig(name="rloo")
    return PhaseConfig(name="update", steps=1000, sampler=sampler, algorithm=algorithm, optimizer=optimizer)


# --- clocks and memory -----------------------------------------------------------------------------------------------


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def once(call: Callable[[], Any], device: torch.device) -> tuple[Any, float]:
    """What `call` gives, and the seconds it took on the device."""
    synchronize(device)
    began = time.perf_counter()
    result = call()
    synchronize(device)
    return result, time.perf_counter() - began


def seconds_of(call: Callable[[], object], device: torch.device, seconds: float, inner: int = 1) -> float:
    """Median seconds of one `call` after a warm-up: 1 to 9 laps of `inner` calls, no new one after `seconds`."""
    once(call, device)
    laps: list[float] = []
    while not laps or (sum(laps) < seconds and len(laps) < 9):
        laps.append(once(lambda: [call() for _ in range(inner)][:0], device)[1])
    return statistics.median(laps) / inner


def forget(device: torch.device) -> None:
    """On CUDA free what no one holds, and start the peak anew."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_gib(device: torch.device) -> float:
    """Most memory held since `forget`; on a CPU the process's peak since its start."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def matrix_rate(shape: ShapeConfig, num_rows: int, device: torch.device, seconds: float) -> float:
    """FLOP/s of bfloat16 products of `num_rows` tokens with every weight of the model."""
    total = 0.0
    head = (shape.hidden, shape.vocabulary, 1 / shape.layers)
    for inputs, outputs, times in [*layer_maps(shape), head]:
        x = torch.randn(num_rows, inputs, device=device, dtype=torch.bfloat16)
        w = torch.randn(outputs, inputs, device=device, dtype=torch.bfloat16)
        call = functools.partial(torch.nn.functional.linear, x, w)
        total += seconds_of(call, device, seconds / 5, inner=10) * times * shape.layers
    return 2.0 * num_rows * sum(num_weights(shape)) / total
