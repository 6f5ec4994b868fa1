"""What `batching` claims: only gradable rollouts train, every row travels once within its budget, and the cut into
micro-batches does not change the gradient."""

from dataclasses import replace
from typing import Any

import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from laconic.config.policy import LoraConfig, PolicyConfig
from laconic.models import prefixes
from laconic.models.policy import Policy
from laconic.training.algorithms import estimate_advantages, find_algorithm
from laconic.training.batching import RolloutBatch, collate, micro_batches, minibatch_rows
from laconic.training.experience import Experience, gather_experience

CPU = torch.device("cpu")


def batch_of(lengths: list[tuple[int, int]]) -> RolloutBatch:
    """One response a group, of (prompt, response) lengths; token ids count up so that misplacing one shows."""
    groups = []
    for i, (prompt, response) in enumerate(lengths):
        prompt_ids = [100 * i + 1 + t for t in range(prompt)]
        response_ids = [100 * i + 51 + t for t in range(response)]
        groups.append(oracles.make_group(prompt_ids, [(response_ids, float(i), "correct")]))
    return collate(groups, truncated="penalise")


# --- collate ---------------------------------------------------------------------------------------------------------


def test_collate_pads_on_the_right_and_leaves_out_the_ungradable() -> None:
    """Nine rollouts, one ungradable: eight rows; lengths 4, 1, 3, 12, 2, 5, 7, 2 as generated, end token included."""
    batch = collate(oracles.ragged_groups(), truncated="penalise")
    assert batch.num_rows == 8
    assert batch.lengths.tolist() == [4, 1, 3, 12, 2, 5, 7, 2]
    assert batch.groups.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert batch.rewards.tolist() == [1.0, -1.0, -0.5, 1.0, -0.5, -1.0, 1.0, 1.0]
    assert batch.response_ids[0, :4].tolist() == [7, 8, 9, 1]
    assert batch.sampler_logprobs[0, :4].tolist() == [-1.0, -2.0, -3.0, -4.0]
    assert batch.prompts[3] == tuple(range(10, 19))
    assert torch.equal(batch.response_mask, torch.arange(12)[None] < batch.lengths[:, None])


@pytest.mark.parametrize(("truncated", "counts"), [("penalise", True), ("bootstrap", True), ("mask", False)])
def test_a_truncated_response_is_a_fact_and_whether_it_counts_a_decision(truncated: Any, counts: bool) -> None:
    """Row 5 was cut off. Masked, it keeps its tokens and reward (baselines read them) but none is in the loss."""
    batch = collate(oracles.ragged_groups(), truncated=truncated)
    assert batch.is_truncated.tolist() == [False] * 5 + [True] + [False] * 2
    assert batch.loss_rows.tolist() == [True] * 5 + [counts] + [True] * 2
    assert batch.loss_mask[5].sum() == (5 if counts else 0)
    assert batch.response_mask[5].sum() == 5
    assert batch.rewards[5] == -1.0


def test_collate_of_nothing_gradable_is_refused() -> None:
    """A step whose grader failed throughout cannot train."""
    group = oracles.make_group([1], [([2, 3], 0.0, "ungradable")])
    with pytest.raises(ValueError, match="no gradable rollout"):
        collate([group], truncated="penalise")


# --- micro-batches ---------------------------------------------------------------------------------------------------


@given(
    lengths=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 20)), min_size=1, max_size=12),
    budget=st.integers(1, 120),
)
@settings(max_examples=60, deadline=None)
def test_micro_batches_hold_each_row_once_within_the_budget(lengths: list[tuple[int, int]], budget: int) -> None:
    """Padding counts towards the budget; only a row longer than the budget may exceed it, alone."""
    batch = batch_of(lengths)
    cuts = micro_batches(batch, range(batch.num_rows), budget, CPU)
    assert sorted(row for cut in cuts for row in cut.rows.tolist()) == list(range(batch.num_rows))
    for cut in cuts:
        assert cut.input_ids.numel() <= budget or len(cut.rows) == 1
        assert cut.mask.shape[1] == int(batch.lengths[cut.rows].max())


def test_micro_batches_are_sorted_by_length() -> None:
    """Sizes 10, 20, 11, 19 under a budget of 40: (20, 19) is 40 tokens with padding, (11, 10) is 22, not (10, 20), (11, 19)."""
    batch = batch_of([(5, 5), (10, 10), (5, 6), (10, 9)])
    cuts = micro_batches(batch, range(4), 40, CPU)
    assert [cut.rows.tolist() for cut in cuts] == [[1, 3], [2, 0]]
    assert [cut.input_ids.numel() for cut in cuts] == [40, 22]


def test_a_row_never_travels_with_one_much_longer() -> None:
    """Sizes 20, 18, 17: 18 is nine tenths of 20 and goes with it, 17 is less and goes alone."""
    cuts = micro_batches(batch_of([(5, 15), (5, 13), (5, 12)]), range(3), 10_000, CPU)
    assert [cut.rows.tolist() for cut in cuts] == [[0, 1], [2]]


def test_padding_is_under_a_twentieth_on_natural_lengths() -> None:
    """256 responses of exponential length, mean 90, at most 320, prompts of 16: what the embedded reasoner's look like."""
    lengths = (
        torch.distributions.Exponential(1 / 90.0).icdf((torch.arange(256) + 0.5) / 256).clamp(8, 320).int().tolist()
    )
    batch = batch_of([(16, length) for length in lengths])
    fed = sum(cut.input_ids.numel() for cut in micro_batches(batch, range(256), 16_384, CPU))
    assert sum(16 + length for length in lengths) / fed > 0.95


def test_predictors_point_at_the_token_before_each_response_token() -> None:
    """The state at `predictors[t]` has read the prompt and t response tokens; `final` has read them all."""
    batch = batch_of([(6, 4), (8, 1), (7, 2)])
    (cut,) = micro_batches(batch, range(3), 10_000, CPU)
    for i, row in enumerate(cut.rows.tolist()):
        sequence = [*batch.prompts[row], *batch.response_ids[row, : int(batch.lengths[row])].tolist()]
        assert cut.input_ids[i, : len(sequence)].tolist() == sequence
        for t in range(int(batch.lengths[row])):
            assert cut.mask[i, t]
            assert sequence[int(cut.predictors[i, t]) + 1] == int(cut.response_ids[i, t])
        assert int(cut.final[i]) == len(sequence) - 1
    assert int(cut.mask.sum()) == 7


def test_only_the_asked_for_rows_travel() -> None:
    """An update of rows 2 and 0 sees no other."""
    batch = batch_of([(20, 3), (2, 30), (20, 5)])
    (cut,) = micro_batches(batch, [2, 0], 10_000, CPU)
    assert cut.rows.tolist() == [2, 0]
    assert cut.mask.shape == (2, 5)


def test_rows_that_share_a_prompt_travel_together() -> None:
    """Two groups of three, prompts of 10, responses of 5: a group is 10 + 3 x 5 tokens, and 2 x 10 that count a quarter: 30."""
    groups = [
        oracles.make_group(range(10 * g, 10 * g + 10), [([30 + i] * 5, 1.0, "correct") for i in range(3)])
        for g in (1, 0)
    ]
    batch = collate(groups, truncated="penalise")
    for budget, wanted in ((30, [[3, 4, 5], [0, 1, 2]]), (60, [[3, 4, 5, 0, 1, 2]]), (29, [[3, 4], [5], [0, 1], [2]])):
        cuts = micro_batches(batch, range(6), budget, CPU, sharing_width=10_000)
        assert [cut.rows.tolist() for cut in cuts] == wanted
    assert micro_batches(batch, [], 60, CPU, sharing_width=10_000) == []
    (cut,) = micro_batches(batch, range(6), 60, CPU, sharing_width=10_000)
    assert cut.tree is not None and len(cut.tree.token_ids) == 2 * (10 + 3 * 5)
    assert [c.rows.tolist() for c in micro_batches(batch, range(6), 30, CPU, sharing_width=8)] == [
        [0, 1],
        [2, 3],
        [4, 5],
    ]


@given(num_rows=st.integers(1, 40), minibatches=st.integers(1, 12), step=st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_minibatches_are_a_partition_into_nearly_equal_parts(num_rows: int, minibatches: int, step: int) -> None:
    """Every row in exactly one part; sizes differ by at most one; no part is empty."""
    parts = minibatch_rows(num_rows, minibatches, seed=0, step=step, epoch=0)
    assert sorted(row for part in parts for row in part) == list(range(num_rows))
    assert len(parts) == min(minibatches, num_rows)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_minibatches_are_shuffled_by_seed_step_and_epoch() -> None:
    """The same address gives the same parts; changing any of its three numbers changes them."""
    here = minibatch_rows(30, 3, seed=0, step=4, epoch=1)
    assert here == minibatch_rows(30, 3, seed=0, step=4, epoch=1)
    for other in (
        {"seed": 1, "step": 4, "epoch": 1},
        {"seed": 0, "step": 5, "epoch": 1},
        {"seed": 0, "step": 4, "epoch": 0},
    ):
        assert minibatch_rows(30, 3, **other) != here


# --- the cut does not change the gradient ----------------------------------------------------------------------------


def stepped(policy: Policy, phase: Any) -> Experience:
    """The ragged step scored by `policy`, with old log-probabilities moved so that some ratios are clipped."""
    experience = gather_experience(policy, collate(oracles.ragged_groups(), truncated=phase.algorithm.truncated), phase)
    noise = torch.empty_like(experience.old_logprobs).uniform_(-0.4, 0.4, generator=torch.Generator().manual_seed(0))
    return replace(experience, old_logprobs=experience.old_logprobs + noise)


def gradients(policy: Policy, phase: Any, experience: Experience, budget: int) -> dict[str, torch.Tensor]:
    optimizer = phase.optimizer.model_copy(update={"micro_batch_tokens": budget})
    phase = phase.model_copy(update={"optimizer": optimizer})
    advantages = estimate_advantages(find_algorithm(phase), experience, phase.algorithm)
    actor, critic = oracles.update_gradients(policy, phase, experience, advantages)
    return actor | {f"critic/{name}": gradient for name, gradient in critic.items()}


def agree(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Same names, and every gradient within 1e-6 (relative to the largest one, where that is above 1)."""
    assert one.keys() == other.keys()
    scale = max(1.0, *(g.abs().max().item() for g in one.values()))
    for name, gradient in one.items():
        assert (gradient - other[name]).abs().max().item() <= 1e-6 * scale, name


@pytest.mark.parametrize("aggregation", ["response", "token", "constant"])
@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("ppo", {"critic": "separate", "whitening": "batch"}),
        ("ppo", {"critic": "separate", "truncated": "mask", "entropy_coef": 0.1}),
        ("grpo", {"kl_coef": 0.1}),
        ("grpo", {"truncated": "mask"}),
    ],
    ids=["ppo", "ppo-masked-entropy", "grpo-kl", "grpo-masked"],
)
def test_any_cut_into_micro_batches_gives_the_same_gradient(aggregation: str, name: str, extra: Any) -> None:
    """One micro-batch against a budget of 24 tokens, where the longest row (21) travels alone: policy and critic."""
    phase = oracles.make_phase(algorithm={"name": name, "aggregation": aggregation} | extra)
    policy = Policy(oracles.small_lm("llama"), PolicyConfig(device="cpu"), seed=0)
    policy.begin_phase(critic="separate" if name == "ppo" else "zero", needs_reference="kl_coef" in extra)
    if policy.critic is not None:
        torch.nn.init.normal_(policy.critic.value_head.weight, std=0.1)
    experience = stepped(policy, phase)
    whole, cut = (gradients(policy, phase, experience, budget) for budget in (10_000, 24))
    assert max(g.abs().max().item() for g in whole.values()) > 1e-3
    assert any(key.startswith("critic/") for key in whole) is (name == "ppo")
    agree(whole, cut)


def test_the_cut_does_not_matter_with_adapters_either() -> None:
    """PPO with LoRA, its critic a second adapter on the shared base."""
    phase = oracles.make_phase(algorithm={"critic": "lora", "kl_coef": 0.1})
    config = PolicyConfig(device="cpu", lora=LoraConfig(rank=2))
    policy = Policy(oracles.small_lm("llama"), config, seed=0)
    policy.begin_phase(critic="lora", needs_reference=True)
    assert policy.critic is not None
    torch.nn.init.normal_(policy.critic.value_head.weight, std=0.1)
    experience = stepped(policy, phase)
    agree(*(gradients(policy, phase, experience, budget) for budget in (10_000, 64)))


@pytest.mark.parametrize(
    ("extra", "lora"),
    [
        ({"critic": "separate", "kl_coef": 0.1}, None),
        ({"name": "grpo", "kl_coef": 0.1, "kl_in": "loss", "kl_estimator": "exact", "entropy_coef": 0.1}, None),
        ({"critic": "lora", "kl_coef": 0.1}, LoraConfig(rank=2)),
    ],
    ids=["ppo", "grpo-exact-kl", "lora-critic"],
)
def test_sharing_prefixes_changes_no_gradient(extra: Any, lora: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A price that no rows pay against one that all pay, for policy, critic and reference, scores before the update included."""
    phase = oracles.make_phase(algorithm=extra)
    results = []
    for price in (10**9, 0):
        monkeypatch.setattr(prefixes, "COPY_PRICE", price)
        policy = Policy(oracles.small_lm("llama"), PolicyConfig(device="cpu", lora=lora), seed=0)
        policy.begin_phase(critic=extra.get("critic", "zero"), needs_reference=True)
        if policy.critic is not None:
            torch.manual_seed(0)
            torch.nn.init.normal_(policy.critic.value_head.weight, std=0.1)
        micros = micro_batches(
            collate(oracles.ragged_groups(), truncated="mask"), range(8), 64, CPU, policy.lm.sharing_width
        )
        assert all((micro.tree is None) is (price > 0) for micro in micros)
        results.append(gradients(policy, phase, stepped(policy, phase), 64))
    agree(*results)


def test_padding_of_every_field_may_hold_garbage() -> None:
    """Old and reference log-probabilities, values, advantages and targets, full of nan where nothing counts."""
    phase = oracles.make_phase(algorithm={"critic": "separate", "kl_coef": 0.1, "entropy_coef": 0.01})
    policy = Policy(oracles.small_lm("llama"), PolicyConfig(device="cpu"), seed=0)
    policy.begin_phase(critic="separate", needs_reference=True)
    experience = stepped(policy, phase)
    advantages = estimate_advantages(find_algorithm(phase), experience, phase.algorithm)
    assert advantages.returns is not None
    assert experience.ref_logprobs is not None
    mask = experience.batch.response_mask

    def spoiled(x: torch.Tensor) -> torch.Tensor:
        return torch.where(mask, x, torch.tensor(float("nan")))

    dirty = replace(
        experience,
        old_logprobs=spoiled(experience.old_logprobs),
        ref_logprobs=spoiled(experience.ref_logprobs),
        values=spoiled(experience.values),
    )
    dirty_advantages = replace(
        advantages, advantages=spoiled(advantages.advantages), returns=spoiled(advantages.returns)
    )
    for clean, spoilt in zip(
        oracles.update_gradients(policy, phase, experience, advantages),
        oracles.update_gradients(policy, phase, dirty, dirty_advantages),
        strict=True,
    ):
        assert all(torch.equal(clean[name], spoilt[name]) for name in clean)


def test_a_step_that_was_cut_off_throughout_moves_nothing() -> None:
    """All truncated, truncated ones masked, whitening on: no token counts, and the policy's gradient is zero, not nan."""
    phase = oracles.make_phase(algorithm={"critic": "zero", "truncated": "mask", "whitening": "batch"})
    policy = Policy(oracles.small_lm("llama"), PolicyConfig(device="cpu"), seed=0)
    policy.begin_phase(critic="zero", needs_reference=False)
    group = oracles.make_group([4, 5], [([6, 7, 8], -1.0, "truncated"), ([9, 10], -1.0, "truncated")])
    experience = gather_experience(policy, collate([group], truncated="mask"), phase)
    advantages = estimate_advantages(find_algorithm(phase), experience, phase.algorithm)
    actor, _ = oracles.update_gradients(policy, phase, experience, advantages)
    assert all(gradient.eq(0).all() for gradient in actor.values())
