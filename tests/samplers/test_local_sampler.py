"""What the local sampler claims: its tokens come from the model's own distribution, its log-probabilities are those they were
drawn with, and a response depends on its address (seed, key, sample), not on its neighbours."""

import gc
import itertools
import math
import shutil
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from laconic.config.policy import LoraConfig, PolicyConfig
from laconic.config.solver import SamplerConfig
from laconic.errors import Diverged, ModelError
from laconic.models.causal_lm import CausalLM
from laconic.models.policy import Policy
from laconic.samplers import cache as cache_module
from laconic.samplers import decoders, local
from laconic.samplers import slots as slots_module
from laconic.samplers.cache import PAGE_TOKENS, SlotCache
from laconic.samplers.drawing import draw_tokens, keep_likely, uniforms
from laconic.samplers.local import LocalSampler, moves_into_order
from laconic.samplers.protocol import Request
from laconic.types import FinishReason, Response

DECODING = SamplerConfig(max_tokens=24, batch_size=16)

# prompts of 3, 1, 20 (longer than the window of 8) and 9 tokens
REQUESTS = (
    Request("a", (4, 5, 6), 4),
    Request("b", (7,), 2),
    Request("c", tuple(range(10, 30)), 3),
    Request("d", tuple(range(5, 14)), 1),
)


@pytest.fixture(scope="module", params=oracles.ARCHITECTURES)
def lm(request: pytest.FixtureRequest) -> CausalLM:
    """A random model of each architecture: among 40 tokens its end token comes up now and then."""
    model: CausalLM = oracles.small_lm(request.param)
    return model


@pytest.fixture(scope="module")
def llama() -> CausalLM:
    model: CausalLM = oracles.small_lm("llama")
    return model


def draw(lm: CausalLM, requests: Any = REQUESTS, *, seed: int = 0, **changes: Any) -> list[list[Response]]:
    return LocalSampler(lm).sample(requests, DECODING.model_copy(update=changes), seed=seed)


def ids(responses: list[list[Response]]) -> list[list[tuple[int, ...]]]:
    return [[response.token_ids for response in row] for row in responses]


def full_forward(lm: CausalLM, prompt: tuple[int, ...], response: Response, temperature: float) -> Tensor:
    """The oracle: prompt and response through the model's own forward, without any cache."""
    sequence = torch.tensor([[*prompt, *response.token_ids]])
    with torch.no_grad():
        logits = lm.model(input_ids=sequence, use_cache=False).logits[0].float()
    log_p = (logits / temperature).log_softmax(-1)[len(prompt) - 1 : -1]
    return log_p.gather(-1, torch.tensor(response.token_ids)[:, None])[:, 0]


# --- what is drawn ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_are_those_of_a_full_forward(lm: CausalLM, temperature: float) -> None:
    """Every architecture, prompts longer than a sliding window, slots refilled (10 rows in 4 slots): to 1e-4."""
    responses = draw(lm, temperature=temperature, batch_size=4)
    assert [len(row) for row in responses] == [4, 2, 3, 1]
    assert max(r.num_tokens for row in responses for r in row) > oracles.WINDOW
    for request, row in zip(REQUESTS, responses, strict=True):
        for response in row:
            expected = full_forward(lm, request.prompt_ids, response, temperature)
            assert list(response.logprobs) == pytest.approx(expected.tolist(), abs=1e-4)


def test_greedy_equals_the_models_own_generate(lm: CausalLM) -> None:
    """Temperature 0 against `generate(do_sample=False)`, end token included; log-probabilities at temperature 1."""
    for request, (response,) in zip(
        REQUESTS, draw(lm, [replace(r, num_samples=1) for r in REQUESTS], temperature=0.0), strict=True
    ):
        prompt = torch.tensor([request.prompt_ids])
        with torch.no_grad():
            out = lm.model.generate(  # type: ignore[operator]
                prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=24, pad_token_id=0
            )
        assert response.token_ids == tuple(out[0, len(request.prompt_ids) :].tolist())
        expected = full_forward(lm, request.prompt_ids, response, 1.0)
        assert list(response.logprobs) == pytest.approx(expected.tolist(), abs=1e-4)


def test_a_response_ends_with_the_end_token_or_at_the_cap(llama: CausalLM) -> None:
    """STOP: the end token is there, once, last, and counted. LENGTH: exactly max_tokens tokens, none of them an end token."""
    (row,) = draw(llama, [Request("a", (4, 5, 6), 64)], max_tokens=20)
    reasons = {response.finish_reason for response in row}
    assert reasons == {FinishReason.STOP, FinishReason.LENGTH}
    for response in row:
        assert response.num_tokens == len(response.token_ids) == len(response.logprobs)
        if response.finish_reason is FinishReason.STOP:
            assert response.token_ids.index(oracles.EOS_ID) == response.num_tokens - 1
        else:
            assert response.num_tokens == 20
            assert oracles.EOS_ID not in response.token_ids


def test_an_end_token_drawn_at_the_cap_is_a_stop(llama: CausalLM) -> None:
    """Cap 1: whoever draws the end token at once has stopped; all others were cut off. Both kinds have one token."""
    (row,) = draw(llama, [Request("a", (4, 5, 6), 200)], max_tokens=1)
    for response in row:
        assert response.num_tokens == 1
        assert response.is_truncated is (response.token_ids != (oracles.EOS_ID,))
    assert 0 < sum(not response.is_truncated for response in row) < 200


def test_every_stated_end_token_ends(llama: CausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generation config with end tokens 1, 4 to 20: responses end with one of them and hold no other."""
    stops = [1, *range(4, 21)]
    monkeypatch.setattr(llama.model.generation_config, "eos_token_id", stops)
    ended = [r for row in draw(llama) for r in row if not r.is_truncated]
    assert len({r.token_ids[-1] for r in ended}) > 1
    assert all(r.token_ids[-1] in stops and not set(r.token_ids[:-1]) & set(stops) for r in ended)


def test_texts_leave_out_special_tokens(llama: CausalLM) -> None:
    """Words only; the end token is in the ids and not in the text."""
    for row in draw(llama):
        for response in row:
            words = [oracles.VOCABULARY[i] for i in response.token_ids if i > 3]
            assert [word for word in response.text.split() if word != "<unk>"] == words


def test_a_prompt_that_does_not_fit_is_refused(llama: CausalLM) -> None:
    """Context 128: 100 + 28 fit, 101 + 28 do not; the line names the request. So does an empty prompt's."""
    fits, too_long = Request("fits", (5,) * 100, 1), Request("long", (5,) * 101, 1)
    assert draw(llama, [fits], max_tokens=28)[0][0].num_tokens <= 28
    with pytest.raises(
        ModelError, match="long: a prompt of 101 tokens and max_tokens 28 exceed the context of llama, 128"
    ):
        draw(llama, [fits, too_long], max_tokens=28)
    with pytest.raises(ModelError, match="empty: the prompt is empty"):
        draw(llama, [Request("empty", (), 1)])


def test_progress_counts_every_response_and_token_once(llama: CausalLM) -> None:
    """The calls add up to what was returned."""
    calls: list[tuple[int, int]] = []
    responses = LocalSampler(llama).sample(REQUESTS, DECODING, seed=0, on_progress=lambda *call: calls.append(call))
    tokens = sum(response.num_tokens for row in responses for response in row)
    assert [sum(part) for part in zip(*calls, strict=True)] == [10, tokens]


def test_sampling_leaves_the_model_as_it_was(llama: CausalLM) -> None:
    """A model in training mode is in training mode afterwards, also when the call is refused."""
    llama.model.train()
    try:
        draw(llama)
        assert llama.model.training
        with pytest.raises(ModelError):
            draw(llama, [Request("long", (5,) * 127, 1)])
        assert llama.model.training
    finally:
        llama.model.eval()


# --- what a response depends on --------------------------------------------------------------------------------------


def test_a_response_depends_on_its_address_and_not_on_its_neighbours(lm: CausalLM) -> None:
    """The same call again, 3 or 16 slots, other prompts before, after and beside it, another order: the same responses."""
    here = draw(lm)
    assert draw(lm) == here
    assert ids(draw(lm, batch_size=3)) == ids(here)
    other = Request("z", (30, 31), 5)
    assert ids(draw(lm, [other, *REQUESTS]))[1:] == ids(here)
    assert ids(draw(lm, [*REQUESTS, other], batch_size=3))[:-1] == ids(here)
    assert ids(draw(lm, REQUESTS[::-1]))[::-1] == ids(here)
    assert ids(draw(lm, REQUESTS[2:3])) == ids(here)[2:3]


def test_seeds_keys_and_samples_address_different_randomness(llama: CausalLM) -> None:
    """Changing any part of the address changes the responses; the same prompt under another key is another draw. (Of 16
    responses those of three tokens and more: shorter ones may coincide.)"""

    def long_ones(key: str, seed: int) -> list[tuple[int, ...]]:
        (row,) = ids(draw(llama, [Request(key, (4, 5, 6), 16)], seed=seed))
        return [tokens for tokens in row if len(tokens) > 2]

    drawn = [long_ones(key, seed) for key, seed in (("a", 0), ("a", 1), ("A", 0))]
    assert all(len(row) > 8 for row in drawn)
    assert len({tokens for row in drawn for tokens in row}) == sum(map(len, drawn))


def test_samples_are_numbered_from_first_sample(llama: CausalLM) -> None:
    """Samples 2 and 3 of a call for four are samples 0 and 1 of a call that starts at 2."""
    later = draw(llama, [replace(REQUESTS[0], first_sample=2, num_samples=2)])
    assert ids(later)[0] == ids(draw(llama, REQUESTS[:1]))[0][2:]


def test_a_longer_cap_continues_the_same_response(llama: CausalLM) -> None:
    """What is drawn at a step does not depend on how many may follow."""
    short, long = draw(llama, max_tokens=5), draw(llama, max_tokens=24)
    for one, other in zip(ids(short), ids(long), strict=True):
        assert [tokens[:5] for tokens in other] == one


@pytest.mark.parametrize("batch_size", [2, 16])
def test_each_distinct_prompt_is_prefilled_once(
    llama: CausalLM, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    """Two prompts of 5 and 4 tokens, eight samples each, in 2 or 16 slots: each row of a many-token call is a new prompt."""
    rows: list[tuple[int, ...]] = []
    prefill = decoders.FusedDecoder.prefill
    sampler = LocalSampler(llama)
    sampler.sample(REQUESTS, DECODING, seed=0)  # a sampler's first call checks the decoder

    def counting(self: decoders.FusedDecoder, ids: Tensor, *others: Any) -> Any:
        rows.extend(map(tuple, ids.tolist()))
        return prefill(self, ids, *others)

    monkeypatch.setattr(decoders.FusedDecoder, "prefill", counting)
    requests = [Request("a", (4, 5, 6, 7, 8), 8), Request("b", (9, 10, 11, 12), 8)]
    sampler.sample(requests, DECODING.model_copy(update={"batch_size": batch_size}), seed=0)
    prompts = sorted(tuple(token for token in row if token != oracles.PAD_ID) for row in rows)
    assert prompts == [(4, 5, 6, 7, 8), (9, 10, 11, 12)]


@pytest.mark.parametrize("name", ["llama", "mistral"])
@pytest.mark.parametrize("batch_size", [4, 16])
def test_the_common_beginning_of_prompts_is_computed_once(
    monkeypatch: pytest.MonkeyPatch, name: str, batch_size: int
) -> None:
    """A beginning of 20 tokens, longer than Mistral's window of 8, and prompts of which one is the beginning and a token. Where
    it spares less than is worth a pass, all prompts are computed whole; the responses are the same."""
    lm = oracles.small_lm(name)
    common = tuple(range(5, 25))
    requests = [Request(f"{i}", (*common, *range(30, 31 + i)), 3) for i in range(4)]
    sampler = LocalSampler(lm)
    sampler.check_decoding()
    fed: list[list[int]] = []
    prefill = decoders.FusedDecoder.prefill

    def counting(self: decoders.FusedDecoder, ids: Tensor, *others: Any) -> Any:
        fed.extend(ids.tolist())
        return prefill(self, ids, *others)

    monkeypatch.setattr(decoders.FusedDecoder, "prefill", counting)
    decoding = DECODING.model_copy(update={"batch_size": batch_size})
    monkeypatch.setattr(local, "SPARED_TOKENS", 61)
    whole = sampler.sample(requests, decoding, seed=0)
    assert sorted(len([token for token in row if token != oracles.PAD_ID]) for row in fed) == [21, 22, 23, 24]
    fed.clear()
    monkeypatch.setattr(local, "SPARED_TOKENS", 60)
    monkeypatch.setattr(local, "COMMON_TOKENS", 20)
    parted = sampler.sample(requests, decoding, seed=0)
    assert sorted(len([token for token in row if token != oracles.PAD_ID]) for row in fed) == [1, 2, 3, 4, 20]
    fed.clear()
    monkeypatch.setattr(local, "COMMON_TOKENS", 21)
    assert ids(sampler.sample(requests, decoding, seed=0)) == ids(whole) == ids(parted)
    assert len(fed) == 4
    for one, other in zip(itertools.chain(*parted), itertools.chain(*whole), strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_no_position_beyond_prompt_and_cap_is_ever_fed(llama: CausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts of one token, cap 30, rows that leave early, slots refilled and left empty: positions 0 to 29 and no others
    (a model with learned positions has none beyond its context)."""
    positions: set[int] = set()
    begin_step = SlotCache.begin_step

    def watching(self: SlotCache, fed: Tensor) -> None:
        positions.update(fed.tolist())
        begin_step(self, fed)

    monkeypatch.setattr(SlotCache, "begin_step", watching)
    monkeypatch.setattr(local, "LEAVING_SHARE", 1.0)  # slots that ended are kept to the end
    monkeypatch.setattr(local, "CHECK_PROMPTS", (2, 5))
    for seed in range(5):
        draw(llama, [Request(str(i), (4 + i,), 5) for i in range(6)], max_tokens=30, batch_size=24, seed=seed)
    assert max(positions) == 29


def test_an_adapted_policy_is_what_is_sampled() -> None:
    """LoRA with three roles on one base: responses come from the policy's adapter, not from the critic's or the base."""
    policy = Policy(oracles.small_lm("llama"), PolicyConfig(device="cpu", lora=LoraConfig(rank=2)), seed=0)
    before = draw(policy.lm)
    for parameter in policy.policy_parameters().values():
        torch.nn.init.normal_(parameter, std=0.1)
    policy.begin_phase(critic="lora", needs_reference=True)
    for parameter in (policy.critic_parameters() | policy.reference_parameters()).values():
        torch.nn.init.normal_(parameter, std=0.5)
    responses = draw(policy.lm)
    assert ids(responses) != ids(before)
    for request, row in zip(REQUESTS, responses, strict=True):
        for response in row:
            sequence = torch.tensor([[*request.prompt_ids, *response.token_ids]])
            predictors = torch.arange(response.num_tokens)[None] + len(request.prompt_ids) - 1
            drawn = torch.tensor([response.token_ids])
            scored, _ = policy.logprobs(sequence, predictors, drawn, torch.ones_like(drawn).bool(), temperature=1.0)
            assert list(response.logprobs) == pytest.approx(scored[0].tolist(), abs=1e-4)


# --- drawing one token -----------------------------------------------------------------------------------------------


def test_draws_are_as_frequent_as_the_softmax_says() -> None:
    """100,000 draws from 8 logits at temperature 0.7: chi-square with 7 degrees of freedom below 24.3 (p = 0.001)."""
    logits, n = torch.tensor([0.0, 1.0, -1.0, 2.0, 0.5, -2.0, 1.5, -0.5]), 100_000
    uniform = uniforms(torch.full((n,), 42), torch.arange(n))
    tokens, logprobs = draw_tokens(logits.expand(n, 8), uniform, SamplerConfig(temperature=0.7))
    probs = (logits / 0.7).softmax(-1)
    counts = torch.bincount(tokens, minlength=8)
    assert ((counts - n * probs) ** 2 / (n * probs)).sum().item() < 24.3
    assert (logprobs - probs.log()[tokens]).abs().max().item() < 1e-5


def test_a_uniform_number_finds_its_token_by_the_cumulative_distribution() -> None:
    """p = (1/2, 0, 1/4, 1/4): [0, .5) is token 0, [.5, .75) token 2, [.75, 1) token 3; token 1 is never drawn."""
    probs = torch.tensor([0.5, 0.0, 0.25, 0.25])
    uniform = torch.tensor([0.0, 0.25, 0.499, 0.501, 0.749, 0.751, 1 - 2**-53], dtype=torch.float64)
    tokens, logprobs = draw_tokens(probs.log().expand(7, 4), uniform, SamplerConfig())
    assert tokens.tolist() == [0, 0, 0, 2, 2, 3, 3]
    assert logprobs.exp().tolist() == pytest.approx([0.5] * 3 + [0.25] * 4, abs=1e-6)


PROBS = (0.125, 0.5, 0.0625, 0.25, 0.0625)  # ranked: 1 (.5), 3 (.25), 0 (.125), 2 and 4 (.0625 each)


@pytest.mark.parametrize(
    ("top_p", "min_p", "kept"),
    [
        (1.0, 0.0, [0, 1, 2, 3, 4]),
        (0.4, 0.0, [1]),  # the likeliest alone is enough
        (0.5, 0.0, [1]),  # and reaches exactly a half
        (0.6, 0.0, [1, 3]),  # .5 < .6 <= .75
        (0.8, 0.0, [0, 1, 3]),  # .75 < .8 <= .875
        (1.0, 0.25, [0, 1, 3]),  # at least .25 * .5 = .125
        (1.0, 0.3, [1, 3]),  # at least .15
        (1.0, 0.9, [1]),
        (0.8, 0.3, [1, 3]),  # after min-p 2/3 and 1/3 are left; both are needed for .8
        (0.6, 0.3, [1]),  # and one is enough for .6
    ],
)
def test_top_p_and_min_p_keep_exactly_these_tokens(top_p: float, min_p: float, kept: list[int]) -> None:
    """What is kept is renormalised; drawn tokens come from it, with its log-probabilities."""
    probs = torch.tensor([PROBS])
    out = keep_likely(probs, top_p, min_p)[0]
    assert out.nonzero()[:, 0].tolist() == kept
    total = sum(PROBS[i] for i in kept)
    assert out[kept].tolist() == pytest.approx([PROBS[i] / total for i in kept], abs=1e-6)
    uniform = (torch.arange(64, dtype=torch.float64) + 0.5) / 64
    tokens, logprobs = draw_tokens(probs.log().expand(64, 5), uniform, SamplerConfig(top_p=top_p, min_p=min_p))
    assert sorted(set(tokens.tolist())) == kept
    assert logprobs.tolist() == pytest.approx(out.log()[tokens].tolist(), abs=1e-6)


def test_truncated_sampling_reports_the_probabilities_it_drew_with(llama: CausalLM) -> None:
    """top-p 0.5: every drawn token is likelier under the kept set than under the model, and no kept set loses it."""
    for row, request in zip(draw(llama, top_p=0.5), REQUESTS, strict=True):
        for response in row:
            plain = full_forward(llama, request.prompt_ids, response, 1.0)
            assert all(kept > full - 1e-5 for kept, full in zip(response.logprobs, plain.tolist(), strict=True))
            # what is kept holds at least half of the mass, so renormalising at most doubles a probability
            assert max(k - p for k, p in zip(response.logprobs, plain.tolist(), strict=True)) <= math.log(2) + 1e-4


# --- uniform numbers -------------------------------------------------------------------------------------------------


@given(key=st.integers(0, 2**63 - 1), step=st.integers(0, 10_000))
@settings(max_examples=100, deadline=None)
def test_uniforms_lie_in_the_half_open_interval_and_follow_the_reference(key: int, step: int) -> None:
    """splitmix64 of key + (step + 1) * golden ratio, in Python's integers modulo 2^64; the top 53 bits as a fraction."""
    z = (key + (step + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    expected = ((z ^ (z >> 31)) >> 11) / 2**53
    ours = uniforms(torch.tensor([key]), torch.tensor([step])).item()
    assert ours == expected
    assert 0.0 <= ours < 1.0


def test_neighbouring_keys_and_steps_share_nothing_and_fill_the_interval() -> None:
    """100 keys in a row times 100 steps: 10,000 distinct numbers; mean 1/2 and variance 1/12 within four standard errors."""
    keys, steps = torch.arange(100).repeat_interleave(100), torch.arange(100).repeat(100)
    numbers = uniforms(keys, steps)
    assert len(set(numbers.tolist())) == 10_000
    assert numbers.mean().item() == pytest.approx(0.5, abs=4 * 0.2887 / 100)
    assert numbers.var().item() == pytest.approx(1 / 12, abs=4 * 0.0745 / 100)
    counts = torch.histc(numbers, bins=10, min=0, max=1)
    assert ((counts - 1000) ** 2 / 1000).sum().item() < 27.9  # chi-square, 9 degrees of freedom, p = 0.001
    grid = numbers.view(100, 100)
    for a, b in ((grid[:-1], grid[1:]), (grid[:, :-1], grid[:, 1:])):
        correlation = torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item()
        assert abs(correlation) < 0.04


# --- the cache -------------------------------------------------------------------------------------------------------


def test_a_step_reads_what_its_rows_hold_and_not_what_they_may_come_to_hold(llama: CausalLM) -> None:
    """Rows that hold 3, 70 and 10 positions: all three read the first page, the first two the second; the cap changes nothing."""
    caches = [SlotCache(4, cap, llama.device, torch.float32) for cap in (100, 4000)]
    for cache in caches:
        cache.plan_step(np.array([3, 70, 10]))
        assert cache.reads == [(3, PAGE_TOKENS), (2, PAGE_TOKENS)]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=16))
@settings(max_examples=50, deadline=None)
def test_rows_move_into_order_by_the_fewest_moves(held: list[tuple[bool, int]]) -> None:
    """Slots that hold a row of some size or none: every row is kept, larger ones come first, and of the rows of one size as many
    as can have stayed."""
    rows = {slot: size for slot, (is_held, size) in enumerate(held) if is_held}
    targets, sources = moves_into_order(np.array([*rows], dtype=int), np.array([*rows.values()], dtype=int))
    moved = {int(target): rows[source] for target, source in zip(targets, sources, strict=True)}
    stayed = {slot: size for slot, size in rows.items() if slot not in sources}
    wanted = dict(enumerate(sorted(rows.values(), reverse=True)))
    assert stayed | moved == wanted and not stayed.keys() & moved.keys()
    assert stayed == {slot: size for slot, size in wanted.items() if rows.get(slot) == size}


def test_long_rows_stay_in_front(llama: CausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of 4 positions, ten rows of all ages in four slots: where rows have moved, none is behind one of fewer pages."""
    plain, live = local._Decoding._close_ranks, []

    def close_ranks(self: Any, is_alive: list[bool]) -> None:
        plain(self, is_alive)
        live.append(self.reached[: len(self.rows)] // 4)

    monkeypatch.setattr(cache_module, "PAGE_TOKENS", 4)
    monkeypatch.setattr(local._Decoding, "_close_ranks", close_ranks)
    draw(llama, batch_size=4)
    assert max(map(len, live)) == 3
    assert all(np.all(np.diff(pages) <= 0) for pages in live)


def test_rows_of_many_pages_get_the_logprobs_of_a_full_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of 4 positions, prompts of 1 to 20 tokens, responses of up to 24, ten rows in four slots; every architecture that
    is decoded by its own modules and every one that is fused."""
    monkeypatch.setattr(cache_module, "PAGE_TOKENS", 4)
    for architecture in oracles.ARCHITECTURES:
        lm = oracles.small_lm(architecture)
        for request, row in zip(REQUESTS, draw(lm, batch_size=4), strict=True):
            for response in row:
                expected = full_forward(lm, request.prompt_ids, response, 1.0)
                assert list(response.logprobs) == pytest.approx(expected.tolist(), abs=1e-4), architecture


def test_one_wide_page_says_the_same_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other devices and dtypes use: one page, read in part, attended by PyTorch or, with a soft cap, here."""
    paged = {name: draw(oracles.small_lm(name)) for name in ("llama", "gemma2", "mistral")}

    def one_page(self: SlotCache, num_slots: int, max_positions: int, *rest: Any) -> None:
        plain(self, num_slots, max_positions, *rest)
        self.is_paged, self.width_step, self.page_tokens, self.num_pages = False, 8, 96, 1
        self.bias = torch.full((num_slots, 96), float("-inf"))

    plain = SlotCache.__init__
    monkeypatch.setattr(SlotCache, "__init__", one_page)
    for name, expected in paged.items():
        drawn = draw(oracles.small_lm(name))
        assert ids(drawn) == ids(expected)


def test_the_fused_decoder_and_the_models_own_modules_say_the_same() -> None:
    """Every architecture of the family, and that these are the ones that are fused."""
    fused = {name for name in oracles.ARCHITECTURES if decoders.can_fuse(oracles.small_lm(name))}
    assert fused == {"llama", "mistral", "qwen2", "qwen3"} & set(oracles.ARCHITECTURES)
    assert len(fused) >= 3
    for name in fused:
        lm = oracles.small_lm(name)
        for projection in ("q_proj", "k_proj", "v_proj"):  # a bias that is zero would hide a mistake
            for module_name, parameter in lm.model.named_parameters():
                if module_name.endswith(f"{projection}.bias"):
                    torch.nn.init.normal_(parameter)
        one = draw(lm)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(decoders, "can_fuse", lambda lm: False)
            other = draw(lm)
        assert ids(one) == ids(other)
        for a, b in zip(one, other, strict=True):
            for r, s in zip(a, b, strict=True):
                assert r.logprobs == pytest.approx(s.logprobs, abs=1e-4)


def test_a_model_that_is_decoded_wrongly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that forgets the rotation: the first call says so, naming the architecture, before anything is drawn."""
    lm = oracles.small_lm("llama")
    build = decoders.FusedDecoder.__init__

    def forgetful(self: decoders.FusedDecoder, *arguments: Any, **options: Any) -> None:
        build(self, *arguments, **options)
        self.cos, self.sin = torch.ones_like(self.cos), torch.zeros_like(self.sin)

    monkeypatch.setattr(decoders.FusedDecoder, "__init__", forgetful)
    with pytest.raises(ModelError, match="does not decode LlamaForCausalLM as its own forward pass does"):
        draw(lm)


def test_a_cache_is_kept_for_the_next_call_and_changes_nothing(llama: CausalLM) -> None:
    """The same sampler, a larger call between two equal ones."""
    sampler = LocalSampler(llama)
    first = sampler.sample(REQUESTS, DECODING, seed=0)
    held = sampler.slots
    assert held is not None
    sampler.sample([Request("z", (4, 5), 40)], DECODING.model_copy(update={"batch_size": 40}), seed=1)
    again = sampler.sample(REQUESTS, DECODING, seed=0)
    assert [[r.token_ids for r in row] for row in first] == [[r.token_ids for r in row] for row in again]


def test_how_a_call_computes_depends_on_its_own_rows(llama: CausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large call, then one of 2 rows in the same slots: its decoder is made for 2 rows, as that of a new sampler, and the
    log-probabilities are the same to the bit."""
    monkeypatch.setattr(decoders, "JOINED_BYTES", 0)  # as for a model of more than 256 MB, whose matrices may be packed
    made: list[int] = []

    def spy(*arguments: Any, num_rows: int, **settings: Any) -> Any:
        made.append(num_rows)
        return decoders.make_decoder(*arguments, num_rows=num_rows, **settings)

    monkeypatch.setattr(slots_module, "make_decoder", spy)
    kept, few = LocalSampler(llama), [Request("a", tuple(range(5, 21)), 2)]
    for one in (kept, LocalSampler(llama)):
        one.check_decoding()
    kept.sample([Request("z", (4, 5, *range(4, 20)), 16)], DECODING, seed=1)
    held = kept.slots
    made.clear()
    assert kept.sample(few, DECODING, seed=0) == LocalSampler(llama).sample(few, DECODING, seed=0)
    assert kept.slots is held and made[0] == made[-1] == 2


def test_a_model_that_made_nan_leaves_no_cache_behind() -> None:
    """Weights that diverged and were rolled back: the next call's rows do not meet the old ones' numbers."""
    lm = oracles.small_lm("llama")
    sampler = LocalSampler(lm)
    before = ids(sampler.sample(REQUESTS, DECODING, seed=0))
    weight: Any = lm.model.get_input_embeddings().weight
    kept = weight.detach().clone()
    weight.data.fill_(float("nan"))
    with pytest.raises(Diverged, match="are not finite"):
        sampler.sample(REQUESTS, DECODING, seed=0)
    assert sampler.slots is None
    weight.data.copy_(kept)
    assert ids(sampler.sample(REQUESTS, DECODING, seed=0)) == before


def test_slots_serve_calls_that_fit_and_are_given_back() -> None:
    """A smaller call takes the same slots, a longer or a wider one new ones; what is released is freed at once."""
    sampler = LocalSampler(oracles.small_lm("llama"))
    draw_with = lambda **changes: sampler.sample(REQUESTS, DECODING.model_copy(update=changes), seed=0)  # noqa: E731
    draw_with(max_tokens=24, batch_size=8)
    first = sampler.slots
    draw_with(max_tokens=20, batch_size=4)
    assert sampler.slots is first
    draw_with(max_tokens=25, batch_size=4)
    assert sampler.slots is not first
    second = sampler.slots
    draw_with(max_tokens=25, batch_size=9)
    assert sampler.slots is not second
    assert sampler.slots is not None
    cache = weakref.ref(sampler.slots.cache)
    gc.disable()
    try:
        sampler.release()
        assert cache() is None
    finally:
        gc.enable()


def test_slots_are_new_where_the_model_computes_in_another_dtype() -> None:
    """Float32 first, then the same weights in float64: the second call does not write into the first one's cache."""
    lm = oracles.small_lm("llama")
    sampler = LocalSampler(lm)
    drawn = ids(sampler.sample(REQUESTS, DECODING, seed=0))
    lm.model.double()
    assert ids(sampler.sample(REQUESTS, DECODING, seed=0)) == drawn
    assert sampler.slots is not None
    assert sampler.slots.cache.dtype == torch.float64


def test_room_is_made_before_the_first_update_and_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA at first, since the update is unknown, and later where memory is short. On a CPU what is kept is small."""
    sampler = LocalSampler(oracles.small_lm("llama"))
    sampler.sample(REQUESTS, DECODING, seed=0)
    kept = sampler.slots
    sampler.make_room()
    assert sampler.slots is kept
    monkeypatch.setattr(CausalLM, "device", torch.device("cuda"))
    for is_short, stays in ((False, False), (False, True), (True, False)):
        monkeypatch.setattr(local, "is_short", lambda device, num_bytes, is_short=is_short: is_short)
        sampler.slots = kept
        sampler.make_room()
        assert (sampler.slots is kept) is stays


@pytest.mark.parametrize(("free", "stays"), [(40, True), (20, False)])
def test_slots_give_way_where_the_peak_so_far_would_not_fit_beside_them(
    monkeypatch: pytest.MonkeyPatch, free: int, stays: bool
) -> None:
    """Of 100 bytes 60 are reserved. A peak of 64 and a quarter is 80, a cache has 10: 60 + 40 is enough, 60 + 20 is not."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 100))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 60)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 64)
    assert local.is_short(torch.device("cuda"), 10) is not stays


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_or_not_the_responses_are_the_same() -> None:
    """Prompts, batches and steps of several sizes; log-probabilities to 1e-4."""
    lm = oracles.small_lm("qwen3")
    plain, compiled = draw(lm), draw(lm, compile=True)
    assert ids(plain) == ids(compiled)
    for one, two in zip(plain, compiled, strict=True):
        for a, b in zip(one, two, strict=True):
            assert np.allclose(a.logprobs, b.logprobs, atol=1e-4)


def test_only_the_fused_decoder_can_be_compiled() -> None:
    with pytest.raises(ModelError, match=r"sampler\.compile needs a model that the fused decoder serves"):
        draw(oracles.small_lm("gemma2"), compile=True)
