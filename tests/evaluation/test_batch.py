"""Responses to prompts without a gold answer: all there, not graded, and taken up again where they stopped."""

import json
from pathlib import Path

import pytest

from laconic.errors import InputError
from laconic.evaluation.batch import read_batch

PROMPTS = '{"id": "a", "prompt": "Compute 1 + 2"}\n{"prompt": "Compute 3 + 4"}\n'


def test_the_command_writes_a_line_for_each_response_and_resumes(laconic, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(PROMPTS)
    run = ("batch", "tiny", "p.jsonl", "--samples", 2, "--max-tokens", 40, "--out", "out.jsonl")
    code, out, err = laconic(*run)
    assert code == 0, err
    assert out.startswith("out.jsonl: 4 responses to 2 prompts, ")
    written = (tmp_path / "out.jsonl").read_bytes()
    rows = [json.loads(line) for line in written.splitlines()]
    assert [(row["id"], row["sample"], row["prompt"]) for row in rows] == [
        ("a", 0, "Compute 1 + 2"),
        ("a", 1, "Compute 1 + 2"),
        ("2", 0, "Compute 3 + 4"),
        ("2", 1, "Compute 3 + 4"),
    ]
    assert all(0 < row["num_tokens"] <= 40 and row["finish_reason"] in ("stop", "length") for row in rows)
    assert all((row["reply"] is None) or row["text"].rstrip().endswith(row["reply"]) for row in rows)
    stored = (tmp_path / "out.samples.jsonl").read_text().splitlines()
    assert {json.loads(line)["grade"] for line in stored} <= {"ungradable", "truncated"}
    (tmp_path / "out.samples.jsonl").write_text(stored[0] + "\n")
    assert laconic(*run)[0] == 0 and (tmp_path / "out.jsonl").read_bytes() == written
    assert "was begun with seed 0, not 1" in laconic(*run, "--seed", 1)[2]
    (tmp_path / "mine.txt").write_text("mine")
    assert "exists and is no batch of responses" in laconic(*run[:-1], "mine.txt")[2]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "holds no prompt"),
        ('{"id": "a"}', r"line 1: .*prompt"),
        ('{"prompt": " "}', r"line 1: prompt is ' ', expected a text that asks something"),
        ('{"id": "a", "prompt": "x"}\n{"id": "a", "prompt": "y"}', r"line 2: id 'a' occurs twice"),
        ("[1]", "line 1"),
    ],
)
def test_a_file_without_prompts_is_one_line(tmp_path: Path, lines: str, said: str) -> None:
    (tmp_path / "p.jsonl").write_text(lines)
    with pytest.raises(InputError, match=said):
        read_batch(tmp_path / "p.jsonl")
