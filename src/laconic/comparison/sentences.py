"""Turns the numbers of a comparison into sentences.

1. `verdict` is one sentence: what changed, how sure that is, and what may be claimed of it.
2. Caveats warn of what the numbers alone do not show: few problems, an interval without width, sides that were measured
   differently, sides whose responses are all the same, and lengths of correct and wrong answers that differ in one direction
   within a problem and in the other when pooled over problems.
3. `slices_line` says of the slices of a candidate which is the worst, and what is shown of it.

What is left out: the tables (`tables.py`).
"""

from math import isnan

from laconic.comparison.figures import FEW_PROBLEMS, LengthDifference, SecondsChange, Sides, SliceFigures
from laconic.comparison.folders import Evaluation
from laconic.statistics.claims import non_inferior
from laconic.statistics.intervals import Interval


def verdict(tokens_change: Interval, accuracy_change: Interval, margin: float) -> str:
    """One sentence: what changed, how sure that is, and what may be claimed of it.

    >>> said = verdict(Interval(-0.43, -0.45, -0.41), Interval(0.062, 0.031, 0.09), margin=0.01)
    >>> said.partition(": ")[0]
    '43% fewer tokens (95% interval 41 to 45% fewer) with accuracy +6.2 points (+3.1 to +9.0)'
    >>> said.partition(": ")[2]
    'shorter, and not less accurate.'
    """
    claims = f"{_length_claim(tokens_change)}, {_accuracy_claim(tokens_change, accuracy_change, margin)}"
    return f"{_tokens_words(tokens_change)} with accuracy {_points_words(accuracy_change)}: {claims}."


# --- caveats ---------------------------------------------------------------------------------------------------------


def figures_caveats(num_problems: int, num_graded: int, num_changed: int) -> list[str]:
    """The caveats if the problems of one benchmark are few, partly ungradable, or unchanged in accuracy.

    `num_graded` problems could be graded on both sides, and the accuracy of `num_changed` of them changed.
    """
    caveats = []
    if num_problems < FEW_PROBLEMS:
        caveats.append(f"few problems ({num_problems}): the intervals are rough")
    if num_graded < num_problems:
        caveats.append(f"accuracy is over {plural(num_graded, 'problem')} that could be graded for both")
    if num_graded > 1 and num_changed == 0:
        caveats.append("no problem's accuracy changed; the interval allows for two more, one better and one worse")
    return caveats


def sameness_caveats(base: Evaluation, candidate: Evaluation) -> list[str]:
    """A caveat if every response is the same on both sides, in text and length, so that nothing was compared."""
    if base.digest is None or base.digest != candidate.digest:
        return []
    if base.prompt == candidate.prompt:
        return ["every response is the same on both sides: are these the same weights, asked alike?"]
    why = "the model never saw the difference (does its chat template leave the instruction out?)"
    return [f"every response is the same on both sides: {why}"]


def tokens_caveats(tokens_change: Interval, num_problems: int) -> list[str]:
    """A caveat if every problem changed by the same factor: the interval then has no width, which does not mean certainty."""
    is_alike = not isnan(tokens_change.estimate) and isnan(tokens_change.low) and num_problems > 1
    return ["every problem's tokens changed by the same factor, so there is no interval"] if is_alike else []


def sides_caveats(base: Evaluation, candidate: Evaluation) -> list[str]:
    """Caveats if two comparable sides were measured differently: samples per problem, prompts, an unknown grader."""
    caveats = []
    if base.num_samples != candidate.num_samples:
        counts = f"{plural(base.num_samples, 'sample')} a problem in the base, {candidate.num_samples} in the candidate"
        caveats.append(f"{counts}: each problem enters by its mean")
    if base.prompt and candidate.prompt and base.prompt != candidate.prompt:
        caveats.append(f"prompted by {candidate.prompt!r}, the base by {base.prompt!r}")
    if bool(base.grader) != bool(candidate.grader):
        known, unknown = ("base", "candidate") if base.grader else ("candidate", "base")
        caveats.append(
            f"the {known} was graded by {base.grader or candidate.grader!r}; nothing says what graded the {unknown}"
        )
    for side, evaluation in (("base", base), ("candidate", candidate)):
        if penalty := evaluation.summary.setup.penalty:
            caveats.append(f"{side}: logits were lowered by {penalty}")
        if num_replaced := sum(evaluation.summary.figures.length_sources.values()):
            caveats.append(f"{side}: the lengths of {plural(num_replaced, 'response')} were not counted by the server")
    return caveats


def length_note(within: Interval, pooled: float) -> str | None:
    """How to read a pooled length difference that disagrees with the one within problems; `None` if the two agree.

    Both are tokens of correct minus tokens of wrong answers. They disagree if the pooled figure lies outside the interval of the
    other, or if there is none and the signs differ. Hard problems with more wrong and longer answers push the pooled figure
    down, so that this is named as the cause only where it is below.

    >>> length_note(Interval(-5.0, -9.0, -1.0), -4.0)
    >>> length_note(Interval(-5.0, -9.0, -1.0), -27.0).partition("; ")[2]
    'the pooled figure also counts how hard the problems are'
    >>> length_note(Interval(5.0, 1.0, 9.0), -27.0).partition("; ")[0]
    'correct minus wrong answers: +5.0 tokens (+1.0 to +9.0) within a problem, -27.0 pooled over problems'
    """
    if isnan(within.estimate) or isnan(pooled):
        return None
    interval = "no interval" if isnan(within.low) else f"{within.low:+.1f} to {within.high:+.1f}"
    both = (
        f"correct minus wrong answers: {within.estimate:+.1f} tokens ({interval}) within a problem, "
        f"{pooled:+.1f} pooled over problems"
    )
    is_reversed, is_below = within.estimate * pooled < 0, pooled < within.low
    if is_below or pooled > within.high:
        if not is_reversed:
            return f"{both}; the pooled figure also counts how hard the problems are"
        cause = "since hard problems have more wrong and longer answers" if is_below else "by how hard the problems are"
        return f"{both}; the pooled comparison misleads, {cause}"
    if is_reversed and isnan(within.low):
        return f"{both}; too few problems have both to say which holds"
    return None


def length_caveats(lengths: Sides[LengthDifference]) -> list[str]:
    """The notes of those sides where pooled and within-problem differences have opposite signs."""
    return [
        f"{side}: {length.note}"
        for side, length in lengths.items()
        if length.note and length.within.estimate * length.pooled < 0
    ]


def seconds_line(seconds: SecondsChange) -> str:
    """One sentence on the seconds of a response.

    >>> seconds_line(SecondsChange(Sides(4.0, 2.0), Interval(-0.5, -0.6, -0.4), Sides("cuda:0", "cuda:0")))
    'seconds a response 4 to 2, 50% less (95% interval 40 to 60% less), on cuda:0'
    >>> seconds_line(SecondsChange(Sides(4.0, 2.0), Interval(-0.5, -0.6, -0.4), Sides("cuda:0", "cpu"))).partition(", on ")[2]
    'cuda:0 and cpu: other machines compute at other speeds'
    """
    base, candidate = (device or "an unknown device" for _, device in seconds.devices.items())
    change = _change_words(seconds.change, "", "less")
    where = base if base == candidate else f"{base} and {candidate}: other machines compute at other speeds"
    return f"seconds a response {seconds.means.base:.3g} to {seconds.means.candidate:.3g}, {change}, on {where}"


# --- slices ----------------------------------------------------------------------------------------------------------


def slices_line(worst: SliceFigures | None, num_decided: int) -> str:
    """One sentence on the worst of the slices; `worst` is None where none was decided.

    >>> slices_line(None, 0)
    'slices: none has the 20 problems that a decision needs'
    """
    if worst is None:
        return f"slices: none has the {FEW_PROBLEMS} problems that a decision needs"
    changes = f"accuracy {_points_words(worst.accuracy_change)}, {_tokens_words(worst.tokens_change)}"
    claim = "less accurate there" if worst.is_less_accurate else "not shown to be less accurate there"
    of = f"p = {worst.accuracy_p:.2g}, corrected for {plural(num_decided, 'slice')}"
    return (
        f"worst slice: {worst.key} {worst.value} ({plural(worst.num_problems, 'problem')}): {changes}: {claim} ({of})"
    )


# --- numbers in words ------------------------------------------------------------------------------------------------


def _tokens_words(change: Interval) -> str:
    if isnan(change.estimate):
        return "No change of tokens can be stated"
    return _change_words(change, " tokens", "fewer")


def _change_words(change: Interval, what: str, fewer: str) -> str:
    """A relative change of `what`, of which there may be `fewer`, with its interval.

    >>> _change_words(Interval(0.0, float("nan"), float("nan")), " tokens", "fewer")
    'just as many tokens (no interval)'
    >>> _change_words(Interval(-0.02, -0.05, 0.01), "", "less")
    '2.0% less (95% interval 5.0% less to 1.0% more)'
    """
    if isnan(change.estimate):
        return "a change that cannot be stated"
    same = "just as many" if what else "no more, no less"
    size = same if change.estimate == 0 else _percent(change.estimate, fewer)
    if isnan(change.low):
        return f"{size}{what} (no interval)"
    if change.high <= 0:
        ends = f"{percent_size(change.high)} to {percent_size(change.low)}% {fewer}"
    elif change.low >= 0:
        ends = f"{percent_size(change.low)} to {percent_size(change.high)}% more"
    else:
        ends = f"{_percent(change.low, fewer)} to {_percent(change.high, fewer)}"
    return f"{size}{what} (95% interval {ends})"


def percent_size(change: float) -> str:
    """The size of a relative change in percent: whole from 10 up, one decimal below.

    >>> percent_size(-0.43), percent_size(0.032)
    ('43', '3.2')
    """
    percent = abs(100.0 * change)
    return f"{percent:.0f}" if percent >= 9.95 or percent == 0.0 else f"{percent:.1f}"


def plural(count: float, word: str) -> str:
    """`1 point`, `2 points`."""
    return f"{count:g} {word}{'' if count == 1 else 's'}"


def _percent(change: float, fewer: str) -> str:
    return f"{percent_size(change)}% {'more' if change > 0 else fewer}"


def _points_words(change: Interval) -> str:
    if isnan(change.estimate):
        return "unknown"
    interval = "no interval" if isnan(change.low) else f"{100 * change.low:+.1f} to {100 * change.high:+.1f}"
    return f"{100 * change.estimate:+.1f} points ({interval})"


def _length_claim(change: Interval) -> str:
    if change.high < 0:
        return "shorter"
    return "longer" if change.low > 0 else "no clear change in length"


def _accuracy_claim(tokens_change: Interval, change: Interval, margin: float) -> str:
    joint = "but" if tokens_change.low > 0 else "and"
    points = plural(100 * margin, "point")
    if non_inferior(change, margin):
        within = f", if lower by less than the margin of {points}" if change.high < 0 else ""
        return f"{joint} not less accurate{within}"
    if change.high < 0:
        return "but less accurate"
    return f"but not shown to be as accurate within {points}"
