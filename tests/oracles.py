"""Slow, obvious answers to compare with: plain loops over lists of floats, one row at a time, no padding.

1. Losses and advantages: each is its equation, written once more without tensors.
2. Small random models of several architectures, for the tests that need a real forward pass.

torch and transformers are imported inside the second part only.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = Sequence[float]


# --- advantages ------------------------------------------------------------------------------------------------------


def td_errors(rewards: Row, values: Row, last_value: float, gamma: float) -> list[float]:
    """delta_t = r_t + gamma V_{t+1} - V_t; V after the last token is `last_value`."""
    following = [*values[1:], last_value]
    return [r + gamma * f - v for r, f, v in zip(rewards, following, values, strict=True)]


def discounted_sums(x: Row, decay: float) -> list[float]:
    """s_t = sum_l decay^l x_{t+l}, the double loop."""
    return [sum(decay**l * x[t + l] for l in range(len(x) - t)) for t in range(len(x))]  # noqa: E741


def gae(rewards: Row, values: Row, last_value: float, gamma: float, gae_lambda: float) -> list[float]:
    """A_t = sum_l (gamma lambda)^l delta_{t+l}."""
    return discounted_sums(td_errors(rewards, values, last_value, gamma), gamma * gae_lambda)


def leave_one_out(rewards: Row) -> list[float]:
    """r_i - mean of the others of one group; 0 where there are none."""
    others = [[r for j, r in enumerate(rewards) if j != i] for i in range(len(rewards))]
    return [r - sum(o) / len(o) if o else 0.0 for r, o in zip(rewards, others, strict=True)]


def centre(x: Row) -> list[float]:
    """x - mean."""
    return [v - math.fsum(x) / len(x) for v in x]


def standardize(x: Row, eps: float) -> list[float]:
    """(x - mean) / (population standard deviation + eps)."""
    centred = centre(x)
    std = math.sqrt(math.fsum(c * c for c in centred) / len(x))
    return [c / (std + eps) for c in centred]


# --- losses ----------------------------------------------------------------------------------------------------------


def clipped_surrogate(log_ratio: float, advantage: float, clip_low: float, clip_high: float) -> float:
    """-min(rho A, clip(rho) A)."""
    ratio = math.exp(log_ratio)
    clipped = min(max(ratio, 1 - clip_low), 1 + clip_high)
    return -min(ratio * advantage, clipped * advantage)


def value_loss(value: float, old_value: float, target: float, value_clip: float | None) -> float:
    """1/2 (V - R)^2, or the worse of it and that of the clipped value."""
    plain = 0.5 * (value - target) ** 2
    if value_clip is None:
        return plain
    clipped = min(max(value, old_value - value_clip), old_value + value_clip)
    return max(plain, 0.5 * (clipped - target) ** 2)


def kl_k1(log_ratio: float) -> float:
    """Schulman's k1 for KL(pi || ref) with x ~ pi: -log r, r = ref / pi."""
    return -math.log(math.exp(-log_ratio))


def kl_k2(log_ratio: float) -> float:
    """1/2 (log r)^2."""
    return 0.5 * math.log(math.exp(-log_ratio)) ** 2


def kl_k3(log_ratio: float) -> float:
    """(r - 1) - log r."""
    r = math.exp(-log_ratio)
    return (r - 1) - math.log(r)


def entropy(logits: Row) -> float:
    """-sum p log p."""
    exps = [math.exp(x - max(logits)) for x in logits]
    probs = [e / sum(exps) for e in exps]
    return -sum(p * math.log(p) for p in probs if p > 0)


# --- reductions ------------------------------------------------------------------------------------------------------


def aggregate(losses: Sequence[Row], aggregation: str, max_tokens: int) -> float:
    """The aggregated loss of ragged rows; a row without counted tokens is not a response in the loss."""
    rows = [row for row in losses if len(row)]
    if aggregation == "response":
        return sum(sum(row) / len(row) for row in rows) / len(rows)
    if aggregation == "token":
        return sum(sum(row) for row in rows) / sum(len(row) for row in rows)
    return sum(sum(row) for row in rows) / (max_tokens * len(rows))


# --- small random models ---------------------------------------------------------------------------------------------

ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3")
VOCABULARY = ("<pad>", "<eos>", "<bos>", "<unk>", *(f"w{i}" for i in range(36)))
PAD_ID, EOS_ID, BOS_ID = 0, 1, 2
WINDOW = 8  # of the sliding layers of gemma2 and gemma3
CONTEXT = 128


def small_model(architecture: str, seed: int = 0) -> Any:
    """A random causal LM of 2 layers, width 32 and 40 tokens, in evaluation mode."""
    import torch
    import transformers

    common: dict[str, Any] = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
        "pad_token_id": PAD_ID,
        "eos_token_id": EOS_ID,
        "bos_token_id": BOS_ID,
        "initializer_range": 0.2,
    }
    kinds = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": WINDOW, "head_dim": 8}
    own: dict[str, dict[str, Any]] = {
        "llama": {},
        "mistral": {"sliding_window": WINDOW},
        "qwen2": {"tie_word_embeddings": True},
        "qwen3": {"head_dim": 16},
        "gemma2": kinds | {"query_pre_attn_scalar": 8, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0},
        "gemma3": kinds | {"query_pre_attn_scalar": 8},
    }
    classes = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM),
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
        "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
        "gemma2": (transformers.Gemma2Config, transformers.Gemma2ForCausalLM),
        "gemma3": (transformers.Gemma3TextConfig, transformers.Gemma3ForCausalLM),
    }
    config_class, model_class = classes[architecture]
    torch.manual_seed(seed)
    config = config_class(**(common | own[architecture]))
    config._attn_implementation = "eager" if architecture == "gemma2" else "sdpa"
    return model_class(config).eval()


def small_tokenizer() -> Any:
    """A word-level tokenizer over `VOCABULARY`: "w0 w1" is [4, 5]."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", unk_token="<unk>"
    )


def save_checkpoint(architecture: str, folder: Path, *, dtype: str = "float32") -> Path:
    """A small random checkpoint in Hugging Face format, tokenizer and generation config included."""
    import torch

    model = small_model(architecture).to(getattr(torch, dtype))
    model.save_pretrained(folder)
    small_tokenizer().save_pretrained(folder)
    return folder


def small_lm(architecture: str, seed: int = 0) -> Any:
    """A `CausalLM` around a small random model, without a detour over files."""
    from laconic.models.causal_lm import CausalLM

    return CausalLM(small_model(architecture, seed), small_tokenizer(), architecture)


# --- small steps of training -----------------------------------------------------------------------------------------


def make_group(prompt: Sequence[int], responses: Sequence[tuple[Sequence[int], float, str]]) -> Any:
    """A group of (token ids, reward, grade); "truncated" ones were cut off. Sampler log-probabilities are -1, -2, ..."""
    from laconic.types import FinishReason, Grade, Group, Problem, Response, Rollout

    rollouts = []
    for sample, (ids, reward, grade) in enumerate(responses):
        reason = FinishReason.LENGTH if grade == "truncated" else FinishReason.STOP
        response = Response(tuple(ids), tuple(-1.0 - t for t in range(len(ids))), "", reason)
        rollouts.append(Rollout(response, Grade(grade), sample, reward, {"reward": reward}))
    return Group(Problem("-".join(map(str, prompt)), "", ""), tuple(prompt), tuple(rollouts))


def make_phase(**changes: dict[str, Any]) -> Any:
    """A phase of 10 steps with float-friendly defaults; `changes` go to `sampler`, `algorithm` and `optimizer`."""
    from laconic.config.phase import PhaseConfig

    base: dict[str, dict[str, Any]] = {
        "sampler": {"max_tokens": 16},
        "algorithm": {"whitening": "none"},
        "optimizer": {"lr": 1e-3, "critic_lr": 1e-3},
    }
    return PhaseConfig(name="p", steps=10, **{part: base[part] | changes.get(part, {}) for part in base})


def ragged_groups() -> list[Any]:
    """Three problems with prompts of 3, 9 and 1 tokens and ragged responses, one of a single token, one truncated."""
    return [
        make_group([4, 5, 6], [([7, 8, 9, 1], 1.0, "correct"), ([1], -1.0, "no_answer"), ([9, 10, 1], -0.5, "wrong")]),
        make_group(
            range(10, 19),
            [
                ([*range(20, 31), 1], 1.0, "correct"),
                ([5, 1], -0.5, "wrong"),
                ([6, 7, 8, 9, 10], -1.0, "truncated"),
                ([31, 32, 33], 0.0, "ungradable"),
            ],
        ),
        make_group([2], [([11, 12, 13, 14, 15, 16, 1], 1.0, "correct"), ([17, 1], 1.0, "correct")]),
    ]


class GradientRecorder:
    """Stands where an optimiser stands: keeps the gradients instead of stepping."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self.parameters, self.lr, self.gradients = parameters, 0.0, {}

    def step(self, factor: float) -> float:
        """Keep a copy of every gradient and clear it."""
        self.gradients = {n: p.grad.clone() for n, p in self.parameters.items() if p.grad is not None}
        for parameter in self.parameters.values():
            parameter.grad = None
        return factor


def update_gradients(
    policy: Any, phase: Any, experience: Any, advantages: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The policy's and the critic's gradients of one whole update, through the Updater's own losses."""
    from laconic.training.updates import Updater

    updater = Updater(policy, phase, seed=0)
    actor, critic = GradientRecorder(policy.policy_parameters()), GradientRecorder(policy.critic_parameters())
    updater.actor, updater.critic = actor, critic if critic.parameters else None
    updater.update(experience, advantages, step=0, phase_step=0)
    return actor.gradients, critic.gradients
