"""Benchmarks by name: a local file comes before the hub, everyone's first 50 are the same, and the table is true."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from laconic.cli.catalogue import CATALOGUE
from laconic.errors import MissingExtraError, ProblemsError
from laconic.evaluation.planned_prompts import PLANNERS
from laconic.problems import hub
from laconic.problems.benchmarks import BENCHMARKS, benchmark_of
from laconic.problems.columns import STEM_SUBJECTS
from laconic.problems.load import load_problems
from laconic.prompts.instructions import COMPRESSION_PROMPTS, INSTRUCTIONS

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
with_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs the benchmark files of ../shared/data")


def write(path, count, prefix="q"):
    lines = [{"id": f"{prefix}{i}", "problem": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(count)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """An empty working directory, no data folder named, and a hub that answers nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LACONIC_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "datasets", None)
    return tmp_path


def hub_of(monkeypatch, rows):
    """A `datasets` whose every dataset holds `rows`; the calls it gets are returned."""
    calls = []

    def load_dataset(name, config, split):
        calls.append((name, config, split))
        return rows

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    return calls


# --- local files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("benchmark", "file_name"),
    [
        ("gsm8k", "gsm8k.jsonl"),
        ("gsm8k", "gsm8k_test.jsonl"),
        ("minerva", "minerva_math.jsonl"),
        ("aime24", "aime24.jsonl"),
    ],
)
def test_a_file_of_the_same_name_is_read_instead_of_the_hub(offline, monkeypatch, benchmark, file_name):
    """In the folder that LACONIC_DATA names; `datasets` is not even installed here."""
    folder = offline / "mine"
    folder.mkdir()
    write(folder / file_name, 5)
    monkeypatch.setenv("LACONIC_DATA", str(folder))
    problems = load_problems(benchmark)
    assert {problem.id for problem in problems} == {"q0", "q1", "q2", "q3", "q4"}
    assert {problem.source for problem in problems} == {benchmark}


def test_the_named_folder_comes_before_data_and_the_plain_name_before_the_others(offline, monkeypatch):
    """data/gsm8k.jsonl, then data/gsm8k_test.jsonl beside it, then a named folder that has only gsm8k_test.jsonl."""
    (offline / "data").mkdir()
    (offline / "named").mkdir()
    write(offline / "data" / "gsm8k_test.jsonl", 1, "test")
    assert load_problems("gsm8k")[0].id == "test0"
    write(offline / "data" / "gsm8k.jsonl", 1, "plain")
    assert load_problems("gsm8k")[0].id == "plain0"
    write(offline / "named" / "gsm8k_test.jsonl", 1, "named")
    monkeypatch.setenv("LACONIC_DATA", str(offline / "named"))
    assert load_problems("gsm8k")[0].id == "named0"


def test_a_data_folder_that_is_none_is_an_error_and_not_passed_over(offline, monkeypatch):
    """Reading the hub instead would be another set of problems than the user meant."""
    monkeypatch.setenv("LACONIC_DATA", str(offline / "gone"))
    with pytest.raises(ProblemsError, match=r"LACONIC_DATA must name a folder, found .*gone"):
        load_problems("gsm8k")


def test_an_error_in_the_file_names_the_file_and_line(offline, monkeypatch):
    """Not the benchmark's name alone."""
    monkeypatch.setenv("LACONIC_DATA", str(offline))
    (offline / "svamp.jsonl").write_text('{"id": "a", "problem": "q"}\n', "utf-8")
    with pytest.raises(ProblemsError, match=r"svamp\.jsonl, line 1: no 'answer'"):
        load_problems("svamp")


# --- order and count -------------------------------------------------------------------------------------------------


def test_the_first_problems_are_the_same_for_everyone(offline, monkeypatch):
    """Whatever the seed and the order of the file; a smaller count is the beginning of a larger one, and not of the file."""
    monkeypatch.setenv("LACONIC_DATA", str(offline))
    path = write(offline / "gsm8k.jsonl", 60)
    whole = load_problems("gsm8k")
    assert load_problems("gsm8k?count=20") == load_problems("gsm8k", count=20, seed=7) == whole[:20]
    assert load_problems("gsm8k?count=20", count=5) == whole[:5]
    assert [problem.id for problem in whole] != [f"q{i}" for i in range(60)]
    path.write_text("".join(reversed(path.read_text("utf-8").splitlines(keepends=True))), "utf-8")
    assert load_problems("gsm8k") == whole


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("gsm8k?seed=3", ["unknown argument 'seed'", "one of count, solutions"]),
        ("gsm8k?count=", ["'count='", "arg=value"]),
        ("gsm8k?count=0", ["count must be a whole number of at least 1, got 0"]),
        ("gsm8k?count=2&seed=1", ["unknown argument 'seed'", "one of count, solutions"]),
        ("gsm8k?", ["arg=value"]),
        ("gsm8k?count=9", ["9 problems asked for, but it holds 3"]),
        ("gsm8", ["no such source", "near it: gsm8k"]),
        ("AIME-24", ["near it: aime24"]),
        ("olympiad_bench?count=3", ["near it: olympiadbench"]),
        ("something", ["BENCHMARK is one of math500", "aqua"]),
    ],
)
def test_what_is_wrong_with_a_name_is_one_line_with_what_is_near(offline, monkeypatch, source, said):
    """The order is fixed, so that a seed is refused and not ignored."""
    monkeypatch.setenv("LACONIC_DATA", str(offline))
    write(offline / "gsm8k.jsonl", 3)
    with pytest.raises(ProblemsError) as caught:
        load_problems(source)
    assert all(piece in str(caught.value) for piece in [source, *said]) and "\n" not in str(caught.value)


def test_a_count_beyond_the_sources_own_is_refused(offline, monkeypatch):
    """As with generators."""
    monkeypatch.setenv("LACONIC_DATA", str(offline))
    write(offline / "gsm8k.jsonl", 9)
    with pytest.raises(ProblemsError, match="8 problems asked for, but its count is 4"):
        load_problems("gsm8k?count=4", count=8)


def test_a_source_knows_its_benchmark():
    """With arguments or without; files and generators have none."""
    assert benchmark_of("aime24?count=3") is BENCHMARKS["aime24"] is benchmark_of("aime24")
    assert benchmark_of("aime24.jsonl") is benchmark_of("tiny:mix") is None


# --- the hub ---------------------------------------------------------------------------------------------------------

ROWS = {
    "math500": (
        {"problem": "1+1?", "answer": r"\frac{4}{2}", "solution": "So 2.", "level": 5, "subject": "Algebra"},
        r"\frac{4}{2}",
    ),
    "aime24": ({"id": 60, "problem": "1+1?", "answer": "002", "solution": "So 2.", "url": "u"}, "2"),
    "aime25": ({"id": "3", "problem": "1+1?", "answer": "2"}, "2"),
    "amc23": ({"id": 1, "question": "1+1?", "answer": 27.0}, "27"),
    "mmlu_stem": (
        {"question": "1+1?", "subject": "college_physics", "choices": ["1", "3", "2", "4"], "answer": 2},
        "C",
    ),
    "gsm8k": ({"question": "1+1?", "answer": "It is <<1+1=2>>2.\n#### 1,002"}, "1002"),
    "svamp": ({"ID": "c", "Body": "Ann has 2 figs", "Question": "1+1?", "Answer": "145.0", "Type": "Sum"}, "145"),
    "minerva": ({"question": "1+1?", "answer": "4.2e2"}, "4.2e2"),
    "olympiadbench": (
        {
            "id": 16,
            "question": "1+1?",
            "context": "Let.",
            "final_answer": ["$2$", "$3$"],
            "solution": ["So"],
            "unit": None,
        },
        "2,3",
    ),
    "aqua": ({"question": "1+1?", "options": ["A)1", "B)f(2)"], "correct": "B", "rationale": "So B."}, "B"),
}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_row_of_the_hub_becomes_a_problem(offline, monkeypatch, name):
    """One row of each dataset in its published form: the gold answer is bare, the id is ours, and solutions are kept."""
    row, answer = ROWS[name]
    calls = hub_of(monkeypatch, [row])
    (problem,) = load_problems(name)
    hub = BENCHMARKS[name].hub
    assert calls == [(hub.name, hub.config, hub.split)]
    assert (problem.id, problem.answer, problem.source) == (f"{name}-0", answer, name)
    assert problem.question.endswith("1+1?") and bool(problem.choices) == BENCHMARKS[name].is_multiple_choice
    assert ("solution" in problem.meta) == (hub.solution is not None)
    assert None not in problem.meta.values()


def test_what_a_column_needs_undone_is_undone(offline, monkeypatch):
    """AQuA's letters, SVAMP's missing full stop, OlympiadBench's context, GSM8K's calculator notes."""
    problems = {}
    for name, (row, _) in ROWS.items():
        hub_of(monkeypatch, [row])
        (problems[name],) = load_problems(name)
    assert problems["aqua"].choices == ("1", "f(2)")
    assert problems["svamp"].question == "Ann has 2 figs. 1+1?"
    assert problems["olympiadbench"].question == "Let.\n1+1?"
    assert problems["gsm8k"].meta["solution"] == "It is 2."
    assert problems["math500"].meta == {"subject": "Algebra", "level": 5, "solution": "So 2."}


def test_mmlu_is_cut_to_its_18_subjects(offline, monkeypatch):
    """Law is none of them; numbering counts what is left."""
    law = {"question": "Guilty?", "subject": "professional_law", "choices": ["yes", "no"], "answer": 0}
    hub_of(monkeypatch, [law, ROWS["mmlu_stem"][0]])
    assert len(STEM_SUBJECTS) == 18
    assert [problem.id for problem in load_problems("mmlu_stem")] == ["mmlu_stem-0"]


@pytest.mark.parametrize(
    ("name", "row", "said"),
    [
        ("gsm8k", {"question": "q", "answer": "2"}, ["row 1 of openai/gsm8k", "'####'"]),
        ("gsm8k", {"answer": "#### 2"}, ["row 1", "no column 'question'"]),
        (
            "mmlu_stem",
            {"question": "q", "subject": "astronomy", "choices": ["a"], "answer": "A"},
            ["row 1", "declared"],
        ),
        ("aime24", {"problem": "q", "answer": "two"}, ["row 1", "two"]),
        ("minerva", {"question": "q", "answer": " "}, ["row 1", "'answer' is empty"]),
    ],
)
def test_a_dataset_that_changed_is_an_error_that_names_the_row(offline, monkeypatch, name, row, said):
    """Never a problem with a made-up answer."""
    hub_of(monkeypatch, [row])
    with pytest.raises(ProblemsError) as caught:
        load_problems(name)
    assert all(piece in str(caught.value) for piece in said), str(caught.value)


def test_without_file_and_network_the_error_names_both_ways_out(offline, monkeypatch):
    """The file it looked for, and the extra or the network."""
    with pytest.raises(
        MissingExtraError,
        match=r"no gsm8k\.jsonl or gsm8k_test\.jsonl in \$LACONIC_DATA or data/.*the extra data: pip install 'datasets",
    ):
        load_problems("gsm8k")

    def refuses(*_args, **_kwargs):
        raise ConnectionError("no route\nto host")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=refuses))
    with pytest.raises(ProblemsError, match=r"no gsm8k\.jsonl or .*gsm8k cannot be loaded \(the hub does not answer"):
        load_problems("gsm8k")
    monkeypatch.setattr(hub, "ask_hub", lambda name, kind: "there")
    with pytest.raises(ProblemsError, match=r"no gsm8k\.jsonl or .*openai/gsm8k cannot be loaded \(no route\)"):
        load_problems("gsm8k")
    monkeypatch.setattr(hub, "ask_hub", lambda name, kind: "absent")
    with pytest.raises(ProblemsError, match=r"the hub shows no dataset openai/gsm8k"):
        load_problems("gsm8k")


# --- the table -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BENCHMARKS)
def test_samples_are_the_smallest_power_of_four_with_a_thousand_responses(name):
    """30 x 64 = 1,920 for AIME where 30 x 16 = 480 would not do; 1,319 x 1 for GSM8K."""
    row = BENCHMARKS[name]
    assert row.samples in (1, 4, 16, 64) and row.samples * row.num_problems >= 1000
    assert row.samples == 1 or row.samples // 4 * row.num_problems < 1000


def test_every_row_names_an_instruction_and_is_known_by_its_own_name():
    """Nobody types a name that is not there."""
    assert all(name == row.name and row.prompt in INSTRUCTIONS for name, row in BENCHMARKS.items())
    assert set(CATALOGUE["benchmarks"]()) == set(BENCHMARKS)
    listed = CATALOGUE["prompts"]()
    assert {name.removesuffix(":N") for name in listed} == set(INSTRUCTIONS) | set(PLANNERS)
    assert "chinese_cot:N" in listed


def test_the_docs_list_every_benchmark_and_every_prompt():
    """The tables of docs/benchmarks.md hold what the code holds: names, datasets, counts, caps, samples, sources."""
    text = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    cells = {
        tuple(cell.strip() for cell in line.strip().strip("|").split("|"))
        for line in text.splitlines()
        if line.startswith("|")
    }
    for row in BENCHMARKS.values():
        where = ":".join(piece for piece in (row.hub.name, row.hub.config, row.hub.split) if piece)
        assert (f"`{row.name}`", str(row.num_problems), f"`{where}`", str(row.samples), f"{row.max_tokens:,}") in cells
        assert (f"`{row.name}`", row.title, row.citation, row.licence) in cells
    for name, wording in INSTRUCTIONS.items():
        spelled = ", ".join(
            spelling
            for spelling, text_of in ((f"`{name}`", wording.text), (f"`{name}:N`", wording.with_number))
            if text_of is not None
        )
        said = wording.text if wording.text is not None else str(wording.with_number).replace("{n}", "N")
        assert (spelled, wording.source, said or "nothing") in cells, spelled
    assert f"the {len(COMPRESSION_PROMPTS)} " in text


@with_data
@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_counts_are_those_of_the_files(monkeypatch, name):
    """OlympiadBench's file comes from an evaluation suite and holds one problem more than the authors' dataset."""
    monkeypatch.setenv("LACONIC_DATA", str(DATA))
    problems = load_problems(name)
    assert len(problems) == BENCHMARKS[name].num_problems + (name == "olympiadbench")
    assert all(bool(problem.choices) == BENCHMARKS[name].is_multiple_choice for problem in problems)
    if BENCHMARKS[name].hub.subjects:
        assert {problem.meta["subject"] for problem in problems} == BENCHMARKS[name].hub.subjects
