"""No default stands outside `config/`: where an argument of a function is a setting, its default is imported from there.

1. A setting is a field of a recipe's tables or an option of a command.
2. The source of every module outside `config/` is parsed. A literal number or text that stands as the default of an argument, or
   of a field of a record, fails where the name is a setting's; so does a number that a module names `DEFAULT_...` or as a setting
   is named.
3. `ALLOWED` has the exceptions, each with its reason: mostly words that mean a setting in one place and another thing here.
"""

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from inspect import signature

import pytest
from house import PACKAGE

from laconic.cli.app import every_command
from laconic.config import load  # noqa: F401  every table of a recipe is defined once it is imported
from laconic.config.node import Node

SETTINGS = {name for node in Node.__subclasses__() for name in node.model_fields} | {
    option for name, function in every_command() if " " not in name for option in signature(function).parameters
}

ALLOWED: dict[tuple[str, str], str] = {
    (
        "rewards/*",
        "*",
    ): "a reward's options are its paper's constants, and docs/rewards.md holds them against the paper",
    ("selection/rules.py", "low"): "an option of a selection, not the end of a budget",
    ("selection/rules.py", "high"): "an option of a selection, not the end of a budget",
    ("training/estimators.py", "*"): "an algorithm's options are its paper's constants",
    ("training/preferences.py", "*"): "a pair rule's options are its paper's constants",
    ("models/*", "entropy"): "which entropy is computed, not what an alarm does",
    ("rl/*", "eps"): "keeps a division by a standard deviation finite; not the optimizer's",
    ("statistics/claims.py", "alpha"): "a published constant of the accuracy-efficiency score",
    ("statistics/claims.py", "gamma"): "a published constant of the accuracy-efficiency score",
    ("tiny/build.py", "*"): "how the embedded model was built; its weights are shipped, so nobody sets this",
    ("tiny/anatomy.py", "*"): "counts that begin at none",
    ("tiny/__main__.py", "*"): "measuring the embedded model, which is bundled",
    ("seeker/__main__.py", "*"): "as for `tiny`",
    ("seeker/traces.py", "PATIENCE_SHARES"): "how the writers of traces are",
    ("sweep/config.py", "parallel"): "a table of a sweep's file, which is no recipe",
    ("comparison/audit.py", "count"): "how many disagreements a table shows",
    ("reporting/*", "*"): "a drawing's sizes and counts of marks",
    ("problems/generated.py", "DEFAULT_COUNT"): "an argument of an address of problems, which no recipe's table has",
}
"""(module, name) to the reason; both may be patterns."""


def is_literal(node: ast.expr | None) -> bool:
    """A number or a text, or a tuple of them; neither a flag, nor None, nor the empty text."""
    if isinstance(node, ast.UnaryOp):
        return is_literal(node.operand)
    if isinstance(node, ast.Tuple):
        return bool(node.elts) and all(map(is_literal, node.elts))
    return isinstance(node, ast.Constant) and not isinstance(node.value, bool | None) and node.value not in ("", ...)


def is_number(node: ast.expr) -> bool:
    """A literal number, or a tuple of literals that are no texts."""
    parts = node.elts if isinstance(node, ast.Tuple) else [node]
    is_text = any(isinstance(part, ast.Constant) and isinstance(part.value, str) for part in parts)
    return is_literal(node) and not is_text


@cache
def defaults_of(source: str) -> tuple[tuple[str, ast.expr], ...]:
    """Names and defaults of all arguments and of all fields of records, however deep; and the constants of the module."""
    return tuple(_defaults(ast.parse(source)))


def _defaults(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            positional = node.args.posonlyargs + node.args.args
            named = zip(positional[len(positional) - len(node.args.defaults) :], node.args.defaults, strict=True)
            yield from ((argument.arg, default) for argument, default in named)
            pairs = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            yield from ((argument.arg, default) for argument, default in pairs if default is not None)
        elif isinstance(node, ast.ClassDef):
            fields = [field for field in node.body if isinstance(field, ast.AnnAssign) and field.value is not None]
            yield from ((ast.unparse(field.target), field.value) for field in fields if field.value is not None)
    for statement in tree.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        names = targets[0].elts if targets and isinstance(targets[0], ast.Tuple) else targets
        yield from ((ast.unparse(name), statement.value) for name in names if is_number(statement.value))


def strays(source: str, module: str) -> list[str]:
    """The defaults in a module's source that belong into `config/`."""
    found = []
    for name, default in defaults_of(source):
        is_setting = name in SETTINGS or name.startswith("DEFAULT_") or (name.isupper() and name.lower() in SETTINGS)
        is_allowed = any(fnmatch(module, file) and fnmatch(name, allowed) for file, allowed in ALLOWED)
        if is_setting and is_literal(default) and not is_allowed:
            found.append(f"{module}: {name} = {ast.unparse(default)}; import it from laconic.config.defaults")
    return found


def sources() -> Iterator[tuple[str, str]]:
    """Every module outside `config/`: its path and its source."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if PACKAGE / "config" not in path.parents:
            yield path.relative_to(PACKAGE).as_posix(), path.read_text("utf-8")


def test_no_default_stands_outside_config() -> None:
    found = [line for module, source in sources() for line in strays(source, module)]
    assert not found, "\n".join(found)


def test_every_exception_is_needed() -> None:
    """What is allowed and no longer there leaves the list."""
    found = {(m, name) for m, s in sources() for name, default in defaults_of(s) if is_literal(default)}
    unused = [pair for pair in ALLOWED if not any(fnmatch(m, pair[0]) and fnmatch(n, pair[1]) for m, n in found)]
    assert not unused


@pytest.mark.parametrize(
    "source",
    [
        "def f(x, clip_low=0.2): pass",
        "def f(x, *, margin: float = 0.01): pass",
        "def f(x, wrong=-0.5): pass",
        "def f(x, dtype='float32'): pass",
        "def f(x, betas=(0.9, 0.95)): pass",
        "class A:\n    def f(self):\n        return lambda seed=0: seed",
        "class A:\n    max_tokens: int = 1024",
        "MARGIN = 0.01",
        "DEFAULT_CAP, DEFAULT_SAMPLES = 1024, 4",
    ],
)
def test_a_stray_default_is_found(source: str) -> None:
    assert strays(source, "somewhere.py")


@pytest.mark.parametrize(
    "source",
    [
        "from laconic.config.defaults import MARGIN\ndef f(x, margin=MARGIN): pass",
        "def f(x, margin=None, explain=False, prefix=''): pass",
        "def f(x, dim=1): pass",
        "MAX_TRIES = 60",
        "def f():\n    seed = 0",
    ],
)
def test_what_is_no_default_of_a_setting_passes(source: str) -> None:
    assert strays(source, "somewhere.py") == []
