"""Rules that end a candidate: what is decided, when, and on which figures.

A candidate is served to a share of the users of a route, beside the base. `judge_candidate` reads a comparison by rules:

1. Stop where a figure is surely worse than allowed: the whole interval of bad feedback lies above `stop_bad` (0.02 is two
   points), that of truncated responses above `stop_truncated`, or that of the relative change of seconds above `stop_seconds`.
2. Promote after `promote_after` requests of the candidate, where bad feedback is surely not that much worse (the whole interval
   lies below `promote_bad`) and the change of tokens is surely below `promote_tokens` (0 means fewer).
3. Stop after `give_up_after` requests of the candidate where neither has happened.

Since the intervals hold at every time of looking, one may judge after each request. All four ever exclude the truth with a chance
of 5% at most, so a candidate that is no worse than allowed is stopped by rule 1 with less than that.

`decide_candidate` writes each decision down with its figures, once; the gateway calls it now and then, and
`traffic/decisions.py` says what share of the users follows.
"""

from dataclasses import dataclass

from laconic.monitoring.versions import VersionComparison, change_words, compare_live
from laconic.traffic.decisions import CandidateAction, Decision, add_decision
from laconic.traffic.store import TrafficStore


@dataclass(frozen=True, slots=True)
class CandidateRules:
    """When a candidate ends. A rule that is None does not act; changes of rates are in points (0.02), others relative."""

    stop_bad: float | None
    stop_truncated: float | None
    stop_seconds: float | None
    promote_after: int | None
    promote_bad: float
    promote_tokens: float
    give_up_after: int | None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the rules say: an action with its rule in words, or none, with what is missing for a promotion."""

    action: CandidateAction | None
    rule: str
    missing: tuple[str, ...] = ()


def judge_candidate(found: VersionComparison, rules: CandidateRules) -> Judgement:
    """What the rules say of a comparison."""
    if rule := _rule_that_stops(found, rules):
        return Judgement(CandidateAction.STOP, rule)
    missing = _missing(found, rules)
    if not missing:
        return Judgement(CandidateAction.PROMOTE, _promotion(found, rules))
    if rules.give_up_after is not None and found.requests[1] >= rules.give_up_after:
        return Judgement(CandidateAction.STOP, f"undecided after {rules.give_up_after:,} requests", missing)
    return Judgement(None, "go on", missing)


def _rule_that_stops(found: VersionComparison, rules: CandidateRules) -> str:
    limits = {"bad": rules.stop_bad, "truncated": rules.stop_truncated, "seconds": rules.stop_seconds}
    for name, limit in limits.items():
        if limit is not None and found.changes[name].low > limit:  # no comparison with nan is true
            return f"{change_words(found.changes[name], name)} lies above {100 * limit:+g}"
    return ""


def _missing(found: VersionComparison, rules: CandidateRules) -> tuple[str, ...]:
    if rules.promote_after is None:
        return ("no rule promotes",)
    left = rules.promote_after - found.requests[1]
    limits = {"bad": rules.promote_bad, "tokens": rules.promote_tokens}
    unmet = [name for name, limit in limits.items() if not found.changes[name].high < limit]
    return (
        *([f"{left:,} more requests of the candidate"] if left > 0 else []),
        *(f"{change_words(found.changes[name], name)} below {100 * limits[name]:+g}" for name in unmet),
    )


def _promotion(found: VersionComparison, rules: CandidateRules) -> str:
    limits = {"bad": rules.promote_bad, "tokens": rules.promote_tokens}
    words = {name: change_words(found.changes[name], name) for name in limits}
    below = [f"{words[name]} below {100 * limit:+g}" for name, limit in limits.items()]
    return f"after {rules.promote_after:,} requests {' and '.join(below)}"


def decide_candidate(
    store: TrafficStore, route: str, base: str, candidate: str, rules: CandidateRules, now: float
) -> Decision | None:
    """Judge a candidate of a route at `now` (seconds since 1970) and write the decision down, if there is one and none stands
    yet; the decision that was written. Raises what the database raises."""
    found = compare_live(store, base, candidate, route)
    if found is None:
        return None
    judged = judge_candidate(found, rules)
    if judged.action is None:
        return None
    decision = Decision(route, candidate, now, judged.action, judged.rule, found.to_json())
    return decision if add_decision(store, decision) else None
