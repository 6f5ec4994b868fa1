"""Every command of the README is run, in order, in one folder.

Commands that train or measure for minutes run here with smaller numbers; `REDUCED` says what is changed, and a command that is
neither run as it stands nor named there fails the test.
"""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from test_http_sampler import Answer, Endpoint, reply
from typer.testing import CliRunner

from laconic.cli import app as cli
from laconic.tiny.__main__ import app as tiny_app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ENDPOINT = "http://127.0.0.1:8000/v1"
BY_OTHERS = {
    "pip install -c constraints.txt -e '.[report,data,gym]'": "the set-up of `make test`, without its tools",
    "make demo": "what it runs, `laconic demo`, is run in test_demo.py; its set-up is that of `make test`",
}
SMALL_RUN = [
    "phases.accuracy.steps=2",
    "phases.brevity.steps=2",
    "phases.accuracy.select.pool=16",
    "phases.brevity.select.pool=24",
    "phases.accuracy.select.options.ceiling=0.99",
    "phases.brevity.select.options.low=0.05",
    "phases.brevity.select.options.high=0.98",
    "phases.accuracy.select.samples=4",
    "phases.brevity.select.samples=4",
    "defaults.problems_per_step=4",
    "phases.brevity.group_size=8",
    "phases.accuracy.problems_per_step=4",
    "report.samples=1",
    "threads=1",
]
REDUCED = {
    "laconic train recipes/two_phase.toml --out": [
        *SMALL_RUN,
        "problems.train=tiny:mix?count=24&split=train",
        "problems.watch=tiny:mix?count=8&split=watch",
        "problems.report=tiny:mix?count=16&split=report",
    ],
    "laconic train recipes/gym_chain_sum.toml": [
        *SMALL_RUN,
        "problems.train=gym:chain_sum?max_terms=4&max_digits=2&split=train&count=24",
        "problems.watch=gym:chain_sum?max_terms=4&max_digits=2&split=watch&count=8",
        "problems.report=gym:chain_sum?max_terms=4&max_digits=2&split=report&count=16",
    ],
    "laconic evaluate tiny gsm8k": ["--samples", "1", "--max-tokens", "64"],
    'laconic evaluate "http://127.0.0.1:8000/v1#my-model"': ["--samples", "1"],
    'laconic evaluate tiny "tiny:mix?count=100&split=report"': ["--samples", "1"],
    "laconic train recipes/dler.toml": [
        "phases.truncation.steps=2",
        "phases.truncation.problems_per_step=4",
        "threads=1",
        "report.samples=1",
        "problems.watch=tiny:mix?count=8&split=watch",
        "problems.report=tiny:mix?count=8&split=report",
    ],
    "python -m laconic.tiny measure": ["--problems", "16", "--samples", "2"],
    "python -m laconic.tiny build": ["--steps", "2"],
}


def commands():
    """The commands of all bash blocks, comments cut off."""
    lines = [line for block in re.findall(r"```bash\n(.*?)```", README, re.S) for line in block.splitlines()]
    return [line.partition("  #")[0].strip() for line in lines if line.strip()]


def run(command, monkeypatch, capsys, endpoint):
    arguments = [word.replace(ENDPOINT, endpoint) for word in shlex.split(command)]
    extra = next((more for start, more in REDUCED.items() if command.startswith(start)), [])
    if arguments[:3] == ["python", "-m", "laconic.tiny"]:
        done = CliRunner().invoke(tiny_app, arguments[3:] + extra)
        assert done.exit_code == 0, done.output
        return
    assert arguments[0] == "laconic", f"{command}: not a command this test knows how to run"
    monkeypatch.setattr(sys, "argv", arguments + extra)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code, f"{command}: {capsys.readouterr().err}"


def write_gsm8k(folder):
    """Problems of our own under the benchmark's name: the hub is out of reach here."""
    folder.mkdir()
    lines = [
        {"id": str(i), "problem": f"Ann has {i} pears and buys {i}. How many has she?", "answer": str(2 * i)}
        for i in range(6)
    ]
    (folder / "gsm8k.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_every_command_of_the_readme_runs(monkeypatch, capsys, tmp_path):
    """In order, each in the folder the ones before it left; the endpoint is a server that answers 4."""
    monkeypatch.chdir(tmp_path)
    for folder in ("recipes", "benchmarks"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    write_gsm8k(tmp_path / "data")
    server = Endpoint()
    server.script = lambda body, number: Answer(reply("so it is \\boxed{4}", tokens=7))
    found = commands()
    assert len(found) >= 10
    for command in found:
        if command not in BY_OTHERS:
            run(command, monkeypatch, capsys, server.url)
    assert (tmp_path / "runs" / "two_phase" / "report.html").exists()
    assert (tmp_path / "runs" / "comparison.json").exists() and (
        tmp_path / "my-reasoner" / "model.safetensors"
    ).exists()


def test_links_and_paths_of_the_readme_exist():
    """Relative links and recipes named in the text."""
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
    for recipe in re.findall(r"recipes/[\w.-]+\.toml", README):
        assert (ROOT / recipe).exists(), recipe
