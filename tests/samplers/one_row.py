"""A plain decoder of one row, and random cases in which the local sampler must say what it says.

1. `make_case(n)` draws a case: an architecture and a dtype, the sizes inside the sampler, and a few calls, one after another on
   one sampler, with weights that may change in between as they do in training.
2. `disagreements` makes the calls and compares every response with a plain decoder: one row, a forward pass in float64 without
   any cache, the uniform numbers of the row's address. Every token is compared after the sampler's own tokens before it. So if
   all agree, the plain decoder writes the same response from its first token on.
3. Products round differently at different batch shapes. So a token may differ where its uniform number lies within `Slack.cdf`
   of the edge between the two (at temperature 0, where its logit is the largest up to `Slack.cdf`), and log-probabilities may
   differ by `Slack.logprob`.

Legend: `V` vocabulary, `T` tokens of a response.
"""

import copy
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import oracles
import pytest
import recorded_step
import torch
from torch import Tensor

from laconic.config.solver import SamplerConfig
from laconic.models.causal_lm import CausalLM
from laconic.rng import seed_of
from laconic.samplers import cache as cache_module
from laconic.samplers import decoders, local
from laconic.samplers import slots as slots_module
from laconic.samplers.drawing import keep_likely, uniforms
from laconic.samplers.local import LocalSampler
from laconic.samplers.protocol import Request
from laconic.types import FinishReason, Response

CONTEXT = 320


@dataclass(frozen=True)
class Slack:
    """How far the sampler's arithmetic may be from float64: in a cumulative probability, and in a log-probability (nats)."""

    cdf: float
    logprob: float


SLACKS = {
    "float32": Slack(1e-5, 1e-4),  # pages
    "float64": Slack(1e-6, 1e-5),  # a single page; logits are float32
    "bfloat16": Slack(0.1, 0.5),  # a single page; a plain forward pass in bfloat16 is 0.02 and 0.1 away
    "autocast": Slack(0.1, 0.5),
}


@dataclass(frozen=True)
class Call:
    """One call of `sample`. `nudge` is the size of a change of all weights before it."""

    requests: tuple[Request, ...]
    decoding: SamplerConfig
    seed: int
    nudge: float


@dataclass(frozen=True)
class Case:
    """A model, the sizes inside the sampler, and calls of one sampler. `sizes` are attributes of modules, by (module, name).

    Where `is_captured`, steps go through `StepGraphs` as on CUDA, with looks after several steps and rounded rows; what stands
    for a captured graph is a `recorded_step`.
    """

    number: int
    architecture: str
    dtype: str
    is_fused: bool
    is_captured: bool
    stops: tuple[int, ...]
    sizes: dict[tuple[str, str], Any]
    calls: tuple[Call, ...]


def make_case(number: int) -> Case:
    """The case of this number."""
    rng = random.Random(f"sampler case {number}")
    sizes = {
        ("cache", "PAGE_TOKENS"): rng.choice([1, 2, 3, 4, 8, 16, 64]),
        ("cache", "FUSED_WIDTH"): rng.choice([1, 4, 16, 256]),
        ("local", "LEAVING_SHARE"): rng.choice([0.0, 0.125, 0.25, 0.25, 0.5, 1.0]),
        ("local", "LOOKS_EVERY"): rng.choice([1, 2, 8]),
        ("slots", "UNIFORM_STEPS"): rng.choice([1, 3, 64]),
        ("local", "PREFILL_TOKENS"): {"cpu": rng.choice([1, 30, 2048]), "cuda": 1},
    }
    more = random.Random(f"copies of sampler case {number}")
    sizes |= {
        ("decoders", "JOINED_BYTES"): more.choice([decoders.JOINED_BYTES, 0]),  # joined, or packed
        ("local", "COMMON_TOKENS"): 1,
        ("local", "SPARED_TOKENS"): more.choice([1, 20, local.SPARED_TOKENS]),
    }
    is_queue = rng.random() < 0.2
    end = (oracles.EOS_ID,)
    return Case(
        number,
        architecture=rng.choice(
            [*(name for name in oracles.ARCHITECTURES[:4] for _ in range(3)), *oracles.ARCHITECTURES[4:]]
        ),
        dtype=rng.choice(["float32"] * 6 + ["float64"] * 2 + ["bfloat16", "autocast"]),
        is_fused=rng.random() < 0.8,
        is_captured=number % 4 == 3,
        stops=end if is_queue else rng.choice([end, (1, 4, 5, 6), (1, *range(4, 21)), tuple(range(1, 40))]),
        sizes=sizes,
        calls=tuple(_make_call(rng, is_queue) for _ in range(1 if is_queue else rng.choice([1, 1, 2, 3]))),
    )


def _make_call(rng: random.Random, is_queue: bool) -> Call:
    temperature = rng.choice([0.0, 0.5, 1.0, 1.0, 1.0, 1.5])
    top_p, min_p = rng.choice([(1.0, 0.0)] * 3 + [(0.6, 0.0), (0.9, 0.05), (1.0, 0.1)])
    decoding = SamplerConfig(
        temperature=1.0 if is_queue else temperature,
        top_p=top_p,
        min_p=min_p,
        max_tokens=rng.randint(16, 40) if is_queue else rng.choice([1, 2, 5, 12, 20, rng.randint(1, 60)]),
        batch_size=rng.choice([10, 16]) if is_queue else rng.choice([1, 2, 4, 7, 10, 16, 40]),
    )
    requests = _make_queue(rng, decoding.batch_size) if is_queue else _make_requests(rng)
    return Call(tuple(requests), decoding, rng.randrange(2**32), nudge=rng.choice([0.0, 0.0, 0.02]))


def _make_queue(rng: random.Random, batch_size: int) -> Iterator[Request]:
    """Twice as many rows as slots, with prompts of one length: rows of all ages are live together."""
    length, num_prompts = rng.choice([1, 5, 30]), rng.choice([1, 2])
    for index in range(num_prompts):
        prompt = tuple(rng.randrange(len(oracles.VOCABULARY)) for _ in range(length))
        yield Request(f"q{index}", prompt, 2 * batch_size // num_prompts)


def _make_requests(rng: random.Random) -> Iterator[Request]:
    """Prompts that are short, long, equal, or begin alike."""
    prompts: list[tuple[int, ...]] = []
    for index in range(rng.choice([1, 2, 3, 5])):
        length = rng.choice([1, 2, rng.randint(1, 12), rng.randint(1, 12), rng.randint(1, 130)])
        prompt = tuple(rng.randrange(len(oracles.VOCABULARY)) for _ in range(length))
        if prompts and rng.random() < 0.4:
            before = rng.choice(prompts)
            prompt = rng.choice([before, (*before[: rng.randint(0, len(before))], *prompt)])[:130]
        prompts.append(prompt)
        yield Request(f"p{index}", prompt, rng.choice([0, 1, 2, 3, 6, 12]), rng.choice([0, 0, 3]))


# --- the plain decoder -----------------------------------------------------------------------------------------------


@torch.no_grad()
def forward_one_row(model: Any, prompt: Sequence[int], response: Sequence[int]) -> Tensor:
    """The logits [T, V] from which each token of the response is drawn, by one forward pass without any cache."""
    ids = torch.tensor([[*prompt, *response[:-1]]])
    logits: Tensor = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 :]
    return logits.double()


def objection(
    logits: Tensor, token: int, logprob: float, number: float, decoding: SamplerConfig, slack: Slack
) -> str | None:
    """What is wrong with `token`, said to be drawn from logits [V] by `number` with `logprob`; None where nothing is, up to the
    slack. Where top-p or min-p cut at the very edge, either side of the cut will do."""
    said = f"token {token} with log-probability {logprob}"
    if decoding.temperature == 0:
        expected = float(logits.log_softmax(-1)[token])
        is_right = bool(logits[token] >= logits.max() - slack.cdf) and abs(logprob - expected) <= slack.logprob
        return None if is_right else f"{said}: the likeliest is {int(logits.argmax())}, and this one has {expected}"
    probs = (logits / decoding.temperature).softmax(-1)
    shifts = (0.0, slack.cdf / 4, -slack.cdf / 4, slack.cdf, -slack.cdf)
    for wider, lower in itertools.product(shifts, shifts):
        top_p = min(1.0, decoding.top_p + wider) if decoding.top_p < 1 else 1.0
        min_p = max(0.0, decoding.min_p - lower) if decoding.min_p > 0 else 0.0
        kept = keep_likely(probs[None], top_p, min_p)[0]
        above = float(kept[: token + 1].sum())
        is_drawn = above - float(kept[token]) - slack.cdf <= number <= above + slack.cdf
        if is_drawn and abs(logprob - float(kept[token].log())) <= slack.logprob:
            return None
    return f"{said}, but {number} draws another, or with {float(probs[token].log())} before any cut"


def disagreement(
    model: Any, request: Request, sample: int, response: Response, call: Call, stops: Sequence[int], slack: Slack
) -> str | None:
    """What is wrong with the response to one sample of a request, or None."""
    tokens, cap = response.token_ids, call.decoding.max_tokens
    ends = [step for step, token in enumerate(tokens) if token in stops]
    if ends not in ([], [len(tokens) - 1]) or (not ends and len(tokens) != cap) or not 0 < len(tokens) <= cap:
        return f"ends at step {len(tokens)} of {cap} with stops at {ends}"
    if (response.finish_reason is FinishReason.STOP) is not bool(ends) or len(response.logprobs) != len(tokens):
        return f"{response.finish_reason} with stops at {ends} and {len(response.logprobs)} log-probabilities"
    key = torch.tensor([seed_of(call.seed, "sample", request.key, request.first_sample + sample)])
    numbers = uniforms(key, torch.arange(len(tokens)))
    logits = forward_one_row(model, request.prompt_ids, tokens)
    for step, (token, logprob) in enumerate(zip(tokens, response.logprobs, strict=True)):
        if wrong := objection(logits[step], token, logprob, float(numbers[step]), call.decoding, slack):
            return f"step {step}: {wrong}"
    return None


# --- the comparison --------------------------------------------------------------------------------------------------


def make_lm(case: Case) -> CausalLM:
    """The case's model, in its dtype, with a context that has room for all cases."""
    lm: CausalLM = oracles.small_lm(case.architecture, case.number % 5)
    lm.model.config.max_position_embeddings = CONTEXT
    config = lm.model.generation_config
    assert config is not None, "every causal LM has one"
    config.eos_token_id = list(case.stops)
    if case.dtype == "autocast":
        lm.settle_dtype(torch.float32, computes_in_bfloat16=True)
    else:
        model: torch.nn.Module = lm.model
        model.to(getattr(torch, case.dtype))
    return lm


@torch.no_grad()
def nudge(model: Any, size: float, seed: int) -> None:
    """Change all weights in place, as an optimiser does."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.add_(size * torch.randn(parameter.shape, generator=generator).to(parameter.dtype))


def disagreements(case: Case) -> Iterator[str]:
    """What is wrong with each response of the case that is not the plain decoder's."""
    modules = {"cache": cache_module, "decoders": decoders, "local": local, "slots": slots_module}
    lm, slack = make_lm(case), SLACKS[case.dtype]
    with pytest.MonkeyPatch.context() as patch:
        for (module, name), value in case.sizes.items():
            patch.setattr(modules[module], name, value)
        if not case.is_fused:
            for module in (decoders, slots_module):
                patch.setattr(module, "can_fuse", lambda lm: False)
        if case.is_captured:
            patch.setattr(slots_module, "capture_on", lambda device: recorded_step.record)
            recorded_step.fits_captures(patch)
        sampler = LocalSampler(lm)
        for index, call in enumerate(case.calls):
            if call.nudge:
                nudge(lm.model, call.nudge, call.seed)
            plain: Any = copy.deepcopy(lm.model)
            plain.double()
            drawn = sampler.sample(call.requests, call.decoding, seed=call.seed)
            assert [len(row) for row in drawn] == [request.num_samples for request in call.requests]
            for request, row in zip(call.requests, drawn, strict=True):
                for sample, response in enumerate(row):
                    if wrong := disagreement(plain, request, sample, response, call, case.stops, slack):
                        yield f"call {index}, {request.key}, sample {sample}: {wrong}"
