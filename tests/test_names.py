"""One word, one meaning: no two modules define the same public name, but for a list of names with a reason each.

A name is a class, a function or a constant of a module, without a leading underscore. Methods and arguments do not count, nor
does `main`. Where a name is wanted twice, one of the two is renamed, or imported from the other.
"""

import ast
from collections.abc import Iterator, Mapping

from house import modules_on_disk, path_of, tree_of

COMMAND = "a command is called as the program that it runs"
MIGRATION = "what Alembic reads in each step that changes the tables of traffic"
FRONT_DOOR = "what `import laconic` offers is called as what stands behind it"

ALLOWED: Mapping[str, str] = {
    "app": "what typer runs: the command line's, and that of `python -m laconic.tiny`",
    "audit": COMMAND,
    "build": COMMAND,
    "compare": FRONT_DOOR,
    "down_revision": MIGRATION,
    "evaluate": FRONT_DOOR,
    "load_model": FRONT_DOOR,
    "measure": COMMAND,
    "probe": FRONT_DOOR,
    "report": FRONT_DOOR,
    "revision": MIGRATION,
    "rehearse": COMMAND,
    "select": FRONT_DOOR,
    "train": FRONT_DOOR,
    "upgrade": MIGRATION,
    "FloatArray": "numpy's arrays of float64, and nothing else, wherever they are named",
}
"""A name that two modules define, and why it may be."""


def public_names(source: str) -> Iterator[str]:
    """The public classes, functions and constants that a module defines."""
    for node in tree_of(source).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            flat = [part for target in targets for part in (target.elts if isinstance(target, ast.Tuple) else [target])]
            names = [part.id for part in flat if isinstance(part, ast.Name)]
        else:
            names = []
        yield from (name for name in names if not name.startswith("_") and name != "main")


def defined_twice(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """Names that more than one of the modules defines, and which; the sources by module."""
    where: dict[str, list[str]] = {}
    for module, source in sources.items():
        for name in dict.fromkeys(public_names(source)):
            where.setdefault(name, []).append(module)
    return {name: modules for name, modules in where.items() if len(modules) > 1}


def test_no_public_name_is_defined_twice() -> None:
    twice = defined_twice({module: path_of(module).read_text("utf-8") for module in modules_on_disk()})
    found = {name: modules for name, modules in twice.items() if name not in ALLOWED}
    assert not found, "rename one of each, or import it from the other: " + str(found)


def test_every_exception_is_needed() -> None:
    """A name that is defined once leaves the list."""
    twice = defined_twice({module: path_of(module).read_text("utf-8") for module in modules_on_disk()})
    assert not set(ALLOWED) - set(twice)


def test_a_name_that_is_defined_twice_is_found() -> None:
    """By whatever defines it; private names, methods, `main` and imports do not count."""
    one = "A, B = 1, 2\nc: int = 3\ndef f(): pass\ndef main(): pass\n_x = 1\nfrom z import imported"
    other = "class A:\n    def h(self): pass\nasync def f(): pass\nc = B = 4\ndef main(): pass\n_x = 2\nimported = 1"
    assert defined_twice({"one": one, "other": other}) == {name: ["one", "other"] for name in ("A", "B", "c", "f")}
