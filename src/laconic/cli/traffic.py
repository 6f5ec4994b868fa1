"""Commands about what serving leaves behind: what is stored, forgetting, exports, labels of experts, the page, candidates."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from laconic.cli.options import Seed
from laconic.config.defaults import (
    DRIFT_DAYS,
    FIGURE_DAYS,
    LABEL_PORT,
    REPORT_DAYS,
    SALT_FILE,
    SEED,
    STORE_ADDRESS,
    TEXT_DAYS,
)
from laconic.errors import InputError, MissingExtraError, RunFailed
from laconic.system.files import check_file, write_json_atomically
from laconic.system.text import counted, put

if TYPE_CHECKING:
    from laconic.statistics.intervals import Interval
    from laconic.traffic.store import TrafficStore

StoreAddress = Annotated[
    str,
    typer.Option(
        "--store", help="sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME; the driver must be installed."
    ),
]
ConfiguredStore = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME.",
        show_default=f"that of --config, else {STORE_ADDRESS}",
    ),
]
SaltFile = Annotated[Path, typer.Option(help="The file with the salt of users' pseudonyms.")]


def say_what_is_stored(
    config: Annotated[
        Path | None, typer.Option(help="The gateway's file, which says for how long and of which routes.")
    ] = None,
) -> None:
    """What is stored of a request, why, and for how long."""
    need_extra()
    from laconic.traffic.tables import PURPOSES

    for table, columns in PURPOSES.items():
        put(table)
        for column, purpose in columns.items():
            put(f"  {column}: {purpose}")
    put("Who was forgotten is remembered as a salted hash. Texts are stored only where a request consents to it.")
    put(_usual_policy() if config is None else _policy_of(config))


def _usual_policy() -> str:
    """What holds where no file says otherwise; it is not said to hold of a gateway, which may have been started with one."""
    return (
        "How long they stay is for the gateway's file to say, and none was named with --config. "
        f"A gateway without a file keeps texts for {TEXT_DAYS:g} days, of no route unless --texts consent allows it, and "
        f"figures for {FIGURE_DAYS:g}."
    )


def _policy_of(config: Path) -> str:
    from laconic.config.serving import parse_serving, read_serving

    found = parse_serving(read_serving(config), f"{config}: ")
    routes = [name for name, route in found.routes.items() if route.texts == "consent"]
    return (
        f"By {config}: texts stay for {found.text_days:g} days, of the routes {', '.join(routes) or '(none)'}, and figures for "
        f"{found.figure_days:g}. --texts of laconic serve, where it was given, takes the place of the routes' own word."
    )


def forget_user(
    user: Annotated[str, typer.Option(help="The user's name, as requests give it; '' for requests that name none.")],
    key: Annotated[str, typer.Option(help="The name of the API key with which the user's requests came.")] = "",
    store: StoreAddress = STORE_ADDRESS,
    salt: SaltFile = Path(SALT_FILE),
) -> None:
    """Delete everything that is stored of a user, in the store and in every file exported from it, and remember which records are
    gone, so that nothing is trained on a copy."""
    need_extra()
    from laconic.traffic.exports import forget_everywhere
    from laconic.traffic.pseudonyms import pseudonym, read_salt

    name = pseudonym(read_salt(salt), key, user)
    with opened_store(store) as traffic:
        done = forget_everywhere(traffic, name)
        if not done.num_requests and not done.num_rows:
            put(
                f"nothing is stored of this user; is it the right name, and --key {key or '(none)'} the name of the key?"
            )
        put(
            f"forgotten: {counted(done.num_requests, 'request')} with texts, feedback and labels, "
            f"{counted(done.num_rows, 'row')} of exports"
        )
        for path in done.unreached:
            put(
                f"not reached: {path}, which is not there or not as it was written; remove it, and clean copies with  "
                "laconic traffic clean FILE"
            )
        for path in done.made:
            put(f"made of what was forgotten: {path}; delete it")
        if done.damage:
            put(f"more may have been made of it than is known: {done.damage}")
        put(f"training refuses what was made of them: {traffic.forgotten_list}")


def export_texts(
    out: Annotated[Path, typer.Option(help="The file of JSON lines to write.")],
    store: StoreAddress = STORE_ADDRESS,
) -> None:
    """Write the requests of users who consented: figures, redacted texts, feedback and labels. Forgetting reaches the file."""
    need_extra()
    from laconic.traffic.consented import consented_rows
    from laconic.traffic.exports import write_export

    check_file(out, "export of traffic", "--out")
    with opened_store(store) as traffic:
        put(f"{out}: {counted(write_export(traffic, out, consented_rows(traffic)), 'request')} with texts")


def clean_copies(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Files of JSON lines made from exports; with --list, folders too."),
    ],
    listed: Annotated[
        Path | None,
        typer.Option("--list", help="Where the list of forgotten requests lies now; each row then names it."),
    ] = None,
) -> None:
    """Remove what was made of forgotten requests from files, such as copies and selections of exports."""
    from laconic.traffic.copies import clean_file

    for file in files:
        put(f"{file}: {counted(clean_file(file, listed), 'row')} removed")


def label_responses(
    labeller: Annotated[str, typer.Option("--as", help="Your name; agreement is between two names.")],
    port: Annotated[
        int, typer.Option(help="The port on this machine; a free one if not given.", min=0, max=65535)
    ] = LABEL_PORT,
    chosen: Annotated[
        Path | None,
        typer.Option("--from", help="Label what this file of traffic next names, in its order; if not given, all."),
    ] = None,
    seed: Seed = SEED,
    store: StoreAddress = STORE_ADDRESS,
) -> None:
    """Judge stored responses on a page of this machine, side by side and without knowing which model wrote which."""
    need_extra()
    from laconic.serving.feedback.labelling import open_desk, serve_labelling
    from laconic.traffic.labels import check_labeller, tasks_of_file

    with opened_store(store) as traffic:
        tasks = None if chosen is None else tasks_of_file(traffic, chosen)
        desk = open_desk(traffic, check_labeller(labeller), seed=seed, tasks=tasks)
        num_labelled = serve_labelling(desk, port, put)
        put(f"{counted(num_labelled, 'task')} labelled")


def say_agreement(
    between: Annotated[
        list[str] | None, typer.Option(help="A labeller; given twice. If not given: the two with the most in common.")
    ] = None,
    seed: Seed = SEED,
    store: StoreAddress = STORE_ADDRESS,
) -> None:
    """How far do two labellers agree? The raw share, and Cohen's kappa, which takes off what chance would do."""
    need_extra()
    from laconic.traffic.labels import QUESTIONS, agreement_of

    with opened_store(store) as traffic:
        for question, found in agreement_of(traffic, between or [], seed=seed).items():
            share, kappa = _in_words(found.share, ".1%"), _in_words(found.kappa, ".2f")
            put(f"{QUESTIONS[question]}: {found.num_items} answers of both, the same in {share}, kappa {kappa}")


def _in_words(found: "Interval", form: str) -> str:
    """An estimate with its interval, as far as they exist."""
    if found.estimate != found.estimate:
        return "does not exist: both gave one answer throughout"
    if found.low != found.low:
        return f"{found.estimate:{form}} without an interval: one gave one answer throughout"
    return f"{found.estimate:{form}} [{found.low:{form}}, {found.high:{form}}]"


@contextmanager
def opened_store(address: str) -> "Iterator[TrafficStore]":
    """The store at an address, which must be there. Raises `RunFailed`, one line, where the database fails while it is used."""
    from laconic.traffic.store import StoreError, open_store, said_by_database

    opened = open_store(address, must_exist=True)
    try:
        yield opened
    except StoreError as error:
        raise RunFailed(f"the store of traffic fails: {said_by_database(error)}") from None
    finally:
        opened.close()


def _address(store: str | None, config: Path | None) -> str:
    """Where the store is: as an option says, else as the gateway's file says, else where the gateway's own default is."""
    from laconic.config.serving import parse_serving, read_serving

    if store is not None or config is None:
        return store or STORE_ADDRESS
    return parse_serving(read_serving(config), f"{config}: ").store


def report_traffic(
    store: ConfiguredStore = None,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("traffic.html"),
    days: Annotated[float, typer.Option(help="How many days it covers.")] = REPORT_DAYS,
    route: Annotated[str | None, typer.Option(help="This route alone; if not given, all.")] = None,
    drift_days: Annotated[
        float, typer.Option(help="Drift: the last so many days are compared with as many before them.")
    ] = DRIFT_DAYS,
    config: Annotated[
        Path | None,
        typer.Option(
            help="The gateway's file, which says where the store is and what is a candidate; if not given, the latest version is."
        ),
    ] = None,
) -> None:
    """Write a page of figures over time: alarms first, then tokens, cost, latency and feedback by day, version, route and tag."""
    need_extra()
    check_file(out, "page", "--out")
    for option, number in (("--days", days), ("--drift-days", drift_days)):
        if not 0.0 < number < inf:
            raise InputError(f"{option} {number:g}: expected a number of days above 0")
    from laconic.monitoring.candidates import configured_pairs
    from laconic.monitoring.overview import read_overview
    from laconic.monitoring.page import write_traffic_page

    pairs = configured_pairs(config) if config is not None else {}
    with opened_store(_address(store, config)) as traffic:
        overview = read_overview(traffic, time.time(), days, drift_days, route, pairs)
    for sentence in (*overview.alarms, *overview.changes):
        put(sentence)
    put(write_traffic_page(overview, out))


def compare_stored(
    base: Annotated[str, typer.Argument(help="The version to compare with.")],
    candidate: Annotated[str, typer.Argument(help="The other version.")],
    store: StoreAddress = STORE_ADDRESS,
    route: Annotated[str | None, typer.Option(help="This route alone; if not given, all.")] = None,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("comparison.json"),
) -> None:
    """Is a version shorter in use, and are its users as content? Compares two versions of stored traffic, user by user, with
    intervals that hold at every time of looking."""
    need_extra()
    check_file(out, "comparison", "--out")
    from laconic.monitoring.requests import Scope
    from laconic.monitoring.versions import change_words, compare_versions, comparison_sentence, versions_of

    with opened_store(store) as opened:
        served = [found.version for found in versions_of(opened, Scope(route=route))]
        for version in (base, candidate):
            if version not in served:
                raise InputError(
                    f"{version}: no stored request was answered by it; there are {', '.join(served) or 'none'}"
                )
        if base == candidate:
            raise InputError(f"{base}: given twice; expected two versions")
        found = compare_versions(opened, base, candidate, Scope(route=route))
    for name, change in found.changes.items():
        put(change_words(change, name))
    put(comparison_sentence(found))
    write_json_atomically(out, found.to_json())
    put(f"written to {out}")


def judge_stored(
    route: Annotated[str, typer.Argument(help="The route on which the candidate is served.")],
    store: ConfiguredStore = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="The gateway's file, with the store, versions and rules; if not given, the latest version and usual rules."
        ),
    ] = None,
    promote_after: Annotated[
        int | None,
        typer.Option(help="Promote after so many of its requests, if it is surely shorter and no worse.", min=1),
    ] = None,
    write: Annotated[bool, typer.Option("--decide", help="Write the decision down; the gateway acts on it.")] = False,
) -> None:
    """How does a candidate do beside the model that is served, and what do the rules say? Look as often as you like."""
    need_extra()
    from laconic.monitoring.candidates import candidate_lines, find_candidate

    with opened_store(_address(store, config)) as opened:
        candidate = find_candidate(opened, route, config, promote_after)
        for line in candidate_lines(opened, route, candidate, time.time() if write else None):
            put(line)


def need_extra() -> None:
    """Raise `MissingExtraError` where the packages of the store are not installed."""
    from importlib.util import find_spec

    if find_spec("sqlalchemy") is None or find_spec("alembic") is None:
        raise MissingExtraError("laconic traffic", "serve")


TRAFFIC: Mapping[str, Callable[..., None]] = {
    "what": say_what_is_stored,
    "forget": forget_user,
    "export": export_texts,
    "clean": clean_copies,
    "label": label_responses,
    "agreement": say_agreement,
    "report": report_traffic,
    "compare": compare_stored,
    "candidate": judge_stored,
}
"""Each command of `laconic traffic` and its function."""
