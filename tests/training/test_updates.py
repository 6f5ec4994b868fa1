"""What `updates` claims: each part of the loss pulls the way it should, and a resumed optimiser goes on bit for bit."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import oracles
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from laconic.config.optimizer import OptimizerConfig
from laconic.config.phase import PhaseConfig
from laconic.config.policy import LoraConfig, PolicyConfig
from laconic.errors import Diverged
from laconic.models import prefixes, scoring
from laconic.models.policy import Policy
from laconic.rl.losses import kl
from laconic.rl.masked import masked_mean
from laconic.training.algorithms import estimate_advantages, find_algorithm
from laconic.training.batching import collate
from laconic.training.check.phases import resolve_phase
from laconic.training.estimators import Advantages
from laconic.training.experience import Experience, gather_experience
from laconic.training.updates import MOVED_ROWS, Updater, _critic_fit, learning_rate_factor

CONFIG = PolicyConfig(device="cpu")
LORA = PolicyConfig(device="cpu", lora=LoraConfig(rank=2))


def begin(phase: PhaseConfig, config: PolicyConfig = CONFIG) -> tuple[Policy, Updater]:
    """A policy at the beginning of `phase`, its reference moved away from it where there is one."""
    policy = Policy(oracles.small_lm("llama"), config, seed=0)
    policy.begin_phase(critic=resolve_phase(phase, config).critic, needs_reference=phase.algorithm.kl_coef > 0)
    generator = torch.Generator().manual_seed(1)
    for parameter in policy.reference_parameters().values():
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
    return policy, Updater(policy, phase, seed=0)


def experienced(policy: Policy, phase: PhaseConfig) -> tuple[Experience, Advantages]:
    batch = collate(oracles.ragged_groups(), truncated=phase.algorithm.truncated)
    experience = gather_experience(policy, batch, phase)
    return experience, estimate_advantages(find_algorithm(phase), experience, phase.algorithm)


def train(policy: Policy, updater: Updater, phase: PhaseConfig, steps: range) -> dict[str, Any]:
    """Whole steps, each scored by the policy as it is then; the last step's metrics."""
    metrics: dict[str, Any] = {}
    for step in steps:
        metrics = updater.update(*experienced(policy, phase), step=step, phase_step=step)
    return metrics


def constant(experience: Experience, value: float) -> Advantages:
    """The same advantage on every token, and targets equal to the values."""
    mask = experience.batch.response_mask
    return Advantages(torch.where(mask, value, 0.0), experience.values)


def copies(named: dict[str, Any]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in named.items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Bit for bit."""
    assert one.keys() == other.keys()
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


# --- state -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("config", "critic"), [(CONFIG, "separate"), (LORA, "lora")], ids=["full", "lora"])
def test_two_steps_and_two_more_after_a_restart_are_four_steps(config: PolicyConfig, critic: str) -> None:
    """Weights of all roles, moments and entropy coefficient into fresh objects: bit for bit what four steps in a row give."""
    phase = oracles.make_phase(
        algorithm={"critic": critic, "kl_coef": 0.1, "entropy_coef": 0.01, "entropy_target": 9.0},
        optimizer={"epochs": 2, "minibatches": 2, "schedule": "cosine", "warmup_steps": 1, "weight_decay": 0.01},
    )
    policy, updater = begin(phase, config)
    train(policy, updater, phase, range(2))
    weights, state = copies(policy.trainable_state()), copies(updater.state())
    wanted = train(policy, updater, phase, range(2, 4))
    fresh, resumed = begin(phase, config)
    fresh.load_trainable_state(weights)
    resumed.load_state(state)
    assert same(copies(resumed.state()), state)
    assert train(fresh, resumed, phase, range(2, 4)) == wanted
    assert same(fresh.trainable_state(), policy.trainable_state())
    assert same(resumed.state(), updater.state())
    assert resumed.entropy_coef > 0.01


def test_the_state_without_its_moments_would_not_go_on_the_same() -> None:
    """The test above can fail: weights alone, with fresh moments, lead elsewhere."""
    phase = oracles.make_phase(algorithm={"critic": "zero"})
    policy, updater = begin(phase)
    train(policy, updater, phase, range(2))
    weights = copies(policy.trainable_state())
    train(policy, updater, phase, range(2, 4))
    fresh, forgetful = begin(phase)
    fresh.load_trainable_state(weights)
    train(fresh, forgetful, phase, range(2, 4))
    assert not same(fresh.trainable_state(), policy.trainable_state())


def test_a_state_put_back_is_a_copy() -> None:
    """Going on after `load_state` does not write into what was loaded."""
    phase = oracles.make_phase(algorithm={"critic": "zero"})
    policy, updater = begin(phase)
    train(policy, updater, phase, range(1))
    state = copies(updater.state())
    before = copies(state)
    updater.load_state(state)
    train(policy, updater, phase, range(1, 2))
    assert same(state, before)


# --- the learning rate -----------------------------------------------------------------------------------------------


def test_the_learning_rate_warms_up_and_follows_its_schedule() -> None:
    """Ten steps, two of warm-up (1/3, 2/3), then eight: constant 1; linear 1 - s/8; cosine (1 + cos(pi s/8))/2."""
    shapes: dict[Any, list[float]] = {
        "constant": [1.0] * 8,
        "linear": [1 - s / 8 for s in range(8)],
        "cosine": [(1 + math.cos(math.pi * s / 8)) / 2 for s in range(8)],
    }
    for schedule, shape in shapes.items():
        config = OptimizerConfig(schedule=schedule, warmup_steps=2)
        factors = [learning_rate_factor(step, 10, config) for step in range(10)]
        assert factors == pytest.approx([1 / 3, 2 / 3, *shape], abs=1e-9)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_learning_rate_ends_above_its_floor(schedule: Any) -> None:
    """min_lr_frac 0.2: from 1 down to 0.2 + 0.8 * shape; never below 0.2, never rising."""
    config = OptimizerConfig(schedule=schedule, min_lr_frac=0.2)
    factors = [learning_rate_factor(step, 5, config) for step in range(6)]
    assert factors[0] == 1.0
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == pytest.approx(0.2, abs=1e-9)


def test_the_factor_reaches_the_optimiser() -> None:
    """lr 1e-3 with linear decay over ten steps: at step 4 it is 6e-4, and AdamW's first step moves each weight by that."""
    phase = oracles.make_phase(algorithm={"critic": "zero"}, optimizer={"schedule": "linear"})
    policy, updater = begin(phase)
    before = copies(policy.policy_parameters())
    metrics = updater.update(*experienced(policy, phase), step=0, phase_step=4)
    assert metrics["update/lr"] == pytest.approx(6e-4, abs=1e-12)
    moved = max((p - before[n]).abs().max().item() for n, p in policy.policy_parameters().items())
    assert moved == pytest.approx(6e-4, rel=1e-2)


# --- which way each part pulls ---------------------------------------------------------------------------------------


def logprob(policy: Policy, phase: PhaseConfig) -> float:
    """Mean log-probability of the ragged step's tokens."""
    experience, _ = experienced(policy, phase)
    return masked_mean(experience.old_logprobs, experience.batch.response_mask).item()


@pytest.mark.parametrize("name", ["ppo", "grpo"])
def test_good_tokens_become_likelier_and_bad_ones_less(name: str) -> None:
    """One small step with advantage +1, or -1, on every token."""
    for sign in (1.0, -1.0):
        phase = oracles.make_phase(algorithm={"name": name, "critic": "zero"}, optimizer={"lr": 1e-4})
        policy, updater = begin(phase)
        experience, _ = experienced(policy, phase)
        before = logprob(policy, phase)
        metrics = updater.update(experience, constant(experience, sign), step=0, phase_step=0)
        assert metrics["update/policy_loss"] == pytest.approx(-sign, abs=1e-5)  # at ratio 1 the loss is -A
        assert sign * (logprob(policy, phase) - before) > 1e-4


def ref_kl(policy: Policy, phase: PhaseConfig) -> float:
    """Mean k3 to the reference on the ragged step's tokens."""
    experience, _ = experienced(policy, phase)
    assert experience.ref_logprobs is not None
    estimate = kl(experience.old_logprobs - experience.ref_logprobs, "k3")
    return masked_mean(estimate, experience.batch.response_mask).item()


@pytest.mark.parametrize("config", [CONFIG, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_a_kl_in_the_loss_pulls_towards_the_reference(config: PolicyConfig, estimator: str) -> None:
    """No advantage anywhere: one step lowers the KL, and the reported one is that before the step."""
    algorithm = {"critic": "zero", "kl_coef": 0.5, "kl_in": "loss", "kl_estimator": estimator}
    phase = oracles.make_phase(algorithm=algorithm, optimizer={"lr": 1e-4})
    policy, updater = begin(phase, config)
    before = ref_kl(policy, phase)
    experience, _ = experienced(policy, phase)
    metrics = updater.update(experience, constant(experience, 0.0), step=0, phase_step=0)
    assert metrics["update/ref_kl_nats"] == pytest.approx(before, rel=1e-4)
    assert before > 1e-3
    assert ref_kl(policy, phase) < before * (1 - 1e-3)


def test_a_kl_in_the_reward_is_not_in_the_loss_as_well() -> None:
    """It has been paid through the advantages: without them nothing moves. Per token it costs kl_coef (log pi - log ref)."""
    algorithm = {"critic": "zero", "kl_coef": 0.5, "kl_in": "reward", "kl_estimator": "k1"}
    phase = oracles.make_phase(algorithm=algorithm)
    policy, updater = begin(phase)
    experience, _ = experienced(policy, phase)
    assert experience.ref_logprobs is not None
    mask, last = experience.batch.response_mask, experience.batch.lengths - 1
    expected = -0.5 * (experience.old_logprobs - experience.ref_logprobs)
    expected[torch.arange(len(last)), last] += experience.batch.rewards
    assert experience.token_rewards[mask].tolist() == pytest.approx(expected[mask].tolist(), abs=1e-6)
    before = copies(policy.policy_parameters())
    updater.update(experience, constant(experience, 0.0), step=0, phase_step=0)
    assert same(copies(policy.policy_parameters()), before)


def test_an_entropy_bonus_raises_the_entropy() -> None:
    """No advantage anywhere, a bonus of 0.1 a nat: the next step measures more entropy than this one."""
    phase = oracles.make_phase(algorithm={"critic": "zero", "entropy_coef": 0.1})
    policy, updater = begin(phase)
    experience, _ = experienced(policy, phase)
    first, second = (
        updater.update(experience, constant(experience, 0.0), step=step, phase_step=step) for step in range(2)
    )
    assert second["update/entropy_nats"] > first["update/entropy_nats"] + 1e-3


@pytest.mark.parametrize(("target", "change"), [(9.0, 1), (0.0, -1)])
def test_the_bonus_adapts_towards_its_target(target: float, change: int) -> None:
    """Entropy of 40 tokens is at most ln 40 = 3.69: below a target of 9 the bonus grows by its step, above 0 it shrinks to 0."""
    algorithm = {"critic": "zero", "entropy_coef": 0.02, "entropy_target": target, "entropy_coef_step": 0.015}
    phase = oracles.make_phase(algorithm=algorithm)
    policy, updater = begin(phase)
    coefs = [train(policy, updater, phase, range(s, s + 1))["update/entropy_coef"] for s in range(2)]
    assert coefs == pytest.approx([0.035, 0.05] if change > 0 else [0.005, 0.0], abs=1e-9)


CUT = [([7, 8, 9, 10], -1.0, "truncated"), ([6, 8, 9, 10], -1.0, "truncated"), ([5, 6, 7, 8], -1.0, "truncated")]


@pytest.mark.parametrize("critic", ["zero", "separate"])
def test_masked_responses_move_no_weight_and_enter_no_mean(critic: str) -> None:
    """Of four responses one counts in the loss. Four minibatches do what one does, three of them to the critic alone: the same
    entropy, and weights that are moved once."""
    algorithm = {"critic": critic, "truncated": "mask", "entropy_coef": 0.01, "entropy_target": 9.0}
    groups = [oracles.make_group([3, 4], [([7, 8, 9, 1], 1.0, "correct"), *CUT])]
    found = {}
    for parts in (1, 4):
        phase = oracles.make_phase(algorithm=algorithm, optimizer={"minibatches": parts})
        policy, updater = begin(phase)
        experience = gather_experience(policy, collate(groups, truncated="mask"), phase)
        metrics = updater.update(experience, constant(experience, 1.0), step=0, phase_step=0)
        found[parts] = metrics["update/entropy_nats"], copies(policy.policy_parameters())
    assert found[4][0] == pytest.approx(found[1][0], rel=1e-5)
    for name, weight in found[1][1].items():
        assert torch.allclose(found[4][1][name], weight, atol=1e-6), name


@pytest.mark.parametrize("critic", ["zero", "separate"])
def test_an_update_in_which_nothing_counts_leaves_the_policy_alone(critic: str) -> None:
    """Adam's momentum would move it after a step before; there is no entropy to adapt the bonus to."""
    algorithm = {"critic": critic, "truncated": "mask", "entropy_coef": 0.01, "entropy_target": 9.0}
    phase = oracles.make_phase(algorithm=algorithm)
    policy, updater = begin(phase)
    train(policy, updater, phase, range(1))
    before, coefficient = copies(policy.policy_parameters()), updater.entropy_coef
    experience = gather_experience(policy, collate([oracles.make_group([3, 4], CUT)], truncated="mask"), phase)
    metrics = updater.update(experience, constant(experience, 1.0), step=1, phase_step=1)
    assert same(copies(policy.policy_parameters()), before)
    assert updater.entropy_coef == coefficient and "update/entropy_nats" not in metrics


def test_the_critic_warms_up_alone() -> None:
    """Two steps of warm-up: the policy stays bit for bit, its optimiser has no moments, the bonus does not adapt to an
    entropy that was not measured; the critic learns. From the third step both do."""
    phase = oracles.make_phase(
        algorithm={"entropy_coef": 0.02, "entropy_target": 9.0}, optimizer={"critic_warmup_steps": 2, "critic_lr": 1e-2}
    )
    policy, updater = begin(phase)
    before, critic = copies(policy.policy_parameters()), copies(policy.critic_parameters())
    train(policy, updater, phase, range(2))
    assert same(copies(policy.policy_parameters()), before)
    assert not same(copies(policy.critic_parameters()), critic)
    assert not any(name.startswith("policy/") for name in updater.state())
    assert updater.entropy_coef == 0.02
    train(policy, updater, phase, range(2, 3))
    assert not same(copies(policy.policy_parameters()), before)


def test_the_critic_moves_towards_its_targets() -> None:
    """lambda 1: targets are the returns. Its loss falls from step to step, and what it explains of them grows."""
    phase = oracles.make_phase(
        algorithm={"value_gae_lambda": 1.0, "value_clip": None},
        optimizer={"critic_warmup_steps": 10, "critic_lr": 3e-3},
    )
    policy, updater = begin(phase)
    history = [train(policy, updater, phase, range(step, step + 1)) for step in range(6)]
    losses = [metrics["update/value_loss"] for metrics in history]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.7 * losses[0]
    explained = [metrics["update/explained_variance_frac"] for metrics in history[1:]]
    assert explained[-1] > explained[0]


@pytest.mark.parametrize(("gap", "weight"), [(math.log(0.5), 0.5), (math.log(8.0), 2.0)])
def test_importance_weighs_the_gradient_up_to_its_cap(gap: float, weight: float) -> None:
    """Every token was drawn by an engine that made it e^-gap times as likely as the trainer does: the gradient is `weight` times
    that without importance, 0.5, or 2 where 8 is cut at 2. Nothing else counts."""
    norms = []
    for cap in (None, 2.0):
        phase = oracles.make_phase(algorithm={"name": "grpo", "importance_cap": cap})
        policy, updater = begin(phase)
        experience, _ = experienced(policy, phase)
        batch = replace(experience.batch, sampler_logprobs=experience.old_logprobs - gap)
        metrics = updater.update(replace(experience, batch=batch), constant(experience, 1.0), step=0, phase_step=0)
        norms.append(metrics["update/policy_grad_norm"])
    assert norms[1] == pytest.approx(weight * norms[0], rel=1e-5)


@pytest.mark.parametrize("config", [CONFIG, LORA], ids=["full", "lora"])
def test_how_far_a_step_moved_is_measured_after_its_updates(config: PolicyConfig) -> None:
    """One update: the KL at its beginning is 0, and that of the policy afterwards is not. All 6 rows are among the 8."""
    phase = oracles.make_phase(algorithm={"critic": "zero"}, optimizer={"lr": 1e-2})
    policy, updater = begin(phase, config)
    experience, _ = experienced(policy, phase)
    metrics = updater.update(experience, constant(experience, 1.0), step=0, phase_step=0)
    now = gather_experience(policy, experience.batch, phase).old_logprobs
    mask = experience.batch.loss_mask
    assert experience.batch.num_rows <= MOVED_ROWS
    expected = masked_mean(kl(experience.old_logprobs - now, "k3"), mask).item()
    assert metrics["update/moved_nats"] == pytest.approx(expected, rel=1e-4) and expected > 1e-5
    assert metrics["update/step_kl_nats"] < 1e-2 * expected


def test_texts_that_nothing_drew_are_learnt_at_a_temperature_of_1() -> None:
    """The likelihood of a worked solution is the model's own, whatever the temperature at which it is watched."""
    algorithm = {"name": "sft", "critic": "zero", "old_logprobs": "current"}
    told = {}
    for rollouts, temperature in (("solutions", 0.5), ("solutions", 1.0), ("offline", 0.5)):
        phase = oracles.make_phase(algorithm=algorithm, sampler={"temperature": temperature}, optimizer={"lr": 1e-3})
        phase = phase.model_copy(update={"rollouts": rollouts})
        policy, updater = begin(phase)
        told[rollouts, temperature] = updater.update(*experienced(policy, phase), step=0, phase_step=0)[
            "update/logprob_nats"
        ]
    assert told["solutions", 0.5] == told["solutions", 1.0] != told["offline", 0.5]


def test_a_first_update_clips_nothing_and_a_second_epoch_measures_its_drift() -> None:
    """The policy that scored the step is the one that is updated: ratio 1. After an update it is not."""
    phase = oracles.make_phase(algorithm={"critic": "zero"})
    policy, updater = begin(phase)
    experience, _ = experienced(policy, phase)
    metrics = updater.update(experience, constant(experience, 1.0), step=0, phase_step=0)
    assert metrics["update/clip_frac"] == 0.0
    assert metrics["update/step_kl_nats"] == pytest.approx(0.0, abs=1e-6)
    again = updater.update(experience, constant(experience, 1.0), step=0, phase_step=0)
    assert again["update/step_kl_nats"] > 1e-6


def test_clip_frac_counts_tokens_whose_gradient_is_cut() -> None:
    """Old log-probabilities one nat lower on one of 36 counted tokens: its ratio e is above 1.2, its advantage +1."""
    phase = oracles.make_phase(algorithm={"critic": "zero"})
    policy, updater = begin(phase)
    experience, _ = experienced(policy, phase)
    old = experience.old_logprobs.clone()
    old[0, 0] -= 1.0
    metrics = updater.update(replace(experience, old_logprobs=old), constant(experience, 1.0), step=0, phase_step=0)
    assert metrics["update/clip_frac"] == pytest.approx(1 / 36, abs=1e-6)


def test_gradients_are_clipped_by_global_norm_and_reported_as_they_were() -> None:
    """A bound of 1e-9 changes the gradient's size, not what is reported; AdamW's eps of 1e-8 then shrinks the step."""
    reported, moved = [], []
    for bound in (1e6, 1e-9):
        phase = oracles.make_phase(algorithm={"critic": "zero"}, optimizer={"max_grad_norm": bound})
        policy, updater = begin(phase)
        before = copies(policy.policy_parameters())
        metrics = train(policy, updater, phase, range(1))
        reported.append(metrics["update/policy_grad_norm"])
        moved.append(max((p - before[n]).abs().max().item() for n, p in policy.policy_parameters().items()))
    assert reported[0] == pytest.approx(reported[1], rel=1e-6)
    assert reported[0] > 1e-2
    assert moved[1] < 0.1 * moved[0]


def test_recomputed_activations_change_no_gradient_of_a_lora_critic() -> None:
    """The critic's forward pass is made again in the backward pass, and with the critic's adapter then too."""
    phase, gradients = oracles.make_phase(algorithm={"critic": "lora", "kl_coef": 0.1}), []
    for is_on in (False, True):
        policy, _ = begin(phase, LORA.model_copy(update={"gradient_checkpointing": is_on}))
        generator = torch.Generator().manual_seed(2)
        for parameter in (policy.policy_parameters() | policy.critic_parameters()).values():
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
        gradients.append(oracles.update_gradients(policy, phase, *experienced(policy, phase)))
    for plain, recomputed in zip(*gradients, strict=True):
        assert plain.keys() == recomputed.keys() and len(plain) > 1
        for name, gradient in plain.items():
            assert torch.allclose(gradient, recomputed[name], rtol=1e-4, atol=1e-6), name


# --- waiting ---------------------------------------------------------------------------------------------------------


class NoWaiting(TorchDispatchMode):
    """Refuses what makes the host wait for a device: reading a number, and asking how many entries of a mask are true."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero"), name
        if name.startswith("index"):
            indices = [x for x in (args[1] if isinstance(args[1], list) else []) if x is not None]
            assert not any(x.dtype == torch.bool for x in indices), f"{name} by a mask"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("per_chunk", [2**25, 120], ids=["whole", "chunks"])
def test_no_micro_batch_makes_the_host_wait(per_chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Policy's and critic's losses, backward passes included, of a model that shares prefixes; transformers itself asks once a
    pass where rows are whole."""
    monkeypatch.setattr(prefixes, "COPY_PRICE", 0)
    monkeypatch.setattr(scoring, "LOGITS_PER_CHUNK", per_chunk)
    phase = oracles.make_phase(
        algorithm={"critic": "separate", "kl_coef": 0.1, "kl_in": "loss", "entropy_coef": 0.01},
        optimizer={"micro_batch_tokens": 24},
    )
    policy, updater = begin(phase)
    watched: list[str] = []

    def watching(name: str) -> Callable[..., Any]:
        own = getattr(updater, name)

        def losses(*arguments: Any) -> Any:
            watched.append(name)
            with NoWaiting():
                return own(*arguments)

        return losses

    for name in ("_policy_losses", "_value_losses"):
        monkeypatch.setattr(updater, name, watching(name))
    train(policy, updater, phase, range(1))
    assert watched.count("_policy_losses") == watched.count("_value_losses") > 1
    with NoWaiting(), pytest.raises(AssertionError, match="_local_scalar_dense"):
        float(torch.ones(1).sum())
    with NoWaiting(), pytest.raises(AssertionError, match="by a mask"):
        torch.ones(3)[torch.tensor([True, False, True])]


# --- numbers that are none -------------------------------------------------------------------------------------------


def test_what_targets_without_variance_explain_does_not_exist() -> None:
    """Equal targets, targets that differ by rounding, and a single one have no variance; 0 and 1, foretold, are explained."""
    phase = oracles.make_phase()
    policy, _ = begin(phase)
    experience, advantages = experienced(policy, phase)
    mask = experience.batch.response_mask
    values = replace(experience, values=torch.where(mask, 0.5, 0.0))
    alternating = torch.arange(mask.numel()).reshape(mask.shape) % 2 * 1.0
    first = torch.zeros_like(mask)
    first[0, 0] = True
    one = replace(values, batch=replace(experience.batch, response_mask=first))
    for found, returns, fit in (
        (values, torch.full(mask.shape, -1.0), None),
        (values, 0.7 + 1e-7 * alternating, None),
        (one, alternating, None),
        (replace(values, values=alternating), alternating, 1.0),
    ):
        explained = _critic_fit(found, replace(advantages, returns=returns))["update/explained_variance_frac"]
        assert explained == fit


@pytest.mark.parametrize(("rate", "what"), [(1e38, "overflows float32"), (1e30, "weights"), (1e18, "update/")])
def test_an_update_that_diverges_says_by_what(rate: float, what: str) -> None:
    """Weights of 1e18 give a loss that is no number in the second update. Those of 1e30 have no norm in float32, and a
    step of 1e39 does not exist there."""
    minibatches = 2 if rate == 1e18 else 1
    phase = oracles.make_phase(algorithm={"critic": "zero"}, optimizer={"minibatches": minibatches})
    policy, updater = begin(phase)
    updater.actor.lr = rate
    experience, _ = experienced(policy, phase)
    with pytest.raises(Diverged, match=what):
        updater.update(experience, constant(experience, 1.0), step=0, phase_step=0)


def test_a_statistic_that_overflows_ends_nothing() -> None:
    """A reference under which tokens are e^200 times as likely: the estimate of the KL is infinite; the loss, in which it has no
    weight, is not."""
    phase = oracles.make_phase(algorithm={"critic": "zero", "kl_coef": 0.1, "kl_in": "reward", "kl_estimator": "k1"})
    policy, updater = begin(phase)
    experience, _ = experienced(policy, phase)
    assert experience.ref_logprobs is not None
    far = replace(experience, ref_logprobs=experience.ref_logprobs + 200)
    metrics = updater.update(far, constant(experience, 1.0), step=0, phase_step=0)
    assert metrics["update/ref_kl_nats"] is None and metrics["update/policy_loss"] == pytest.approx(-1.0, abs=1e-5)


@pytest.mark.parametrize("ratio", ["token", "sequence"])
def test_the_kl_of_a_step_is_one_of_tokens_whatever_ratio_is_learnt_from(ratio: str) -> None:
    """Old log-probabilities half a nat higher and lower by turns: their mean over a response tells almost nothing of it."""
    phase = oracles.make_phase(algorithm={"critic": "zero", "ratio": ratio})
    policy, updater = begin(phase)
    experience, _ = experienced(policy, phase)
    apart = torch.where(torch.arange(experience.old_logprobs.shape[1]) % 2 == 0, 0.5, -0.5)
    mask = experience.batch.loss_mask
    moved = replace(experience, old_logprobs=torch.where(mask, experience.old_logprobs + apart, 0.0))
    metrics = updater.update(moved, constant(moved, 1.0), step=0, phase_step=0)
    expected = masked_mean(kl(moved.old_logprobs - experience.old_logprobs, "k3"), mask).item()
    assert metrics["update/step_kl_nats"] == pytest.approx(expected, rel=1e-3) and expected > 0.1
