"""Commands about what serving leaves behind: `traffic what`, `traffic forget`, `traffic report`."""

import time
from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path
from typing import Annotated

import typer

from laconic.cli.options import check_file
from laconic.config.defaults import DRIFT_DAYS, FIGURE_DAYS, REPORT_DAYS, SALT_FILE, STORE_ADDRESS, TEXT_DAYS
from laconic.errors import InputError, MissingExtraError
from laconic.system.text import put

StoreAddress = Annotated[
    str,
    typer.Option(
        "--store", help="sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME; the driver must be installed."
    ),
]
SaltFile = Annotated[Path, typer.Option(help="The file with the salt of users' pseudonyms.")]


def say_what_is_stored() -> None:
    """What is stored of a request, why, and for how long."""
    need_extra()
    from laconic.traffic.tables import PURPOSES

    for table, columns in PURPOSES.items():
        put(table)
        for column, purpose in columns.items():
            put(f"  {column}: {purpose}")
    put(
        f"Texts stay for {TEXT_DAYS} days and figures for {FIGURE_DAYS}. Who was "
        "forgotten is remembered as a salted hash. Texts are stored only where the route allows it and the request consents."
    )


def forget_user(
    user: Annotated[str, typer.Option(help="The user's name, as requests give it; '' for requests that name none.")],
    key: Annotated[str, typer.Option(help="The name of the API key with which the user's requests came.")] = "",
    store: StoreAddress = STORE_ADDRESS,
    salt: SaltFile = Path(SALT_FILE),
) -> None:
    """Delete everything that is stored of a user, and remember which records are gone."""
    need_extra()
    from laconic.traffic.pseudonyms import pseudonym, read_salt
    from laconic.traffic.store import open_store

    name = pseudonym(read_salt(salt), key, user)
    opened = open_store(store, must_exist=True)
    try:
        put(f"forgotten: {opened.forget(name)} requests with their texts and feedback")
    finally:
        opened.close()


def report_traffic(
    store: StoreAddress = STORE_ADDRESS,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("traffic.html"),
    days: Annotated[float, typer.Option(help="How many days it covers.")] = REPORT_DAYS,
    route: Annotated[str | None, typer.Option(help="This route alone; if not given, all.")] = None,
    drift_days: Annotated[
        float, typer.Option(help="Drift: the last so many days are compared with as many before them.")
    ] = DRIFT_DAYS,
) -> None:
    """Write a page of figures over time: alarms first, then tokens, cost, latency and feedback by day, version, route and tag."""
    need_extra()
    check_file(out, "page")
    for option, number in (("--days", days), ("--drift-days", drift_days)):
        if not 0.0 < number < inf:
            raise InputError(f"{option} {number:g}: expected a number of days above 0")
    from laconic.monitoring.overview import read_overview
    from laconic.monitoring.page import write_traffic_page
    from laconic.traffic.store import open_store

    opened = open_store(store, must_exist=True)
    try:
        overview = read_overview(opened, time.time(), days, drift_days, route)
    finally:
        opened.close()
    for sentence in (*overview.alarms, *overview.changes):
        put(sentence)
    put(write_traffic_page(overview, out))


def need_extra() -> None:
    """Raise `MissingExtraError` where the packages of the store are not installed."""
    from importlib.util import find_spec

    if find_spec("sqlalchemy") is None or find_spec("alembic") is None:
        raise MissingExtraError("laconic traffic", "serve")


TRAFFIC: Mapping[str, Callable[..., None]] = {
    "what": say_what_is_stored,
    "forget": forget_user,
    "report": report_traffic,
}
"""Each command of `laconic traffic` and its function."""
