"""Which engine is chosen, and what becomes of its process: played by small programs."""

import shutil
import sys
import time
import urllib.request
from pathlib import Path
from threading import Event

import pytest

from laconic.bundled import BUNDLED
from laconic.errors import InputError, RunFailed
from laconic.serving import engines
from laconic.serving.budgets import ThinkingBudget
from laconic.serving.engines import EngineChoice, choose_engine, engine_started, opens_thinking, plan_vllm
from laconic.serving.serving_command import end_is_said

HEALTHY = """
import http.server, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open(sys.argv[1], "w").write(str(child.pid))
class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"{}")
    def log_message(self, *args): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[2])), Healthy).serve_forever()
"""
DYING = "import sys; print('loading'); sys.exit('ValueError: no such model')"
SILENT = "import time; time.sleep(60)"


def played(program: str, *arguments: str) -> list[str]:
    return [sys.executable, "-S", "-c", program, *arguments]


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_an_engine_answers_while_its_context_lasts_and_leaves_no_process(tmp_path: Path) -> None:
    """Its child's child ends with it."""
    pid_file = tmp_path / "pid"
    command = played(HEALTHY, str(pid_file))
    with engine_started("m", EngineChoice("local", "why"), tmp_path / "log", command=command) as engine:
        address = engine.url.removesuffix("/v1") + "/health"
        assert urllib.request.urlopen(address, timeout=5).status == 200
        assert engine.failure() is None
        pid = int(pid_file.read_text())
        assert is_alive(pid)
    deadline = time.monotonic() + 10.0  # it was killed, and ends as soon as the system runs it
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_alive(pid)


def test_an_engine_that_dies_is_one_line_with_its_reason(tmp_path: Path) -> None:
    with (
        pytest.raises(RunFailed, match=r"^vllm ended \(exit code 1\): ValueError: no such model; see .*log$"),
        engine_started("m", EngineChoice("vllm", "why"), tmp_path / "log", command=played(DYING)),
    ):
        pass


def test_the_end_of_an_engine_that_served_is_said_once() -> None:
    """The first look finds it alive; afterwards nothing is looked at."""
    looks, said, is_said = iter((None, "local ended (exit code -9)", "again", "and again")), [], Event()

    def say(line: str) -> None:
        said.append(line)
        is_said.set()

    with end_is_said(lambda: next(looks), say, between=0.001):
        assert is_said.wait(10.0)
    assert said == ["local ended (exit code -9); requests to it fail until laconic serve is started again"]
    assert next(looks) == "again"


def test_an_engine_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with (
        pytest.raises(RunFailed, match=r"local does not answer after 0.1 s; see"),
        engine_started("m", EngineChoice("local", "why"), tmp_path / "log", command=played(SILENT), seconds=0.1),
    ):
        pass


def test_the_engine_fits_the_model_and_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A small model on a CPU is drawn here; on a GPU, and where it is not small, vLLM before transformers before our own."""
    programs = {"vllm", "transformers"}
    monkeypatch.setattr(engines, "program_of", lambda name: name if name in programs else None)
    monkeypatch.setattr(engines, "find_spec", lambda name: name != "vllm")
    assert choose_engine("tiny", None, has_gpu=False).kind == "local"
    assert "2 MiB on a CPU" in choose_engine("tiny", None, has_gpu=False).why
    assert choose_engine("tiny", None, has_gpu=True).kind == "vllm"
    assert choose_engine("org/model", None, has_gpu=False).kind == "vllm"
    programs.remove("vllm")
    assert choose_engine("org/model", None, has_gpu=False).kind == "transformers"
    assert choose_engine("model.gguf", None, has_gpu=False).kind == "local"
    with pytest.raises(InputError, match="--engine vllm: there is no program vllm"):
        choose_engine("tiny", "vllm")
    assert choose_engine("tiny", sys.executable).program == sys.executable
    with pytest.raises(InputError, match="--engine sglang: expected one of vllm, transformers, local"):
        choose_engine("tiny", "sglang")


def test_vllm_keeps_a_budget_where_the_model_marks_its_thinking(tmp_path: Path) -> None:
    """The words that end a thought are given at its start; a model without the marks gets no parser."""
    assert opens_thinking(BUNDLED["tiny"])
    budget = ThinkingBudget(64, "</think>\\boxed{", 32)
    plan = plan_vllm(EngineChoice("vllm", "", "/venv/bin/python"), str(BUNDLED["tiny"]), "tiny", 8000, budget)
    assert plan.budgets == "vllm"
    assert '{"reasoning_end_str": "</think>\\\\boxed{"}' in plan.command
    plain = plan_vllm(EngineChoice("vllm", "", "/venv/bin/vllm"), str(tmp_path), "m", 8000, budget)
    assert plain.budgets == "gateway"
    assert "--reasoning-parser" not in plain.command
    assert plan.command[:3] == ["/venv/bin/python", "-m", "vllm.entrypoints.openai.api_server"]
    assert plain.command[:3] == ["/venv/bin/vllm", "serve", str(tmp_path)]


def test_a_model_that_may_answer_without_a_thought_gets_no_parser(tmp_path: Path) -> None:
    """Its vocabulary has the marks and its template mentions them, but its prompts do not open a thought: vLLM's parser would
    take all that it answers for an unfinished thought, and send no content."""
    for mark in ("", "<think>\n\n</think>"):
        folder = tmp_path / (mark[:6].strip("<>") or "none")
        shutil.copytree(BUNDLED["tiny"], folder)
        template = folder / "chat_template.jinja"
        template.write_text(template.read_text("utf-8").replace("<|assistant|><think>{%", f"<|assistant|>{mark}{{%"))
        plan = plan_vllm(EngineChoice("vllm", "", "/venv/bin/vllm"), str(folder), "m", 8000, None)
        assert not opens_thinking(folder)
        assert plan.budgets == "gateway"
        assert "--reasoning-parser" not in plan.command
