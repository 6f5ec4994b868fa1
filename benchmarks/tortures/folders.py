"""Damaged folders: a run or an evaluation of which a file was cut, flipped, emptied, removed, or replaced by a folder.

A run is resumed: it must end with the same bits as before the damage, or refuse. An evaluation is compared and reported: it must
be refused, or be read as if nothing had happened where the file does not matter.
"""

import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tortures.case import Case
from tortures.kills import result_of
from tortures.outcome import run, trouble
from tortures.runs import KINDS, recipe_of, save_model, write_recipe

SHARES = (0.6, 0.75, 0.9, 1.5)  # of a run's time, after which it is killed: the first of which leaves a checkpoint

Damage = Callable[[Path, random.Random], None]


def cases(place: Path, seed: int, count: int) -> Iterator[Case]:
    """`count` folders with one damaged file each; runs and evaluations take turns."""
    recipe = write_recipe(place / "recipe.json", recipe_of(next(iter(KINDS)), save_model(place / "model")))
    command = ["train", str(recipe), "--out", "run"]
    whole = run(command, place)
    if problem := trouble(whole):
        yield Case("the run that is to be damaged", problem)
        return
    expected = result_of(place / "run")
    half_done = _half_done(place / "half-done", command, whole.seconds)
    for number in range(count):
        rng = random.Random(f"{seed} folders {number}")
        folder = place / f"folder-{number}"
        is_run = number % 2 == 0
        shutil.copytree(half_done if is_run else place, folder, ignore=shutil.ignore_patterns("folder-*", "half-done"))
        name, file = rng.choice(list(DAMAGES)), rng.choice(_files(folder / "run" / ("" if is_run else "eval")))
        DAMAGES[name](file, rng)
        where = file.relative_to(folder)
        problem = _resumed(folder, command, expected) if is_run else _read(folder, rng)
        yield Case(f"{where} {name}, seed {seed}, number {number}", problem)
        if not problem:
            shutil.rmtree(folder)


def _half_done(folder: Path, command: list[str], seconds: float) -> Path:
    """A folder with a run that was killed after its first checkpoint; `seconds` is how long it takes when nobody kills it."""
    for share in SHARES:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        run(command, folder, kill_after=share * seconds)
        if any((folder / "run" / "checkpoints").glob("step-*")):
            break
    return folder


def _resumed(folder: Path, command: list[str], expected: dict[str, str]) -> str:
    outcome = run([*command, "--resume"], folder)
    if problem := trouble(outcome):
        return problem
    if outcome.code:
        return ""
    found = result_of(folder / "run")
    different = [name for name in expected if found[name] != expected[name]]
    if (
        different == ["log"] and "metrics.jsonl" in outcome.out + outcome.err
    ):  # the log is no source: what was lost of it is told
        return ""
    return f"resumed to another {different[0]}, without a word" if different else ""


def _read(folder: Path, rng: random.Random) -> str:
    evaluations = sorted((folder / "run" / "eval").iterdir())
    commands = (["compare", *map(str, evaluations)], ["report", str(folder / "run")], ["audit", str(folder / "run")])
    return trouble(run(rng.choice(commands), folder))


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.name != "report.html")


# --- damages ---------------------------------------------------------------------------------------------------------


def _cut(file: Path, rng: random.Random) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: rng.randrange(len(content))] if content else b"")


def _flip(file: Path, rng: random.Random) -> None:
    content = bytearray(file.read_bytes())
    if content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)


def _replace_by_folder(file: Path, _rng: random.Random) -> None:
    file.unlink()
    file.mkdir()


DAMAGES: Mapping[str, Damage] = {
    "was cut": _cut,
    "has a flipped bit": _flip,
    "is empty": lambda file, _: file.write_bytes(b"") and None,
    "is gone": lambda file, _: file.unlink(),
    "is a folder": _replace_by_folder,
    "is noise": lambda file, rng: file.write_bytes(rng.randbytes(200)) and None,
    "is another JSON": lambda file, _: file.write_bytes(b'{"a": [1, null, "x"]}\n') and None,
    "ends with half a line": lambda file, _: file.write_bytes(file.read_bytes() + b'{"step": 9, "pha') and None,
}
