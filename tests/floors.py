"""The floors of the house, top to bottom: a module imports only laconic modules that stand above it in this list.

1. `FLOORS` is the one list. `test_floors.py` checks every module on disk against it.
2. The same list says which floors are pure: of those, `make test` wants at least 95% of the lines covered. Run as a
   script this file prints their paths, comma-separated, for `coverage report --include`.

A name is the dotted path below `laconic`; `problems.*` is a package with all that is in it, whose members may import
one another. A name may stand here before its module exists.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "laconic"


@dataclass(frozen=True)
class Floor:
    """Modules in order; `third_party` holds what they may import from outside, `None` says anything.

    A light floor imports neither torch nor any other heavy package, directly or through what it imports.
    """

    title: str
    modules: tuple[str, ...]
    third_party: frozenset[str] | None = None
    is_pure: bool = False
    is_light: bool = False


FLOORS: tuple[Floor, ...] = (
    Floor(
        "floor 0: words",
        (
            "__init__",
            "tiny.__init__",
            "errors",
            "types",
            "rng",
            "files",
            "differences",
            "splits",
            "config",
            "threads",
            "tags",
        ),
        third_party=frozenset({"pydantic"}),
        is_pure=True,
        is_light=True,
    ),
    Floor(
        "floor 1: pure functions of text and numbers",
        (
            "rewrites",
            "answers",
            "extraction",
            "quantities",
            "intervals",
            "polynomials",
            "spellings",
            "structures",
            "grading",
            "texts",
            "rewards.*",
            "posteriors",
            "adaptive",
            "choices",
            "selection",
            "leakage",
            "estimates",
            "stats",
            "macro",
            "complexity",
            "majority",
            "pressure",
            "tiny.tokens",
            "tiny.tasks",
            "tiny.traces",
            "tiny.anatomy",
        ),
        third_party=frozenset({"numpy", "scipy", "pydantic"}),
        is_pure=True,
        is_light=True,
    ),
    Floor(
        "floor 1: pure functions that may need an extra",
        ("bleu", "summaries"),
        third_party=frozenset({"numpy", "scipy", "sacrebleu"}),
        is_pure=True,
        is_light=True,
    ),
    Floor(
        "floor 1: pure functions of tensors",
        ("masked", "advantages", "losses", "products"),
        third_party=frozenset({"torch"}),
        is_pure=True,
    ),
    Floor(
        "floor 2: doors",
        (
            "hub_access",
            "problems.*",
            "prompts",
            "children",
            "grader",
            "models",
            "policy",
            "samplers.*",
            "runs",
            "progress",
        ),
    ),
    Floor(
        "floor 3: composition",
        (
            "batching",
            "reference_cache",
            "thinking",
            "forcing",
            "rollouts",
            "experience",
            "preferences",
            "estimators",
            "algorithms",
            "updates",
            "sources",
            "phases",
            "problem_sets",
        ),
    ),
    Floor("floor 4: programs that sample", ("attempts", "budgets", "tale", "evaluate", "probe")),
    Floor(
        "floor 4: programs that only read files",
        (
            "prompted",
            "evaluations",
            "contenders",
            "matches",
            "verdicts",
            "comparison_tables",
            "compare",
            "choosing",
            "second_graders",
            "audit",
        ),
        is_light=True,
    ),
    Floor(
        "floor 4: programs that train, plan and check",
        (
            "memory",
            "needs",
            "phase_runs",
            "train",
            "measure",
            "plan",
            "findings",
            "readings",
            "examination",
            "checks_memory",
            "checks_model",
            "checks_prompts",
            "checks_problems",
            "checks_probe",
            "checks_recipe",
            "checks_teacher",
            "doctor",
            "catalogue",
        ),
    ),
    Floor(
        "floor 4: the page",
        (
            "page_templates",
            "page_shelf",
            "page_data",
            "page_numbers",
            "page_read",
            "page_changes",
            "page_words",
            "page_svg",
            "page_distributions",
            "page_figures",
            "page_training",
            "page_browser",
            "page",
        ),
        is_light=True,
    ),
    Floor(
        "floor 4: sweeps",
        (
            "sweep_config",
            "sweep_rows",
            "sweep_results",
            "sweep_tables",
            "sweep_figures",
            "sweep_page",
            "sweep_prompts",
            "sweep_children",
            "sweep",
        ),
    ),
    Floor("floor 4: the embedded reasoner's programs", ("tiny.build", "tiny.measure", "demo")),
    Floor(
        "floor 4: the command line",
        ("cli_options", "cli_show", "cli_evaluate", "cli_measure", "cli_train", "cli"),
        is_light=True,
    ),
    Floor("floor 4: entry points", ("tiny.__main__", "__main__")),
    Floor("wing: laconic inside other trainers", ("integrations.*",)),
)

ORDER: tuple[str, ...] = tuple(name for floor in FLOORS for name in floor.modules)


def entry_of(module: str) -> str | None:
    """The name in the list that `module` belongs to, or `None`.

    >>> entry_of("stats"), entry_of("problems.jsonl"), entry_of("problems"), entry_of("attic")
    ('stats', 'problems.*', 'problems.*', None)
    """
    if module in ORDER:
        return module
    wildcard = module.split(".", maxsplit=1)[0] + ".*"
    return wildcard if wildcard in ORDER else None


def floor_of(entry: str) -> Floor:
    """The floor that holds a name of the list."""
    return next(floor for floor in FLOORS if entry in floor.modules)


def modules_on_disk() -> tuple[str, ...]:
    """Every module of the package, as dotted paths below `laconic`."""
    paths = sorted(PACKAGE.rglob("*.py"))
    return tuple(".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in paths)


def path_of(module: str) -> Path:
    """Where a module's source lies."""
    return PACKAGE.joinpath(*module.split(".")).with_suffix(".py")


def pure_paths() -> list[str]:
    """The pure floors' files that exist, relative to the repository."""
    names = (name for floor in FLOORS if floor.is_pure for name in floor.modules)
    return [str(path_of(name).relative_to(PACKAGE.parents[1])) for name in names if path_of(name).exists()]


if __name__ == "__main__":
    sys.stdout.write(",".join(pure_paths()) + "\n")
