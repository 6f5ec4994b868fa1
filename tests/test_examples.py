"""The programs in `examples/` run as they stand, in small sizes that their arguments give."""

import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_endpoint import Answer, Endpoint, reply

import laconic
from laconic.comparison.audit import audit as run_audit
from laconic.rollouts.rows import read_rows
from laconic.samplers.endpoints import KEY_VARIABLES

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
Run = Callable[..., list[str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run an example with arguments in an empty folder; the lines that it prints."""

    def run_example(name: str, *arguments: str) -> list[str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run_example


def test_every_example_is_run_here() -> None:
    tested = {"grpo_loop.py", "own_reward.py", "endpoint.py"}
    assert {path.name for path in EXAMPLES.glob("*.py")} == tested


def test_the_grpo_loop_learns_from_groups(run: Run) -> None:
    """Two steps of 2 problems and 4 responses; the second step's model is not the first's, so its seed draws other responses."""
    sizes = ("--problems-per-step", "2", "--group-size", "4", "--max-tokens", "120")
    lines = run("grpo_loop.py", "--steps", "2", *sizes)
    assert [line.split(":")[0] for line in lines] == ["step 1", "step 2"]
    still = run("grpo_loop.py", "--steps", "2", "--lr", "0", *sizes)
    moved = run("grpo_loop.py", "--steps", "2", "--lr", "0.01", *sizes)
    assert still[0] == moved[0] == lines[0]
    assert still[1] != moved[1]


def test_a_reward_of_ones_own_trains(run: Run, tmp_path: Path) -> None:
    changes = (
        "phases.brevity.steps=1",
        "phases.brevity.problems_per_step=2",
        "phases.brevity.group_size=4",
        "phases.brevity.sampler.max_tokens=64",
        "report.max_tokens=64",
        "problems.watch=tiny:mix?count=2&split=watch",
        "problems.report=tiny:mix?count=2&split=report",
        "watch.samples=1",
        "report.samples=1",
        "threads=1",
    )
    lines = run("own_reward.py", "--out", "run", *changes)
    assert lines[0].startswith("step 1: reward ")
    assert lines[-1] == "result: run/model"
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    for variable in KEY_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    served = Endpoint()
    yield served
    served.close()


def test_a_solver_over_an_endpoint(run: Run, endpoint: Endpoint, tmp_path: Path) -> None:
    """The server always answers 12: right for one of two problems; asked to be brief it counts 20 tokens, not 40."""
    questions = tmp_path / "sums.jsonl"
    questions.write_text(
        '{"id": "1", "problem": "7 + 5?", "answer": "12"}\n{"id": "2", "problem": "7 + 6?", "answer": "13"}\n'
    )
    endpoint.script = lambda body, number: Answer(
        reply(r"\boxed{12}", tokens=20 if "concise" in body["messages"][-1]["content"] else 40)
    )
    lines = run("endpoint.py", f"{endpoint.url}#m", str(questions), "--samples", "2", "--max-tokens", "64")
    assert len(endpoint.seen) == 2 * 2 * 2
    assert lines[0].startswith("boxed: sums: accuracy 50.0%") and "tokens 40.0" in lines[0]
    assert lines[1].startswith("be_concise: sums: accuracy 50.0%") and "tokens 20.0" in lines[1]
    assert "50% fewer tokens" in lines[2]


def test_support_tickets_are_graded_by_a_function_and_by_a_judge(endpoint: Endpoint, tmp_path: Path) -> None:
    """The model answers the first ticket rightly, promises too much in the second, and names no queue in the others."""
    folder, solved = EXAMPLES / "support_tickets", "Billing pays the refund within 14 days."
    replies = {
        "Lumo lamp nine days": solved,
        "charged my card twice": "Billing has a duplicate charge for order 5512. I guarantee it.",
    }
    endpoint.script = lambda body, number: Answer(
        reply(next((said for part, said in replies.items() if part in body["messages"][-1]["content"]), "We will see."))
    )
    address, tickets = f"{endpoint.url}#m", str(folder / "tickets.jsonl")
    solver = laconic.open_solver(address, prompt="none", grader=f"{folder}/grader.py:grade")
    with solver.grader as grader:
        result = laconic.evaluate(solver, tickets, samples=1, max_tokens=64, out=tmp_path / "own")
    rows = list(read_rows(tmp_path / "own" / "samples.jsonl"))
    assert [row.grade.value for row in rows[:3]] == ["correct", "wrong", "no_answer"] and rows[0].answer == "billing"
    assert result.accuracy == pytest.approx(1 / 12) and result.summary.setup.grader == grader.name
    rubric = tmp_path / "rubric.toml"
    rubric.write_text((folder / "rubric.toml").read_text().replace("http://127.0.0.1:8000/v1#judge", address))
    endpoint.script = lambda body, number: Answer(
        reply("GRADE: correct" if solved in body["messages"][-1]["content"] else "GRADE: wrong")
    )
    audit = run_audit(tmp_path / "own", str(rubric))
    assert audit.table == {("correct", "correct"): 1, ("wrong", "wrong"): 1, ("no_answer", "wrong"): 10}


def test_an_endpoint_without_a_server_ends_in_one_line(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing listens on port 9: one line says so, and the exit code is 2."""
    with pytest.raises(SystemExit) as ended:
        run("endpoint.py", "http://127.0.0.1:9/v1#m", "tiny:mix?count=1&split=report", "--samples", "1")
    assert ended.value.code == 2
    complaint = capsys.readouterr().err.splitlines()[-1]
    assert complaint.startswith("endpoint.py: http://127.0.0.1:9/v1/chat/completions: cannot be reached")
