"""The one rule of the house: a module imports only what stands above it in `floors.py`."""

import ast
import subprocess
import sys
from collections.abc import Iterator

import pytest
from floors import FLOORS, ORDER, entry_of, floor_of, modules_on_disk, path_of, pure_paths

ROOTS = ("__init__", "tiny.__init__")

IMPORT_IN_TURN = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    for heavy in ("torch", "transformers", "vllm", "datasets", "sacrebleu"):
        if heavy in sys.modules:
            sys.exit(f"importing {name} brings in {heavy}")
"""


def imported_names(source: str, module: str) -> Iterator[str]:
    """Absolute dotted names of every import in `source`: in functions, under TYPE_CHECKING, relative ones too."""
    here = ("laconic", *module.split("."))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(here[: len(here) - node.level]) if node.level else ""
            stem = ".".join(part for part in (base, node.module) if part)
            yield from (f"{stem}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant))


def laconic_entry(name: str) -> str:
    """The list's name for an imported `laconic...` name: `laconic.stats.pass_at_k` is of `stats`."""
    parts = name.split(".")[1:]
    stems = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    candidates = [candidate for stem in stems for candidate in (stem, f"{stem}.__init__")]
    return next((entry for candidate in candidates if (entry := entry_of(candidate))), "__init__")


def breaches(source: str, module: str) -> list[str]:
    """What `module`, with this source, imports that its place in the list forbids."""
    entry = entry_of(module)
    if entry is None:
        return [
            f"src/laconic/{module.replace('.', '/')}.py stands on no floor: add {module!r} to FLOORS in tests/floors.py"
        ]
    allowed = floor_of(entry).third_party
    found = []
    for name in imported_names(source, module):
        top = name.split(".")[0]
        if top == "laconic":
            target = laconic_entry(name)
            is_inside = target == entry and entry.endswith(".*")
            if not is_inside and ORDER.index(target) >= ORDER.index(entry):
                found.append(f"{module} imports {name}, and {target} does not stand above {entry}")
        elif allowed is not None and top not in allowed and top not in sys.stdlib_module_names:
            found.append(f"{module} imports {name}; {floor_of(entry).title} may import only {sorted(allowed)}")
    return found


def test_every_module_imports_only_from_above() -> None:
    found = [line for module in modules_on_disk() for line in breaches(path_of(module).read_text("utf-8"), module)]
    assert not found, "\n".join(found)


def test_no_name_stands_twice() -> None:
    assert len(set(ORDER)) == len(ORDER)


@pytest.mark.parametrize("module", [m for m in modules_on_disk() if m in ROOTS])
def test_package_roots_import_nothing_from_outside(module: str) -> None:
    names = imported_names(path_of(module).read_text("utf-8"), module)
    assert all(name.split(".")[0] in sys.stdlib_module_names for name in names)


def test_importing_the_light_modules_brings_in_nothing_heavy() -> None:
    light = [m for m in modules_on_disk() if (entry := entry_of(m)) and floor_of(entry).is_light]
    names = [f"laconic.{module}".removesuffix(".__init__") for module in light]
    run = subprocess.run([sys.executable, "-c", IMPORT_IN_TURN, *names], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_heavy_import_is_found() -> None:
    run = subprocess.run(
        [sys.executable, "-c", IMPORT_IN_TURN, "laconic", "torch"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert "importing torch brings in torch" in run.stderr


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("stats", "import laconic.train", "train does not stand above stats"),
        ("stats", "from laconic import train", "train does not stand above stats"),
        ("stats", "from laconic.stats import pass_at_k", "stats does not stand above stats"),
        ("stats", "def f():\n    from laconic.losses import k1", "losses does not stand above stats"),
        ("stats", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .losses import k1", "losses does not"),
        ("stats", "import importlib\nimportlib.import_module('laconic.train')", "train does not stand above stats"),
        ("tiny.tasks", "from .build import main", "tiny.build does not stand above tiny.tasks"),
        ("tiny.tasks", "from ..cli import main", "cli does not stand above tiny.tasks"),
        ("problems.jsonl", "from laconic.samplers.local import draw", "samplers.* does not stand above problems.*"),
        ("__init__", "from laconic.types import Grade", "types does not stand above __init__"),
        ("types", "import numpy", "may import only ['pydantic']"),
        ("grading", "import torch", "may import only ['numpy', 'pydantic', 'scipy']"),
        ("losses", "import numpy as np", "may import only ['torch']"),
        ("attic", "", "add 'attic' to FLOORS in tests/floors.py"),
    ],
)
def test_a_breach_is_found(module: str, source: str, complaint: str) -> None:
    (found,) = breaches(source, module)
    assert complaint in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("stats", "import math\nimport numpy as np\nfrom scipy import stats\nfrom laconic.types import Grade"),
        ("tiny.tasks", "from . import tokens\nfrom laconic import rng, __version__"),
        ("losses", "import torch.nn.functional as F\nfrom laconic import masked"),
        ("problems.__init__", "from laconic.problems.jsonl import read"),
        ("problems.jsonl", "from laconic.problems import resolve\nimport pyarrow"),
        ("cli", "def f():\n    from laconic.train import train"),
    ],
)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    assert breaches(source, module) == []


def test_the_coverage_list_is_the_pure_floors() -> None:
    paths = pure_paths()
    assert "src/laconic/types.py" in paths
    assert not any("cli" in path or "problems" in path for path in paths)
    assert FLOORS[0].is_pure
    assert not FLOORS[-1].is_pure
