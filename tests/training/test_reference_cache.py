"""What the cache claims: the same numbers, each response scored once, nothing kept past a move of the reference."""

from typing import Any

import oracles
import pytest
import torch

from laconic.config.policy import PolicyConfig
from laconic.models.policy import Policy
from laconic.training import experience
from laconic.training.batching import collate
from laconic.training.experience import ReferenceCache, gather_experience

PHASE = oracles.make_phase(algorithm={"kl_coef": 0.1, "old_logprobs": "sampler"})


def small_policy() -> Policy:
    policy = Policy(oracles.small_lm("llama"), PolicyConfig(device="cpu"), seed=0)
    policy.begin_phase(critic="zero", needs_reference=True)
    return policy


def count_scored(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows that the reference scores from now on, call by call."""
    scored: list[int] = []
    plain = policy.ref_logprobs

    def counting(*inputs: torch.Tensor, **options: Any) -> torch.Tensor:
        scored.append(len(inputs[0]))
        return plain(*inputs, **options)

    monkeypatch.setattr(policy, "ref_logprobs", counting)
    return scored


def test_a_response_is_scored_once_and_comes_out_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight gradable rows, none of them twice; the same step again scores none and says the same."""
    policy, cache = small_policy(), ReferenceCache()
    scored = count_scored(policy, monkeypatch)
    batch = collate(oracles.ragged_groups(), truncated="penalise")
    plain = gather_experience(policy, batch, PHASE).ref_logprobs
    assert sum(scored) == 8
    first, second = (gather_experience(policy, batch, PHASE, cache).ref_logprobs for _ in range(2))
    assert sum(scored) == 16
    assert plain is not None and first is not None and second is not None
    assert torch.equal(plain, first) and torch.equal(first, second)
    assert bool((first[batch.response_mask] < 0).all()) and not first[~batch.response_mask].any()


def test_the_same_response_to_another_prompt_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows: prompt a with x, x and y; prompt b with x: three to score, the two equal ones equal, prompt b's not."""
    policy = small_policy()
    scored = count_scored(policy, monkeypatch)
    x, y = ([7, 8, 1], 1.0, "correct"), ([7, 9, 1], 1.0, "correct")
    groups = [oracles.make_group([4, 5], [x, x, y]), oracles.make_group([4, 6], [x])]
    ref = gather_experience(policy, collate(groups, truncated="penalise"), PHASE, ReferenceCache()).ref_logprobs
    assert sum(scored) == 3
    assert ref is not None and torch.equal(ref[0], ref[1])
    assert not torch.allclose(ref[0], ref[2]) and not torch.allclose(ref[0], ref[3])


def test_what_is_cleared_is_scored_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a move of the reference its old words would be wrong."""
    policy, cache = small_policy(), ReferenceCache()
    batch = collate(oracles.ragged_groups(), truncated="penalise")
    before = gather_experience(policy, batch, PHASE, cache).ref_logprobs
    for parameter in policy.reference_parameters().values():
        parameter.data += 0.1
    cache.clear()
    after = gather_experience(policy, batch, PHASE, cache).ref_logprobs
    assert before is not None and after is not None and not torch.allclose(before, after)


def test_the_oldest_leave_when_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Responses of 4, 1, 3, 12, 2, 5, 7 and 2 tokens, room for 20: the newest of at most 20 together stay (5, 7, 2 and 2)."""
    monkeypatch.setattr(experience, "MAX_CACHED_TOKENS", 20)
    cache, batch = ReferenceCache(), collate(oracles.ragged_groups(), truncated="penalise")
    cache.complete(batch, torch.zeros(batch.response_mask.shape), range(8))
    assert [len(held) for held in cache.held.values()] == [2, 5, 7, 2]
    assert cache.num_tokens == 16
    assert cache.unknown_rows(batch) == [0, 1, 2, 3]
