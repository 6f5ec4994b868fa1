"""What users install: the wheel made from the sdist runs from an empty folder, `make` installs what is needed and no more, and
`uv.lock` pins what `constraints.txt` pins."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from laconic import __version__
from laconic.errors import install_command

ROOT = Path(__file__).resolve().parents[1]
BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, 'build_' + sys.argv[1])(sys.argv[2])"
CACHES = shutil.ignore_patterns("__pycache__", "*.egg-info")


# --- the wheel -------------------------------------------------------------------------------------------------------


def build(kind: str, source: Path, out: Path) -> Path:
    """The sdist or wheel of the sources in a folder, made by their own build backend, without a network."""
    out.mkdir()
    command = [sys.executable, "-c", BUILD, kind, str(out)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Made from the sdist alone, so that the sdist holds what it takes."""
    folder = tmp_path_factory.mktemp("dist")
    source = folder / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=CACHES)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    sdist = build("sdist", source, folder / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    return build("wheel", folder / "unpacked" / f"laconic-{__version__}", folder / "wheel")


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder that holds the installed wheel; what it depends on is that of the tests."""
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder)]
    if subprocess.run([*command[:3], "--version"], capture_output=True, check=False).returncode:
        pytest.skip("needs pip to install the wheel")
    subprocess.run([*command, str(wheel)], check=True)
    return folder


@pytest.fixture
def run(installed, tmp_path):
    """Runs a program of the installed wheel in an empty folder; gives back what it prints."""
    empty = tmp_path / "empty"
    empty.mkdir()
    variables = os.environ | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}

    def call(*command: str) -> str:
        done = subprocess.run(command, cwd=empty, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return call


def test_the_wheel_holds_every_file_of_the_package(wheel):
    """Recipes, the checkpoint and templates as well as code, and nothing that the repository does not have."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("laconic/")}
    ours = {
        path for path in (ROOT / "src" / "laconic").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == {str(path.relative_to(ROOT / "src")) for path in ours}


def test_the_installed_wheel_answers(run, installed):
    """It is the installed one that answers, not the sources that the tests run on."""
    said = run(sys.executable, "-c", "import laconic; print(laconic.__file__, laconic.__version__)")
    assert said.split() == [str(installed / "laconic" / "__init__.py"), __version__]
    laconic = str(installed / "bin" / "laconic")
    assert "Usage: laconic" in run(laconic, "--help")
    assert {"two_phase", "long2short/sft"} <= {line.split()[0] for line in run(laconic, "list", "recipes").splitlines()}


def test_the_installed_wheel_trains_from_an_empty_folder(run, installed, tmp_path):
    """Two steps of a shipped recipe on the embedded reasoner."""
    small = (
        "phases.0.steps=2",
        "phases.0.problems_per_step=2",
        "phases.0.group_size=2",
        "phases.0.sampler.max_tokens=24",
        "problems.train=tiny:mix?count=4&split=train",
        "problems.watch=tiny:mix?count=2&split=watch",
        "problems.report=tiny:mix?count=2&split=report",
        "report.samples=1",
        "report.max_tokens=24",
        "threads=1",
        "watch.samples=1",
    )
    run(str(installed / "bin" / "laconic"), "train", "accuracy_only", *small, "--out", "run")
    written = tmp_path / "empty" / "run"
    assert len((written / "metrics.jsonl").read_text("utf-8").splitlines()) == 2
    assert (written / "model" / "config.json").is_file()


# --- make ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def make(tmp_path):
    """Runs a target in a folder whose programs only write down how they are called; gives back what was installed."""
    if shutil.which("make") is None:
        pytest.skip("needs make")
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    programs, calls = tmp_path / ".venv" / "bin", tmp_path / "calls"
    programs.mkdir(parents=True)
    for name in ("python", "pip", "laconic", "ruff", "mypy", "pytest", "coverage", "mkdocs"):
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {calls}\n')
        (programs / name).chmod(0o755)

    def call(target: str) -> list[str]:
        calls.write_text("")
        subprocess.run(["make", "--silent", target], cwd=tmp_path, check=True, capture_output=True)
        return re.findall(r"^pip install .* -e (.*)$", calls.read_text(), re.M)

    return call


def test_the_demo_installs_what_it_needs_and_the_tests_the_rest(make):
    """Each once."""
    assert make("demo") == [".[report]"]
    assert make("demo") == []
    assert make("test") == [".[dev]"]
    assert make("demo") == make("test") == make("docs") == []


def test_after_the_tests_nothing_is_left_to_install_for_the_demo(make):
    """The extra `dev` holds the extra `report`."""
    assert make("test") == [".[dev]"]
    assert make("demo") == []


# --- pins ------------------------------------------------------------------------------------------------------------

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
LOCK = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))
PINS = dict(re.findall(r"^([a-z0-9-]+)==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.M))
CUDA = re.compile(r"nvidia-.*|cuda-.*|triton")
"""What PyPI's torch for Linux brings besides; `constraints.txt` leaves it to the build of torch that is installed."""


def test_the_lock_pins_what_the_constraints_pin():
    """The same packages at the same versions, apart from what PyPI's torch brings for CUDA."""
    locked = {row["name"]: row["version"] for row in LOCK["package"] if row["name"] != "laconic"}
    assert len(locked) == len(LOCK["package"]) - 1, "a package is locked at two versions"
    assert {name: version for name, version in locked.items() if not CUDA.fullmatch(name)} == PINS


def test_the_lock_knows_what_the_project_asks_for():
    """Every requirement of pyproject.toml, with its range and its extra; renew the lock by the line in constraints.txt."""
    (row,) = (row for row in LOCK["package"] if row["name"] == "laconic")
    locked = {requirement(dist) for dist in row["metadata"]["requires-dist"] if dist["name"] != "laconic"}
    ours = {(None, text) for text in PROJECT["dependencies"]}
    ours |= {(extra, text) for extra, texts in PROJECT["optional-dependencies"].items() for text in texts}
    assert locked == {(extra, text) for extra, text in ours if not text.startswith("laconic[")}
    assert LOCK["requires-python"] == PROJECT["requires-python"]


def requirement(dist: dict) -> tuple[str | None, str]:
    """The extra that asks for it, or none, and the requirement as pyproject.toml writes it."""
    extra = re.fullmatch(r"extra == '(\w+)'", dist.get("marker", ""))
    inner = f"[{','.join(dist['extras'])}]" if "extras" in dist else ""
    return extra and extra[1], f"{dist['name']}{inner}{dist['specifier']}"


def test_the_lock_names_public_hosts_alone():
    """Whoever locks behind a mirror must not commit the mirror's address."""
    text = (ROOT / "uv.lock").read_text("utf-8")
    assert set(re.findall(r'"https?://([^/"]+)', text)) == {"pypi.org", "files.pythonhosted.org"}


def test_a_missing_extra_is_installed_by_the_names_of_its_packages(monkeypatch):
    """On PyPI the name of this package is another project's: a line that says to install it by name would bring that one."""
    for extra in PROJECT["optional-dependencies"].keys() - {"dev"}:
        assert install_command(extra).startswith("pip install '") and "laconic" not in install_command(extra)
    monkeypatch.setattr("importlib.metadata.requires", lambda _name: None)
    assert install_command("data") == "pip install '.[data]' in Laconic's folder"


def test_no_line_says_to_install_this_package_by_its_name():
    texts = [path for folder in ("docs", "src", "examples") for path in (ROOT / folder).rglob("*.*")]
    lines = [
        f"{path.name}: {line.strip()}"
        for path in (*texts, ROOT / "README.md", ROOT / "CONTRIBUTING.md")
        if path.suffix in {".md", ".py", ".toml", ".sh"}
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"pip install [^`#]*\blaconic\b(?!/)", line) and "/laconic" not in line
    ]
    assert lines == []
