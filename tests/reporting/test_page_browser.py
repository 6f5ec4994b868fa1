"""The report page in a real browser: nothing that a model wrote runs, the browser of responses works, the page fits."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Browser, find_chromium
from page_files import EVIL, write_json, write_jsonl, write_run, write_selection

from laconic.reporting.build import write_page

pytest.importorskip("jinja2")
pytestmark = pytest.mark.skipif(find_chromium() is None, reason="no Chromium on the path")

READY = "document.getElementById('browser').dataset.ready === 'true'"


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = write_run(tmp_path_factory.mktemp("report") / "run")
    write_selection(run_dir)
    return write_page(run_dir, run_dir / "report.html")


def opened(chrome: Browser, page: Path, width: int = 1280, *, is_dark: bool = False) -> None:
    chrome.problems.clear()
    chrome.size(width, is_dark=is_dark, is_phone=width < 500)
    chrome.open(page)
    chrome.ask("document.getElementById('responses').scrollIntoView()")
    chrome.wait_for(READY)


def set_value(chrome: Browser, name: str, value: str, event: str = "change") -> None:
    chrome.ask(
        f"(() => {{ const e = document.getElementById('browser-{name}'); e.value = {json.dumps(value)};"
        f" e.dispatchEvent(new Event('{event}')); }})()"
    )


def text_of(chrome: Browser, name: str) -> str:
    return str(chrome.ask(f"document.getElementById('browser-{name}').textContent"))


@pytest.mark.parametrize("is_dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_and_nothing_complains(chrome: Browser, page: Path, width: int, is_dark: bool) -> None:
    opened(chrome, page, width, is_dark=is_dark)
    assert chrome.ask("document.documentElement.scrollWidth") == width
    assert chrome.problems == []
    paper = chrome.ask("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(21, 24, 29)" if is_dark else "rgb(252, 252, 251)")


def test_every_result_is_in_sight_on_a_narrow_page(chrome: Browser, page: Path) -> None:
    """No cell of the results lies beyond the screen, and each has its column's name, which a wide page has on top."""
    opened(chrome, page, 420)
    cells = "[...document.querySelectorAll('.results td')]"
    assert chrome.ask(f"Math.max(...{cells}.map((c) => c.getBoundingClientRect().right))") <= 420
    label = f"getComputedStyle({cells}[3], '::before').content"
    assert chrome.ask(label) == '"tokens, vs base"'
    assert chrome.ask("getComputedStyle(document.querySelector('.results thead')).display") == "none"
    chrome.size(1280)
    assert chrome.ask(label) == "none"


def test_nothing_a_model_wrote_runs(chrome: Browser, tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run")
    for path in run_dir.glob("eval/*/samples.jsonl"):
        rows = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
        write_jsonl(path, [row | {"text": EVIL, "question": EVIL, "gold": EVIL, "answer": EVIL} for row in rows])
    write_json(run_dir / "config.json", {"note": EVIL})
    opened(chrome, write_page(run_dir, run_dir / "report.html"))
    assert text_of(chrome, "left-text") == EVIL
    assert text_of(chrome, "question") == EVIL
    assert chrome.ask("document.querySelectorAll('img, main script, svg [onload]').length") == 0
    assert chrome.ask("document.querySelector('footer') !== null")
    assert chrome.problems == []  # no dialog, no refused script, no request


def test_before_stands_beside_after_for_the_same_problem_and_sample(chrome: Browser, page: Path) -> None:
    opened(chrome, page)
    rows = {
        name: [json.loads(x) for x in (page.parent / f"eval/{name}-t1/samples.jsonl").read_text("utf-8").splitlines()]
        for name in ("base", "phase-2")
    }
    set_value(chrome, "at", "7")
    chrome.wait_for("document.getElementById('browser-problem').textContent === 'p001, sample 2'")
    assert text_of(chrome, "left-text") == rows["base"][6]["text"]
    assert text_of(chrome, "right-text") == rows["phase-2"][6]["text"]
    assert text_of(chrome, "left-tokens") == f"{rows['base'][6]['num_tokens']} tokens"
    chrome.ask("document.getElementById('browser-next').click()")
    chrome.wait_for("document.getElementById('browser-problem').textContent === 'p001, sample 3'")


def test_grades_lengths_and_words_filter(chrome: Browser, page: Path) -> None:
    opened(chrome, page)
    rows = [json.loads(x) for x in (page.parent / "eval/base-t1/samples.jsonl").read_text("utf-8").splitlines()]
    for name in ("left-grade", "right-grade"):
        set_value(chrome, name, "")
    set_value(chrome, "left-grade", "1")
    wrong = [r for r in rows if r["grade"] == "wrong"]
    chrome.wait_for(f"document.getElementById('browser-of').textContent === 'of {len(wrong)}'")
    set_value(chrome, "left-min", "100", "input")
    long = [r for r in wrong if r["num_tokens"] >= 100]
    assert 0 < len(long) < len(wrong)
    chrome.wait_for(f"document.getElementById('browser-of').textContent === 'of {len(long)}'")
    set_value(chrome, "left-grade", "")
    set_value(chrome, "left-min", "", "input")
    set_value(chrome, "search", "What is 3 + 1", "input")
    chrome.wait_for("document.getElementById('browser-of').textContent === 'of 4'")  # four samples of one problem
    assert chrome.ask("document.querySelector('#browser-question mark').textContent") == "What is 3 + 1"
    set_value(chrome, "search", "no such words", "input")
    chrome.wait_for("document.getElementById('browser-none').hidden === false")


def test_arrow_keys_walk_and_a_pick_leads_to_its_pair(chrome: Browser, page: Path) -> None:
    opened(chrome, page)
    chrome.ask(
        "[...document.querySelectorAll('#browser-picks button')].find((b) => b.textContent.includes('largest')).click()"
    )
    chrome.wait_for("document.getElementById('browser-of').textContent === 'of 48'")
    at = int(chrome.ask("document.getElementById('browser-at').value"))
    key = "new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true})"
    chrome.ask(f"document.getElementById('browser-next').dispatchEvent({key})")
    chrome.wait_for(f"document.getElementById('browser-at').value === '{at + 1}'")


def test_paper_shows_the_picked_pairs_instead_of_the_browser(chrome: Browser, page: Path) -> None:
    opened(chrome, page)
    chrome.call("Emulation.setEmulatedMedia", media="print")
    shown = "(s) => [...document.querySelectorAll(s)].filter((e) => e.offsetParent !== null).length"
    assert chrome.ask(f"({shown})('#browser')") == 0
    assert chrome.ask(f"({shown})('.pair pre')") >= 2
    chrome.call("Emulation.setEmulatedMedia", media="")
    assert chrome.ask(f"({shown})('#browser')") == 1
    assert chrome.ask(f"({shown})('.pair pre')") == 0
