"""The page of traffic: alarms first, everything escaped, no text of a user, and it fits a phone."""

import re
from collections.abc import Iterator
from dataclasses import replace
from math import nan
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra serve")
pytest.importorskip("jinja2", reason="needs the extra report")

from chromium import Browser, find_chromium
from simulated_traffic import Crowd, Served, fill

from laconic.monitoring.brevity import FEEDBACK_NAMES, NO_SUMS, WATCHED, BrevitySlice, BrevityWatch
from laconic.monitoring.charts import CHART_BOX, draw_brevity, draw_live
from laconic.monitoring.overview import read_overview
from laconic.monitoring.page import traffic_page, write_traffic_page
from laconic.monitoring.versions import VersionComparison
from laconic.reporting.figures import NARROW
from laconic.statistics.clusters import ClusterSums
from laconic.statistics.intervals import Interval
from laconic.traffic.decisions import CandidateAction, Decision, add_decision
from laconic.traffic.records import FeedbackRecord
from laconic.traffic.store import SECONDS_OF_A_DAY, open_store

BEGIN = 20_000 * SECONDS_OF_A_DAY
EVIL = "<script>alert(1)</script>"
SECRET = "the words of a user"


@pytest.fixture(scope="module")
def overview(tmp_path_factory: pytest.TempPathFactory):
    """A route and versions with names that would be markup, and feedback with words of a user."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('traffic')}/t.db")
    tags = {EVIL: 0.6, "": 0.4}
    for begin, version, group, thinking in (
        (BEGIN, f"v1{EVIL}", "a", 400.0),
        (BEGIN + SECONDS_OF_A_DAY, f"v2{EVIL}", "b", 150.0),
    ):
        served = Served(version, thinking, short_tags={EVIL: 200.0})
        fill(store, served, begin=begin, days=4, seed=0, route=EVIL, group=group, crowd=Crowd(users=50, tags=tags))
    assert store.add_feedback(FeedbackRecord(f"{EVIL}-v1{EVIL}-a-0", BEGIN, "a-0", "bad", "", SECRET, SECRET))
    add_decision(store, Decision(EVIL, f"v2{EVIL}", BEGIN + 1, CandidateAction.STOP, f"by {EVIL}", {}))
    found = read_overview(store, BEGIN + 5 * SECONDS_OF_A_DAY, 30.0, 2.0)
    store.close()
    return found


def test_names_are_escaped_and_no_word_of_a_user_is_shown(overview) -> None:
    page = traffic_page(overview)
    assert "<script" not in page and "&lt;script&gt;" in page
    assert SECRET not in page and "a-0" not in re.sub(r"#?[\w-]*:", "", page.split("</style>")[1])
    assert "src=" not in page and 'href="http' not in page and "url(" not in page


def test_alarms_stand_first(overview) -> None:
    page = traffic_page(overview)
    places = [
        page.index(words)
        for words in ("<h1>", 'class="alarms"', 'id="changed"', 'id="days"', 'id="live"', 'id="stored"')
    ]
    assert places == sorted(places) and len(overview.alarms) == 1
    assert "displeases more than" in overview.alarms[0] and "was stopped, since by" in overview.changes[-1]


def test_without_alarms_and_news_the_page_still_stands(overview) -> None:
    page = traffic_page(replace(overview, news=(), decisions=()))
    assert "<h1>No alarm in" in page and 'id="live"' not in page and 'id="brevity"' not in page


def test_changes_beyond_a_hundred_percent_are_inside_the_picture() -> None:
    """The axis goes on to the largest change, +400%. Where an interval is inside, its change of +250% is in its middle; one that
    goes on to +600% ends at the edge."""
    nothing = Interval(0.0, 0.0, 0.0)
    changes = {"bad": nothing, "tokens": Interval(2.5, 1.5, 3.5), "seconds": Interval(4.0, -0.5, 6.0)}
    drawn = draw_live(VersionComparison("v1", "v2", (100, 100), (1000, 1000), changes))
    dots = [float(x) for x in re.findall(r'<circle cx="([\d.-]+)"', drawn)]
    ends = re.findall(r'x1="([\d.-]+)" y1="[\d.]+" x2="([\d.-]+)" y2="[\d.]+" stroke="var\(--after\)"', drawn)
    _, (low, high), (least, edge) = [(float(a), float(b)) for a, b in ends]
    assert least < dots[0] < low < dots[1] < high < dots[2] < edge == NARROW - 12
    assert dots[1] == pytest.approx((low + high) / 2, abs=0.1)


def test_bad_feedback_of_a_single_user_is_inside_the_picture() -> None:
    """All of it is bad, and there is no interval."""
    one, none = dict.fromkeys(FEEDBACK_NAMES, ClusterSums(1, 1, 1, 1, 1, 1)), dict.fromkeys(FEEDBACK_NAMES, NO_SUMS)
    found = BrevitySlice("", 0, "thinking up to 10 tokens", none, one, dict.fromkeys(WATCHED, nan))
    drawn = draw_brevity(BrevityWatch("chat", "v1", "v2", (10,), (found,), 0), "")
    (height,) = re.findall(r'cy="([\d.-]+)"', drawn)
    _, top, _, bottom = CHART_BOX
    assert top < float(height) < bottom


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.mark.skipif(find_chromium() is None, reason="no Chromium on the path")
def test_the_page_fits_a_phone_and_nothing_complains(chrome: Browser, overview, tmp_path: Path) -> None:
    page = write_traffic_page(overview, tmp_path / "traffic.html")
    for width, is_dark in ((390, True), (1280, False)):
        chrome.problems.clear()
        chrome.size(width, is_dark=is_dark, is_phone=width < 500)
        chrome.open(page)
        assert chrome.ask("document.documentElement.scrollWidth") == width
        assert chrome.problems == []
