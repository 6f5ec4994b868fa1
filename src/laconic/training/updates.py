"""One step's update of policy and critic.

1. The step's rows are cut into `minibatches` updates, `epochs` times over; each update is cut into micro-batches by a token
   budget.
2. The loss of a token is the clipped surrogate (with `importance_cap` times its truncated importance), plus kl_coef times the KL
   estimate, minus entropy_coef times the entropy. It is weighted by `token_weights`, which divide by the counts of the whole
   update, so the cut into micro-batches does not change the gradient.
3. The critic learns its targets with the clipped value loss, averaged over the update's tokens.
4. Gradients are clipped by their global norm. The policy and the critic each have an AdamW optimiser.
5. What an update reads of a step is moved to the model's device before its micro-batches, and figures are added up there, so that
   no micro-batch makes the host wait for the device.
6. How far the step has moved the policy is measured on a few responses once its updates are done.
7. Where a loss, a gradient or a weight is no longer finite, the update ends with `Diverged`. A statistic that does not exist, or
   that overflows while the loss does not, is None.

The optimisers' state can be read and restored as plain tensors (`state`, `load_state`), so nothing is pickled.

Legend: `b`, `t` rows and response tokens of a micro-batch.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from laconic.config.optimizer import OptimizerConfig
from laconic.config.phase import PhaseConfig
from laconic.errors import Diverged
from laconic.models.policy import Policy
from laconic.parallel.team import Team
from laconic.rl.losses import clipped_surrogate, is_clipped, kl, sequence_log_ratio, truncated_importance, value_loss
from laconic.rl.masked import masked_sum, token_weights, zeroed
from laconic.rng import seed_of
from laconic.training.batching import MicroBatch, RolloutBatch, minibatch_rows, shared_micro_batches, token_budget
from laconic.training.estimators import Advantages
from laconic.training.experience import Experience

LEARNT_FROM = ("policy_loss", "policy_grad_norm", "value_loss", "critic_grad_norm")
"""Figures of an update that must be finite, since the weights follow them."""
MOVED_ROWS = 8  # responses on which a step's move is measured, a forward pass of which is cheap beside an update
ROUNDING = 1e-5  # float32 has 7 digits, and a return is a sum of many terms


def learning_rate_factor(step: int, num_steps: int, config: OptimizerConfig) -> float:
    """The factor of `lr` at `step` (from 0) of a phase of `num_steps`: warm-up, then the schedule.

    >>> [round(learning_rate_factor(s, 5, OptimizerConfig(schedule="linear")), 6) for s in (0, 4)]
    [1.0, 0.2]
    """
    if step < config.warmup_steps:
        return (step + 1) / (config.warmup_steps + 1)
    done = (step - config.warmup_steps) / max(1, num_steps - config.warmup_steps)
    shapes = {"constant": 1.0, "linear": 1.0 - done, "cosine": 0.5 * (1.0 + math.cos(math.pi * done))}
    return config.min_lr_frac + (1.0 - config.min_lr_frac) * shapes[config.schedule]


@dataclass(slots=True)
class _Optimizer:
    """AdamW over named parameters, with the learning rate it starts from."""

    name: str
    parameters: dict[str, nn.Parameter]
    adam: torch.optim.AdamW
    lr: float
    max_grad_norm: float

    def step(self, factor: float) -> float:
        """Clip the gradients, take a step and clear them; returns the gradient's norm before clipping."""
        for group in self.adam.param_groups:
            group["lr"] = self.lr * factor
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.max_grad_norm)
        try:
            self.adam.step()
        except RuntimeError as error:
            if "overflow" not in str(error):
                raise
            raise Diverged(f"a step of the {self.name} at the rate {self.lr * factor:g} overflows float32") from error
        self.adam.zero_grad(set_to_none=True)
        return _number(norm)


def _make_optimizer(
    name: str, parameters: dict[str, nn.Parameter], lr: float, config: OptimizerConfig, team: Team
) -> _Optimizer:
    is_on_cpu = all(parameter.device.type == "cpu" for parameter in parameters.values())
    adam = torch.optim.AdamW(
        parameters.values(),
        lr=lr,
        betas=config.betas,
        eps=config.eps,
        weight_decay=config.weight_decay,
        # on an accelerator: one kernel, without temporary copies of the size of the weights; over spread weights: one operation,
        # where each takes longer than its arithmetic
        fused=not is_on_cpu or team.size > 1,
    )
    return _Optimizer(name, parameters, adam, lr, config.max_grad_norm)


def _number(norm: Tensor) -> float:
    """The norm of some tensors as a number. Where these are spread over processes, what each knows of it is put together."""
    put_together = getattr(norm, "full_tensor", None)
    return float(norm if put_together is None else put_together())


@torch.no_grad()
def _check_weights(optimizer: _Optimizer) -> None:
    """Raises `Diverged` if a weight is not finite."""
    norm = _number(torch.nn.utils.get_total_norm(optimizer.parameters.values()))
    if not math.isfinite(norm):
        raise Diverged(f"the norm of the {optimizer.name}'s weights is {norm}")


class Updater:
    """Policy and critic optimisers of one phase, and the adaptive entropy coefficient."""

    def __init__(self, policy: Policy, phase: PhaseConfig, *, seed: int) -> None:
        self.policy, self.phase, self.seed = policy, phase, seed
        self.entropy_coef = phase.algorithm.entropy_coef
        config = phase.optimizer
        self.actor = _make_optimizer("policy", policy.policy_parameters(), config.lr, config, policy.team)
        critic = policy.critic_parameters()
        self.critic = _make_optimizer("critic", critic, config.critic_lr, config, policy.team) if critic else None

    def update(
        self, experience: Experience, advantages: Advantages, step: int, phase_step: int
    ) -> dict[str, float | None]:
        """All updates of one step; returns the step's `update/*` metrics, empty if no response counts in the loss. `phase_step`
        counts from 0 within the phase. Raises `Diverged`."""
        config = self.phase.optimizer
        experience, learning = _counted(experience, advantages.rows, has_critic=self.critic is not None)
        if not learning:
            return {}  # the algorithm found nothing to learn from, for instance no pair
        factor = learning_rate_factor(phase_step, self.phase.steps, config)
        rank = self.policy.team.rank
        torch.manual_seed(
            seed_of(self.seed, "dropout", step, *([rank] if rank else []))
        )  # LoRA's dropout is the only random draw that torch makes by itself; each process draws for rows of its own
        tensors = _on_device(experience, advantages, self.phase.algorithm.importance_cap, self.policy.lm.device)
        found: defaultdict[str, list[float]] = defaultdict(list)
        for epoch in range(config.epochs):
            order = minibatch_rows(len(learning), config.minibatches, seed=self.seed, step=step, epoch=epoch)
            for part in order:
                rows = [learning[i] for i in part]
                for name, value in self._one_update(experience.batch, tensors, rows, factor, phase_step).items():
                    found[name].append(value)
        for optimizer in filter(None, (self.actor, self.critic)):
            _check_weights(optimizer)
        metrics = {f"update/{name}": sum(values) / len(values) for name, values in found.items()}
        if self.phase.algorithm.old_logprobs != "current" and phase_step >= config.critic_warmup_steps:
            metrics["update/moved_nats"] = self._moved(experience.batch, tensors, learning)
        if "update/entropy_nats" in metrics:  # during the warm-up it is not measured
            self._adapt_entropy(metrics["update/entropy_nats"])
        metrics["update/entropy_coef"] = self.entropy_coef
        metrics["update/lr"] = self.actor.lr * factor
        finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        return finite | _critic_fit(experience, advantages)

    def _one_update(
        self, batch: RolloutBatch, tensors: "_StepTensors", rows: list[int], factor: float, phase_step: int
    ) -> dict[str, float]:
        config, device = self.phase.optimizer, self.policy.lm.device
        counts = _counts(batch, rows)
        learns = phase_step >= config.critic_warmup_steps and counts.responses > 0
        sums: dict[
            str, Tensor
        ] = {}  # kept on the device until the update is done, so that the device never waits for a number to be copied
        metrics: dict[str, float] = {}
        with self.policy.learning():
            budget = token_budget(config, device)
            width = self.policy.lm.sharing_width
            micros = shared_micro_batches(batch, rows, budget, device, width, self.policy.team)
            if learns:
                for micro in micros:
                    _add(sums, self._policy_losses(tensors, micro, counts))
                metrics["policy_grad_norm"] = self.actor.step(factor)
            if self.critic is not None:  # after the policy's step, so that both never hold gradients at the same time
                for micro in micros:
                    _add(sums, self._value_losses(tensors, micro, counts))
                metrics["critic_grad_norm"] = self.critic.step(factor)
        figures = _fetched(sums, self.policy.team) | metrics
        for name in LEARNT_FROM:
            if not math.isfinite(figures.get(name, 0.0)):
                raise Diverged(f"update/{name} is {figures[name]}")
        return figures

    @torch.no_grad()
    def _moved(self, batch: RolloutBatch, tensors: "_StepTensors", learning: Sequence[int]) -> float:
        """The KL per token from the policy of the step's old log-probabilities to that after its updates, on a few responses. A
        step's first update begins at a KL of 0, so that with one update per step this alone shows how far it went."""
        rows, device = learning[:: -(-len(learning) // MOVED_ROWS)], self.policy.lm.device
        sums = {"moved_nats": torch.zeros((), device=device), "tokens": torch.zeros((), device=device)}
        budget, width = token_budget(self.phase.optimizer, device), self.policy.lm.sharing_width
        for micro in shared_micro_batches(batch, rows, budget, device, width, self.policy.team):
            inputs = (micro.input_ids, micro.predictors, micro.response_ids, micro.mask)
            temperature = self.phase.temperature
            now, _ = self.policy.logprobs(*inputs, temperature=temperature, tree=micro.tree, counted=micro.counted)
            log_ratio = _take(tensors.old_logprobs, micro) - now
            mask = _take(tensors.loss_mask, micro)
            _add(sums, {"moved_nats": masked_sum(kl(log_ratio, "k3"), mask), "tokens": mask.sum()})
        found = _fetched(sums, self.policy.team)
        return found["moved_nats"] / max(1.0, found["tokens"])

    def _policy_losses(self, tensors: "_StepTensors", micro: MicroBatch, counts: "_Counts") -> dict[str, Tensor]:
        """Backward pass of the policy's loss on one micro-batch; returns the parts of the loss, detached."""
        config = self.phase.algorithm
        logprobs, entropies = self.policy.logprobs(
            micro.input_ids,
            micro.predictors,
            micro.response_ids,
            micro.mask,
            temperature=self.phase.temperature,
            entropy="learned" if self.entropy_coef > 0 else "measured",
            tree=micro.tree,
            counted=micro.counted,
        )
        mask = _take(tensors.loss_mask, micro)
        is_current = config.old_logprobs == "current"
        log_ratio = logprobs - (logprobs.detach() if is_current else _take(tensors.old_logprobs, micro))
        token_log_ratio = log_ratio
        if config.ratio == "sequence":
            log_ratio = sequence_log_ratio(log_ratio, mask)
        advantage = _take(tensors.advantages, micro)
        losses = clipped_surrogate(log_ratio, advantage, config.clip_low, config.clip_high)
        weights = token_weights(
            mask,
            config.aggregation,
            num_responses=counts.responses,
            num_tokens=counts.tokens,
            max_tokens=self.phase.sampler.max_tokens,
        )
        if tensors.importance is not None:
            losses = losses * _take(tensors.importance, micro)
        surrogate = masked_sum(losses * weights, mask)
        total = surrogate
        parts = {"policy_loss": surrogate.detach()}
        if tensors.ref_logprobs is not None:
            ref_ratio = logprobs - _take(tensors.ref_logprobs, micro)
            if config.kl_in == "loss" and config.kl_coef > 0:
                price = self._kl_price(ref_ratio, micro)
                total = total + config.kl_coef * masked_sum(price * weights, mask)
            parts["ref_kl_nats"] = masked_sum(kl(ref_ratio.detach(), "k3"), mask) / counts.tokens
        if self.entropy_coef > 0:
            total = total - self.entropy_coef * masked_sum(entropies * weights, mask)
        torch.autograd.backward(total)
        clipped = is_clipped(log_ratio.detach(), advantage, config.clip_low, config.clip_high)
        parts["clip_frac"] = masked_sum(clipped.float(), mask) / counts.tokens
        parts["entropy_nats"] = masked_sum(entropies.detach(), mask) / counts.tokens
        parts["logprob_nats"] = masked_sum(logprobs.detach(), mask) / counts.tokens
        parts["step_kl_nats"] = masked_sum(kl(-token_log_ratio.detach(), "k3"), mask) / counts.tokens
        return parts

    def _kl_price(self, ref_ratio: Tensor, micro: MicroBatch) -> Tensor:
        """The KL to the reference at each token [b, t], as the recipe estimates it."""
        estimator = self.phase.algorithm.kl_estimator
        if estimator != "exact":
            return kl(ref_ratio, estimator)
        temperature = self.phase.temperature
        inputs = (micro.input_ids, micro.predictors, micro.mask)
        return self.policy.exact_kl(*inputs, temperature=temperature, tree=micro.tree, counted=micro.counted)

    def _value_losses(self, tensors: "_StepTensors", micro: MicroBatch, counts: "_Counts") -> dict[str, Tensor]:
        """Backward pass of the critic's loss on one micro-batch, averaged over the update's tokens."""
        assert tensors.returns is not None
        targets, old_values = _take(tensors.returns, micro), _take(tensors.values, micro)
        with self.policy.critic_at_work():
            values = self.policy.values(micro.input_ids, micro.predictors, micro.tree)
            losses = value_loss(values, old_values, targets, self.phase.algorithm.value_clip)
            loss = masked_sum(losses, micro.mask) / counts.all_tokens
            torch.autograd.backward(loss)
        return {"value_loss": loss.detach()}

    def _adapt_entropy(self, entropy_nats: float) -> None:
        """Raise the bonus while entropy is below its target, lower it above (Skywork-OR1, arXiv 2505.22312, section 4). The paper
        also leaves the bonus out of steps whose entropy is above the target; here it only becomes smaller."""
        target = self.phase.algorithm.entropy_target
        if target is not None:
            change = self.phase.algorithm.entropy_coef_step
            self.entropy_coef = max(0.0, self.entropy_coef + (change if entropy_nats < target else -change))

    # --- state -------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        """The optimisers' moments and step counts and the entropy coefficient, by name."""
        out = {"entropy_coef": torch.tensor(self.entropy_coef, dtype=torch.float64)}
        for optimizer in filter(None, (self.actor, self.critic)):
            for name, parameter in optimizer.parameters.items():
                for key, value in optimizer.adam.state.get(parameter, {}).items():
                    out[f"{optimizer.name}/{key}/{name}"] = value
        return out

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned."""
        self.entropy_coef = float(state["entropy_coef"])
        for optimizer in filter(None, (self.actor, self.critic)):
            for name, parameter in optimizer.parameters.items():
                keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"{optimizer.name}/{key}/{name}" in state]
                if keys:
                    moments = {key: state[f"{optimizer.name}/{key}/{name}"].clone() for key in keys}
                    is_fused = optimizer.adam.defaults["fused"]
                    step = moments.pop("step")
                    optimizer.adam.state[parameter] = {
                        "step": step.to(parameter.device) if is_fused else step,
                        **{key: self.policy.placed(value, parameter) for key, value in moments.items()},
                    }


@dataclass(frozen=True, slots=True)
class _StepTensors:
    """What an update reads of a step, [B, T] each, on the model's device."""

    loss_mask: Tensor
    old_logprobs: Tensor
    ref_logprobs: Tensor | None
    values: Tensor
    advantages: Tensor
    returns: Tensor | None
    importance: Tensor | None


def _on_device(experience: Experience, advantages: Advantages, cap: float | None, device: torch.device) -> _StepTensors:
    ref, returns = experience.ref_logprobs, advantages.returns
    old, drawn_with = experience.old_logprobs, experience.batch.sampler_logprobs
    importance = None if cap is None else truncated_importance(old, drawn_with, cap)
    return _StepTensors(
        loss_mask=experience.batch.loss_mask.to(device),
        old_logprobs=experience.old_logprobs.to(device),
        ref_logprobs=None if ref is None else ref.to(device),
        values=experience.values.to(device),
        advantages=advantages.advantages.to(device),
        returns=None if returns is None else returns.to(device),
        importance=None if importance is None else importance.to(device),
    )


def _fetched(sums: dict[str, Tensor], team: Team) -> dict[str, float]:
    """The sums over all processes as numbers, all fetched from the device at once."""
    return dict(zip(sums, team.sums(torch.stack(list(sums.values()))).tolist(), strict=True)) if sums else {}


@dataclass(frozen=True, slots=True)
class _Counts:
    """The counts by which one update divides: responses and tokens in the loss, and all response tokens. Where no response is in
    the loss, only a critic learns."""

    responses: int
    tokens: int
    all_tokens: int


def _counted(experience: Experience, rows: Tensor | None, *, has_critic: bool) -> tuple[Experience, list[int]]:
    """The experience in which only `rows` [B] count in the loss, and the rows that go through the model: those that count, and
    all of them where a critic learns and the algorithm names no rows (None)."""
    batch = experience.batch
    if rows is None and has_critic:
        return experience, list(range(batch.num_rows))
    counted = batch.loss_rows if rows is None else batch.loss_rows & rows
    return replace(experience, batch=replace(batch, loss_rows=counted)), torch.nonzero(counted)[:, 0].tolist()


def _add(sums: dict[str, Tensor], parts: dict[str, Tensor]) -> None:
    """Add a micro-batch's parts to the update's, in place."""
    for name, value in parts.items():
        sums[name] = sums[name] + value if name in sums else value


def _counts(batch: RolloutBatch, rows: list[int]) -> _Counts:
    index = torch.tensor(rows)
    tokens = int(batch.loss_mask[index].sum())
    return _Counts(int(batch.loss_rows[index].sum()), max(1, tokens), int(batch.response_mask[index].sum()))


def _take(x: Tensor, micro: MicroBatch) -> Tensor:
    """The micro-batch's part [b, t] of a step's tensor [B, T], both on one device. It is 0 in the padding, because other values
    could reach the gradient as 0 * nan."""
    return zeroed(x[micro.rows, : micro.mask.shape[1]], micro.mask)


def _critic_fit(experience: Experience, advantages: Advantages) -> dict[str, float | None]:
    """Share of the targets' variance that the old values explained; 1 is perfect, None if the targets do not vary, apart from
    rounding."""
    if advantages.returns is None or not bool(experience.values.any()):
        return {}
    mask = experience.batch.response_mask
    returns, values = advantages.returns[mask], experience.values[mask]
    varies = returns.std(correction=0) > ROUNDING * returns.abs().max()
    fit = float(1 - (returns - values).var() / returns.var()) if varies else math.nan
    return {"update/explained_variance_frac": fit if math.isfinite(fit) else None}
