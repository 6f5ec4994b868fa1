"""The bundled checkpoint: what design and issue ask of it, measured on fresh problems at a reduced size.

The full measurement is `python -m laconic.tiny measure`; docs/tiny.md has its figures.
"""

import subprocess
import sys

import pytest
from rich.console import Console

from laconic.models.loading import TINY_FOLDER
from laconic.tiny.measure import as_table, measure


@pytest.fixture(scope="module")
def found():
    return measure("tiny", num_problems=120, samples=3, seed=1)


def test_it_is_small_and_whole():
    """At most 4 MB on disk, in the files a Hugging Face loader expects."""
    files = list(TINY_FOLDER.iterdir())
    assert sum(file.stat().st_size for file in files) <= 4_000_000
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= {f.name for f in files}


def test_sampled_it_is_often_wrong_and_greedy_seldom(found):
    """T=1: 55 to 75% of its mix, greedy at least 90%; three standard errors of 120 problems are granted to the sample."""
    assert 0.50 < found["T=1"].accuracy < 0.80
    assert found["greedy"].accuracy > 0.84


def test_it_overthinks_sampled_and_greedy(found):
    """At least twice the shortest chain, at least 45% of the tokens checks, detours and repetition, in both decodings."""
    for decoding in found.values():
        assert decoding.times_shortest >= 2.0
        assert decoding.redundant_frac >= 0.45
        assert decoding.truncated_frac < 0.02


def test_solve_rates_spread(found):
    """Problems that are hardly ever solved, problems that always are, and some between."""
    histogram = found["T=1"].solve_rate_histogram
    assert sum(histogram[:3]) >= 6 and sum(histogram[8:]) >= 12 and sum(histogram[3:8]) >= 24


def test_within_a_problem_correct_answers_are_shorter(found):
    """As in real reasoners; difficulty is held still."""
    assert found["T=1"].correct_minus_wrong_tokens < 0


def test_the_table_shows_every_finding(found):
    """What `python -m laconic.tiny measure` prints."""
    console = Console(width=100, record=True)
    console.print(as_table(found, "title"))
    text = console.export_text()
    assert "times the shortest" in text and "accuracy, modular" in text and "greedy" in text


@pytest.mark.parametrize("program", ["laconic.tiny", "laconic.seeker"])
def test_a_model_that_is_none_is_told_in_one_line(program):
    """As the command line does it: exit code 2, no traceback."""
    done = subprocess.run(
        [sys.executable, "-m", program, "measure", "nope"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"{program}: nope: cannot be loaded")
