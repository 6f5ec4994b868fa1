"""The functions `compare` and `report`: is the candidate shorter, and as accurate? Neither needs torch."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from laconic.comparison.compare import compare_evaluations
from laconic.config.defaults import MARGIN, SEED, TOKENS_MARGIN
from laconic.config.node import NonNegative, OneLine, PartOfOne, SeedNumber, make_node
from laconic.errors import InputError
from laconic.notebook.results import ComparisonResult, EvaluationResult
from laconic.reporting.build import write_report
from laconic.system.files import check_file, path_of

Folder = str | Path | EvaluationResult
"""A run, a folder of evaluations, or an evaluation."""


class _Comparing(BaseModel):
    """The numbers and names of a comparison."""

    margin: PartOfOne
    tokens_margin: NonNegative
    seed: SeedNumber
    by: tuple[OneLine, ...] | None


def compare(
    base: Folder,
    *candidates: Folder,
    margin: float = MARGIN,
    tokens_margin: float = TOKENS_MARGIN,
    seed: int = SEED,
    by: Sequence[str] | None = None,
) -> ComparisonResult:
    """Every candidate against `base`, paired over problems, with 95% intervals. Without candidates, the other evaluations in
    `base` (other prompts, other checkpoints) are the candidates.

    `margin` is the loss of accuracy that still counts as none (0.01: one point), `tokens_margin` the relative growth in tokens
    that still counts as none. `by` names keys of the problems' meta: the candidates are compared on the slices of each as well
    (subject, level and length of the question if it is None). Raises `InputError` if folders cannot be read or compared.
    """
    make_node(_Comparing, margin=margin, tokens_margin=tokens_margin, seed=seed, by=by)
    paths = [_path_of(candidate) for candidate in candidates]
    return ComparisonResult(
        compare_evaluations(_path_of(base), paths, margin=margin, tokens_margin=tokens_margin, seed=seed, by=by)
    )


def report(*folders: Folder, out: str | Path | None = None) -> Path:
    """Write one self-contained HTML page and return its path. If there are several folders, the first is the base.

    `out` is the page's file: by default FOLDER/report.html for one folder, and report.html in the working directory for several.
    It is there as well for an evaluation in a temporary folder, which does not outlive its result. Raises `InputError` if there
    is nothing to show, or if the file is there and is no page.
    """
    if not folders:
        raise InputError("report: expected a run, a folder of evaluations or an evaluation")
    paths = [_path_of(folder) for folder in folders]
    is_temporary = isinstance(folders[0], EvaluationResult) and folders[0].keeper is not None
    usual = Path("report.html") if len(paths) > 1 or is_temporary else paths[0] / "report.html"
    place = usual if out is None else path_of(out, "out")
    return write_report(paths, check_file(place, "page", "out") if out is not None or paths[0].is_dir() else place)


def _path_of(folder: Folder) -> Path:
    if isinstance(folder, EvaluationResult):
        return folder.folder
    return path_of(folder, "folders", "a run, a folder of evaluations or an evaluation")
