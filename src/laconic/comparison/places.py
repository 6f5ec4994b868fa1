"""Where the evaluations of a run are: the folder itself, or the folders in `RUN/eval/` or in `RUN/`.

1. A folder is an evaluation if it has samples, a summary or settings. So one that was begun and not finished is found too, and
   whoever reads it refuses it instead of passing it over.
2. A file of the right name counts whatever it is, so that a folder in its place or a broken link is named where it is read.

What is left out: whether an evaluation is valid (`folders.py`).
"""

from pathlib import Path

from laconic.errors import InputError

SAMPLES, SUMMARY, SETTINGS = "samples.jsonl", "summary.json", "settings.json"
BUDGETS, TIMING = "budget_curve.json", "timing.json"


def find_evaluations(run: Path) -> list[Path]:
    """Evaluation folders of a run, sorted by name; `run` itself if it is an evaluation folder.

    Raises `InputError` if there is none.
    """
    if found := evaluation_folders(run):
        return found
    if run.is_file():
        raise InputError(f"{run}: is a file; expected an evaluation folder, or a run that has some")
    raise InputError(f"{run}: no evaluation here (looked for {SAMPLES} in it, in its folders and in eval/)")


def evaluation_folders(run: Path) -> list[Path]:
    """The folders that `find_evaluations` finds, finished or not; empty if there is none."""
    if any(stands(run / name) for name in (SAMPLES, SUMMARY)):
        return [run]
    for parent in (run / "eval", run):
        if found := [folder for folder in _folders_in(parent) if _is_evaluation(folder)]:
            return found
    return [run] if stands(run / SETTINGS) else []  # it was begun, but has no sample yet


def stands(path: Path) -> bool:
    """Whether there is something of this name, be it a broken link. Raises `InputError` if that cannot be told."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return True


def is_finished(folder: Path) -> bool:
    """Whether an evaluation folder has a summary, which is written last."""
    return stands(folder / SUMMARY)


def _is_evaluation(folder: Path) -> bool:
    return any(stands(folder / name) for name in (SAMPLES, SUMMARY, SETTINGS))


def _folders_in(parent: Path) -> list[Path]:
    """Its folders by name. One whose name begins with a dot is being copied."""
    try:
        return sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise InputError(f"{parent}: cannot be read ({error.strerror})") from error
