"""Laconic: reasoning language models that think in fewer tokens without losing accuracy.

    import laconic

    solver = laconic.open_solver("tiny")
    problems = laconic.load_problems("tiny:mix?count=8&split=report")
    result = laconic.evaluate(solver, problems, samples=4)
    print(result.accuracy, result.tokens)

Each name of `__all__` is loaded when it is first used, so that `import laconic` itself stays quick and loads no torch. The parts
that these functions are made of are in the packages of this folder; docs/api.md describes both.
"""

from importlib import import_module

TYPE_CHECKING = (
    False  # type checkers take it as true; importing `typing` for its own would take most of the import's time
)
if TYPE_CHECKING:
    from laconic import rewards
    from laconic.notebook.choosing import select
    from laconic.notebook.comparing import compare, report
    from laconic.notebook.measuring import evaluate, probe
    from laconic.notebook.solvers import load_model, open_solver
    from laconic.notebook.training import train
    from laconic.problems.load import load_problems

__version__ = "0.1.0"

__all__ = [
    "compare",
    "evaluate",
    "load_model",
    "load_problems",
    "open_solver",
    "probe",
    "report",
    "rewards",
    "select",
    "train",
]

_MODULES = {
    "load_model": "laconic.notebook.solvers",
    "load_problems": "laconic.problems.load",
    "open_solver": "laconic.notebook.solvers",
    "probe": "laconic.notebook.measuring",
    "select": "laconic.notebook.choosing",
    "train": "laconic.notebook.training",
    "evaluate": "laconic.notebook.measuring",
    "compare": "laconic.notebook.comparing",
    "report": "laconic.notebook.comparing",
}


def __getattr__(name: str) -> object:
    if name == "rewards":  # the package, with the table of all rewards and the module that applies them
        import_module("laconic.rewards.paying")
        return import_module("laconic.rewards")
    if name not in _MODULES:
        raise AttributeError(f"module 'laconic' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
