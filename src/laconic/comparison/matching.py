"""Who meets whom: evaluations of base and candidates, matched by benchmark and decoding, and the refusals.

1. The base's evaluations are grouped by decoding; benchmarks with caps of their own stay in one group.
2. A candidate meets the base in a group on the benchmarks that both have under the same decoding, cap included.
3. Refused, with the reason: a run that meets the base nowhere; two sides with other problems or other graders.

Sampling seeds and numbers of samples may differ. What is left out of every match is listed, not forgotten.
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
    for uncapped, found in rough.items():
        is_sweep = len({evaluation.benchmark for evaluation in found}) < len(found)
        one_cap = len({evaluation.decoding for evaluation in found}) == 1
        for evaluation in found:
            decoding = evaluation.decoding if is_sweep or one_cap else uncapped
            groups.setdefault(decoding, {})[evaluation.benchmark] = evaluation
    return dict(sorted(groups.items(), key=lambda group: (-group[0].temperature, group[0].max_tokens or 0)))


def matches_of(base: Contender, others: Sequence[Contender], groups: Groups) -> list[Match]:
    """Every candidate under every decoding of the base, decoding by decoding.

    Raises `InputError` where a run has nothing in common with the base, or two sides cannot be compared.
    """
    found = [match for group in groups.items() for other in others if (match := _match(*group, other))]
    matched = {match.contender.run for match in found}
    for other in others:
        if other.run not in matched:
            raise InputError(f"{other.run} cannot be compared with {base.run}: {_why_not(base, other)}")
    for match in found:
        for sides in match.sides.values():
            _check_comparable(*sides)
    return found


def unmatched(contenders: Sequence[Contender], matches: Sequence[Match]) -> list[str]:
    """Evaluations that entered no match, in words."""
    used = {evaluation.path for match in matches for sides in match.sides.values() for evaluation in sides}
    return [
        f"{evaluation.path}: {evaluation.benchmark}, {evaluation.decoding.words()}: nothing to compare it with"
        for contender in contenders
        for evaluation in contender.evaluations
        if evaluation.path not in used
    ]


def _match(decoding: Decoding, of_base: Mapping[str, Evaluation], other: Contender) -> Match | None:
    theirs = {evaluation.slot: evaluation for evaluation in other.evaluations}
    sides = {name: (ours, theirs[ours.slot]) for name, ours in of_base.items() if ours.slot in theirs}
    if not sides:
        return None
    alike = [e for e in other.evaluations if decoding in (e.decoding, replace(e.decoding, max_tokens=None))]
    lonely = {*of_base, *(evaluation.benchmark for evaluation in alike)} - set(sides)
    return Match(other, decoding, sides, tuple(sorted(lonely)))


def _why_not(base: Contender, other: Contender) -> str:
    ours, theirs = ({evaluation.benchmark for evaluation in side.evaluations} for side in (base, other))
    if not ours & theirs:
        return f"no benchmark in common; the base has {', '.join(sorted(ours))}, it has {', '.join(sorted(theirs))}"
    said = [
        "; ".join(sorted({e.decoding.words() for e in side.evaluations if e.benchmark in ours & theirs}))
        for side in (base, other)
    ]
    return f"no decoding in common; the base has [{said[0]}], it has [{said[1]}]"


def _check_comparable(base: Evaluation, candidate: Evaluation) -> None:
    refusal = f"{candidate.path} cannot be compared with {base.path}"
    if base.grader and candidate.grader and base.grader != candidate.grader:
        raise InputError(f"{refusal}: it was graded by {candidate.grader!r}, the base by {base.grader!r}")
    ours, theirs = ({identity[0] for identity in side.identities} for side in (base, candidate))
    if lonely := ours ^ theirs:
        counts = f"{len(ours - theirs)} only in the base, {len(theirs - ours)} only in the candidate"
        raise InputError(f"{refusal}: problems differ, {counts}, such as {min(lonely)!r}")
    if changed := set(candidate.identities) - set(base.identities):
        counts = f"{len(changed)} of {len(ours)} have another question or gold answer"
        raise InputError(f"{refusal}: problems differ, {counts}, such as {min(changed)[0]!r}")
