"""What does a probe predict for the phases: are there enough problems, is the cap high enough, will length rise or fall?

1. Selection: how many probed problems qualify for each phase, compared with the number that a step takes. What training itself
   would say of the problems is said in the same words (`training/check/`).
2. Caps: the share of responses that the phase's cap would cut off.
3. Uniform groups: the share of groups in which every response is correct, or every one wrong, from which an algorithm with a
   group baseline learns nothing.
4. Pressure: the forecast of `rewards/length_forecast.py` at the solve rate of the selected problems.

A probe describes the model with which it was made, the one that enters the first phase. For later phases it justifies warnings
but no errors, and fewer than `FEWEST_RESPONSES` responses justify neither. Without a probe, the pressure is still forecast if the
selection bounds the solve rate.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import exp, isnan, lgamma

import numpy as np

from laconic.config.phase import PhaseConfig
from laconic.doctor.examination import Examined
from laconic.doctor.findings import FEWEST_RESPONSES, Finding, found_in
from laconic.doctor.reading import Probed
from laconic.rewards.from_recipe import lengthening_terms, outcome_levels, own_terms, pricing_terms
from laconic.rewards.length_forecast import Forecast, forecast
from laconic.selection.pool import decide, lacking, needs_probe, pool_of
from laconic.statistics.solve_rate import ProblemStats
from laconic.system.text import counted
from laconic.training.check.phases import ResolvedPhase
from laconic.training.check.problems import complaints_about_problems
from laconic.types import Grade, Problem

MANY_TRUNCATED, ALL_TRUNCATED = 0.2, 0.98
MANY_UNIFORM = 0.5
PAID = (Grade.CORRECT, Grade.WRONG, Grade.NO_ANSWER, Grade.TRUNCATED)


def check_probe(examined: Examined) -> Iterator[Finding]:
    """Was the probe sampled with the settings of the first phase, from problems that it may train on?"""
    probed, phase = _probed(examined), examined.recipe.phases[0]
    known = {problem.id for problem in examined.trainable}
    if known and not any(stat.problem_id in known for stat in probed.stats):
        what = "none of the probe's problems is one to train on: what it says of the phases is said of others"
        yield Finding("warning", what, probed.path, examined.probe_command)
    wanted = {
        "model": examined.recipe.model,
        "temperature": phase.sampler.temperature,
        "top_p": phase.sampler.top_p,
        "min_p": phase.sampler.min_p,
    }
    others = [
        f"{key} {probed.settings[key]}, not {value}"
        for key, value in wanted.items()
        if probed.settings.get(key, value) != value
    ]
    asked, prompt = probed.settings.get("prompt"), examined.recipe.prompt
    if asked and (asked.get("name"), asked.get("system")) != (prompt.instruction, prompt.system):
        others.append(f"the prompt {asked.get('name')} and system text {asked.get('system')}, not the recipe's")
    if others:
        yield Finding("warning", f"the probe was made with {'; '.join(others)}", probed.path, examined.probe_command)
    else:
        yield Finding("fine", f"a probe of {counted(len(probed.stats), 'problem')}", probed.path)


# --- selection -------------------------------------------------------------------------------------------------------


def check_selection(examined: Examined) -> Iterator[Finding]:
    """Does every phase find the problems that its steps take?"""
    for phase in examined.phases:
        pool = pool_of(phase.config, examined.trainable)
        is_probed = examined.probe is not None and needs_probe(phase.config)
        complaints = [found_in(c) for c in complaints_about_problems(phase.config, examined.trainable)]
        yield from complaints or [
            _qualifying(examined, phase, pool) if is_probed else _choosing(phase.config, len(pool))
        ]


def _choosing(phase: PhaseConfig, available: int) -> Finding:
    how = f"{phase.select.how} chooses from" if needs_probe(phase) else "training takes all of"
    return Finding("fine", f"{how} {counted(available, 'problem')}", f"phases.{phase.name}.select")


def _qualifying(examined: Examined, phase: ResolvedPhase, pool: Sequence[Problem]) -> Finding:
    """How many problems of the pool qualify, as estimated from the probe."""
    config, seen = phase.config, _seen(examined, phase.config)
    kept = len(_selected(examined, phase, count=None))
    expected = round(kept / len(seen) * len(pool)) if seen else 0
    where = f"phases.{phase.name}.select"
    what = (
        f"{kept} of {len(seen)} probed problems qualify, about {expected} of the {len(pool)} that the phase will probe"
    )
    remedy = "widen the selection's options, or probe more problems"
    if not kept:
        return _shown_by_probe(examined, phase, Finding("error", what, where, remedy), _num_responses(seen))
    if expected < config.problems_per_step:
        what = f"{what}; a step takes {config.problems_per_step}: steps are smaller"
        return Finding("warning", what, where, remedy)
    if expected < len(pool) and lacking(config, expected):
        enough = min(config.select.count or 0, len(pool))
        return Finding("warning", f"{what}; {enough} are asked for", where, remedy)
    return Finding("fine", what, where)


def _seen(examined: Examined, phase: PhaseConfig) -> list[ProblemStats]:
    """The probe's statistics of the phase's pool; of all probed problems if none of the pool was probed."""
    names = {problem.id for problem in pool_of(phase, examined.trainable)}
    stats = _probed(examined).stats
    return [stat for stat in stats if stat.problem_id in names] or list(stats)


def _selected(examined: Examined, phase: ResolvedPhase, count: int | None) -> list[ProblemStats]:
    """The probed problems that the phase would train on, at most `count`."""
    seen = _seen(examined, phase.config)
    if not needs_probe(phase.config):
        return seen
    choices = decide(phase.config, seen, count, seed=examined.recipe.seed, index=phase.index)
    kept = {choice.problem_id for choice in choices if choice.is_kept}
    return [stat for stat in seen if stat.problem_id in kept]


# --- caps ------------------------------------------------------------------------------------------------------------


def check_truncation(examined: Examined) -> Iterator[Finding]:
    """Would the phases' caps cut off the thinking? A response that is cut off has no answer and gets the reward of truncated
    ones."""
    for phase in examined.phases:
        yield _cap_finding(examined, phase)


def _cap_finding(examined: Examined, phase: ResolvedPhase) -> Finding:
    probed, cap, field = _probed(examined), phase.config.sampler.max_tokens, f"phases.{phase.name}.sampler.max_tokens"
    share = truncated_share(probed, cap)
    is_below = probed.cap is not None and probed.cap < cap
    what = f"{'at most ' * is_below}{share:.0%} of the probe's responses reach the cap of {cap:,} tokens"
    if share <= MANY_TRUNCATED:
        return Finding("fine", what, field)
    if is_below:
        seen = f"the probe's own cap of {probed.cap:,} cut off {share:.0%} of its responses"
        what = f"not checked: {seen}, the phase's is {cap:,}"
        return Finding("unknown", what, field, f"probe with --max-tokens {cap}")
    if share < ALL_TRUNCATED:
        return Finding("warning", what, field, "raise it, or choose problems that are solved in fewer tokens")
    remedy = "raise it, or see whether the model ever draws an end token"
    error = Finding("error", f"{what}: no answer would ever be paid", field, remedy)
    return _shown_by_probe(examined, phase, error, _num_responses(probed.stats))


def truncated_share(probed: Probed, cap: int) -> float:
    """Share of the probe's responses that were cut off, or are longer than `cap`. If the lengths of single responses are unknown,
    all responses of a problem whose mean length exceeds the cap are counted."""
    if probed.lengths is not None:
        return float(np.mean([is_cut or length > cap for length, is_cut in probed.lengths]))
    counts = [stat.counts for stat in probed.stats]
    totals = [sum(count.values()) for count in counts]
    cut = sum(
        total if stat.mean_tokens > cap else stat.counts.get(Grade.TRUNCATED, 0)
        for stat, total in zip(probed.stats, totals, strict=True)
    )
    return cut / sum(totals)


# --- uniform groups --------------------------------------------------------------------------------------------------


def check_uniform_groups(examined: Examined) -> Iterator[Finding]:
    """In how many groups would all responses be correct, or all wrong?"""
    for phase in examined.phases:
        selected = _selected(examined, phase, phase.config.select.count)
        if selected:
            yield _group_finding(examined, phase, selected)


def _group_finding(examined: Examined, resolved: ResolvedPhase, selected: Sequence[ProblemStats]) -> Finding:
    phase = resolved.config
    share = float(np.mean([uniform_share(stat, phase.group_size) for stat in selected]))
    field, name = f"phases.{phase.name}.group_size", phase.algorithm.name
    what = f"{share:.0%} of groups of {phase.group_size} are expected to be all right or all wrong"
    if phase.rewards.terms:
        return Finding("fine", f"{what}; its reward terms tell them apart by more", field)
    if resolved.algorithm.has_critic and phase.algorithm.uniform_groups == "keep":
        return Finding("fine", f"{what}; {name} trains on them too", field)
    if not any(_is_mixed(stat, phase) for stat in selected):
        what = f"every selected problem earned the same at each of its attempts: {name} has nothing to compare"
        remedy = "select problems that are solved now and then: select.how=band"
        error = Finding("error", what, field, remedy)
        return _shown_by_probe(examined, resolved, error, _num_responses(selected))
    if share > MANY_UNIFORM:
        remedy = "select nearer to a solve rate of one half, or raise group_size"
        return Finding("warning", f"{what}, and teach {name} nothing", field, remedy)
    return Finding("fine", what, field)


def uniform_share(stat: ProblemStats, group_size: int) -> float:
    """Expected p^K + (1 - p)^K under the solve rate's posterior Beta(1 + c, 1 + n - c).

    E[p^K] = B(a + K, b) / B(a, b), where B is Euler's beta function; so the time does not depend on K.

    >>> nothing_seen = ProblemStats("a", 0, 0, 10.0, None, None, {})
    >>> round(uniform_share(nothing_seen, 3), 6)  # the uniform prior: 2 / (K + 1)
    0.5
    """
    right, wrong = 1 + stat.correct, 1 + stat.attempts - stat.correct

    def all_alike(one: int) -> float:
        both = right + wrong
        return exp(lgamma(one + group_size) - lgamma(one) + lgamma(both) - lgamma(both + group_size))

    return all_alike(right) + all_alike(wrong)


def _is_mixed(stat: ProblemStats, phase: PhaseConfig) -> bool:
    """Whether the problem's attempts were of grades that the phase pays differently."""
    return len({_pay(phase, grade) for grade in PAID if stat.counts.get(grade, 0)}) > 1


def _pay(phase: PhaseConfig, grade: Grade) -> float:
    return float(getattr(phase.rewards, grade.value))


# --- pressure --------------------------------------------------------------------------------------------------------


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
    selected = _selected(examined, phase, config.select.count) if examined.probe else []
    graded = [stat for stat in selected if stat.attempts]
    if graded:
        rate = float(np.mean([stat.solve_rate for stat in graded]))
        tokens = float(np.mean([stat.mean_tokens for stat in graded]))
        return [_forecast(phase, rate, tokens, _failed_pay(config, graded))]
    options = config.select.options
    ends = [options.get("low"), options.get("high")] if config.select.how == "band" else [None]
    return [_forecast(phase, None if end is None else float(end), None, config.rewards.wrong) for end in ends]


def _forecast(resolved: ResolvedPhase, rate: float | None, tokens: float | None, failed_pay: float) -> Forecast:
    phase = resolved.config
    levels = outcome_levels(phase.rewards)
    return forecast(
        {"correct": levels["correct"], "wrong": min(failed_pay, levels["wrong"])},
        phase.algorithm.gae_lambda,
        phase.algorithm.whitening == "batch",
        rate,
        tokens,
        length_terms=pricing_terms(phase.rewards),
        lengthening_terms=lengthening_terms(phase.rewards),
        own_terms=own_terms(phase.rewards),
        has_group_baseline=not resolved.algorithm.has_critic,
        critic_value=0.0 if resolved.critic == "zero" else None,
    )


def _failed_pay(phase: PhaseConfig, stats: Sequence[ProblemStats]) -> float:
    """Mean reward of the attempts that failed; if none did, the reward of a wrong one."""
    failed = {grade: sum(stat.counts.get(grade, 0) for stat in stats) for grade in PAID if grade is not Grade.CORRECT}
    total = sum(failed.values())
    return sum(_pay(phase, grade) * count for grade, count in failed.items()) / total if total else phase.rewards.wrong


def _shown_by_probe(examined: Examined, phase: ResolvedPhase, error: Finding, num_responses: int) -> Finding:
    """An error as far as so many responses justify it: "unknown" where they are few, and "warning" after the first phase, since a
    later one begins from a model that the probe did not measure."""
    if num_responses < FEWEST_RESPONSES:
        what = f"{error.what}; but {counted(num_responses, 'response')} show too little, expected at least {FEWEST_RESPONSES}"
        return replace(error, level="unknown", what=what, remedy=examined.probe_command)
    return error if phase.index == 0 else replace(error, level="warning")


def _num_responses(stats: Sequence[ProblemStats]) -> int:
    return sum(sum(stat.counts.values()) for stat in stats)


def _probed(examined: Examined) -> Probed:
    assert examined.probe is not None, "the table says that these checks need a probe"
    return examined.probe
