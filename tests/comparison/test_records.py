"""comparison.json as it is written and read back: the same bytes as ever, and one line where a file is broken."""

import json
from math import isnan
from pathlib import Path
from typing import Any

import pytest
from folders import BASE, SHORT, Run, longer, prompt

from laconic.comparison.compare import compare_evaluations
from laconic.comparison.folders import Decoding
from laconic.comparison.records import Comparison, read_comparison
from laconic.comparison.tables import comparison_lines, print_comparison
from laconic.errors import InputError
from laconic.system.files import write_json_atomically

RECORDED = Path(__file__).parents[1] / "recorded" / "comparison.json"
BLIND = {"a": [("ungradable", 10), ("correct", 20)], "b": [("ungradable", 50), ("ungradable", 10)]}


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A comparison of three models on two benchmarks and two decodings: unknown figures, other prompts, one left out."""
    monkeypatch.chdir(tmp_path)
    hard = {"benchmark": "hard", "max_tokens": 512, "grader": "laconic 0.1.0"}
    for who, problems in (("base", BASE), ("short", SHORT), ("blind", BLIND)):
        Run(problems, prompt("be_concise" if who == "short" else "boxed")).write(Path(who, "report-t0.6"))
        Run({name: samples[:1] for name, samples in problems.items()}, {"temperature": 0.0}).write(Path(who, "greedy"))
        if who != "blind":
            Run(longer(problems, 3), hard).write(Path(who, "hard-t0.6"))
    Run(BLIND, {"benchmark": "only"}).write(Path("blind", "only-t0.6"))
    others = [Path("short"), Path("blind")]
    comparison = compare_evaluations(Path("base"), others, margin=0.05, tokens_margin=0.02, seed=3, resamples=200)
    write_json_atomically(Path("comparison.json"), comparison.to_json())
    return tmp_path / "comparison.json"


def test_a_comparison_is_the_same_bytes_as_ever(written: Path) -> None:
    assert written.read_bytes() == RECORDED.read_bytes()


def test_what_is_read_back_is_written_as_the_same_bytes(tmp_path: Path) -> None:
    again = tmp_path / "comparison.json"
    write_json_atomically(again, read_comparison(RECORDED).to_json())
    assert again.read_bytes() == RECORDED.read_bytes()


def test_a_comparison_that_was_read_says_what_a_fresh_one_says(written: Path) -> None:
    """Base a and b: accuracy 1/2 and 0; under greedy decoding the blind model has no accuracy, which is null in the file."""
    comparison = read_comparison(written)
    short, blind, greedy_short, greedy_blind = comparison.candidates
    assert [candidate.name for candidate in (short, greedy_blind)] == ["short", "blind"]
    assert comparison.base.path == Path("base") and short.who.prompt == "be_concise"
    assert short.decoding == Decoding(0.6, 1.0, 0.0, None) and short.num_samples == 2  # caps of 64 and 512
    assert (short.figures.means.base.accuracy, short.figures.means.base.tokens) == (0.25, 100.0)  # tokens 150 and 50
    assert short.benchmarks["hard"].paths.candidate == "short/hard-t0.6"
    assert isnan(greedy_blind.figures.accuracy_change.estimate) and greedy_blind.figures.non_inferior is False
    assert blind.benchmarks["report"].num_ungradable.candidate == 3
    assert [point.is_dominated for point in comparison.frontier[:3]] == [True, False, False]
    assert comparison_lines(comparison)[0] == f"short, T=0.6: {short.figures.verdict}"
    assert greedy_short.caveats[-1].endswith("so there is no interval")


def test_a_file_that_lacks_keys_leaves_them_unknown() -> None:
    """As files of older versions do; it can still be printed."""
    comparison = Comparison.from_json({"candidates": [{"name": "phase-2", "benchmarks": {"mix": {}}}]})
    (candidate,) = comparison.candidates
    assert candidate.name == "phase-2" and candidate.who.path is None and candidate.decoding is None
    assert isnan(candidate.figures.tokens_change.estimate) and isnan(candidate.figures.aes.value)
    assert candidate.figures.num_problems is None and candidate.figures.non_inferior is False
    assert candidate.to_json()["accuracy_change"] == {"estimate": None, "ci95": [None, None]}
    print_comparison(comparison)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("candidates",), {}, "candidates is {}, expected a list"),
        (("candidates", 0), "short", "candidates.0 is 'short', expected an object"),
        (("candidates", 0), None, "candidates.0 is None, expected an object"),
        (("candidates", 1, "name"), 7, "candidates.1.name is 7, expected text"),
        (("candidates", 0, "non_inferior"), 1, "candidates.0.non_inferior is 1, expected true or false"),
        (("candidates", 0, "num_problems"), 2.5, "candidates.0.num_problems is 2.5, expected a whole number from 0 up"),
        (
            ("candidates", 0, "num_problems"),
            True,
            "candidates.0.num_problems is True, expected a whole number from 0 up",
        ),
        (("candidates", 0, "caveats", 0), [], "candidates.0.caveats.0 is [], expected text"),
        (("candidates", 0, "tokens_change"), -0.4, "candidates.0.tokens_change is -0.4, expected an object"),
        (
            ("candidates", 0, "benchmarks", "hard", "tokens_change", "ci95"),
            [0.1],
            "candidates.0.benchmarks.hard.tokens_change.ci95 is [0.1], expected two numbers",
        ),
        (("frontier", 0, "tokens"), "50", "frontier.0.tokens is '50', expected a number"),
        (("left_out",), "only", "left_out is 'only', expected a list"),
    ],
)
def test_a_broken_file_is_refused_in_one_line_that_names_the_place(
    tmp_path: Path, place: tuple[str | int, ...], value: Any, said: str
) -> None:
    content = json.loads(RECORDED.read_text("utf-8"))
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    file = tmp_path / "comparison.json"
    write_json_atomically(file, content)
    with pytest.raises(InputError) as refused:
        read_comparison(file)
    assert str(refused.value) == f"{file}: {said}"


def test_a_file_that_is_no_json_object_is_named(tmp_path: Path) -> None:
    file = tmp_path / "comparison.json"
    with pytest.raises(InputError, match=r"comparison\.json: cannot be read"):
        read_comparison(file)
    file.write_text("[]")
    with pytest.raises(InputError, match=r"comparison\.json: expected a JSON object, found list"):
        read_comparison(file)
