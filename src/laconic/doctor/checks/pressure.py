"""In which direction do rewards, lambda and whitening push length, and is it the direction that the phase intends?

The forecast is that of `rewards/length_forecast.py`, at the solve rate of the problems that the phase would select from a probe;
without one, at both ends of the solve rates that its selection keeps. The dry run prints the same forecasts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import isnan

import numpy as np

from laconic.config.phase import PhaseConfig
from laconic.doctor.checks.probe import PAID, level_of, selected_of
from laconic.doctor.examination import Examined
from laconic.doctor.findings import Finding
from laconic.rewards.from_recipe import lengthening_terms, outcome_levels, own_terms, pricing_terms
from laconic.rewards.length_forecast import Forecast, forecast
from laconic.selection.rules import options_of
from laconic.statistics.solve_rate import ProblemStats
from laconic.training.check.phases import ResolvedPhase
from laconic.training.time_left import group_of, most_trained_of
from laconic.types import Grade


def check_pressure(examined: Examined) -> Iterator[Finding]:
    """In which direction do rewards, lambda and whitening push length, and is it the direction that the phase intends?"""
    for phase in examined.phases:
        name, where = phase.config.algorithm.name, f"phases.{phase.name}.algorithm"
        if not phase.algorithm.reads_rewards:
            yield Finding("fine", f"{name} makes no advantages of rewards: nothing to forecast", where)
        elif not phase.algorithm.has_baseline:
            what = f"{name} has neither a critic nor a group's baseline: nothing to forecast"
            yield Finding("fine", what, where)
        else:
            yield _pressure_finding(phase.config, _forecasts(examined, phase))


def _pressure_finding(phase: PhaseConfig, expected: Sequence[Forecast]) -> Finding:
    where, neutral = f"phases.{phase.name}.rewards", expected[0].neutral_solve_rate
    directions = {forecasted.direction for forecasted in expected}
    sentence = expected[0].sentence.rstrip(".")
    if own_terms(phase.rewards):
        return Finding(
            "unknown", sentence, where, "train a few steps and look at rollouts/mean_tokens in metrics.jsonl"
        )
    if len(directions) > 1 or "unknown" in directions:
        what = f"length is pushed up below solve rate {neutral:.2f} and down above it, and nobody measured which it is"
        return Finding("unknown", what, where, "give a probe")
    if phase.end.goal != "tokens" or directions == {"shorter"}:
        return Finding("fine", sentence.partition(":")[0], where)
    remedy = "add a length term (laconic list rewards)"
    if directions == {"neutral"}:
        return Finding(
            "warning", f"{sentence}; the phase is meant to shorten", where, f"{remedy}, or ppo with lambda below 1"
        )
    above = "" if isnan(neutral) else f"select problems solved more often than {neutral:.2f}, "
    return Finding(
        "warning", f"{sentence}; the phase is meant to shorten", where, f"{above}raise rewards.wrong, or {remedy}"
    )


def _forecasts(examined: Examined, phase: ResolvedPhase) -> list[Forecast]:
    """Forecasts at the probed solve rate of the selected problems; without a probe, at both ends of the selection's solve
    rates."""
    config = phase.config
    selected = selected_of(examined, phase, config.select.count) if examined.probe else []
    graded = [stat for stat in selected if stat.attempts]
    if graded:
        rate = float(np.mean([stat.solve_rate for stat in graded]))
        tokens = float(np.mean([stat.mean_tokens for stat in graded]))
        return [_forecast(phase, rate, tokens, _failed_pay(config, graded))]
    options = {**options_of(config.select.how), **config.select.options} if config.select.how == "band" else {}
    ends = [float(options[end]) for end in ("low", "high") if end in options]
    return [_forecast(phase, end, None, config.rewards.wrong) for end in ends or (None,)]


def _forecast(resolved: ResolvedPhase, rate: float | None, tokens: float | None, failed_pay: float) -> Forecast:
    rewards, levels = resolved.config.rewards, outcome_levels(resolved.config.rewards)
    are_own = rewards.wrong < rewards.correct and failed_pay < rewards.correct
    return phase_forecast(
        resolved, levels | {"wrong": failed_pay if are_own else min(failed_pay, levels["wrong"])}, rate, tokens
    )


def phase_forecast(
    resolved: ResolvedPhase, levels: Mapping[str, float], rate: float | None, tokens: float | None = None
) -> Forecast:
    """The forecast of a phase at these levels of the grades. Credit decays by gamma x lambda (`rl/advantages.py`), and where an
    algorithm keeps the shortest of each group, that shortens as a price of length does."""
    phase, algorithm = resolved.config, resolved.config.algorithm
    ranked = algorithm.name if keeps_shortest(resolved) else None
    priced = pricing_terms(phase.rewards)
    found = forecast(
        levels,
        algorithm.gamma * algorithm.gae_lambda,
        algorithm.whitening == "batch",
        rate,
        tokens,
        length_terms=[*priced, *([ranked] if ranked else [])],
        lengthening_terms=lengthening_terms(phase.rewards),
        own_terms=own_terms(phase.rewards),
        has_group_baseline=not resolved.algorithm.has_critic,
        is_standardized=phase.rewards.standardize,
        critic_value=0.0 if resolved.critic == "zero" else None,
    )
    sentence = found.sentence
    if ranked and not priced:
        kept = f"{ranked} trains on the shortest {most_trained_of(phase)} of each {group_of(phase)} responses"
        sentence = sentence.replace(f"the reward prices length ({ranked})", kept)
    if resolved.algorithm.has_critic and algorithm.gamma < 1:
        product = algorithm.gamma * algorithm.gae_lambda
        decay = f"gamma {algorithm.gamma:g} x lambda {algorithm.gae_lambda:g} = {product:.4g}"
        sentence = f"{sentence.rstrip('.')} (credit decays by {decay} per token)."
    return replace(found, sentence=sentence)


def keeps_shortest(phase: ResolvedPhase) -> bool:
    """Whether the algorithm ranks a group's responses by shortness and leaves the longer ones out."""
    options = {**phase.algorithm.options, **phase.config.algorithm.options}
    ranks_by_length = options.get("by_efficiency") is False
    return ranks_by_length and most_trained_of(phase.config) < group_of(phase.config)


def _failed_pay(phase: PhaseConfig, stats: Sequence[ProblemStats]) -> float:
    """Mean reward of the attempts that failed; if none did, the reward of a wrong one."""
    failed = {grade: sum(stat.counts.get(grade, 0) for stat in stats) for grade in PAID if grade is not Grade.CORRECT}
    total = sum(failed.values())
    return (
        sum(level_of(phase, grade) * count for grade, count in failed.items()) / total if total else phase.rewards.wrong
    )
