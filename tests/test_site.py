"""The site of the docs: every package has its page in the reference, links lead to pages, and nothing comes from elsewhere."""

import doctest
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import site_pages
from house import ORDER, PACKAGE, modules_on_disk

ROOT = Path(__file__).resolve().parents[1]
MISSING = [name for name in ("mkdocs", "material", "mkdocstrings_handlers") if find_spec(name) is None]
with_mkdocs = pytest.mark.skipif(bool(MISSING), reason=f"needs the extra docs: {', '.join(MISSING)} not installed")
FETCHED = re.compile(r"<(?:script|img|iframe|source|link)\b[^>]*\s(?:src|href)=\"?(?:https?:)?//")


def mkdocs(config: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Builds a site. (`--quiet` would hide warnings from `--strict` as well.)"""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(config), "-d", str(out)]
    variables = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)


# --- pages and links -------------------------------------------------------------------------------------------------


def test_the_examples_of_the_hook_hold():
    assert doctest.testmod(site_pages) == (0, doctest.testmod(site_pages).attempted)


def test_the_reference_has_a_page_for_every_package_and_an_entry_for_every_module():
    """Pages stand in the order of the house."""
    pages = site_pages.reference_pages()
    rooms = [name for name in ORDER if (PACKAGE / name / "__init__.py").is_file()]
    assert list(pages) == [f"reference/{name or 'laconic'}.md" for name in rooms]
    entries = re.findall(r"^::: laconic\.(\S+)$", "\n".join(pages.values()), re.M)
    modules = (module for module in modules_on_disk() if module != "__init__" and not module.endswith("__main__"))
    assert sorted(entries) == sorted(module.removesuffix(".__init__") for module in modules)


@pytest.mark.parametrize(
    ("page", "written", "on_site"),
    [
        ("README.md", "[a](docs/memory.md)", "[a](memory.md)"),
        ("README.md", "![a](docs/frontier.svg)", "![a](frontier.svg)"),
        ("docs/memory.md", "[a](../README.md#train)", "[a](project.md#train)"),
        ("docs/decisions/0002-the-engine.md", "[a](../../LOG.md)", "[a](../LOG.md)"),
        ("docs/decisions/0002-the-engine.md", "[a](../memory.md)", "[a](../memory.md)"),
        ("docs/api.md", "[a](https://arxiv.org/abs/1)", "[a](https://arxiv.org/abs/1)"),
        ("docs/api.md", "[a](#here)", "[a](#here)"),
        ("docs/api.md", "[a](../src/laconic/types.py)", "a (`src/laconic/types.py`)"),
        ("docs/api.md", "[`src/laconic/types.py`](../src/laconic/types.py)", "`src/laconic/types.py`"),
        ("docs/api.md", "[a](../gone.md)", "[a](gone.md)"),
        ("README.md", "[docs/decisions](docs/decisions)", "`docs/decisions`"),
    ],
)
def test_a_link_leads_to_the_page_or_becomes_the_path(page, written, on_site):
    """What does not exist stays a link, so that the strict build finds it."""
    assert site_pages.relink(written, page) == on_site


# --- the built site --------------------------------------------------------------------------------------------------


@with_mkdocs
@pytest.mark.slow
def test_the_site_builds_strictly_and_brings_everything_it_shows(tmp_path):
    """No broken link, every module in the reference, doctests as code, and no page that fetches from elsewhere."""
    done = mkdocs(ROOT / "mkdocs.yml", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {str(path.relative_to(tmp_path)): path.read_text("utf-8") for path in tmp_path.rglob("*.html")}
    assert not [name for name, text in pages.items() if FETCHED.search(text)]
    assert "Laconic" in pages["index.html"] and "CONTRIBUTING.html" in pages
    losses = pages["reference/rl.html"]
    assert 'id="laconic.rl.losses"' in losses and "clipped_surrogate" in losses
    assert "<blockquote>" not in losses


@with_mkdocs
def test_a_broken_link_is_an_error(tmp_path):
    """With the settings of the real site: a page, a heading and an absolute path that are not there."""
    docs = tmp_path / "docs"
    docs.mkdir()
    config = tmp_path / "mkdocs.yml"
    config.write_text(f"INHERIT: {ROOT / 'mkdocs.yml'}\ndocs_dir: {docs}\nhooks: []\nplugins: []\nnav: [index.md]\n")
    (docs / "index.md").write_text("# Home\n\n[here](#home)\n")
    done = mkdocs(config, tmp_path / "site")
    assert done.returncode == 0, done.stderr
    targets = ("gone.md", "#gone", "/gone.html")
    (docs / "index.md").write_text("# Home\n\n" + "".join(f"[there]({broken})\n" for broken in targets))
    done = mkdocs(config, tmp_path / "site")
    assert done.returncode == 1
    assert all(f"'{broken}'" in done.stderr for broken in targets), done.stderr
