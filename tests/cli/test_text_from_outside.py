"""Every door through which a file's or a person's text comes in: each broken content ends in one line and exit code 2, or in a
record that can be stored. Nothing else is raised, and nothing reaches the terminal that could change it."""

import json

import pytest
from broken_text import ANSI, BROKEN_JSON, BROKEN_TOML, DEEP, VALUES
from small import save_small_model, write_small_recipe

from laconic.cli import app as cli
from laconic.config.policy import PolicyConfig
from laconic.errors import InputError, LaconicWarning, ModelError
from laconic.models.loading import load_model, load_tokenizer
from laconic.problems.load import load_problems, write_problems
from laconic.rollouts.log import count_whole_rows
from laconic.rollouts.rows import GroupRow, ResponseRow, read_group_rows, read_rows
from laconic.system.files import to_jsonl
from laconic.system.text import printable
from laconic.types import FinishReason, Grade, LengthSource, Response, Rollout


@pytest.fixture
def laconic(laconic):
    """Run a command in an empty folder; gives back its exit code and standard error, which are checked."""

    def call(*arguments):
        code, _, shown = laconic(*arguments)
        assert shown == printable(shown) and len(shown.splitlines()) <= 2 and len(shown) <= 2002, shown
        return code, shown

    return call


def with_value(record: dict, path: str, value: str) -> bytes:
    """A line of JSON lines with this JSON in the place `path`."""
    node = whole = json.loads(json.dumps(record))
    *parents, last = path.split(".")
    for key in parents:
        node = node[int(key) if isinstance(node, list) else key]
    node[last] = "HERE"
    return json.dumps(whole).replace('"HERE"', value).encode() + b"\n"


# --- recipes, sweeps and arguments -----------------------------------------------------------------------------------


def test_a_broken_recipe_or_sweep_is_one_line(laconic, tmp_path):
    for name, (content, said) in BROKEN_TOML.items():
        (tmp_path / "a.toml").write_bytes(content)
        for arguments in (("train", "a.toml", "--dry-run"), ("doctor", "a.toml"), ("sweep", "a.toml", "--dry-run")):
            code, shown = laconic(*arguments)
            assert (code, said in shown) == (2, True), (name, arguments, shown)
    for name, (content, _) in BROKEN_JSON.items():
        (tmp_path / "config.json").write_bytes(content)
        assert laconic("train", "config.json", "--dry-run")[0] == 2, name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('model="a\\u0000b"', "expected a text without the character NUL"),
        ("a" + ".a" * 500 + "=1", "a: unknown key"),
        ("phases.0.rewards.terms=" + "[" * 200 + "]" * 200, "laconic: "),
        ("seed=" + "[" * DEEP, "laconic: "),
        ("seed=" + "9" * 5000, "laconic: "),
        (f"seed={ANSI}", "seed: "),
        (f"{ANSI}=1", "\\x1b[31mred"),
        ("seed=\udcff", "argument 3, 'seed=\\udcff': is not text in UTF-8"),
    ],
)
def test_a_broken_change_is_one_line(laconic, tmp_path, change, said):
    write_small_recipe(tmp_path / "a.toml", "tiny")
    code, shown = laconic("train", "a.toml", change, "--dry-run")
    assert code == 2 and said in shown, shown


# --- problems --------------------------------------------------------------------------------------------------------

PROBLEM = {"id": "1", "problem": "1 + 1?", "answer": "2", "choices": None, "level": 3}


def test_a_broken_file_of_problems_is_one_line(tmp_path):
    for name, (content, said) in BROKEN_JSON.items():
        (tmp_path / "a.jsonl").write_bytes(json.dumps(PROBLEM).encode() + b"\n" + content + b"\n")
        with pytest.raises(InputError) as caught:
            load_problems(str(tmp_path / "a.jsonl"))
        assert "line 2" in str(caught.value) and said in str(caught.value), name


@pytest.mark.parametrize("field", PROBLEM)
def test_any_field_of_a_problem_may_hold_anything(tmp_path, field):
    """A problem that can be written again, or one line."""
    for name, value in VALUES.items():
        (tmp_path / "a.jsonl").write_bytes(with_value(PROBLEM, field, value))
        try:
            problems = load_problems(str(tmp_path / "a.jsonl"))
        except InputError as caught:
            assert "line 1" in str(caught) and "\n" not in str(caught), name
        else:
            write_problems(tmp_path / "b.jsonl", problems)
            assert load_problems(str(tmp_path / "b.jsonl"))[0].question == problems[0].question


def test_a_parquet_file_whose_text_is_no_utf_8_is_one_line(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    raw = pyarrow.Array.from_buffers(
        pyarrow.string(), 1, [None, pyarrow.py_buffer(b"\0\0\0\0\1\0\0\0"), pyarrow.py_buffer(b"\xff")]
    )
    parquet.write_table(pyarrow.table({"problem": raw, "answer": ["2"]}), path)
    with pytest.raises(InputError, match="cannot be read as parquet"):
        load_problems(str(path))


# --- stored rows -----------------------------------------------------------------------------------------------------

ROW = ResponseRow(
    "1", 0, Grade.WRONG, 3, 1, FinishReason.STOP, "1 + 1?", "2", answer="3", text="3", reward=0.5
).to_json() | {
    "forced": {"16": {"grade": "wrong", "num_tokens": 3, "is_cut": True}},
    "reward_terms": {"level": 0.5},
    "length_source": "bound",
}
GROUP = GroupRow("1", (1, 2), (Rollout(Response((3,), (-0.5,), "3", FinishReason.STOP), Grade.WRONG, 0),)).to_json()


@pytest.mark.parametrize("path", [*ROW, "forced.16", "forced.16.num_tokens", "reward_terms.level"])
def test_any_field_of_a_row_may_hold_anything(tmp_path, path):
    file = tmp_path / "samples.jsonl"
    for name, value in VALUES.items():
        file.write_bytes(with_value(ROW, path, value))
        try:
            rows = list(read_rows(file))
        except InputError as caught:
            assert "line 1" in str(caught) and len(str(caught).splitlines()) == 1, name
            assert count_whole_rows(file) == 0, "a row that cannot be read is drawn again"
        else:
            assert rows[0].num_tokens < 2**64
            assert to_jsonl(row.to_json() for row in rows).encode()


@pytest.mark.parametrize(
    "path", [*GROUP, "rollouts.0.token_ids", "rollouts.0.logprobs", "rollouts.0.text", "rollouts.0.grade"]
)
def test_any_field_of_a_stored_group_may_hold_anything(tmp_path, path):
    file = tmp_path / "offline.jsonl"
    for name, value in VALUES.items():
        file.write_bytes(with_value(GROUP, path, value))
        try:
            assert to_jsonl(group.to_json() for group in read_group_rows(file)).encode()
        except InputError as caught:
            assert "line 1" in str(caught) and len(str(caught).splitlines()) == 1, name


def test_a_length_that_was_replaced_says_so_in_its_row():
    row = ResponseRow.from_json(ROW, "here")
    assert row.length_source is LengthSource.BOUND and row.to_json()["length_source"] == "bound"
    assert "length_source" not in ResponseRow.from_json({**ROW, "length_source": None}, "here").to_json()


def test_a_broken_evaluation_is_one_line_for_every_reader(laconic, tmp_path):
    folder, other = tmp_path / "evaluation", tmp_path / "other"
    for each in (folder, other):
        each.mkdir()
    for name, (content, said) in BROKEN_JSON.items():
        for each in (folder, other):
            (each / "summary.json").write_bytes(content)
            (each / "samples.jsonl").write_bytes(content)
        for arguments in (("compare", folder, other), ("report", folder), ("audit", folder)):
            code, shown = laconic(*arguments)
            assert (code, said in shown) == (2, True), (name, arguments, shown)
        (tmp_path / "probe.jsonl").write_bytes(content)
        assert laconic("select", tmp_path / "probe.jsonl", "--hard", "1")[0] == 2, name


# --- model folders ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_broken_file_of_a_model_folder_is_one_line(tmp_path, file):
    folder = save_small_model(tmp_path / "model")
    for name in ("lists", "objects", "half of an object", "its bytes", "half of a character", "UTF-16"):
        (folder / file).write_bytes(BROKEN_JSON[name][0])
        try:
            load_tokenizer(str(folder), PolicyConfig())
            load_model(str(folder), PolicyConfig())
        except ModelError as caught:
            assert len(str(caught).splitlines()) == 1, (name, caught)


# --- warnings --------------------------------------------------------------------------------------------------------


def test_a_warning_of_ours_is_one_printable_line(laconic, monkeypatch):
    import warnings

    monkeypatch.setattr(cli, "app", lambda **_: warnings.warn(f"look: {ANSI}", LaconicWarning, stacklevel=1))
    code, shown = laconic("list")
    assert code == 0 and shown.startswith("laconic: look: \\x1b]0;owned")
