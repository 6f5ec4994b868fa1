"""What the rows of `ALGORITHMS` claim: each one's advantages by hand, and that a weighted likelihood's gradient is the gradient
of the loss that the paper writes down, through a real model."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import oracles
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from laconic.config.phase import PhaseConfig
from laconic.config.policy import PolicyConfig
from laconic.errors import RecipeError
from laconic.models.policy import Policy
from laconic.models.roles import CopyReference
from laconic.rl.masked import masked_mean, masked_sum
from laconic.training.algorithms import ALGORITHMS, estimate_advantages, find_algorithm
from laconic.training.batching import collate
from laconic.training.check.phases import OPTION_RANGES, resolve_phase
from laconic.training.estimators import Advantages
from laconic.training.experience import Experience, gather_experience
from laconic.training.preferences import PAIRS, Candidate, all_pairs, pair_weights
from laconic.types import Group, Rollout

GROUPS = [
    oracles.make_group(
        [4, 5], [([7, 8, 1], 1.0, "correct"), ([9, 9, 9, 9, 9, 1], 0.5, "correct"), ([3, 1], 0.0, "wrong")]
    ),
    oracles.make_group([6], [([5, 1], 0.2, "wrong"), ([8, 8, 8, 8, 1], 0.9, "correct"), ([2, 3, 4, 1], 0.1, "wrong")]),
]


def with_forced(groups: Sequence[Group]) -> list[Group]:
    """The same, with the two tokens before the last one written for the model, in every response of at least four."""

    def written(rollout: Rollout) -> Rollout:
        num_tokens = rollout.response.num_tokens
        forced = (num_tokens - 3, num_tokens - 1) if num_tokens >= 4 else (0, 0)
        return replace(rollout, response=replace(rollout.response, forced=forced))

    return [replace(group, rollouts=tuple(map(written, group.rollouts))) for group in groups]


def phase_of(name: str, **algorithm: Any) -> PhaseConfig:
    row = ALGORITHMS[name].requires
    phase: PhaseConfig = oracles.make_phase(algorithm={"name": name, "critic": "zero", **row, **algorithm})
    return phase


def gathered(phase: PhaseConfig, groups: Any = GROUPS) -> tuple[Policy, Experience, Advantages]:
    """A policy whose reference was moved away from it, the step as it scores it, and the advantages."""
    policy = Policy(oracles.small_lm("llama"), PolicyConfig(device="cpu"), seed=0)
    policy.begin_phase(critic="zero", needs_reference=resolve_phase(phase, PolicyConfig()).needs_reference)
    generator = torch.Generator().manual_seed(1)
    for parameter in policy.reference_parameters().values():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    algorithm = find_algorithm(phase)
    batch = collate(groups, truncated=phase.algorithm.truncated)
    experience = gather_experience(policy, batch, phase, needs_logprobs=algorithm.needs_logprobs)
    return policy, experience, estimate_advantages(algorithm, experience, phase.algorithm)


def by_response(advantages: Advantages) -> list[float]:
    return advantages.advantages[:, 0].tolist()


def gradient_of(policy: Policy, experience: Experience, loss: Callable[[Tensor, Tensor], Tensor]) -> dict[str, Tensor]:
    """The gradient of a loss of (log-probabilities [B, T] under the policy, mask), by autograd over one big batch."""
    batch = experience.batch
    rows = []
    for prompt, ids, length in zip(batch.prompts, batch.response_ids, batch.lengths.tolist(), strict=True):
        tokens = torch.tensor([[*prompt, *ids[:length].tolist()]])
        logprobs = functional.log_softmax(policy.lm.model(tokens).logits[0].float(), dim=-1)
        start = len(prompt)
        own = logprobs[start - 1 : -1].gather(-1, tokens[0, start:, None])[:, 0]
        rows.append(functional.pad(own, (0, batch.response_ids.shape[1] - length)))
    loss(torch.stack(rows), batch.response_mask & batch.is_drawn).backward()
    gradients = {name: p.grad.clone() for name, p in policy.policy_parameters().items() if p.grad is not None}
    policy.lm.model.zero_grad()
    return gradients


def assert_same_gradient(phase: PhaseConfig, loss: Callable[[Experience, Tensor, Tensor], Tensor]) -> None:
    """Of responses that the policy drew, and of those in which tokens were written for it: the loss is of the drawn ones."""
    for groups in (GROUPS, with_forced(GROUPS)):
        policy, experience, advantages = gathered(phase, groups)
        ours, _ = oracles.update_gradients(policy, phase, experience, advantages)
        theirs = gradient_of(policy, experience, lambda logprobs, mask: loss(experience, logprobs, mask))  # noqa: B023
        assert max(g.abs().max().item() for g in theirs.values()) > 1e-4
        for name, gradient in theirs.items():
            assert torch.allclose(ours[name], gradient, atol=2e-6, rtol=1e-4), name


# --- advantages by hand ----------------------------------------------------------------------------------------------


def test_dr_grpo_centres_and_does_not_scale() -> None:
    """Rewards 1, .5, 0: mean .5. Rewards .2, .9, .1: mean .4."""
    *_, advantages = gathered(phase_of("dr_grpo"))
    assert by_response(advantages) == pytest.approx([0.5, 0.0, -0.5, -0.2, 0.5, -0.3], abs=1e-6)


def test_reinforce_is_the_reward_itself() -> None:
    *_, advantages = gathered(phase_of("reinforce"))
    assert by_response(advantages) == pytest.approx([1.0, 0.5, 0.0, 0.2, 0.9, 0.1])


def test_reinforce_pp_whitens_rewards_to_come_over_tokens() -> None:
    """22 tokens hold their response's reward: 3 of 1, 6 of .5, 2 of 0, 2 of .2, 5 of .9, 4 of .1: mean 11.3 / 22,
    for 3 + 3 + 0 + .4 + 4.5 + .4 = 11.3."""
    *_, advantages = gathered(phase_of("reinforce_pp"))
    rewards = [1.0] * 3 + [0.5] * 6 + [0.0] * 2 + [0.2] * 2 + [0.9] * 5 + [0.1] * 4
    mean = 11.3 / 22
    std = math.sqrt(sum((r - mean) ** 2 for r in rewards) / 22)
    expected = [(r - mean) / std for r in (1.0, 0.5, 0.0, 0.2, 0.9, 0.1)]
    assert by_response(advantages) == pytest.approx(expected, abs=1e-5)


def test_reinforce_pp_with_a_baseline_is_scaled_by_the_step() -> None:
    """One group of equal rewards beside a mixed one: 0 in the first; the second's deviation is not its own but the step's."""
    uniform = oracles.make_group([9], [([5, 1], 1.0, "correct"), ([6, 1], 1.0, "correct")])
    mixed = oracles.make_group([8], [([5, 1], 1.0, "correct"), ([6, 1], 0.0, "wrong")])
    *_, advantages = gathered(phase_of("reinforce_pp_baseline"), [uniform, mixed])
    root = math.sqrt(2)  # four tokens of 0, two of .5, two of -.5: std sqrt(1/8), .5 over it is sqrt 2
    assert by_response(advantages) == pytest.approx([0.0, 0.0, root, -root], abs=1e-5)


def test_reinforce_pp_with_a_baseline_speaks_in_a_uniform_group_where_lengths_differ() -> None:
    """Whitening centres over tokens: with 2 right tokens of .5 and 6 wrong ones of -.5 among 12 the mean is -1/6, so the group
    whose rewards are equal gets 1/6 over the deviation, sqrt(8/12 / 4 - 1/36)."""
    uniform = oracles.make_group([9], [([5, 1], 1.0, "correct"), ([6, 1], 1.0, "correct")])
    mixed = oracles.make_group([8], [([5, 1], 1.0, "correct"), ([6, 6, 6, 6, 6, 1], 0.0, "wrong")])
    *_, advantages = gathered(phase_of("reinforce_pp_baseline"), [uniform, mixed])
    std = math.sqrt(2 / 12 - 1 / 36)
    assert by_response(advantages) == pytest.approx([x / std for x in (1 / 6, 1 / 6, 2 / 3, -1 / 3)], abs=1e-5)


def test_gfpo_learns_from_the_shortest_part_of_each_group() -> None:
    """Of three, the two shortest stay: lengths 3 and 2 (rewards 1, 0), and 2 and 4 (.2, .1): each mean is between them."""
    *_, advantages = gathered(phase_of("gfpo", options={"keep": 0.6}, scale_by_std=False))
    assert advantages.rows is not None
    assert advantages.rows.tolist() == [True, False, True, True, False, True]
    assert by_response(advantages) == pytest.approx([0.5, 0.0, -0.5, 0.05, 0.0, -0.05], abs=1e-6)


def test_gfpo_keeps_no_more_than_its_share_where_that_is_a_whole_number() -> None:
    """0.28 of 25 are 7, though the product is 7.000000000000001 in floating point."""
    group = oracles.make_group([9], [([*[5] * length, 1], 1.0, "correct") for length in range(1, 26)])
    *_, advantages = gathered(phase_of("gfpo", options={"keep": 0.28}), [group])
    assert advantages.rows is not None and int(advantages.rows.sum()) == 7


def test_gfpo_by_efficiency_keeps_the_most_reward_a_token() -> None:
    """1/3, .5/6, 0 and .1, .18, .025 a token: the best of each is the first and the fifth."""
    *_, advantages = gathered(phase_of("gfpo", options={"keep": 0.3, "by_efficiency": True}))
    assert advantages.rows is not None and advantages.rows.tolist() == [True, False, False, False, True, False]


def test_distillation_pulls_each_token_towards_the_teacher() -> None:
    _, experience, advantages = gathered(phase_of("distill", reference_model="moved below"))
    assert experience.ref_logprobs is not None
    gap = experience.ref_logprobs - experience.old_logprobs
    assert gap.abs().max() > 0.01
    assert torch.equal(advantages.advantages, torch.where(experience.batch.response_mask, gap, 0.0))


# --- weighted likelihoods are the papers' losses ---------------------------------------------------------------------


def test_sft_is_the_likelihood_of_the_shortest_correct_response() -> None:
    """Rows 0 and 4, mean over tokens, then over the two."""

    def loss(_: Experience, logprobs: Tensor, mask: Tensor) -> Tensor:
        means = masked_mean(logprobs, mask, dim=1)
        return -(means[0] + means[4]) / 2

    assert_same_gradient(phase_of("sft"), loss)


def test_sft_on_all_correct_responses() -> None:
    def loss(_: Experience, logprobs: Tensor, mask: Tensor) -> Tensor:
        means = masked_mean(logprobs, mask, dim=1)
        return -(means[0] + means[1] + means[4]) / 3

    assert_same_gradient(phase_of("sft", options={"shortest": 0}), loss)


def test_dpo_is_the_papers_loss() -> None:
    """Pairs by Kimi's rule: in the first group the shortest correct (3) before the one of 6 > 1.5 x 3 tokens, the wrong one is
    shorter and no pair; in the second no wrong answer is longer than 5."""

    def loss(experience: Experience, logprobs: Tensor, mask: Tensor) -> Tensor:
        assert experience.ref_logprobs is not None
        ratio = masked_sum(logprobs - experience.ref_logprobs, mask, dim=1)
        return -functional.logsigmoid(0.3 * (ratio[0] - ratio[1]))

    assert_same_gradient(phase_of("dpo", options={"beta": 0.3}), loss)


def test_simpo_is_the_papers_loss() -> None:
    """By reward: row 0 before row 1 among the correct, row 3 before row 5 among the wrong of the second group."""

    def loss(_: Experience, logprobs: Tensor, mask: Tensor) -> Tensor:
        score = 2.0 * masked_mean(logprobs, mask, dim=1)
        one = functional.logsigmoid(score[0] - score[1] - 0.7)
        return -(one + functional.logsigmoid(score[3] - score[5] - 0.7)) / 2

    assert_same_gradient(phase_of("simpo", options={"pairs": "reward", "beta": 2.0, "margin": 0.7}), loss)


def test_drpo_is_the_papers_loss() -> None:
    """Correct answers by softmax(-L / 4) among themselves, wrong ones by tau log mean exp(s / tau)."""

    def loss(_: Experience, logprobs: Tensor, mask: Tensor) -> Tensor:
        score = masked_mean(logprobs, mask, dim=1)
        weight = torch.softmax(torch.tensor([-3.0, -6.0]) / 4.0, dim=0)
        first = weight @ score[:2] - score[2]
        second = score[4] - 2.0 * torch.logsumexp(score[torch.tensor([3, 5])] / 2.0, dim=0)
        return -(first + second) / 2

    assert_same_gradient(phase_of("drpo", options={"length_tokens": 4.0, "tau": 2.0}), loss)


def test_o1_pruners_ratio_is_one_a_response() -> None:
    """max(-w rho, -w clip(rho, .8, 1.2)), rho = exp(mean token log-ratio), against an old policy that was another."""
    phase = phase_of("o1_pruner")
    policy, experience, advantages = gathered(phase)
    generator = torch.Generator().manual_seed(3)
    for parameter in policy.policy_parameters().values():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    ours, _ = oracles.update_gradients(policy, phase, experience, advantages)
    rewards = experience.batch.rewards

    def loss(logprobs: Tensor, mask: Tensor) -> Tensor:
        rho = masked_mean(logprobs - experience.old_logprobs, mask, dim=1).exp()
        assert ((rho < 0.8) | (rho > 1.2)).any(), "nothing would be clipped"
        return torch.maximum(-rewards * rho, -rewards * rho.clamp(0.8, 1.2)).mean()

    for name, gradient in gradient_of(policy, experience, loss).items():
        assert torch.allclose(ours[name], gradient, atol=2e-6, rtol=1e-4), name


# --- pairs -----------------------------------------------------------------------------------------------------------


def test_the_rules_of_pairs() -> None:
    """Correct answers of 10, 14, 16 and 40 tokens, wrong ones of 8 and 30."""
    group = [
        Candidate(0, 14, 0.4, True),
        Candidate(1, 10, 0.9, True),
        Candidate(2, 16, 0.3, True),
        Candidate(3, 40, 0.1, True),
        Candidate(4, 8, -0.5, False),
        Candidate(5, 30, -0.2, False),
    ]
    assert list(PAIRS["kimi"](group, 1.5)) == [(1, 2), (1, 3), (1, 5)]
    assert list(PAIRS["extremes"](group, 1.0)) == [(1, 3)]
    assert list(PAIRS["reward"](group, 1.0)) == [(1, 3), (5, 4)]
    wrong = [Candidate(0, 5, 0.0, False), Candidate(1, 9, 0.0, False)]
    assert [list(rule(wrong, 1.5)) for rule in PAIRS.values()] == [[]] * len(PAIRS)


def test_pair_weights_are_minus_the_gradient_of_the_pair_loss() -> None:
    scores = torch.tensor([0.3, -0.2, 0.9], requires_grad=True)
    pairs = [(0, 1), (0, 2)]
    losses = [-functional.logsigmoid(1.5 * (scores[w] - scores[o]) - 0.4) for w, o in pairs]
    torch.stack(losses).mean().backward()
    assert scores.grad is not None
    assert pair_weights(scores.detach(), pairs, beta=1.5, margin=0.4).tolist() == pytest.approx((-scores.grad).tolist())


@pytest.mark.parametrize("name", ["dpo", "simpo", "drpo"])
def test_what_does_not_count_in_the_loss_is_in_no_weight(name: str) -> None:
    """With truncated responses masked, the weights are those of the step without them, and so is the gradient."""
    cut = oracles.make_group(
        [4], [([7, 8, 1], 1.0, "correct"), ([9] * 6, 0.0, "truncated"), ([3, 3, 3, 1], 0.0, "wrong")]
    )
    without = replace(cut, rollouts=(cut.rollouts[0], cut.rollouts[2]))
    phase = phase_of(name, truncated="mask")
    gradients = []
    for group in (cut, without):
        policy, experience, advantages = gathered(phase, [group])
        gradients.append(oracles.update_gradients(policy, phase, experience, advantages)[0])
    assert max(gradient.abs().max().item() for gradient in gradients[1].values()) > 1e-4
    for weight, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][weight], atol=1e-6), weight


def test_the_extremes_are_pairs_whatever_the_ratio_of_their_lengths() -> None:
    """10 and 14 tokens: a pair of the extremes, none of Kimi's, whose rule asks for half as many again."""
    column = torch.tensor([0, 0])
    arguments = (torch.tensor([10, 14]), torch.zeros(2), column == 0, column, column == 0)
    assert [all_pairs(*arguments, rule) for rule in ("extremes", "kimi")] == [[(0, 1)], []]


def test_a_kl_in_the_reward_is_the_policys_own() -> None:
    """With `old_logprobs = "current"` the price is that of the policy's scores, not of what a sampler reported."""
    priced = {"kl_coef": 0.3, "kl_in": "reward", "kl_estimator": "k1"}
    rewards = [
        gathered(phase_of("rloo", old_logprobs=old, **priced))[1].token_rewards for old in ("current", "recompute")
    ]
    assert torch.equal(*rewards)


@pytest.mark.parametrize("kl_in", ["reward", "centred", "advantage"])
def test_tokens_that_were_written_for_the_model_bear_no_kl(kl_in: str) -> None:
    """A token of its own, and a response the sum of its drawn ones: written tokens may have any score."""
    phase = phase_of("rloo", kl_coef=0.3, kl_in=kl_in, kl_estimator="k1")
    _, experience, _ = gathered(phase, with_forced(GROUPS))
    batch, reference = experience.batch, experience.ref_logprobs
    assert reference is not None and not batch.is_drawn[1, 3:5].any()
    drawn = 0.3 * torch.where(batch.response_mask & batch.is_drawn, experience.old_logprobs - reference, 0.0)
    total = drawn.sum(dim=1)
    if kl_in == "advantage":
        assert experience.advantage_price is not None
        assert experience.advantage_price[:, 0].tolist() == pytest.approx(total.tolist(), abs=1e-6)
        return
    paid = torch.zeros_like(drawn)
    paid[torch.arange(batch.num_rows), batch.lengths - 1] = batch.rewards
    if kl_in == "reward":
        assert torch.allclose(experience.token_rewards, paid - drawn, atol=1e-6)
        return
    others = torch.stack([total[batch.groups == g].sum() for g in batch.groups]) - total
    expected = batch.rewards - (total - others / 2)  # three responses a group
    assert experience.token_rewards.sum(dim=1).tolist() == pytest.approx(expected.tolist(), abs=1e-6)


def test_a_kl_in_the_advantage_is_centred_by_no_baseline() -> None:
    """RLOO's baseline takes the mean KL of the others out of the reward; here each response bears its own, whole."""
    priced = {"kl_coef": 0.3, "kl_estimator": "k1"}
    _, experience, apart = gathered(phase_of("rloo", kl_in="advantage", **priced))
    *_, free = gathered(phase_of("rloo"))
    assert experience.ref_logprobs is not None
    mask = experience.batch.response_mask
    own = 0.3 * masked_sum(experience.old_logprobs - experience.ref_logprobs, mask, dim=1)
    assert by_response(apart) == pytest.approx((free.advantages[:, 0] - own).tolist(), abs=1e-6)
    assert own.abs().min() > 1e-4 and not apart.advantages[~mask].any()
    *_, within = gathered(phase_of("rloo", kl_in="reward", **priced))
    assert abs(sum(by_response(within))) < 1e-5 < abs(sum(by_response(apart)))


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "says"),
    [
        ({"name": "dr_grpo"}, "aggregation: dr_grpo needs 'constant', got 'response'"),
        ({"name": "sft"}, "old_logprobs: sft needs 'current'"),
        ({"name": "o1_pruner"}, "ratio: o1_pruner needs 'sequence'"),
        ({"name": "gfpo", "options": {"keeps": 0.5}}, "gfpo has no option 'keeps'; it has: keep, by_efficiency"),
        (
            {"name": "simpo", "old_logprobs": "current", "options": {"pairs": "random"}},
            "pairs: unknown rule 'random'; expected kimi, extremes, reward",
        ),
        ({"name": "ppo", "options": {"keep": 1}}, "ppo has no option 'keep'; it has: none"),
        ({"name": "distill"}, "reference_model: distill learns from a teacher"),
        ({"name": "sft", "old_logprobs": "current", "whitening": "batch"}, "whitening: sft needs 'none', got 'batch'"),
        ({"name": "o1_pruner", "ratio": "sequence", "aggregation": "token"}, "aggregation: o1_pruner needs 'response'"),
        ({"name": "gfpo", "options": {"keep": 0}}, r"options\.keep: expected 0\.001 to 1, got 0"),
        (
            {"name": "sft", "old_logprobs": "current", "options": {"shortest": 0.5}},
            r"options\.shortest: expected a whole number of 0 to 1e\+06, got 0\.5",
        ),
        (
            {"name": "logit_distill", "kl_estimator": "exact", "reference_model": "tiny"},
            "kl_coef: logit_distill learns from the KL alone",
        ),
    ],
)
def test_a_row_without_what_it_needs_is_refused(algorithm: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        resolve_phase(oracles.make_phase(algorithm=algorithm), PolicyConfig())


# --- on real rollouts ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uniform_groups() -> list[Any]:
    """Groups of the bundled reasoner whose four samples were all right, and such whose four were all wrong, paid so. Wrong ones
    come from problems whose gold answer is not the right one."""
    from laconic.config.rewards import RewardsConfig
    from laconic.config.solver import PromptConfig, SamplerConfig
    from laconic.grading.grader import Grader
    from laconic.models.loading import TINY, load_model
    from laconic.problems.load import load_problems
    from laconic.rollouts.paying import pay_groups
    from laconic.rollouts.solver import Solver
    from laconic.samplers.local import LocalSampler

    lm = load_model(TINY, PolicyConfig())
    with Grader() as grader:
        solver = Solver(lm, LocalSampler(lm), grader, PromptConfig())
        easy = load_problems("tiny:mix?count=12&levels=1")
        hopeless = [replace(problem, id=f"not {problem.id}", answer=f"{problem.answer}0") for problem in easy]
        drawn = solver.attempt([*easy, *hopeless], 4, SamplerConfig(max_tokens=160, batch_size=96), seed=0)
    paid = pay_groups(drawn, RewardsConfig(), {}, 160)
    return [group for group in paid if group.is_uniform]


@pytest.mark.parametrize(("reward", "says"), [(1.0, "all right"), (-0.5, "all wrong")])
def test_a_group_baseline_learns_nothing_from_real_uniform_groups_and_ppo_does(
    uniform_groups: list[Any], reward: float, says: str
) -> None:
    """Fatemi et al. 2025: every weight's gradient is exactly zero under a group baseline; under PPO it is not."""
    from laconic.models.loading import TINY, load_model

    uniform_groups = [g for g in uniform_groups if {rollout.reward for rollout in g.rollouts} == {reward}][:4]
    assert len(uniform_groups) >= 2, says
    largest = {}
    for algorithm in ("grpo", "rloo", "dr_grpo", "ppo"):
        phase = phase_of(algorithm)
        policy = Policy(load_model(TINY, PolicyConfig()), PolicyConfig(), seed=0)
        policy.begin_phase(critic="zero", needs_reference=False)
        experience = gather_experience(policy, collate(uniform_groups, truncated="penalise"), phase)
        advantages = estimate_advantages(find_algorithm(phase), experience, phase.algorithm)
        gradients, _ = oracles.update_gradients(policy, phase, experience, advantages)
        largest[algorithm] = max(gradient.abs().max().item() for gradient in gradients.values())
    assert largest.pop("ppo") > 1e-3
    assert largest == {"grpo": 0.0, "rloo": 0.0, "dr_grpo": 0.0}


# --- the whole vocabulary --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [2**25, 40])
def test_logit_distillation_is_the_reverse_kl_over_the_vocabulary(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """Mean over tokens and responses of sum_v p (log p - log q), by autograd over full logits; in one chunk and in many."""
    from laconic.models import scoring

    monkeypatch.setattr(scoring, "LOGITS_PER_CHUNK", rows * 40)
    phase = phase_of("logit_distill", kl_coef=0.7, reference_model="moved below")
    policy, experience, advantages = gathered(phase)
    ours, _ = oracles.update_gradients(policy, phase, experience, advantages)
    batch, total = experience.batch, torch.zeros(())
    for prompt, ids, length in zip(batch.prompts, batch.response_ids, batch.lengths.tolist(), strict=True):
        tokens, predicts = torch.tensor([[*prompt, *ids[:length].tolist()]]), slice(len(prompt) - 1, -1)
        p = policy.lm.model(tokens).logits[0, predicts].float().log_softmax(-1)
        assert isinstance(policy.reference, CopyReference)
        q = policy.reference.lm.model(tokens).logits[0, predicts].float().log_softmax(-1).detach()
        total = total + (p.exp() * (p - q)).sum(-1).mean() / batch.num_rows
    (0.7 * total).backward()
    for name, parameter in policy.policy_parameters().items():
        assert parameter.grad is not None and torch.allclose(ours[name], parameter.grad, atol=2e-6, rtol=1e-4), name


def test_a_smaller_student_comes_to_speak_as_its_teacher() -> None:
    """A one-layer model against the bundled reasoner, on fixed responses: the KL falls at every update."""
    from laconic.models.causal_lm import CausalLM
    from laconic.models.loading import TINY
    from laconic.tiny.build import BuildSettings, make_model, make_tokenizer
    from laconic.training.updates import Updater

    phase = phase_of("logit_distill", kl_coef=1.0, reference_model=TINY)
    student = CausalLM(make_model(BuildSettings(layers=1, width=32)), make_tokenizer(), "student")
    policy = Policy(student, PolicyConfig(device="cpu"), seed=0)
    policy.begin_phase(critic="zero", needs_reference=True, reference_model=TINY)
    updater, seen = Updater(policy, phase, seed=0), []
    for step in range(6):
        experience = gather_experience(policy, collate(GROUPS, truncated="penalise"), phase)
        advantages = estimate_advantages(find_algorithm(phase), experience, phase.algorithm)
        batch = experience.batch
        tokens = torch.tensor([[*batch.prompts[1], *batch.response_ids[1].tolist()]])
        predictors = torch.arange(len(batch.prompts[1]) - 1, tokens.shape[1] - 1)[None]
        with torch.no_grad():
            divergence = policy.exact_kl(tokens, predictors, batch.response_mask[1:2], temperature=1.0)
        seen.append(divergence.sum().item())
        updater.update(experience, advantages, step, step)
    assert all(later < earlier for earlier, later in pairwise(seen)), seen


def test_every_option_of_an_algorithm_that_is_a_number_has_a_range() -> None:
    """In which its default lies, and outside of which it is refused."""
    options = {key: value for row in ALGORITHMS.values() for key, value in row.options.items()}
    numbers = {key: value for key, value in options.items() if not isinstance(value, bool | str)}
    assert set(numbers) == set(OPTION_RANGES)
    for key, value in numbers.items():
        if value is not None:
            OPTION_RANGES[key].check(key, value)
        for outside in (-1.0, 1e9, 1e-300 if OPTION_RANGES[key].low else 1e300):
            with pytest.raises(ValueError, match=f"{key}: expected "):
                OPTION_RANGES[key].check(key, outside)
