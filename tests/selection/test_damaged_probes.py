"""Damaged probes: `select`, a phase's reference and doctor read them through one reader, which names file and line."""

import json
from pathlib import Path
from typing import Any

import pytest

import laconic
from laconic.errors import InputError
from laconic.selection.probe import read_probe, write_probe
from laconic.statistics.solve_rate import problem_stats
from laconic.types import Grade, Problem

PROBLEMS = [Problem(f"p{i}", f"{i} + 1?", str(i + 1)) for i in range(3)]
STATS = [problem_stats(p.id, [Grade.CORRECT, Grade.WRONG], [10, 20]) for p in PROBLEMS]

DAMAGES: list[tuple[Any, str]] = [
    ({"problem_id": 7}, "problem_id: unexpected value 7"),
    ({"problem_id": None}, "problem_id: unexpected value None"),
    ({"problem_id": "p0"}, "problem 'p0' stands already in line 1"),
    ({"attempts": -1}, "attempts: expected a number that is not negative"),
    ({"attempts": 3}, "attempts: 3, but counts hold 2 gradable samples"),
    ({"attempts": 2.0}, "attempts: unexpected value 2.0"),
    ({"attempts": True}, "attempts: unexpected value True"),
    ({"correct": 2}, "correct: 2, but counts hold 1"),
    ({"counts": {"good": 1}}, "counts: unknown grade 'good'"),
    ({"counts": {"correct": 1}}, "counts.wrong: missing"),
    ({"counts": []}, "counts: unexpected value []"),
    ({"mean_tokens": -1.0}, "mean_tokens: expected a number of tokens"),
    ({"mean_tokens": 10**400}, "mean_tokens: expected a number of tokens, got 1000"),
    ({"mean_tokens": "15"}, "mean_tokens: unexpected value '15'"),
    ({"mean_tokens": None}, "mean_tokens: unexpected value None"),
    ({"mean_correct_tokens": None}, "mean_correct_tokens: missing, though 1 samples are correct"),
    ({"min_correct_tokens": None}, "min_correct_tokens: missing, though 1 samples are correct"),
    ({"min_correct_tokens": 11}, "min_correct_tokens: 11, above their mean, 10.0"),
    ({"counts": dict.fromkeys(Grade, 0), "attempts": 0, "correct": 0}, "counts: holds no sample"),
    ({"attempts": 10**400}, "attempts: expected at most"),
    ({"problem": None}, "problem is None, expected text"),
    ({"problem": 5}, "problem is 5, expected text"),
    ({"answer": 5}, "answer is 5, expected text"),
    ({"choices": "AB"}, "choices is 'AB', expected a list"),
    ({"choices": [1]}, "choices.0 is 1, expected text"),
    ({"meta": []}, "meta is [], expected an object"),
    ({"source": 1}, "source is 1, expected text"),
    ("{", "not JSON"),
    ("[]", "expected a JSON object, found list"),
    ('{"attempts": NaN}', "not JSON (NaN is no number"),
    ('{"attempts": 1, "attempts": 2}', "not JSON (the key 'attempts' stands twice"),
]


@pytest.fixture
def probe(tmp_path: Path) -> Path:
    write_probe(tmp_path / "probe.jsonl", PROBLEMS, STATS)
    return tmp_path / "probe.jsonl"


def test_a_sound_probe_is_read_back(probe: Path) -> None:
    assert read_probe(probe) == (PROBLEMS, STATS)


@pytest.mark.parametrize(("damage", "says"), DAMAGES, ids=lambda value: str(value)[:40])
def test_a_damaged_probe_is_refused_by_file_and_line(probe: Path, damage: Any, says: str) -> None:
    lines = probe.read_text().splitlines()
    lines[1] = damage if isinstance(damage, str) else json.dumps(json.loads(lines[1]) | damage)
    probe.write_text("\n".join(lines) + "\n")
    for read in (read_probe, lambda path: laconic.select(path, how="band", low=0.1, high=0.9)):
        with pytest.raises(InputError) as refused:
            read(probe)
        assert str(refused.value).startswith(f"{probe}, line 2: ") and says in str(refused.value)
        assert "\n" not in str(refused.value) and len(str(refused.value)) < 500


@pytest.mark.parametrize("key", ["problem_id", "attempts", "correct", "mean_tokens", "counts", "problem", "answer"])
def test_a_missing_key_is_named(probe: Path, key: str) -> None:
    lines = [json.loads(line) for line in probe.read_text().splitlines()]
    del lines[1][key]
    probe.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(InputError, match=rf"probe\.jsonl, line 2: .*{key}.* missing"):
        read_probe(probe)


def test_files_that_hold_no_probe_are_named(tmp_path: Path) -> None:
    """Empty, missing, a folder."""
    (tmp_path / "empty.jsonl").write_text("")
    for name, says in (("empty.jsonl", "holds no problem"), ("none.jsonl", "cannot be read"), ("", "cannot be read")):
        with pytest.raises(InputError, match=says):
            read_probe(tmp_path / name)
