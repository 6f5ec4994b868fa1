"""The README and the pages of docs/ that walk through the commands hold true.

1. Every command of the pages in `WALKS` is run, in order, in one folder for each walk; one that stands on both of its pages is
   run once. Commands that train or measure for minutes run here with smaller numbers: `REDUCED` says what is changed, and
   evaluations read 16 problems. A command that is neither run nor named in `BY_OTHERS` fails.
2. The README's Python runs, its table of results is that of benchmarks/demo.md, and its tree is the one of the package.
3. Every link of every page leads to a file and a heading that exist.
"""

import json
import re
import shlex
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from fake_endpoint import Answer, Endpoint, reply
from house import ORDER, PACKAGE
from typer.testing import CliRunner

from laconic.cli import app as cli
from laconic.models.loading import TINY_FOLDER
from laconic.parallel.launching import free_port
from laconic.problems.load import load_problems
from laconic.seeker.__main__ import app as seeker_app
from laconic.tiny import build
from laconic.tiny.__main__ import app as tiny_app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
WALKS = (
    ("README.md", "docs/quickstart.md"),
    ("docs/methods.md",),
    ("docs/tiny.md",),
    ("docs/seeker.md",),
    ("docs/real_models.md",),
)
LONGEST_README = 150
ENDPOINT = "http://127.0.0.1:8000/v1"
BY_OTHERS = {
    "make demo": "what it runs, `laconic demo`, is run in test_demo.py; its set-up is that of `make test`",
    "python3 -m venv .venv && source .venv/bin/activate": "the set-up of `make test`",
    "pip install -c constraints.txt -e '.[report,data]'": "the set-up of `make test`, without its tools",
    "pip install -c constraints.txt -e '.[report,data,gym]'": "the set-up of `make test`, without its tools",
}
PRETRAINED = "runs a pretrained model for hours; tests of recipes load its recipe, and this page's other runs train"
BY_OTHERS |= {
    "laconic train smollm2/cold_start --out runs/smollm2/cold_start": PRETRAINED,
    "laconic train smollm2/two_phase --out runs/smollm2/two_phase": PRETRAINED,
    "laconic train smollm2/truncation --out runs/smollm2/truncation": PRETRAINED,
    "laconic compare runs/smollm2/cold_start runs/smollm2/two_phase": PRETRAINED,
    "laconic compare runs/smollm2/truncation": PRETRAINED,
}
SMALL_RUN = [
    "phases.accuracy.steps=1",
    "phases.brevity.steps=1",
    "phases.accuracy.select.pool=16",
    "phases.brevity.select.pool=24",
    "phases.accuracy.select.options.ceiling=0.99",
    "phases.brevity.select.options.low=0.05",
    "phases.brevity.select.options.high=0.98",
    "phases.accuracy.select.samples=4",
    "phases.brevity.select.samples=4",
    "phases.brevity.problems_per_step=4",
    "phases.accuracy.group_size=4",
    "phases.brevity.group_size=4",
    "phases.accuracy.problems_per_step=4",
    "defaults.sampler.max_tokens=64",
    "watch.samples=1",
    "report.samples=1",
    "report.max_tokens=64",
    "threads=1",
]
REDUCED = {
    "laconic train recipes/two_phase.toml --out": [
        *SMALL_RUN,
        "problems.train=tiny:mix?count=16&split=train",
        "problems.watch=tiny:mix?count=4&split=watch",
        "problems.report=tiny:mix?count=8&split=report",
    ],
    "laconic train recipes/two_phase.toml problems.train=runs/eight.jsonl": [
        "phases.accuracy.steps=1",
        "phases.brevity.steps=1",
        "phases.accuracy.group_size=2",
        "phases.brevity.group_size=2",
        "defaults.sampler.max_tokens=64",
        "report.max_tokens=64",
        "report.samples=1",
        "threads=1",
        "problems.watch=tiny:mix?count=4&split=watch",
        "problems.report=tiny:mix?count=8&split=report",
    ],
    "laconic train recipes/gym_chain_sum.toml": [
        *SMALL_RUN,
        "problems.train=gym:chain_sum?max_terms=4&max_digits=2&split=train&count=24",
        "problems.watch=gym:chain_sum?max_terms=4&max_digits=2&split=watch&count=8",
        "problems.report=gym:chain_sum?max_terms=4&max_digits=2&split=report&count=16",
    ],
    "laconic probe tiny": ["--samples", "6", "--max-tokens", "64"],
    'laconic evaluate tiny "tiny:mix?count=200&split=report"': ["--samples", "1", "--max-tokens", "64"],
    "laconic evaluate runs/two_phase/model": ["--samples", "1", "--max-tokens", "64"],
    'laconic evaluate tiny "gym:chain_sum': ["--samples", "1", "--max-tokens", "64"],
    "laconic evaluate runs/gym/model": ["--samples", "1", "--max-tokens", "64"],
    'laconic evaluate "http://127.0.0.1:8000/v1#my-model"': ["--samples", "1"],
    'laconic evaluate tiny "tiny:mix?count=100&split=report"': ["--samples", "1", "--max-tokens", "144"],
    "laconic train recipes/dler.toml": [
        "phases.truncation.steps=1",
        "phases.truncation.problems_per_step=4",
        "phases.truncation.group_size=4",
        "threads=1",
        "report.samples=1",
        "problems.watch=tiny:mix?count=8&split=watch",
        "problems.report=tiny:mix?count=8&split=report",
    ],
    "laconic evaluate my-model": ["--samples", "2", "--max-tokens", "96"],
    "laconic evaluate runs/shorter/model unseen.jsonl": ["--samples", "2", "--max-tokens", "96"],
    "laconic probe my-model": ["--samples", "4", "--max-tokens", "96"],
    "laconic doctor shorter.toml": ["phases.truncation.sampler.max_tokens=64", "report.max_tokens=96"],
    "laconic train shorter.toml --dry-run": ["phases.truncation.sampler.max_tokens=64", "report.max_tokens=96"],
    "laconic train shorter.toml --out": [
        "policy.dtype=float32",
        "phases.truncation.steps=2",
        "phases.truncation.problems_per_step=4",
        "phases.truncation.group_size=4",
        "phases.truncation.sampler.max_tokens=64",
        "phases.truncation.optimizer.warmup_steps=0",
        "report.max_tokens=96",
        "report.samples=1",
        "watch.samples=1",
        "threads=1",
    ],
    "python -m laconic.tiny measure": ["--problems", "16", "--samples", "2"],
    "python -m laconic.tiny build": ["--steps", "2"],
    "python -m laconic.seeker rehearse": ["--problems", "16", "--samples", "2"],
    "python -m laconic.seeker measure": ["--problems", "2", "--samples", "1"],
    "python -m laconic.seeker build": ["--steps", "2"],
    'laconic evaluate seeker "seeker:mix?count=50&split=report"': ["--samples", "1", "--max-tokens", "96"],
}

BUILDERS = {"laconic.tiny": tiny_app, "laconic.seeker": seeker_app}

LEFT_BEHIND = {
    "README.md": ("runs/base/eval", "runs/two_phase/model"),
    "docs/quickstart.md": (
        "runs/base/report.html",
        "runs/eight/model",
        "runs/two_phase/report.html",
        "runs/comparison.json",
        "runs/both.html",
        "runs/gym.json",
    ),
    "docs/methods.md": ("runs/dler/model",),
    "docs/tiny.md": ("my-reasoner/model.safetensors",),
    "docs/seeker.md": ("my-seeker/model.safetensors", "runs/seeker/eval"),
    "docs/real_models.md": ("runs/probe.jsonl", "runs/shorter/model/model.safetensors", "runs/shorter.html"),
}
"""What each page's commands must have written when its walk is done."""


def commands(page):
    """The commands of all bash blocks of a page, continued lines joined and comments cut off."""
    text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for block in re.findall(r"```bash\n(.*?)```", text, re.S) for line in block.splitlines()]
    return [line.partition("  #")[0].strip() for line in lines if line.strip()]


SERVING = tuple(line for line in commands("README.md") if line.startswith(("laconic serve", "curl", "laconic traffic")))
BY_OTHERS |= dict.fromkeys(SERVING, "run in test_the_readmes_gateway_answers_and_is_reported")


def run(command, monkeypatch, capsys, endpoint):
    extra = next((more for start, more in REDUCED.items() if command.startswith(start)), [])
    if command.startswith("laconic evaluate"):
        command = re.sub(r"count=\d+", "count=16", command)
    arguments = [word.replace(ENDPOINT, endpoint) for word in shlex.split(command)]
    app = BUILDERS.get(arguments[2]) if arguments[:2] == ["python", "-m"] else None
    if app is not None:
        done = CliRunner().invoke(app, arguments[3:] + extra)
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


def write_a_readers_own(folder):
    """What docs/real_models.md calls the reader's: a model in a folder, problems in files, and the page's own recipe."""
    (folder / "my-model").symlink_to(TINY_FOLDER)
    for name in ("train", "watch", "report", "unseen"):
        lines = [
            {"id": problem.id, "problem": problem.question, "answer": problem.answer}
            for problem in load_problems(f"tiny:mix?count=64&split={name if name != 'unseen' else 'report'}")
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (recipe,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "real_models.md").read_text(encoding="utf-8"), re.S)
    (folder / "shorter.toml").write_text(recipe, encoding="utf-8")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("pages", WALKS, ids=" and ".join)
def test_every_command_of_a_page_runs(pages, monkeypatch, capsys, tmp_path):
    """In order, each in the folder the ones before it left; the endpoint is a server that answers 4."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build, "CHUNK_TRACES", 64)  # how many traces `laconic.tiny build` writes before its first step
    for folder in ("recipes", "benchmarks"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    write_gsm8k(tmp_path / "data")
    write_a_readers_own(tmp_path)
    for page in pages:
        assert set(commands(page)) - set(BY_OTHERS)
    with closing(Endpoint()) as server:
        server.script = lambda body, number: Answer(reply("so it is \\boxed{4}", tokens=7))
        for command in dict.fromkeys(command for page in pages for command in commands(page)):
            if command not in BY_OTHERS:
                run(command, monkeypatch, capsys, server.url)
    for written in (name for page in pages for name in LEFT_BEHIND[page]):
        assert (tmp_path / written).exists(), written


def send(curl, port, **told):
    """A request of the README's as curl would send it, at another port, with values of its body replaced; the reply."""
    command, url, _, header, _, body = shlex.split(curl.replace("8080", port))
    assert command == "curl"
    with urlopen(
        Request(url, json.dumps(json.loads(body) | told).encode(), dict([header.split(": ")])), timeout=60
    ) as got:
        return json.load(got)


def test_the_readmes_gateway_answers_takes_feedback_and_is_reported(monkeypatch, capsys, tmp_path):
    """The commands of "Serve it" in order, at a free port; the feedback names the reply's id."""
    monkeypatch.chdir(tmp_path)
    serve, ask, judge, report = SERVING
    port = str(free_port())
    gateway = subprocess.Popen([sys.executable, "-m", *shlex.split(serve), "--port", port], stderr=subprocess.PIPE)
    try:
        lines = iter(gateway.stderr.readline, b"")
        assert any(f":{port}/v1 serves tiny".encode() in line for line in lines), "the gateway ended"
        reply_of_it = send(ask, port)
        stored = send(judge, port, id=reply_of_it["id"])
    finally:
        gateway.terminate()
        gateway.wait(60)
        gateway.stderr.close()
    assert "12" in reply_of_it["choices"][0]["message"]["content"] and reply_of_it["id"].startswith("req-")
    assert '"id": "ID OF THE REPLY"' in judge and stored["stored"] is True
    run(report, monkeypatch, capsys, "")
    assert "tiny" in (tmp_path / "traffic.html").read_text("utf-8")


def test_no_command_is_lost():
    """The pages together hold the walk from a first measurement to a comparison, and every group of commands."""
    found = [command for pages in WALKS for page in pages for command in commands(page)]
    assert len(found) >= 30
    for start in ("evaluate", "report", "compare", "audit", "probe", "select", "doctor", "train", "sweep", "list"):
        assert any(command.startswith(f"laconic {start} ") for command in found), start


def test_the_python_of_the_readme_runs(monkeypatch, tmp_path):
    """Six lines, from a model to its accuracy and tokens."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {"__name__": "readme"})


def test_the_readme_is_short():
    assert len(README.splitlines()) <= LONGEST_README


def test_the_results_of_the_readme_are_those_of_the_benchmark():
    """Each cell of the table is the mean row of benchmarks/demo.md."""
    page = (ROOT / "benchmarks" / "demo.md").read_text(encoding="utf-8")
    means = {
        (decoding, model): cells
        for decoding, model, *cells in re.findall(
            r"^\| \*\*(\w+)\*\* \| \*\*([\w-]+)\*\* \| mean \| " + r" \| ".join([r"\*\*(\S+)\*\*"] * 4), page, re.M
        )
    }
    assert len(means) == 6
    for decoding, tag in (("T=1", "t1"), ("greedy", "greedy")):
        base, first, last = (means[tag, model] for model in ("base", "phase-1", "phase-2"))
        accuracies, tokens = ([row[column] for row in (base, first, last)] for column in (0, 1))
        assert f"| {decoding} | accuracy | {' | '.join(accuracies)} | {last[3]} points |" in README
        assert f"| {decoding} | tokens | {' | '.join(tokens)} | {last[2]}% |" in README


def test_the_tree_of_the_readme_is_that_of_the_package():
    """Every package, in the order of house.py."""
    section = README.partition("\n## The tree\n")[2].partition("\n## ")[0]
    assert "| (the root) |" in section
    packages = [name for name in ORDER if name and (PACKAGE / name).is_dir()]
    assert re.findall(r"^\| `(\w+)` \| \w", section, re.M) == packages


# --- links -----------------------------------------------------------------------------------------------------------

WRITTEN = ["README.md", "CONTRIBUTING.md", *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("docs/**/*.md")))]


def headings_of(path):
    """The anchors of a page's headings, as GitHub and the documentation site make them."""
    headings = re.findall(r"^#+ (.*)", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", WRITTEN)
def test_links_lead_somewhere(page):
    """Files that exist, and headings that exist in them."""
    path = ROOT / page
    for target in re.findall(r"\]\((?!http)([^)]+)\)", path.read_text(encoding="utf-8")):
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), target
        assert not anchor or anchor in headings_of(found), target


@pytest.mark.parametrize("page", WRITTEN)
def test_recipes_that_a_page_names_exist(page):
    for recipe in re.findall(r"recipes/[\w./-]+\.toml", (ROOT / page).read_text(encoding="utf-8")):
        assert (ROOT / recipe).exists() or (ROOT / "src" / "laconic" / recipe).exists(), recipe


def test_the_first_questions_of_a_newcomer_have_their_answers():
    """Each file of CONTRIBUTING's table exists, and the name beside it is defined there."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    answers = re.findall(r"^\| Where .*\? \| `(\S+)` \| `(\w+)`", text, re.M)
    assert len(answers) == 7
    for file, name in answers:
        source = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"^(?:def {name}\(|class {name}\b|{name}\b.* = )", source, re.M), (file, name)


def test_the_places_that_contributing_names_exist():
    """Files and folders of the package and of the tests, wherever the text names them, and what git ignores since it is built."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    built = {line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()}
    for place in re.findall(r"`((?:[a-z_]+/)+(?:[\w.]+)?)`", text):
        is_here = (ROOT / place).exists() or (PACKAGE / place).exists() or place == "../shared/data"
        assert is_here or place.strip("/") in built, place


def test_every_page_of_the_docs_is_reached_from_the_index():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {str(path.relative_to(ROOT / "docs")) for path in ROOT.glob("docs/**/*.md")} - {"index.md"}
    assert pages <= set(re.findall(r"\]\(([^)#]+)\)", index))
