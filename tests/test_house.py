"""The rule of the house, as three checks: packages import only what stands above them in `house.py`, no package has a circle of
imports inside, and every package's docstring lists its modules."""

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from house import (
    DOORS,
    MOST_IN_PACKAGE,
    MOST_IN_ROOT,
    ORDER,
    PACKAGE,
    ROOMS,
    imported_names,
    module_of,
    modules_on_disk,
    path_of,
    pure_names,
    room_of,
)

MODULES = frozenset(modules_on_disk())
PACKAGES = sorted(path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)

IMPORT_IN_TURN = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    for heavy in ("torch", "transformers", "vllm", "datasets", "sacrebleu"):
        if heavy in sys.modules:
            sys.exit(f"importing {name} brings in {heavy}")
"""


def source_of(module: str) -> str:
    return path_of(module).read_text("utf-8")


def breaches(source: str, module: str) -> list[str]:
    """What `module`, with this source, imports that its place in the house forbids."""
    if module in DOORS:
        return [f"{module} imports {name} before anyone asks" for name in eager_names(source) if module == "__init__"]
    here = room_of(module)
    if here not in ORDER:
        return [f"src/laconic/{here} is no room of the house: add it to ROOMS in tests/house.py"]
    row, found = ROOMS[ORDER.index(here)], []
    for name in imported_names(source, module):
        top = name.split(".")[0]
        if top == "laconic":
            there = room_of(module_of(name, MODULES))
            if there not in ORDER[: ORDER.index(here) + 1]:
                found.append(f"{module} imports {name}, and {there} does not stand above {here or 'the root'}")
        elif top not in row.outside and top not in sys.stdlib_module_names:
            found.append(f"{module} imports {name}; from outside {here or 'the root'} may import {sorted(row.outside)}")
    return found


def eager_names(source: str) -> list[str]:
    """What a source imports from outside the standard library as soon as it is loaded; not what type checkers alone read."""
    statements = [
        node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom | ast.Try | ast.If)
    ]
    statements = [node for node in statements if ast.unparse(getattr(node, "test", node)) != "TYPE_CHECKING"]
    names = [name for node in statements for name in imported_names(ast.unparse(node), "__init__")]
    return [name for name in names if name.split(".")[0] not in sys.stdlib_module_names]


def cycle(imports: dict[str, set[str]]) -> list[str]:
    """A circle in "module: what it imports", or an empty list."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def imports_inside(room: str) -> dict[str, set[str]]:
    """What each module of a room imports of the same room."""
    inside = [module for module in MODULES if room_of(module) == room and module not in DOORS]
    reached = {
        m: {module_of(n, MODULES) for n in imported_names(source_of(m), m) if n.startswith("laconic.")} for m in inside
    }
    return {module: {other for other in others if other in reached} for module, others in reached.items()}


def listed(docstring: str) -> list[str]:
    """The modules that a package's docstring lists."""
    return re.findall(r"^- `(\w+)`: ", docstring, re.M)


# --- the three checks ------------------------------------------------------------------------------------------------


def test_every_package_imports_only_from_above() -> None:
    found = [line for module in sorted(MODULES) for line in breaches(source_of(module), module)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("room", ORDER)
def test_imports_inside_a_package_run_in_no_circle(room: str) -> None:
    assert not cycle(imports_inside(room))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_package_lists_its_modules(package) -> None:
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text("utf-8"))) or ""
    modules = {path.stem for path in package.glob("*.py")} - set(DOORS)
    packages = {path.parent.name for path in package.glob("*/__init__.py")}
    assert sorted(listed(docstring)) == sorted(modules | packages)


def test_every_module_of_the_tests_has_a_name_of_its_own() -> None:
    """pytest imports each by its bare name, `conftest` too, so that of two with one name the second cannot be collected."""
    names = Counter(path.name for path in (PACKAGE.parents[1] / "tests").rglob("*.py"))
    assert not [name for name, times in names.items() if times > 1]


# --- sizes, weights, coverage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", [PACKAGE, *PACKAGES], ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_package_is_crowded(package) -> None:
    """At most sixteen modules in a package and eight in the root: a reader takes in the whole list."""
    assert len(list(package.glob("*.py"))) <= (MOST_IN_ROOT if package == PACKAGE else MOST_IN_PACKAGE)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_package_defines_nothing_in_its_init(package) -> None:
    """Every definition has a module with a name; an `__init__` only tells what is there."""
    (docstring,) = ast.parse((package / "__init__.py").read_text("utf-8")).body
    assert isinstance(docstring, ast.Expr)


def test_importing_the_light_packages_brings_in_nothing_heavy() -> None:
    light = {row.name for row in ROOMS if row.is_light}
    names = [f"laconic.{module}".removesuffix(".__init__") for module in sorted(MODULES) if room_of(module) in light]
    run = subprocess.run([sys.executable, "-c", IMPORT_IN_TURN, *names], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_heavy_import_is_found(tmp_path: Path) -> None:
    """Of an empty module by that name, which is found first."""
    (tmp_path / "torch.py").touch()
    variables = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(PACKAGE.parent)])}
    command = [sys.executable, "-c", IMPORT_IN_TURN, "laconic", "torch"]
    run = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "importing torch brings in torch" in run.stderr


def test_no_line_is_watched_outside_the_tests_of_pure_packages() -> None:
    """Coverage would add a third to the suite's time: nothing of it watches a test of no package, such as this one."""
    assert "coverage" not in str(type(sys.gettrace()))


def test_the_coverage_list_is_the_pure_packages() -> None:
    names = pure_names()
    assert "laconic.types" in names and "laconic.rl" in names
    assert not {"laconic", "laconic.cli", "laconic.samplers"} & set(names)


# --- the checks can fail ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("statistics.claims", "import laconic.training.run", "training does not stand above statistics"),
        ("statistics.claims", "from laconic.training import run", "training does not stand above statistics"),
        ("statistics.claims", "def f():\n    from laconic.rewards.paying import pay", "rewards does not stand above"),
        (
            "statistics.claims",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..models.policy import Policy",
            "models does not stand above statistics",
        ),
        ("rl.losses", "import importlib\nimportlib.import_module('laconic.cli.app')", "cli does not stand above rl"),
        ("rl.losses", "from ..cli.app import main", "cli does not stand above rl"),
        ("problems.files", "from laconic.selection.probe import probe", "selection does not stand above problems"),
        ("types", "from laconic.rl.losses import k1", "rl does not stand above the root"),
        ("types", "import numpy", "the root may import []"),
        ("statistics.claims", "import torch", "statistics may import ['numpy', 'sacrebleu', 'scipy']"),
        ("rl.losses", "import numpy as np", "rl may import ['torch']"),
        ("attic.trunk", "", "add it to ROOMS in tests/house.py"),
        ("__init__", "from laconic.types import Grade", "before anyone asks"),
        ("__init__", "if True:\n    from laconic.types import Grade", "before anyone asks"),
    ],
)
def test_a_breach_is_found(module: str, source: str, complaint: str) -> None:
    (found,) = breaches(source, module)
    assert complaint in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "statistics.claims",
            "import math\nimport numpy as np\nfrom scipy import stats\nfrom laconic.types import Grade",
        ),
        ("tiny.tasks", "from . import tokens\nfrom laconic import rng, __version__"),
        ("rl.losses", "import torch.nn.functional as F\nfrom laconic.rl import masked"),
        ("cli.app", "def f():\n    from laconic.training.run import train"),
        ("__init__", "def f():\n    from laconic.training.run import train"),
        ("__init__", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from laconic.training.run import train"),
    ],
)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    assert breaches(source, module) == []


def test_a_circle_is_found() -> None:
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}})
    assert not cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()})


def test_a_docstring_is_read_as_a_list() -> None:
    assert listed("A package.\n\n- `one`: the first\n- `two`: mentions `three`\n") == ["one", "two"]
