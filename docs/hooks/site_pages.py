"""Pages of the site beyond those in `docs/`, for mkdocs.

1. README, CONTRIBUTING, the changelog, the log and the measurements in `benchmarks/` are pages too.
2. Each package of `src/laconic` has a page in the reference, made from its docstrings, its modules in reading order.
3. Links are written as they work in the repository. Those to another page lead to that page; those to anything else, a recipe or
   a source file, become its path as text.
"""

import posixpath
import re
import runpy
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "laconic"
HOUSE = ROOT / "tests" / "house.py"
README = "README.md"  # mkdocs would take a page of this name for the index of its folder
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
MODULE = re.compile(r"^- `(\w+)`: ", re.M)


def outside_pages() -> list[str]:
    """Pages that do not lie in `docs/`, as paths from the repository's root."""
    measured = sorted(ROOT.glob("benchmarks/*.md"))
    names = [str(path.relative_to(ROOT)) for path in measured if not path.stem.endswith("_words")]
    return [README, "CONTRIBUTING.md", "CHANGELOG.md", "LOG.md", *names]


def place_on_site(path: str) -> str:
    """Where a page of the repository lies on the site.

    >>> place_on_site("docs/memory.md"), place_on_site("benchmarks/memory.md"), place_on_site("README.md")
    ('memory.md', 'benchmarks/memory.md', 'project.md')
    """
    return "project.md" if path == README else path.removeprefix("docs/")


# --- the reference ---------------------------------------------------------------------------------------------------


def reference_pages() -> dict[str, str]:
    """The reference: one page for each package, in the order of the house; what lies in the root comes first."""
    order = [name for name in runpy.run_path(str(HOUSE))["ORDER"] if (PACKAGE / name / "__init__.py").is_file()]
    return {f"reference/{name or 'laconic'}.md": _reference_page(name) for name in order}


def _reference_page(package: str) -> str:
    if not package:
        modules = sorted(path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("__"))
        return "\n\n".join(["# laconic", *(f"::: laconic.{module}" for module in modules)])
    return "\n\n".join([f"# {package}", f"::: laconic.{package}", *(f"::: {name}" for name in _modules(package))])


def _modules(package: str) -> list[str]:
    """The modules that a package's docstring lists, and those of the packages inside it."""
    found = []
    folder = PACKAGE.joinpath(*package.split("."))
    for name in MODULE.findall((folder / "__init__.py").read_text("utf-8")):
        found.append(f"laconic.{package}.{name}")
        if (folder / name).is_dir():
            found += _modules(f"{package}.{name}")
    return found


# --- links -----------------------------------------------------------------------------------------------------------


def relink(markdown: str, page: str) -> str:
    """The text of a page, given as a path of the repository, with its links as they are on the site.

    >>> relink("[memory](../benchmarks/memory.md#peak), [two_phase](../recipes/two_phase.toml)", "docs/memory.md")
    '[memory](benchmarks/memory.md#peak), two_phase (`recipes/two_phase.toml`)'
    """
    here = posixpath.dirname(page)
    inside = (str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*") if path.is_file())
    pages = {*outside_pages(), *inside}

    def there(found: re.Match[str]) -> str:
        image, text, target, anchor = found.groups("")
        if "://" in target or target.startswith("mailto:"):
            return found[0]
        path = posixpath.normpath(posixpath.join(here, target))
        if not (ROOT / path).exists() or path in pages:
            start = posixpath.dirname(place_on_site(page)) or "."
            return f"{image}[{text}]({posixpath.relpath(place_on_site(path), start)}{anchor})"
        return f"`{path}`" if text.strip("`") == path else f"{text} (`{path}`)"

    return LINK.sub(there, markdown)


# --- what mkdocs calls -----------------------------------------------------------------------------------------------


def on_config(config: Any) -> Any:
    """Append to the navigation what follows from the folders."""
    decisions = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("*.md"))
    project = [page for page in outside_pages() if "/" not in page]
    measured = [page for page in outside_pages() if "/" in page]
    config.nav = [
        *config.nav,
        {"Reference": list(reference_pages())},
        {"Decisions": [f"decisions/{name}" for name in decisions]},
        {"Measurements": measured},
        {"Project": [place_on_site(page) for page in project]},
    ]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that do not lie in `docs/`."""
    from mkdocs.structure.files import File

    for page in outside_pages():
        files.append(File.generated(config, place_on_site(page), abs_src_path=str(ROOT / page)))
    for page, content in reference_pages().items():
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to where pages lie on the site; the code of a page is left alone."""
    place = page.file.src_uri
    paths = {place_on_site(path): path for path in outside_pages()}
    pieces = re.split(r"(^```.*?^```)", markdown, flags=re.M | re.S)
    path = paths.get(place, f"docs/{place}")
    return "".join(piece if piece.startswith("```") else relink(piece, path) for piece in pieces)
