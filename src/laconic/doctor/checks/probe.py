"""What does a probe predict for the phases: are there enough problems, is the cap high enough, will length rise or fall?

1. Selection: how many probed problems qualify for each phase, compared with the number that a step takes. What training itself
   would say of the problems is said in the same words (`training/check/`).
2. Caps: the share of responses that the phase's cap would cut off.
3. Uniform groups: the share of groups in which every response is correct, or every one wrong, from which an algorithm that
   compares inside a group learns nothing, unless its reward terms pay such responses differently.

A probe describes the model with which it was made, the one that enters the first phase. For later phases it justifies warnings
but no errors, and fewer than `FEWEST_RESPONSES` responses justify neither. A first phase that learns from the problems' own texts
may cure what the probe shows, so that it is refused for neither its caps nor its groups.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import exp, lgamma

import numpy as np

from laconic.config.phase import PhaseConfig
from laconic.config.solver import SamplerConfig
from laconic.doctor.examination import Examined
from laconic.doctor.findings import FEWEST_RESPONSES, Finding, found_in
from laconic.doctor.reading import Probed
from laconic.rewards.from_recipe import own_terms, reward_terms
from laconic.rewards.numbers import FloatArray, GroupNumbers
from laconic.rewards.paying import pay
from laconic.rollouts.sources import OWN_TEXTS
from laconic.selection.pool import decide, lacking, needs_probe, pool_of
from laconic.statistics.solve_rate import ProblemStats
from laconic.system.text import counted
from laconic.training.check.phases import ResolvedPhase
from laconic.training.check.problems import complaints_about_problems
from laconic.training.time_left import group_of
from laconic.types import Grade, Problem

MANY_TRUNCATED, ALL_TRUNCATED = 0.2, 0.98
MANY_UNIFORM = 0.5
TRIED_LENGTHS = (0.5, 0.8, 1.2, 1.5)
"""Of a problem's mean length: the lengths of responses on which reward terms are tried."""
SAME_PAY = 1e-9
PAID = (Grade.CORRECT, Grade.WRONG, Grade.NO_ANSWER, Grade.TRUNCATED)


def check_probe(examined: Examined) -> Iterator[Finding]:
    """Was the probe sampled with the settings of the first phase, from problems that it may train on?"""
    probed, phase = _probed(examined), examined.recipe.phases[0]
    known = {problem.id for problem in examined.trainable}
    if known and not any(stat.problem_id in known for stat in probed.stats):
        what = "none of the probe's problems is one to train on: what it says of the phases is said of others"
        yield Finding("warning", what, probed.path, examined.probe_command)
    usual = SamplerConfig()
    unset = [key for key in ("top_p", "min_p") if getattr(phase.sampler, key) != getattr(usual, key)]
    wanted = {"model": examined.recipe.model} | {
        key: getattr(phase.sampler, key) for key in ("temperature", "top_p", "min_p") if key not in unset
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
        remarks = [
            f"; the phase has {key} {getattr(phase.sampler, key):g}, which laconic probe leaves at {getattr(usual, key):g}"
            for key in unset
            if probed.settings.get(key) != getattr(phase.sampler, key)
        ]
        yield Finding("fine", f"a probe of {counted(len(probed.stats), 'problem')}{''.join(remarks)}", probed.path)


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
    kept = len(selected_of(examined, phase, count=None))
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


def selected_of(examined: Examined, phase: ResolvedPhase, count: int | None) -> list[ProblemStats]:
    """The probed problems that the phase would train on, at most `count`; `examined` has a probe."""
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
    if OWN_TEXTS.keys() & {phase.config.rollouts, examined.recipe.phases[0].rollouts}:
        what = f"{what}, before it learns from the problems' own texts to end"
        return Finding("warning", what, field, "see whether it ends after that phase")
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
    """In how many groups would all responses be correct, or all wrong, and does the algorithm learn nothing from them?"""
    for phase in examined.phases:
        selected = selected_of(examined, phase, phase.config.select.count)
        if selected:
            yield _group_finding(examined, phase, selected)


def _group_finding(examined: Examined, resolved: ResolvedPhase, selected: Sequence[ProblemStats]) -> Finding:
    phase = resolved.config
    shares = np.mean([uniform_shares(stat, group_of(phase)) for stat in selected], axis=0)
    field, name = f"phases.{phase.name}.group_size", phase.algorithm.name
    what = f"{shares.sum():.0%} of groups of {group_of(phase)} are expected to be all right or all wrong"
    if phase.rollouts in OWN_TEXTS:
        return Finding("fine", f"{name} learns from the problems' own texts, whatever the probe solved", field)
    if _learns_correct_ones(resolved) and not any(stat.correct for stat in selected):
        what = f"no attempt at a selected problem was correct: {name} has nothing to learn from"
        error = Finding("error", what, field, "select problems that are solved now and then: select.how=band")
        return _shown_by_probe(examined, resolved, error, _num_responses(selected))
    if phase.algorithm.uniform_groups == "keep" and not _compares_pay(resolved):
        return Finding("fine", f"{what}; {name} trains on them too", field)
    return _compared_finding(examined, resolved, selected, shares, what)


def _compared_finding(
    examined: Examined, resolved: ResolvedPhase, selected: Sequence[ProblemStats], shares: FloatArray, what: str
) -> Finding:
    """The finding where groups are compared, or left out if they are uniform. `shares` of them are all right, and all wrong."""
    phase = resolved.config
    field, name, how = f"phases.{phase.name}.group_size", phase.algorithm.name, phase.algorithm.uniform_groups
    if own_terms(phase.rewards) and _reads_pay(resolved):
        return Finding("fine", f"{what}; a reward of one's own may tell them apart", field)
    if not any(_is_mixed(resolved, stat) for stat in selected):
        verb = (
            f"{name} has nothing to compare"
            if _compares_pay(resolved)
            else f'uniform_groups="{how}" leaves {name} none'
        )
        what = f"every selected problem earned the same at each of its attempts: {verb}"
        remedy = "select problems that are solved now and then: select.how=band"
        error = Finding("error", what, field, remedy)
        return _shown_by_probe(examined, resolved, error, _num_responses(selected))
    told = [_tells_apart(resolved, grade, selected) for grade in (Grade.CORRECT, Grade.WRONG)]
    silent = float(shares[~np.array(told)].sum())
    if all(told):
        what = f"{what}; its reward terms tell them apart by more"
    elif any(told):
        kind, group = ("wrong" if told[0] else "right"), f"groups of {group_of(phase)}"
        what = f"{silent:.0%} of {group} are expected to be all {kind}, which its reward terms pay alike"
    if silent > MANY_UNIFORM:
        remedy = "select nearer to a solve rate of one half, or raise group_size"
        return Finding("warning", f"{what}, and teach {name} nothing", field, remedy)
    return Finding("fine", what, field)


def _compares_pay(phase: ResolvedPhase) -> bool:
    """Whether a response counts by how its grade or pay differs from that of the others in its group. A critic, or no baseline,
    compares nothing inside a group; Kimi's rule and the extremes pair correct responses by their length."""
    return phase.algorithm.min_group_size > 1 and _pair_rule(phase) not in ("kimi", "extremes", "given")


def _learns_correct_ones(phase: ResolvedPhase) -> bool:
    """Whether it learns nothing where no response is correct: likelihoods of correct ones, and pairs that prefer one."""
    row = phase.algorithm
    return not (row.reads_rewards or row.needs_teacher) and _pair_rule(phase) not in ("reward", "given")


def _reads_pay(phase: ResolvedPhase) -> bool:
    return (
        phase.algorithm.reads_rewards
        or _pair_rule(phase) == "reward"
        or phase.config.algorithm.uniform_groups != "keep"
    )


def _pair_rule(phase: ResolvedPhase) -> str | None:
    return {**phase.algorithm.options, **phase.config.algorithm.options}.get("pairs")


def uniform_share(stat: ProblemStats, group_size: int) -> float:
    """Expected p^K + (1 - p)^K under the solve rate's posterior Beta(1 + c, 1 + n - c).

    >>> nothing_seen = ProblemStats("a", 0, 0, 10.0, None, None, {})
    >>> round(uniform_share(nothing_seen, 3), 6)  # the uniform prior: 2 / (K + 1)
    0.5
    """
    return sum(uniform_shares(stat, group_size))


def uniform_shares(stat: ProblemStats, group_size: int) -> tuple[float, float]:
    """The two terms of `uniform_share`: groups that are all right, and all wrong.

    E[p^K] = B(a + K, b) / B(a, b), where B is Euler's beta function; so the time does not depend on K.
    """
    right, wrong = 1 + stat.correct, 1 + stat.attempts - stat.correct

    def all_alike(one: int) -> float:
        both = right + wrong
        return exp(lgamma(one + group_size) - lgamma(one) + lgamma(both) - lgamma(both + group_size))

    return all_alike(right), all_alike(wrong)


def _is_mixed(phase: ResolvedPhase, stat: ProblemStats) -> bool:
    """Whether the problem's attempts were of grades that the phase pays differently, or tells apart as right and wrong."""
    grades = 2 * [grade for grade in PAID for _ in range(stat.counts.get(grade, 0))]  # twice, of other lengths
    if not _reads_pay(phase):
        return len({grade is Grade.CORRECT for grade in grades}) > 1
    return _is_paid_differently(phase, grades, stat)


def _tells_apart(phase: ResolvedPhase, grade: Grade, stats: Sequence[ProblemStats]) -> bool:
    """Whether responses of one grade and different lengths, around those of these problems, are paid differently."""
    if not (phase.config.rewards.terms and _reads_pay(phase)):
        return False
    mean = float(np.mean([stat.mean_tokens for stat in stats]))
    return _is_paid_differently(phase, [grade] * len(TRIED_LENGTHS), replace(stats[0], mean_tokens=mean))


def _is_paid_differently(phase: ResolvedPhase, grades: Sequence[Grade], stat: ProblemStats) -> bool:
    """Whether a group of such grades, from half to one and a half times as long as the problem's mean, earns several rewards;
    what is cut off is as long as the cap. A term that remembers pays correct answers by their lengths from some step on."""
    rewards, cap = phase.config.rewards, phase.config.sampler.max_tokens
    if not grades:
        return False
    rows = [phase.rewards[term.name] for term in rewards.terms if term.weight]
    if Grade.CORRECT in grades and any(row.remember is not None and row.reads_length for row in rows):
        return True
    shares = np.interp(np.linspace(0, 1, len(grades)), np.linspace(0, 1, len(TRIED_LENGTHS)), TRIED_LENGTHS)
    lengths = np.clip((shares * stat.mean_tokens).round().astype(np.int64), 1, max(1, cap - 1))
    lengths[[grade is Grade.TRUNCATED for grade in grades]] = cap
    budget = phase.config.budget
    reads_ids = any("token_ids" in phase.rewards[term.name].needs for term in rewards.terms)
    numbers = GroupNumbers(
        lengths,
        tuple(grades),
        stat.mean_tokens,
        stat.solve_rate if stat.attempts else None,
        max_tokens=cap,
        budget_tokens=budget.high if budget else None,
        thinking_tokens=lengths - 1,
        texts=("so \\boxed{1}",) * len(grades),
        token_ids=tuple(tuple(range(n)) for n in lengths.tolist()) if reads_ids else (),
    )
    paid, _ = pay(numbers, reward_terms(rewards), phase.rewards)
    return float(np.ptp(paid)) > SAME_PAY


def level_of(phase: PhaseConfig, grade: Grade) -> float:
    """What a grade earns in the phase."""
    return float(getattr(phase.rewards, grade.value))


# --- shared ------------------------------------------------------------------------------------------------------------


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
