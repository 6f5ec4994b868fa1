"""Rules that end a candidate: what is decided, when, and on which figures.

A candidate is served to a share of the users of a route, beside the base. `judge_candidate` reads a comparison by rules:

1. Stop where a figure is surely worse than allowed: the whole interval of bad feedback lies above `stop_bad` (0.02 is two
   points), that of truncated responses above `stop_truncated`, that of failed requests above `stop_failed`, or that of the
   relative change of seconds above `stop_seconds`.
2. Promote after `promote_after` requests of the candidate, where bad feedback and failed requests are surely not that much worse
   (the whole intervals lie below `promote_bad` and `promote_failed`) and the change of tokens is surely below `promote_tokens`
   (0 means fewer).
3. Stop after `give_up_after` requests of the candidate where neither has happened.

A request fails by an error (status 500 and above), or by its user who leaves before the end (499). Where a candidate does not
come to an end on some questions, these have no tokens, no seconds and no feedback: by its responses alone it would look shorter.

Since the intervals hold at every time of looking, one may judge after each request. Any of them ever excludes the truth with a
chance of 5% at most, so a candidate that is no worse than allowed is stopped by rule 1 with less than that.

`decide_candidate` writes each decision down with its figures, once. A gateway asks `CandidateKeeper` for the share of a route's
candidate; it decides once a minute, and `traffic/decisions.py` says what share of the users follows.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from laconic.config.serving import CandidateRules, ServingConfig, parse_serving, read_serving
from laconic.errors import InputError
from laconic.monitoring.requests import Scope
from laconic.monitoring.versions import (
    VersionComparison,
    change_words,
    compare_live,
    comparison_sentence,
    find_pair,
)
from laconic.system.text import counted
from laconic.traffic.decisions import CandidateAction, Decision, add_decision, current_share, read_decisions
from laconic.traffic.store import TrafficStore

DECIDE_SECONDS = 60.0


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
    limits = {
        "bad": rules.stop_bad,
        "truncated": rules.stop_truncated,
        "failed": rules.stop_failed,
        "seconds": rules.stop_seconds,
    }
    for name, limit in limits.items():
        if limit is not None and found.changes[name].low > limit:  # no comparison with nan is true
            return f"{change_words(found.changes[name], name)} lies above {100 * limit:+g}"
    return ""


def _missing(found: VersionComparison, rules: CandidateRules) -> tuple[str, ...]:
    if rules.promote_after is None:
        return ("no rule promotes",)
    left = rules.promote_after - found.requests[1]
    limits = _promotion_limits(rules)
    unmet = [name for name, limit in limits.items() if not found.changes[name].high < limit]
    return (
        *([f"{counted(left, 'more request')} of the candidate"] if left > 0 else []),
        *(f"{change_words(found.changes[name], name)} below {100 * limits[name]:+g}" for name in unmet),
    )


def _promotion_limits(rules: CandidateRules) -> dict[str, float]:
    return {"bad": rules.promote_bad, "failed": rules.promote_failed, "tokens": rules.promote_tokens}


def _promotion(found: VersionComparison, rules: CandidateRules) -> str:
    limits = _promotion_limits(rules)
    words = {name: change_words(found.changes[name], name) for name in limits}
    below = [f"{words[name]} below {100 * limit:+g}" for name, limit in limits.items()]
    return f"after {rules.promote_after:,} requests {', '.join(below[:-1])} and {below[-1]}"


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


@dataclass(frozen=True, slots=True)
class RuledCandidate:
    """A candidate as a gateway serves it: the versions of the two models, and the rules."""

    base: str
    version: str
    rules: CandidateRules


def find_candidate(store: TrafficStore, route: str, config: Path | None, promote_after: int | None) -> RuledCandidate:
    """The candidate of a route as a gateway's file has it, or the latest version that is served beside another, under the usual
    rules. Raises `InputError` where there is none."""
    if config is not None:
        return _with(_configured(config, route), promote_after)
    pair = find_pair(store, Scope(route=route))
    if pair is None or not pair.is_live:
        raise InputError(f"{route}: no two versions were served at once on this route, so there is no candidate")
    return _with(RuledCandidate(pair.base, pair.candidate, CandidateRules()), promote_after)


def configured_pairs(config: Path) -> dict[str, tuple[str, str]]:
    """Base and candidate of each route that has a candidate in a gateway's file."""
    routes = parse_serving(read_serving(config), f"{config}: ").routes
    found = {name: _configured(config, name) for name, route in routes.items() if route.candidate is not None}
    return {name: (candidate.base, candidate.version) for name, candidate in found.items()}


def _configured(config: Path, route: str) -> RuledCandidate:
    served = parse_serving(read_serving(config), f"{config}: ")
    found = served.routes.get(route)
    if found is None or found.candidate is None:
        raise InputError(f"{config}: routes.{route}.candidate: missing, but required")
    base = found.version or served.upstreams[found.upstreams[0]].model or route
    return RuledCandidate(base, found.candidate.version, found.candidate.rules)


def _with(candidate: RuledCandidate, promote_after: int | None) -> RuledCandidate:
    if promote_after is None:
        return candidate
    return replace(candidate, rules=candidate.rules.model_copy(update={"promote_after": promote_after}))


def candidate_lines(store: TrafficStore, route: str, candidate: RuledCandidate, decide_at: float | None) -> list[str]:
    """The comparison of a candidate and what the rules say, in lines; with `decide_at` (seconds since 1970) a decision is written
    down. Raises `InputError` where the candidate has answered nothing."""
    found = compare_live(store, candidate.base, candidate.version, route)
    if found is None:
        raise InputError(f"{candidate.version}: no stored request on {route} was answered by it")
    judged = judge_candidate(found, candidate.rules)
    lines = [change_words(change, name) for name, change in found.changes.items()]
    lines.append(comparison_sentence(found))
    earlier = [decision for decision in read_decisions(store, route) if decision.version == candidate.version]
    if earlier:
        return [*lines, f"decided before: {earlier[0].action}, since {earlier[0].rule}"]
    if judged.action is None:
        return [*lines, f"the rules say: go on; to be promoted it lacks: {'; '.join(judged.missing)}"]
    lines.append(f"the rules say: {judged.action}, since {judged.rule}")
    if decide_at is not None:
        add_decision(store, Decision(route, candidate.version, decide_at, judged.action, judged.rule, found.to_json()))
        lines.append("written down; the gateway acts on it")
    return lines


class CandidateKeeper:
    """Says what share of a route's users gets the candidate now, and before that lets the rules decide, once in `DECIDE_SECONDS`.
    `candidates` has a candidate for each route that has one; `say` gets one line for each decision. It waits for the database."""

    def __init__(
        self,
        store: TrafficStore,
        candidates: Mapping[str, RuledCandidate],
        say: Callable[[str], None] = lambda line: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store, self.candidates, self.say, self.clock = store, candidates, say, clock
        self._decided_at: dict[str, float] = {}

    @classmethod
    def of_gateway(
        cls, store: TrafficStore, config: ServingConfig, bases: Mapping[str, str], say: Callable[[str], None]
    ) -> "CandidateKeeper":
        """The keeper of a gateway's candidates; `bases` has the version of each route's own model."""
        candidates = {
            name: RuledCandidate(bases[name], route.candidate.version, route.candidate.rules)
            for name, route in config.routes.items()
            if route.candidate is not None
        }
        return cls(store, candidates, say)

    def __call__(self, route: str, version: str, configured: float) -> float:
        """The share of a route's candidate, `configured` while nothing is decided. Raises what the database raises."""
        candidate, now = self.candidates[route], self.clock()
        if now - self._decided_at.get(route, -DECIDE_SECONDS) >= DECIDE_SECONDS:
            self._decided_at[route] = now
            if decision := decide_candidate(self.store, route, candidate.base, candidate.version, candidate.rules, now):
                self.say(f"{route}: {decision.action} {decision.version}, since {decision.rule}")
        return current_share(self.store, route, version, configured)
