"""Levers of a phase that stand far above what trains: where training diverges, they are the first to blame."""

from collections.abc import Callable
from dataclasses import dataclass

from laconic.config.phase import PhaseConfig
from laconic.config.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Lever:
    """A key of a phase (with `is_of_run` of the recipe), its value, the most with which training is known to work, and a usual
    value."""

    key: str
    value: Callable[[Recipe, PhaseConfig], float]
    most: float
    usual: float
    is_of_run: bool = False


LEVERS_THAT_DIVERGE: tuple[Lever, ...] = (
    Lever("optimizer.lr", lambda recipe, phase: phase.optimizer.lr, 0.01, 1e-4),
    Lever("optimizer.critic_lr", lambda recipe, phase: phase.optimizer.critic_lr, 0.01, 1e-4),
    Lever(
        "policy.lora.alpha", lambda recipe, phase: recipe.policy.lora.alpha if recipe.policy.lora else 0, 512, 32, True
    ),
    Lever("algorithm.kl_coef", lambda recipe, phase: phase.algorithm.kl_coef, 10, 0.01),
    Lever("algorithm.entropy_coef", lambda recipe, phase: phase.algorithm.entropy_coef, 1, 0.001),
    Lever("rewards.correct", lambda recipe, phase: abs(phase.rewards.correct), 100, 1),
    Lever("optimizer.max_grad_norm", lambda recipe, phase: phase.optimizer.max_grad_norm, 1000, 1),
)


def unusual_levers(recipe: Recipe, phase: PhaseConfig) -> dict[str, tuple[float, float]]:
    """The levers that are far too large, by their keys in the recipe, each with its value and a usual one."""
    return {
        lever.key if lever.is_of_run else f"phases.{phase.name}.{lever.key}": (value, lever.usual)
        for lever in LEVERS_THAT_DIVERGE
        if (value := lever.value(recipe, phase)) > lever.most
    }
