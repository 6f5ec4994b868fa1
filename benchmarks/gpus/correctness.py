"""What must hold on a device, on small random models: four architectures, each in the four ways in which it may compute.

1. What is sampled has the log-probabilities of the model's own forward pass, slots refilled; steps that are captured give what
   the same steps give one operation after the other; one seed gives the same responses twice.
2. The memory of a call is there again afterwards.
3. An update is that of a CPU, and one that is resumed from what a checkpoint holds goes on as if it had not been interrupted.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

import torch
from gpu_workloads import TOY, Drawn, RandomLM, draw, forget, made_up_groups, paper_phase
from gpus.rows import Bench, Row, at_most
from torch import Tensor
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig, Qwen2Config, Qwen3Config

from laconic.config.policy import LoraConfig, PolicyConfig
from laconic.config.rewards import RewardsConfig
from laconic.models.causal_lm import CausalLM
from laconic.models.policy import Policy
from laconic.rollouts.paying import pay_groups
from laconic.samplers.local import LocalSampler
from laconic.tiny.build import make_tokenizer
from laconic.training.algorithms import estimate_advantages, find_algorithm
from laconic.training.batching import collate
from laconic.training.experience import gather_experience
from laconic.training.updates import Updater

KINDS: Mapping[str, Any] = {
    "Llama": LlamaConfig,
    "Qwen2": Qwen2Config,
    "Qwen3": Qwen3Config,
    "Gemma 2": Gemma2Config,
}
MODES: Mapping[str, float] = {"float32": 1e-4, "bfloat16": 0.1, "autocast": 0.1, "LoRA": 0.1}
"""How a model may compute, and by how much its log-probabilities may differ (nats)."""

PROMPTS, SAMPLES, MOST_TOKENS, NUM_SLOTS = (7, 40, 1, 19), 2, 16, 4
KEPT_BYTES = 2**21  # what libraries may keep after a call
STRAY_SHARE = 0.02  # Adam turns gradients that are zero but for rounding into steps of full size, in random directions


def correctness(bench: Bench) -> Iterator[Row]:
    """Every row, the sampler's first."""
    pairs = itertools.product(KINDS, MODES) if bench.has_targets else zip(KINDS, MODES, strict=True)
    for kind, mode in pairs:  # in a rehearsal each kind once and each mode once
        yield from sampler_rows(kind, mode, bench.device)
    yield memory_row(bench.device)
    yield from update_rows(bench.device)


# --- models ----------------------------------------------------------------------------------------------------------


def make_small(kind: str, mode: str, device: torch.device) -> CausalLM:
    """Two layers of random weights that compute as `mode` says; a third of the tokens end a response late or never."""
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": TOY.shape.vocabulary}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    config = KINDS[kind](**sizes, **heads, max_position_embeddings=512, tie_word_embeddings=True)
    dtype = torch.bfloat16 if mode in ("bfloat16", "LoRA") else torch.float32
    torch.manual_seed(0)
    with device:
        way = "eager" if kind == "Gemma 2" else "sdpa"
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=way)
    lm = RandomLM(model.eval(), make_tokenizer(), kind)
    lm.ends = frozenset(range(0, TOY.shape.vocabulary, 32))
    if mode in ("autocast", "LoRA"):
        lm.autocast_dtype = torch.bfloat16
    return _adapted(lm) if mode == "LoRA" else lm


def _adapted(lm: RandomLM) -> CausalLM:
    """The same model under an adapter that changes what it says."""
    policy = Policy(lm, PolicyConfig(dtype="bfloat16", lora=LoraConfig(rank=4)), seed=0)
    generator = torch.Generator().manual_seed(1)
    for parameter in policy.policy_parameters().values():
        parameter.data.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    return policy.lm


# --- sampling --------------------------------------------------------------------------------------------------------


def sampler_rows(kind: str, mode: str, device: torch.device) -> Iterator[Row]:
    """One model in one mode."""
    lm, bound = make_small(kind, mode, device), MODES[mode]
    drawn, again = sampled(lm, graphs=True, times=2)
    (plain,) = sampled(lm, graphs=False, times=1)
    name = f"{kind}, {mode}"
    yield at_most(f"{name}: sampled, full forward", forward_error(lm, drawn), bound, "nats")
    yield at_most(f"{name}: captured, eager", difference(drawn, plain), bound, "nats")
    yield at_most(f"{name}: one seed twice, responses that differ", num_different(drawn, again), 0.0)
    del lm
    forget(device)


def sampled(lm: CausalLM, *, graphs: bool, times: int) -> list[Drawn]:
    """What a sampler draws so many times with one seed: responses of several lengths, with more rows than slots."""
    with mock.patch.dict(os.environ, {} if graphs else {"LACONIC_CUDA_GRAPHS": "0"}):
        sampler, options = LocalSampler(lm), {"max_tokens": MOST_TOKENS, "batch_size": NUM_SLOTS}
        return [draw(sampler, TOY.shape, PROMPTS, SAMPLES, **options) for _ in range(times)]


@torch.no_grad()
def forward_error(lm: CausalLM, drawn: Drawn) -> float:
    """Largest difference between the log-probabilities that the sampler reports and those of the model's own forward, nats."""
    worst = 0.0
    for prompt, responses in drawn:
        for response in responses:
            ids = torch.tensor([[*prompt, *response.token_ids]], device=lm.device)
            with lm.autocast():
                logprobs = lm.model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)
            own = logprobs.gather(-1, ids[0, len(prompt) :, None])[:, 0].cpu()
            worst = max(worst, float((own - torch.tensor(response.logprobs)).abs().max()))
    return worst


def difference(one: Drawn, other: Drawn) -> float:
    """Largest difference of log-probabilities up to the first token that differs, of every pair of responses, nats. In bfloat16
    a rounding may tip a draw, after which two responses have nothing in common."""
    worst = 0.0
    for a, b in _pairs(one, other):
        same = [x == y for x, y in zip(a.token_ids, b.token_ids, strict=False)]
        common = same.index(False) if False in same else len(same)
        gaps = [abs(x - y) for x, y in zip(a.logprobs[:common], b.logprobs[:common], strict=True)]
        worst = max([worst, *gaps])
    return worst


def num_different(one: Drawn, other: Drawn) -> float:
    """Responses that are not the same to the bit."""
    return float(sum(a != b for a, b in _pairs(one, other)))


def _pairs(one: Drawn, other: Drawn) -> list[tuple[Any, Any]]:
    return [pair for (_, a), (_, b) in zip(one, other, strict=True) for pair in zip(a, b, strict=True)]


def memory_row(device: torch.device) -> Row:
    """What the device still holds when a sampler has given back its memory, and then the model; nothing is known of a CPU."""

    def held() -> int:
        forget(device)
        return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0

    before = held()
    lm = make_small("Llama", "float32", device)
    sampler = LocalSampler(lm)
    draw(sampler, TOY.shape, PROMPTS, SAMPLES, max_tokens=64, batch_size=8)
    sampler.release()
    del lm, sampler
    return at_most("memory held after a call", held() - before, KEPT_BYTES, "bytes")


# --- updates ---------------------------------------------------------------------------------------------------------


def update_rows(device: torch.device) -> Iterator[Row]:
    """Two updates of policy and critic against a CPU's, and against those between which everything was saved and restored."""
    here, before = learnt(device, through_nothing)
    there, _ = learnt(torch.device("cpu"), through_nothing)
    again, _ = learnt(device, through_a_checkpoint)
    for name, other in (("of a CPU", there), ("resumed between the two", again)):
        share = stray_share(here, other, before)
        yield at_most(f"two updates and those {name}: differing share of the change", share, STRAY_SHARE)


Between = Callable[[Policy, Updater, Callable[[], tuple[Policy, Updater]]], tuple[Policy, Updater]]


def learnt(device: torch.device, between: Between) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of policy and critic on the CPU after two updates of a made-up step, and before them."""
    phase = paper_phase(TOY, "full")
    phase = phase.model_copy(update={"optimizer": phase.optimizer.model_copy(update={"minibatches": 1})})

    def begin() -> tuple[Policy, Updater]:
        lm = make_small("Qwen2", "float32", torch.device("cpu"))
        lm.model.to(device)  # type: ignore[arg-type]  # transformers types `to` for devices it does not name
        policy = Policy(lm, PolicyConfig(), seed=0)
        policy.begin_phase(critic="separate", needs_reference=True, reference_moves=False)
        return policy, Updater(policy, phase, seed=0)

    policy, updater = begin()
    before = on_cpu(policy.trainable_state())
    groups = made_up_groups(TOY, TOY.shape)
    batch = collate(pay_groups(groups, RewardsConfig(), {}, TOY.max_tokens), truncated="penalise")
    for step in range(2):
        experience = gather_experience(policy, batch, phase)
        advantages = estimate_advantages(find_algorithm(phase), experience, phase.algorithm)
        updater.update(experience, advantages, step, step)
        policy, updater = between(policy, updater, begin)
    return on_cpu(policy.trainable_state()), before


def through_nothing(
    policy: Policy, updater: Updater, begin: Callable[[], tuple[Policy, Updater]]
) -> tuple[Policy, Updater]:
    """The same objects."""
    return policy, updater


def through_a_checkpoint(
    policy: Policy, updater: Updater, begin: Callable[[], tuple[Policy, Updater]]
) -> tuple[Policy, Updater]:
    """Fresh objects that were handed what a checkpoint holds of the old ones."""
    weights, moments = on_cpu(policy.trainable_state()), on_cpu(updater.state())
    fresh, resumed = begin()
    fresh.load_trainable_state(weights)
    resumed.load_state(moments)
    return fresh, resumed


def on_cpu(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in named.items()}


def stray_share(one: Mapping[str, Tensor], other: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> float:
    """How far two ways of learning end apart, as a share of how far they went."""
    apart = sum(float((one[name] - other[name]).pow(2).sum()) for name in one)
    went = sum(float((one[name] - before[name]).pow(2).sum()) for name in one)
    return (apart / went) ** 0.5 if went else float("nan")
