"""Matches the evaluations of base and candidates by benchmark and decoding, and refuses those that cannot be compared.

1. The base's evaluations are grouped by decoding. Benchmarks with caps of their own stay in one group.
2. In each group, a candidate is compared with the base on the benchmarks that both have under the same decoding and cap.
3. A run that shares no benchmark and decoding with the base is refused with the reason, and so are two sides with different
   problems or graders.

Sampling seeds and numbers of samples may differ. Evaluations that are part of no match are listed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from laconic.comparison.contenders import Contender
from laconic.comparison.folders import Decoding, Evaluation
from laconic.errors import InputError

Groups = Mapping[Decoding, Mapping[str, Evaluation]]
"""The base's evaluations by decoding, then by benchmark."""


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """A candidate under one decoding: (base's, candidate's) evaluation of each benchmark that both have.

    `left_out` names the benchmarks that only one of the two has under this decoding.
    """

    contender: Contender
    decoding: Decoding
    sides: Mapping[str, tuple[Evaluation, Evaluation]]
    left_out: tuple[str, ...]


def decodings_of(base: Contender) -> Groups:
    """The base's evaluations by decoding, hottest first.

    Benchmarks may have caps of their own (`max_tokens` is then `None`), unless one was evaluated under several.
    """
    rough: dict[Decoding, list[Evaluation]] = {}
    for evaluation in base.evaluations:
        rough.setdefault(replace(evaluation.decoding, max_tokens=None), []).append(evaluation)
    groups: dict[Decoding, dict[str, Evaluation]] = {}
    for uncapped, matches in rough.items():
        is_sweep = len({evaluation.benchmark for evaluation in matches}) < len(matches)
        one_cap = len({evaluation.decoding for evaluation in matches}) == 1
        for evaluation in matches:
            decoding = evaluation.decoding if is_sweep or one_cap else uncapped
            groups.setdefault(decoding, {})[evaluation.benchmark] = evaluation
    return dict(sorted(groups.items(), key=lambda group: (-group[0].temperature, group[0].max_tokens or 0)))


def matches_of(base: Contender, others: Sequence[Contender], groups: Groups) -> list[Match]:
    """The matches of every candidate under every decoding of the base, decoding by decoding.

    Raises `InputError` if a run has nothing in common with the base, or two sides cannot be compared.
    """
    matches = [match for group in groups.items() for other in others if (match := _match(*group, other))]
    matched = {match.contender.run for match in matches}
    for other in others:
        if other.run not in matched:
            raise InputError(f"{other.run} cannot be compared with {base.run}: {_why_not(base, other)}")
    for match in matches:
        for sides in match.sides.values():
            _check_comparable(*sides)
    return matches


def unmatched(contenders: Sequence[Contender], matches: Sequence[Match]) -> list[str]:
    """One line for each evaluation that is part of no match."""
    matched_paths = {evaluation.path for match in matches for sides in match.sides.values() for evaluation in sides}
    return [
        f"{evaluation.path}: {evaluation.benchmark}, {evaluation.decoding.words()}: nothing to compare it with"
        for contender in contenders
        for evaluation in contender.evaluations
        if evaluation.path not in matched_paths
    ]


def _match(decoding: Decoding, of_base: Mapping[str, Evaluation], other: Contender) -> Match | None:
    of_candidate = {evaluation.slot: evaluation for evaluation in other.evaluations}
    sides = {
        name: (evaluation, of_candidate[evaluation.slot])
        for name, evaluation in of_base.items()
        if evaluation.slot in of_candidate
    }
    if not sides:
        return None
    alike = [e for e in other.evaluations if decoding in (e.decoding, replace(e.decoding, max_tokens=None))]
    lonely = {*of_base, *(evaluation.benchmark for evaluation in alike)} - set(sides)
    return Match(other, decoding, sides, tuple(sorted(lonely)))


def _why_not(base: Contender, other: Contender) -> str:
    of_base, of_candidate = ({evaluation.benchmark for evaluation in side.evaluations} for side in (base, other))
    if not of_base & of_candidate:
        return f"no benchmark in common; the base has {', '.join(sorted(of_base))}, it has {', '.join(sorted(of_candidate))}"
    decodings = [
        "; ".join(sorted({e.decoding.words() for e in side.evaluations if e.benchmark in of_base & of_candidate}))
        for side in (base, other)
    ]
    return f"no decoding in common; the base has [{decodings[0]}], it has [{decodings[1]}]"


def _check_comparable(base: Evaluation, candidate: Evaluation) -> None:
    refusal = f"{candidate.path} cannot be compared with {base.path}"
    if base.grader and candidate.grader and base.grader != candidate.grader:
        raise InputError(f"{refusal}: it was graded by {candidate.grader!r}, the base by {base.grader!r}")
    of_base, of_candidate = ({identity[0] for identity in side.identities} for side in (base, candidate))
    if lonely := of_base ^ of_candidate:
        counts = f"{len(of_base - of_candidate)} only in the base, {len(of_candidate - of_base)} only in the candidate"
        raise InputError(f"{refusal}: problems differ, {counts}, such as {min(lonely)!r}")
    if other_texts := set(candidate.identities) - set(base.identities):
        counts = f"{len(other_texts)} of {len(of_base)} have another question or gold answer"
        raise InputError(f"{refusal}: problems differ, {counts}, such as {min(other_texts)[0]!r}")
    choices_of_base, choices_of_candidate = map(_choices, (base, candidate))
    if other_choices := [name for name, choices in choices_of_base.items() if choices_of_candidate[name] != choices]:
        counts = f"{len(other_choices)} of {len(of_base)} have other choices"
        raise InputError(f"{refusal}: problems differ, {counts}, such as {min(other_choices)!r}")


def _choices(side: Evaluation) -> dict[str, tuple[str, ...]]:
    return {identity[0]: choices for identity, choices in zip(side.identities, side.choices, strict=True)}
