"""Recipes and docs/methods.md say of the frontier what docs/frontier.md says: nothing is copied by hand and then left behind.

The page is written from a sweep by `benchmarks/frontier.py`; a run of it takes hours, so the sweep itself is not repeated here.
"""

import re
from pathlib import Path

import pytest

from laconic.recipes.find import recipe_paths

ROOT = Path(__file__).parents[2]
ELSEWHERE = {
    "demo",
    "from_traffic",
    "gym_chain_sum",
    "r1-distill-1.5b",
}  # other seeds, problems or weights: not of this frontier
NAMES = sorted(name for name in set(recipe_paths()) - ELSEWHERE if not name.startswith(("collapse/", "smollm2/")))
LABELS = {name: name.replace("long2short/", "long2short ") for name in NAMES} | {
    "long2short/sft": "long2short SFT",
    "long2short/dpo": "long2short DPO",
    "long2short/rl": "long2short RL",
}


def tables() -> dict[str, dict[str, list[str]]]:
    """By decoding and label: the cells of the rows of the page's first tables, those of the recipes."""
    found: dict[str, dict[str, list[str]]] = {}
    decoding = ""
    section = (ROOT / "docs" / "frontier.md").read_text().split("\n## ")[1]
    for line in section.splitlines():
        if line.startswith("### "):
            decoding = line.removeprefix("### ")
            found[decoding] = {}
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if decoding and len(cells) == 9:
            found[decoding][cells[0]] = cells[1:]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_says_what_the_frontier_measured(name: str) -> None:
    """Its comment gives accuracy and tokens with their standard errors at both decodings, over three seeds or more."""
    comment = " ".join(
        line.removeprefix("# ") for line in recipe_paths()[name].read_text().splitlines() if line[:1] == "#"
    )
    said = re.findall(r"(?:T=1|greedy) ([\d.]+% ± [\d.]+) at ([\d.]+ ± [\d.]+) tokens", comment)
    assert len(said) == 2, f"expected figures at T=1 and greedy, found {said}"
    for (accuracy, tokens), decoding in zip(said, ("T=1", "Greedy"), strict=True):
        seeds, _, *measured = tables()[decoding][LABELS[name]][:4]
        assert measured == [accuracy, tokens]
        assert int(seeds) >= 3


@pytest.mark.parametrize("page", ["methods", "which_method"])
def test_pages_say_what_the_frontier_measured(page: str) -> None:
    """Every row of their tables of results, figure for figure."""
    rows = re.findall(
        r"^\| `([\w/]+)` \| ([\d.]+% ± [\d.]+) \| ([\d.]+ ± [\d.]+)[^|]* \| ([\d.]+% ± [\d.]+) \| ([\d.]+ ± [\d.]+)",
        (ROOT / "docs" / f"{page}.md").read_text(),
        re.MULTILINE,
    )
    assert len(rows) >= 4
    for name, *said in rows:
        measured = [cell for decoding in ("T=1", "Greedy") for cell in tables()[decoding][LABELS[name]][2:4]]
        assert said == measured, name


def test_the_words_of_the_page_are_those_of_its_template() -> None:
    """Every paragraph of benchmarks/frontier_words.md that holds no figure of a sweep stands in the page as it is."""
    words = (ROOT / "benchmarks" / "frontier_words.md").read_text()
    page = (ROOT / "docs" / "frontier.md").read_text()
    paragraphs = [text for text in words.split("\n\n") if not re.search(r"WHERE|PAIRED|TABLES OF", text)]
    assert len(paragraphs) >= 10
    assert not [text for text in paragraphs if text.strip() not in page]
