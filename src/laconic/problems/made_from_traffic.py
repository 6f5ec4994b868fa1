"""What is made of problems that came from stored traffic: runs, probes, evaluations, exports, models. Forgetting names them.

1. Whoever writes something from problems calls `note_made` with its place. Where a problem came from traffic, place and requests
   are added to a ledger beside the list of forgotten requests, and a folder gets a note of the same, which goes where it goes.
   What is made of models inherits their notes (`note_models`): those of the folders in which a model lies, and that of the run of
   which it was published.
2. `refuse_made` reads the note of a folder, and raises one line where a request was forgotten since, or this is not known.
   Whoever reads responses out of a folder calls it. Whoever makes a model of models calls `refuse_models`.
3. `made_of` gives the places of a ledger that were made of some requests and still stand, `ledger_damage` the lines of it that
   cannot be read; `point_to` tells the notes of a folder that was moved to another machine where the list lies now.

What is left out: files of problems, whose rows say themselves of what they were made (`forgotten.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from laconic.errors import InputError, ProblemsError
from laconic.problems.forgotten import num_forgotten, requests_by_list
from laconic.system.fields import Fields
from laconic.system.files import Json, append_jsonl, read_json, sound_lines, write_json_atomically
from laconic.types import Problem

NOTE, LEDGER, ORIGIN_SUFFIX = "from_traffic.json", "made_from_traffic.jsonl", ".origin.json"


def note_made(place: Path, problems: Sequence[Problem]) -> None:
    """Note that the folder or file `place` is made of these problems, if some came from traffic.

    Raises `InputError` where the ledger cannot be written: forgetting could not name the place then.
    """
    _note(place, requests_by_list(problems, str(place)))


def note_copy(place: Path, folders: Iterable[Path]) -> None:
    """Note that `place` is made of what stands in these folders, where they have notes."""
    found: dict[str, frozenset[str]] = {}
    for folder in folders:
        for listed, ids in _noted(folder).items():
            found[listed] = found.get(listed, frozenset()) | ids
    _note(place, found)


def note_models(place: Path, models: Iterable[str]) -> None:
    """Note that `place` is made of these models, given as recipes name them, where what made them has notes."""
    note_copy(place, [folder for model in models for folder in _folders_behind(model)])


def _folders_behind(model: str) -> list[Path]:
    """The folders whose notes hold for a model: its own, those in which it lies, and the run of which it was published."""
    if not Path(model).exists():
        return []
    lies_in = Path(model).resolve()
    run = published_run(lies_in)
    return [lies_in, *lies_in.parents, *([] if run is None else [run])]


def published_run(folder: Path) -> Path | None:
    """The run of which a folder was published, where that is known."""
    file = origin_file(folder)
    return Path(Fields(read_json(file), str(file)).text("run")) if file.is_file() else None


def origin_file(folder: Path) -> Path:
    """Where it stands from which run a published folder was made."""
    place = folder.resolve()
    return place.with_name(f"{place.name}{ORIGIN_SUFFIX}")


def _note(place: Path, added: Mapping[str, frozenset[str]]) -> None:
    """Add requests, by the list that names the forgotten ones, to those that the place is known to be made of."""
    before = _noted(place) if place.is_dir() else {}
    by_list = {
        listed: before.get(listed, frozenset()) | added.get(listed, frozenset()) for listed in {**before, **added}
    }
    if by_list != before:
        _set_note(place, by_list)


def _set_note(place: Path, by_list: Mapping[str, frozenset[str]]) -> None:
    if place.is_dir():
        _write_note(place, by_list)
    for listed, ids in by_list.items():
        ledger = Path(listed).with_name(LEDGER)
        try:
            _end_line(ledger)
            append_jsonl(ledger, {"path": str(place.resolve()), "requests": sorted(ids)})
        except OSError as error:
            raise InputError(
                f"{ledger}: cannot be written ({error.strerror}), and forgetting finds there what was made from traffic; "
                "copy the list of forgotten requests into a folder of yours:  laconic traffic clean FILE --list COPY"
            ) from None


def _end_line(ledger: Path) -> None:
    """End the line that a killed writer left unfinished, so that what is added to the ledger is a line of its own."""
    if ledger.exists() and ledger.read_bytes()[-1:] not in (b"", b"\n"):
        with ledger.open("ab") as file:
            file.write(b"\n")


def _write_note(folder: Path, by_list: Mapping[str, frozenset[str]]) -> None:
    write_json_atomically(folder / NOTE, {listed: sorted(ids) for listed, ids in by_list.items()})


def _noted(folder: Path) -> dict[str, frozenset[str]]:
    """The requests of a folder's note by the list that they name; none where the folder has no note."""
    file = folder / NOTE
    if not file.exists():
        return {}
    fields = Fields(read_json(file), str(file))
    return {listed: frozenset(fields.texts(listed)) for listed in fields.record}


def refuse_made(place: Path) -> None:
    """Raise `ProblemsError` where a folder, or one in which it or a file lies, was made of a request that was forgotten, or this
    is not known: the evaluations in a run have the run's note."""
    for folder in (place, *place.resolve().parents):
        _refuse(folder)


def _refuse(folder: Path) -> None:
    gone = num_forgotten(_noted(folder), str(folder))
    if gone:
        raise ProblemsError(
            f"{folder}: {gone} of its requests were forgotten, and nothing may be made of it; delete the folder"
        )


def refuse_models(models: Iterable[str]) -> None:
    """Raise `ProblemsError` where one of these models, given as recipes name them, was made of a request that was forgotten, or
    this is not known."""
    for model in models:
        for folder in _folders_behind(model):
            _refuse(folder)


def made_of(forgotten_list: Path, gone: frozenset[str]) -> list[Path]:
    """The places that were made of some of the requests `gone` and still stand, by the ledger beside the list of forgotten ones;
    what lies in one of them is not named again. Raises `InputError` where the ledger cannot be read."""
    places = {Path(row["path"]) for row in _read_ledger(forgotten_list)[0] if not gone.isdisjoint(row["requests"])}
    standing = {place for place in places if place.exists()}
    return sorted(place for place in standing if standing.isdisjoint(place.parents))


def ledger_damage(forgotten_list: Path) -> str:
    """Which lines of the ledger cannot be read, so that `made_of` does not name what they name; "" where all can."""
    damaged = _read_ledger(forgotten_list)[1]
    if not damaged:
        return ""
    return f"{forgotten_list.with_name(LEDGER)}: damaged in line {', '.join(map(str, damaged))}; correct or remove it"


def _read_ledger(forgotten_list: Path) -> tuple[list[Json], list[int]]:
    """The sound rows of the ledger beside a list, and the numbers of its damaged lines."""
    return sound_lines(forgotten_list.with_name(LEDGER), _is_ledger_row)


def _is_ledger_row(row: Json) -> bool:
    ids = row.get("requests")
    return isinstance(row.get("path"), str) and isinstance(ids, list) and all(isinstance(name, str) for name in ids)


def point_to(folder: Path, forgotten_list: Path) -> None:
    """Let every note in a folder name another place of the list of forgotten requests. Raises `InputError` without a note."""
    notes = list(folder.rglob(NOTE))
    if not notes:
        raise InputError(f"{folder}: has no note ({NOTE}) that it was made from traffic")
    for note in notes:
        ids = frozenset[str]().union(*_noted(note.parent).values())
        _set_note(note.parent, {str(forgotten_list.resolve()): ids})
