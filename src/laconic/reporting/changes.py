"""The comparisons between the models of a report. They are read from files if there are any, and made otherwise.

1. A training run has `comparison*.json`, which compare each phase with the run's own base. The report is about the last phase.
2. Folders of evaluations are compared here, the first with all others (`comparison/compare.py`), unless a `comparison.json` in
   one of them was made of exactly these folders as they are now. A note on the page names one that no longer fits.
3. If not all of them can be compared together, each folder is compared with the first alone. A folder that cannot be compared
   becomes a note on the page that says why; the others are shown.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from math import isclose, isnan
from pathlib import Path

from laconic.comparison.compare import compare_evaluations
from laconic.comparison.figures import Sides
from laconic.comparison.folders import Decoding
from laconic.comparison.records import BenchmarkComparison, CandidateComparison, Comparison, Who, read_comparison
from laconic.errors import InputError
from laconic.reporting.data import (
    Change,
    Measurement,
    mean_tokens_by_problem,
    sampling_words,
    shared,
    solve_rate_by_problem,
)
from laconic.reporting.read import MODEL_AND_TAG, is_run, names_of

_CLOSE = 1e-6
"""How far a stored mean may be from the same one computed anew."""


def read_changes(dirs: Sequence[Path], evaluations: Sequence[Measurement]) -> tuple[list[Change], list[str]]:
    """All changes, and notes on what could not be compared."""
    changes: list[Change] = []
    for source, path in enumerate(dirs):
        if is_run(path):
            changes.extend(_of_run(path, [e for e in evaluations if e.source == source]))
    plain = [path for path in dirs if not is_run(path)]
    mine = [e for e in evaluations if dirs[e.source] in plain]
    if len({(e.source, e.rank) for e in mine}) < 2:
        return changes, []
    ranks_of_first = {e.rank for e in mine if dirs[e.source] == plain[0]}
    comparisons, notes = _comparisons(plain, mine, is_base_alone=len(ranks_of_first) < 2)
    return changes + [c for comparison in comparisons for c in _of_folders(comparison, dirs, mine)], notes


def _comparisons(
    dirs: Sequence[Path], evaluations: Sequence[Measurement], *, is_base_alone: bool
) -> tuple[list[Comparison], list[str]]:
    """One comparison of all folders. If that is refused, one of each folder with the first, and notes on folders without one.

    The first folder's own prompts are then compared too, unless it has only one (`is_base_alone`).
    """
    first, *others = dirs
    stale: list[str] = []
    for file, stored in _stored(dirs):
        if _is_current(stored, evaluations):
            return [stored], []
        stale.append(f"Compared anew: {file} was made of other evaluations than these folders hold now")
    with suppress(InputError):  # reported below, with the folder that causes it
        return [compare_evaluations(first, others)], stale
    found: list[Comparison] = []
    refusals: dict[str, list[Path]] = {}
    for folder in others if is_base_alone else dirs:
        try:
            found.append(_with_first(first, folder))
        except InputError as error:
            refusals.setdefault(str(error), []).append(folder)
    return found, stale + [_note(text, folders, dirs) for text, folders in refusals.items()]


def _with_first(first: Path, folder: Path) -> Comparison:
    """The comparison of one folder with the first, with only the candidates from this folder."""
    comparison = compare_evaluations(first, [] if folder == first else [folder])
    return replace(comparison, candidates=tuple(c for c in comparison.candidates if c.who.path == folder))


def _note(refusal: str, folders: Sequence[Path], dirs: Sequence[Path]) -> str:
    name_of = dict(zip(dirs, names_of(dirs), strict=True))
    why = refusal.removeprefix(f"{folders[0]} cannot be compared with {dirs[0]}: ")
    return f"Not compared: {', '.join(name_of[folder] for folder in folders)}: {why}"


def _of_run(path: Path, evaluations: Sequence[Measurement]) -> Iterator[Change]:
    """The changes in a run's comparison file. A candidate is named after its folder or its model; in older files, the file's name
    may hold the tag."""
    last = max((e.rank for e in evaluations), default=0)
    seen: set[Path] = set()
    for file in sorted(path.glob("comparison*.json")):
        tag = file.stem.removeprefix("comparison").removeprefix("-")
        for candidate in read_comparison(file).candidates:
            name = Path(candidate.name).name
            for e in evaluations:
                base = next((b for b in evaluations if b.is_base and b.setting == e.setting), None)
                if base and not e.is_base and e.folder not in seen and _is_meant(name, tag, e, candidate):
                    seen.add(e.folder)
                    yield Change(base.model, e.model, e.decoding, candidate, is_final=e.rank == last)


def _is_meant(name: str, tag: str, evaluation: Measurement, candidate: CandidateComparison) -> bool:
    match = MODEL_AND_TAG.fullmatch(evaluation.folder.name)
    if match is None:
        return False
    is_same = candidate.decoding is None or _is_under(candidate.decoding, evaluation)
    return is_same and (name == evaluation.folder.name or (name == match[1] and tag in ("", match[2])))


def _stored(dirs: Sequence[Path]) -> Iterator[tuple[Path, Comparison]]:
    """The comparisons of exactly these folders that they hold, each with its file."""
    wanted = [path.resolve() for path in dirs]
    for file in (path / "comparison.json" for path in dirs):
        if file.exists():
            comparison = read_comparison(file)
            paths = [comparison.base.path, *(candidate.who.path for candidate in comparison.candidates)]
            if list(dict.fromkeys(path and path.resolve() for path in paths)) == wanted:
                yield file, comparison


def _is_current(comparison: Comparison, evaluations: Sequence[Measurement]) -> bool:
    """Whether a stored comparison has the figures that the evaluations have now, and leaves none of them unmentioned."""
    at = {evaluation.folder.resolve(): evaluation for evaluation in evaluations}
    parts = [part for candidate in comparison.candidates for part in candidate.benchmarks.values()]
    pairs = [part.paths.map(lambda path: at.get(Path(path).resolve()) if path else None) for part in parts]
    compared = {side.folder for pair in pairs for side in (pair.base, pair.candidate) if side}
    is_whole = len(compared) + len(comparison.left_out) == len(evaluations)
    return is_whole and all(_is_of(part, pair) for part, pair in zip(parts, pairs, strict=True))


def _is_of(part: BenchmarkComparison, sides: Sides[Measurement | None]) -> bool:
    """Whether the two sides have the numbers and means of which a benchmark's comparison was made."""
    base, candidate = sides.base, sides.candidate
    if base is None or candidate is None:
        return False
    ids, *tokens = shared(mean_tokens_by_problem(base.samples), mean_tokens_by_problem(candidate.samples))
    _, *rates = shared(solve_rate_by_problem(base.samples), solve_rate_by_problem(candidate.samples))
    numbers = (len(ids), *(side.summary.setup.num_samples for side in (base, candidate)))
    means = part.figures.means
    stored = (means.base.tokens, means.candidate.tokens, means.base.accuracy, means.candidate.accuracy)
    is_close = (_is_mean(told, values) for told, values in zip(stored, (*tokens, *rates), strict=True))
    return numbers == (part.figures.num_problems, part.num_samples.base, part.num_samples.candidate) and all(is_close)


def _is_mean(told: float, values: Sequence[float]) -> bool:
    return isclose(told, sum(values) / len(values), rel_tol=_CLOSE, abs_tol=_CLOSE) if values else isnan(told)


def _of_folders(comparison: Comparison, dirs: Sequence[Path], evaluations: Sequence[Measurement]) -> Iterator[Change]:
    base = _model_of(comparison.base, dirs, evaluations)
    for candidate in comparison.candidates:
        model = _model_of(candidate.who, dirs, evaluations)
        for decoding in _decodings(candidate, [e for e in evaluations if e.model == model]):
            yield Change(base, model, decoding, candidate)


def _model_of(who: Who, dirs: Sequence[Path], evaluations: Sequence[Measurement]) -> str:
    """The name of the model in a comparison: that of its folder, with its prompt if the folder holds several."""
    path = who.path and who.path.resolve()
    here = [e for e in evaluations if dirs[e.source].resolve() == path]
    by_prompt = [e for e in here if e.prompt == (who.prompt or "")]
    found = next(iter(by_prompt or here), None)
    return found.model if found else who.name


def _decodings(candidate: CandidateComparison, evaluations: Sequence[Measurement]) -> list[str]:
    """The candidate's own decoding, or the only one there is."""
    own = candidate.decoding
    found = list(dict.fromkeys(e.decoding for e in evaluations if own is None or _is_under(own, e)))
    if own is not None:
        return found or [_words(own)]
    return found if len(found) == 1 else ["all decodings pooled"]


def _is_under(decoding: Decoding, evaluation: Measurement) -> bool:
    """Whether the evaluation was drawn so; its cap counts where it tells evaluations apart."""
    is_cap = not evaluation.names_cap or decoding.max_tokens in (None, evaluation.summary.setup.max_tokens)
    return is_cap and _words(decoding) == evaluation.sampling


def _words(decoding: Decoding) -> str:
    return sampling_words(decoding.temperature, decoding.top_p, decoding.min_p)
