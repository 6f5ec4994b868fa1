"""Figures of stored requests are those of a plain loop, in SQLite and in PostgreSQL; alarms find what was put in."""

import math
from collections import defaultdict
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from traffic_rows import stored_request

pytest.importorskip("sqlalchemy", reason="needs the extra serve")

from simulated_traffic import Crowd, Served, fill

from laconic.errors import InputError
from laconic.monitoring.brevity import ANY_LENGTH, watch_brevity
from laconic.monitoring.columns import read_columns
from laconic.monitoring.drift import measure_drift
from laconic.monitoring.figures import GroupFigures, group_figures
from laconic.monitoring.overview import read_overview
from laconic.statistics.clusters import ClusterSums, clustered_mean
from laconic.traffic.store import SECONDS_OF_A_DAY, TrafficStore, open_store
from laconic.traffic.tables import FEEDBACK, REQUESTS

BEGIN = 20_000 * SECONDS_OF_A_DAY
NOW = BEGIN + 8 * SECONDS_OF_A_DAY


def filled(address: str) -> TrafficStore:
    """Four days of v1, then four of v1 beside v2, which thinks too little on maths."""
    opened = open_store(address)
    fill(opened, Served("v1"), begin=BEGIN, days=4, seed=0, crowd=Crowd(users=40))
    fill(opened, Served("v1"), begin=BEGIN + 4 * SECONDS_OF_A_DAY, days=4, seed=0, group="stay", crowd=Crowd(users=80))
    hasty = Served("v2", thinking=150.0, short_tags={"maths": 200.0})
    fill(opened, hasty, begin=BEGIN + 4 * SECONDS_OF_A_DAY, days=4, seed=0, group="new", crowd=Crowd(users=40))
    return opened


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    opened = filled(f"sqlite:///{tmp_path_factory.mktemp('traffic')}/t.db")
    yield opened
    opened.close()


def by_hand(store: TrafficStore, version: str) -> dict[str, list[list[float]]]:
    """Each user's values by figure."""
    feedback = {row["request_id"]: row for row in store.rows(FEEDBACK)}
    users: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in store.rows(REQUESTS):
        if row["version"] == version and row["status"] < 400:
            own = users[row["user"]]
            own["tokens"].append(row["completion_tokens"])
            own["bad"].append(float(feedback.get(row["id"], {}).get("rating") == "bad"))
            own["seconds"].append(row["seconds"])
    return {name: [own[name] for own in users.values()] for name in ("tokens", "bad", "seconds")}


def test_sums_over_users_are_those_of_a_loop(store: TrafficStore) -> None:
    found = {group.key: group for group in group_figures(read_columns(store), ("version",))}
    for version in ("v1", "v2"):
        group, own = found[version,], by_hand(store, version)
        for name in ("tokens", "bad"):
            totals, numbers = np.array([sum(v) for v in own[name]]), np.array([float(len(v)) for v in own[name]])
            sums = group.sums[name]
            assert sums.users == len(own[name]) and sums.number == numbers.sum()
            assert [sums.total, sums.squares, sums.products, sums.number_squares] == pytest.approx(
                [totals.sum(), (totals**2).sum(), (totals * numbers).sum(), (numbers**2).sum()]
            )
        seconds = sorted(value for values in own["seconds"] for value in values)
        assert group.latency("seconds", "median") == seconds[math.ceil(len(seconds) / 2) - 1]
        assert group.latency("seconds", "p95") == seconds[math.ceil(0.95 * len(seconds)) - 1]


def test_no_mean_is_said_to_be_below_zero() -> None:
    """Two users with 10 and 90 tokens: Student's t on one degree of freedom reaches far below 0."""
    sums = ClusterSums(users=2, number=2, total=100, squares=8200, products=100, number_squares=2)
    group = GroupFigures((), 2, 0, 0, 0, 2, {"tokens": sums}, {})
    assert clustered_mean(sums).low < 0.0 and group.mean("tokens").low == 0.0
    assert group.mean("tokens").high == clustered_mean(sums).high


def test_days_versions_and_tags_add_up_to_all(store: TrafficStore) -> None:
    (total,) = group_figures(read_columns(store), ())
    for by in (("day",), ("version",), ("tag",), ("route",), ("day", "version")):
        groups = group_figures(read_columns(store), by)
        assert sum(group.requests for group in groups) == total.requests
        assert sum(group.sums["bad"].total for group in groups) == total.sums["bad"].total
    days = [group.key[0] for group in group_figures(read_columns(store), ("day",))]
    assert days == list(range(20_000, 20_008))


def test_postgresql_finds_the_same(store: TrafficStore) -> None:
    postgres = pytest.importorskip("postgres", reason="needs tests/postgres.py")
    if why_not := postgres.find_postgres():
        pytest.skip(why_not)
    server = postgres.Server()
    other = filled(server.address("figures"))
    here, there = (read_overview(opened, NOW, 30.0, 4.0) for opened in (store, other))
    other.close()
    server.close()
    assert (here.alarms, here.changes) == (there.alarms, there.changes)
    for by, groups in here.by.items():
        for one, two in zip(groups, there.by[by], strict=True):
            assert (one.key, one.requests, one.users, one.latencies) == (
                two.key,
                two.requests,
                two.users,
                two.latencies,
            )
            for name, sums in one.sums.items():
                assert astuple(two.sums[name]) == pytest.approx(astuple(sums))


def test_the_watch_names_the_slice_where_thinking_is_too_short(store: TrafficStore) -> None:
    watch = watch_brevity(read_columns(store), "assistant", "v1", "v2")
    assert " on maths, thinking " in watch.alarm and "Holm-corrected" in watch.alarm
    worse = {found.tag for found in watch.slices if min(found.p_values.values()) < 0.05}
    assert worse == {"maths"}
    whole = sum(found.after["bad"].number for found in watch.slices if found.place == ANY_LENGTH)
    binned = sum(found.after["bad"].number for found in watch.slices if found.place != ANY_LENGTH)
    assert whole == binned > 0


def test_the_watch_is_silent_about_a_version_that_is_no_hastier(tmp_path: Path) -> None:
    opened = open_store(f"sqlite:///{tmp_path}/t.db")
    for version in ("v1", "v2"):
        fill(opened, Served(version), begin=BEGIN, days=3, seed=1, group=version, crowd=Crowd(users=60))
    assert watch_brevity(read_columns(opened), "assistant", "v1", "v2").alarm == ""
    drift = measure_drift(read_columns(opened), BEGIN + 3 * SECONDS_OF_A_DAY, 1.5)
    assert drift.alarms == [] and drift.lengths_p_value > 0.05
    opened.close()


def test_a_correction_that_was_deleted_still_counts(tmp_path: Path) -> None:
    """Two versions alike, one after the other; the corrections of the first are older than the time for texts."""
    opened = open_store(f"sqlite:///{tmp_path}/t.db")
    for day, version in ((0, "v1"), (20, "v2")):
        begin = BEGIN + day * SECONDS_OF_A_DAY
        fill(opened, Served(version, bad=0.3), begin=begin, days=3, seed=1, group=version, crowd=Crowd(users=60))
    before = watch_brevity(read_columns(opened), "assistant", "v1", "v2")
    opened.prune(10, 365, now=BEGIN + 25 * SECONDS_OF_A_DAY)
    after = watch_brevity(read_columns(opened), "assistant", "v1", "v2")
    assert after == before and after.alarm == "" and after.slices[0].before["corrected"].total > 10
    opened.close()


def test_a_candidate_is_watched_on_requests_since_it_came(tmp_path: Path) -> None:
    """Users complain more since the fourth day, when v2 came, about both alike: what they said of v1 before does not count."""
    opened = open_store(f"sqlite:///{tmp_path}/t.db")
    came = BEGIN + 4 * SECONDS_OF_A_DAY
    fill(opened, Served("v1", bad=0.01), begin=BEGIN, days=4, seed=0, crowd=Crowd(users=80))
    for version in ("v1", "v2"):
        served = Served(version, bad=0.4)
        fill(opened, served, begin=came, days=3, seed=0, group=version, crowd=Crowd(users=80))
    whole = watch_brevity(read_columns(opened), "assistant", "v1", "v2")
    assert "displeases more" in whole.alarm
    overview = read_overview(opened, NOW, 30.0, 4.0)
    (news,) = overview.news
    assert news.is_live and news.watch.alarm == ""
    before = sum(found.before["bad"].number for found in news.watch.slices if found.place == ANY_LENGTH)
    assert 0 < before < 0.7 * sum(found.before["bad"].number for found in whole.slices if found.place == ANY_LENGTH)
    opened.close()


def test_drift_sees_longer_prompts_and_other_tags(tmp_path: Path) -> None:
    opened = open_store(f"sqlite:///{tmp_path}/t.db")
    fill(opened, Served("v1"), begin=BEGIN, days=2, seed=2, crowd=Crowd(users=80))
    later = Crowd(users=80, prompt_factor=2.0, tags={"billing": 0.1, "maths": 0.1, "code": 0.8})
    fill(opened, Served("v1"), begin=BEGIN + 2 * SECONDS_OF_A_DAY, days=2, seed=2, group="later", crowd=later)
    drift = measure_drift(read_columns(opened), BEGIN + 4 * SECONDS_OF_A_DAY, 2.0)
    lengths, tags = drift.alarms
    assert "Prompts have another length" in lengths and drift.lengths[1].median() > 1.6 * drift.lengths[0].median()
    assert "code went from" in tags
    opened.close()


def test_one_busy_user_is_no_drift(tmp_path: Path) -> None:
    opened = open_store(f"sqlite:///{tmp_path}/t.db")
    fill(opened, Served("v1"), begin=BEGIN, days=2, seed=3, crowd=Crowd(users=60))
    fill(opened, Served("v1"), begin=BEGIN + 2 * SECONDS_OF_A_DAY, days=2, seed=3, group="b", crowd=Crowd(users=60))
    busy = Crowd(users=1, requests=300.0, prompt_factor=9.0)
    fill(opened, Served("v1"), begin=BEGIN + 2 * SECONDS_OF_A_DAY, days=2, seed=3, group="busy", crowd=busy)
    assert measure_drift(read_columns(opened), BEGIN + 4 * SECONDS_OF_A_DAY, 2.0).alarms == []
    opened.close()


def test_the_alarm_of_failures_names_version_and_kind_and_not_what_clients_were_refused(tmp_path: Path) -> None:
    """Of 100 requests to each: v1 refused 30 (400), v2 failed 10 of 90 (502), v3 was left 4 times; v4 has too few."""
    opened = open_store(f"sqlite:///{tmp_path}/t.db")
    statuses = {"v1": [400] * 30 + [200] * 70, "v2": [400] * 10 + [502] * 10 + [200] * 80}
    statuses |= {"v3": [499] * 4 + [200] * 96, "v4": [500] * 40}
    opened.write(
        [
            stored_request(f"{version}-{number}", BEGIN + number, version, f"u{number}", status=status)
            for version, own in statuses.items()
            for number, status in enumerate(own)
        ]
    )
    overview = read_overview(opened, BEGIN + SECONDS_OF_A_DAY, 30.0, 4.0)
    assert overview.alarms == [
        "Of the requests to v2, 11.1% failed, 10 of 90.",
        "Of the requests to v3, 4.0% were left by the user before the end (status 499), 4 of 100.",
    ]
    counts = {group.key[0]: (group.failed, group.left, group.refused) for group in overview.by["version",]}
    assert counts == {"v1": (0, 0, 30), "v2": (10, 0, 10), "v3": (0, 4, 0), "v4": (40, 0, 0)}
    (v2,) = (group for group in overview.by["version",] if group.key == ("v2",))
    assert v2.rate("failed").estimate == pytest.approx(10 / 90)
    opened.close()


def test_a_window_without_requests_is_said(store: TrafficStore) -> None:
    with pytest.raises(InputError, match="--days 2: no request came on route nowhere in that time"):
        read_overview(store, NOW, 2.0, 1.0, "nowhere")
    overview = read_overview(store, NOW, 30.0, 4.0)
    assert overview.news[0].is_live and overview.begin == BEGIN
