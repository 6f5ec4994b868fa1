"""comparison.json as it is written and read back: the same bytes as ever, and one line where a file is broken."""

from pathlib import Path

import pytest
from folders import BASE, SHORT, Run, longer, prompt

from laconic.comparison.compare import compare_evaluations
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
    write_json_atomically(Path("comparison.json"), comparison)
    return tmp_path / "comparison.json"


def test_a_comparison_is_the_same_bytes_as_ever(written: Path) -> None:
    assert written.read_bytes() == RECORDED.read_bytes()
