"""Nothing is made of a problem whose request was forgotten, nor of one of which that is not known."""

import json
import os
from pathlib import Path

import pytest

from laconic.errors import InputError, ProblemsError
from laconic.notebook.solvers import problems_for
from laconic.problems.forgotten import list_text, read_forgotten
from laconic.problems.load import load_problems
from laconic.selection.probe import read_probe, write_probe
from laconic.statistics.solve_rate import ProblemStats
from laconic.traffic.copies import clean_file
from laconic.types import Grade


def write(folder: Path, *requests: object, named: object = None, gone: tuple[str, ...] = ()) -> Path:
    """A file of problems made from requests, and the list beside it."""
    place = folder / "forgotten.txt"
    place.write_text(list_text(gone))
    rows = [
        {
            "id": str(n),
            "problem": f"{n} + 1?",
            "answer": str(n + 1),
            "traffic_request": request,
            "tombstones": named or str(place),
        }
        for n, request in enumerate(requests)
    ]
    rows.append({"id": "own", "problem": "1 + 1?", "answer": "2"})
    path = folder / "problems.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_problems_are_read_while_nobody_is_forgotten(tmp_path: Path) -> None:
    assert len(load_problems(str(write(tmp_path, "r1", ["r2", "r3"], gone=("r9",))))) == 3


@pytest.mark.parametrize("gone", ["r1", "r3"])
def test_a_forgotten_request_is_refused_with_the_remedy_and_cleaned(tmp_path: Path, gone: str) -> None:
    path = write(tmp_path, "r1", ["r2", "r3"], gone=(gone,))
    with pytest.raises(
        ProblemsError, match=r"problems.jsonl: 1 of its requests were forgotten.*laconic traffic clean"
    ) as said:
        load_problems(str(path))
    assert "\n" not in str(said.value)
    assert clean_file(path) == 1 and len(load_problems(str(path))) == 2 and gone not in path.read_text()


@pytest.mark.parametrize("named", ["/nowhere/forgotten.txt", 5, "{folder}/problems.jsonl"])
def test_a_list_that_cannot_be_read_is_refused_as_well(tmp_path: Path, named: object) -> None:
    place = named.format(folder=tmp_path) if isinstance(named, str) else named
    path = write(tmp_path, "r1", named=place)
    with pytest.raises(ProblemsError, match=r"laconic traffic clean .* --list FILE"):
        load_problems(str(path))
    with pytest.raises(InputError, match=r"problems.jsonl: .*--list FILE"):
        clean_file(path)
    assert clean_file(path, tmp_path / "forgotten.txt") == 0 and len(load_problems(str(path))) == 2


def test_a_list_that_was_cut_off_or_never_ends_is_refused_and_spaces_are_none_of_its_ids(tmp_path: Path) -> None:
    path, pipe = tmp_path / "forgotten.txt", tmp_path / "pipe"
    path.write_bytes(list_text(["r1", "r2"]).encode()[:-2])
    os.mkfifo(pipe)
    for place, why in ((path, "is cut off"), (pipe, "might never end")):
        with pytest.raises(ProblemsError, match=why):
            read_forgotten(place)
    path.write_bytes(list_text([" r1 ", "r2"]).replace("\n", "\r\n").encode())
    assert read_forgotten(path) == {"r1", "r2"}


def test_an_empty_file_is_no_list(tmp_path: Path) -> None:
    (tmp_path / "forgotten.txt").write_text("")
    with pytest.raises(ProblemsError, match="is no list"):
        read_forgotten(tmp_path / "forgotten.txt")


@pytest.mark.parametrize("request_id", ["", 5, [], [""], None])
def test_a_row_that_names_no_request_is_refused(tmp_path: Path, request_id: object) -> None:
    with pytest.raises(ProblemsError, match="traffic_request"):
        load_problems(str(write(tmp_path, request_id)))


def test_a_probe_and_a_list_in_memory_are_refused_too(tmp_path: Path) -> None:
    problems = load_problems(str(write(tmp_path, "r1")))
    probe = tmp_path / "probe.jsonl"
    stats = [ProblemStats(p.id, 1, 1, 5.0, 5.0, 5, {Grade.CORRECT: 1}) for p in problems]
    write_probe(probe, problems, stats)
    assert len(read_probe(probe)[0]) == 2
    (tmp_path / "forgotten.txt").write_text(list_text(["r1"]))
    with pytest.raises(ProblemsError, match="1 of its requests were forgotten"):
        read_probe(probe)
    with pytest.raises(ProblemsError, match="1 of its requests were forgotten"):
        problems_for(problems, 0)
    assert clean_file(probe) == 1 and [problem.id for problem in read_probe(probe)[0]] == ["own"]


def test_a_mark_that_lies_in_meta_is_read(tmp_path: Path) -> None:
    """As in a line of a probe that is read as a problem."""
    path = write(tmp_path, "r1", gone=("r1",))
    row = json.loads(path.read_text().splitlines()[0])
    meta = {name: row.pop(name) for name in ("traffic_request", "tombstones")}
    path.write_text(json.dumps(row | {"meta": meta}) + "\n")
    for refused in (lambda: load_problems(str(path)), lambda: problems_for([row | {"meta": meta}], 0)):
        with pytest.raises(ProblemsError, match="1 of its requests were forgotten"):
            refused()


def test_a_table_may_have_rows_of_ones_own_beside_those_from_traffic(tmp_path: Path) -> None:
    """It spells a key that a row lacks as a missing value."""
    pq = pytest.importorskip("pyarrow.parquet", reason="needs the extra data")
    pa = pytest.importorskip("pyarrow", reason="needs the extra data")
    path, table = write(tmp_path, "r1"), tmp_path / "problems.parquet"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    pq.write_table(pa.Table.from_pylist(rows), table)
    assert len(load_problems(str(table))) == 2
    write(tmp_path, "r1", gone=("r1",))
    with pytest.raises(ProblemsError, match="1 of its requests were forgotten"):
        load_problems(str(table))
