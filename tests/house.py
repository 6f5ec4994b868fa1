"""The house: packages on the data's way, from top to bottom. A package imports only what stands above it.

1. `ROOMS` is the list, one row for each package of `src/laconic`. It names packages, never modules, so that a new module edits no
   list but the docstring of its own package. `test_house.py` holds the code against it.
2. A row says what the package may import from outside, whether it is light, and whether it is pure. `make test` wants at least
   95% of the lines of pure packages covered. Run as a script this file prints the options that let pytest-cov measure them and
   nothing else, since measuring costs time.

The doors, `laconic/__init__.py` and `laconic/__main__.py`, stand above all and open every room, but only when someone asks; what
a door imports under TYPE_CHECKING is for type checkers alone.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "laconic"
DOORS = ("__init__", "__main__")
MOST_IN_ROOT = 8
MOST_IN_PACKAGE = 16


@dataclass(frozen=True)
class Room:
    """A package. `outside` holds the third-party packages that it may import.

    Importing a light one brings in neither torch nor another heavy package, directly or through what it imports. A pure one is
    functions of their arguments: nothing but its tests is needed to try it.
    """

    name: str
    outside: frozenset[str] = frozenset()
    is_light: bool = False
    is_pure: bool = False


def room(name: str, outside: str = "", *, light: bool = False, pure: bool = False) -> Room:
    """A row; `outside` is written as words."""
    return Room(name, frozenset(outside.split()), light, pure)


ROOMS: tuple[Room, ...] = (
    room("", light=True, pure=True),  # the words that everything speaks: types, errors, rng, splits
    room("system", "rich huggingface_hub", light=True),
    room("config", "pydantic", light=True, pure=True),
    room("recipes", light=True, pure=True),
    room("rl", "torch", pure=True),
    room("parallel", "torch"),
    room("grading", "math_verify rich", light=True, pure=True),
    room("statistics", "numpy scipy sacrebleu", light=True, pure=True),
    room("rewards", "numpy scipy", light=True, pure=True),
    room("prompts", light=True, pure=True),
    room("models", "torch transformers tokenizers peft safetensors gguf"),
    room("samplers", "torch transformers safetensors numpy httpx2 triton vllm"),
    room("rollouts", "torch"),
    room("tiny", "torch transformers tokenizers numpy rich typer"),
    room("seeker", "torch transformers numpy rich typer"),
    room("traces", light=True, pure=True),
    room("problems", "reasoning_gym pyarrow datasets", light=True),
    room("evaluation", "numpy", light=True),
    room("selection", light=True, pure=True),
    room("comparison", "numpy rich", light=True, pure=True),
    room("collapse", light=True, pure=True),
    room("training", "torch safetensors"),
    room("doctor", "torch transformers safetensors numpy rich"),
    room("tracking", "tensorboard wandb mlflow trackio", light=True),
    room("reporting", "jinja2 markupsafe", light=True),
    room("sweep", "torch numpy scipy pydantic rich markupsafe"),
    room("integrations", "torch transformers datasets accelerate verl pyarrow lm_eval inspect_ai"),
    room("notebook", "pydantic"),
    room("traffic", "sqlalchemy alembic", light=True),
    room("monitoring", "sqlalchemy numpy scipy jinja2 markupsafe", light=True),
    room("serving", "starlette uvicorn httptools aiohttp httpx2 prometheus_client anyio torch numpy typer"),
    room("harvest", "sqlalchemy numpy", light=True),
    room("quantization", "torch transformers safetensors torchao llmcompressor compressed_tensors"),
    room("publishing", "huggingface_hub jinja2 markupsafe", light=True),
    room("cli", "rich typer pydantic", light=True),
)

ORDER: tuple[str, ...] = tuple(row.name for row in ROOMS)


def room_of(module: str) -> str:
    """The room of a module, given as a dotted path below `laconic`.

    >>> room_of("types"), room_of("rl.losses"), room_of("doctor.checks.memory")
    ('', 'rl', 'doctor')
    """
    return module.partition(".")[0] if "." in module else ""


def modules_on_disk() -> tuple[str, ...]:
    """Every module of the package, as dotted paths below `laconic`; a package is its `__init__`."""
    paths = sorted(PACKAGE.rglob("*.py"))
    return tuple(".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in paths)


def path_of(module: str) -> Path:
    """Where a module's source lies."""
    return PACKAGE.joinpath(*module.split(".")).with_suffix(".py")


tree_of = cache(ast.parse)
"""A source as a syntax tree, parsed once however many tests ask."""


@cache
def imported_names(source: str, module: str) -> tuple[str, ...]:
    """Absolute dotted names of every import in `source`: in functions, under TYPE_CHECKING, relative ones too."""
    return tuple(_imports(source, module))


def _imports(source: str, module: str) -> Iterator[str]:
    here = ("laconic", *module.split("."))
    for node in ast.walk(tree_of(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(here[: len(here) - node.level]) if node.level else ""
            stem = ".".join(part for part in (base, node.module) if part)
            yield from (f"{stem}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant))


def module_of(name: str, known: frozenset[str]) -> str:
    """The module that an imported `laconic...` name belongs to: `laconic.rl.losses.k1` is of `rl.losses`.

    >>> module_of("laconic.rl.losses.k1", frozenset({"rl.losses"})), module_of("laconic.__version__", frozenset())
    ('rl.losses', '__init__')
    """
    parts = name.split(".")[1:]
    stems = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    candidates = [candidate for stem in stems for candidate in (stem, f"{stem}.__init__")]
    return next((candidate for candidate in candidates if candidate in known), "__init__")


def pure_names() -> list[str]:
    """The pure packages and the modules of the root, without the doors, as they are imported."""
    pure = {row.name for row in ROOMS if row.is_pure}
    modules = [module for module in modules_on_disk() if room_of(module) in pure and module not in DOORS]
    return [f"laconic.{name}" for name in dict.fromkeys(room_of(module) or module for module in modules)]


if __name__ == "__main__":
    sys.stdout.write(" ".join(f"--cov={name}" for name in pure_names()) + "\n")
