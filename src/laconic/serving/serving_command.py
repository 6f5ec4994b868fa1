"""What `laconic serve` does with its options: it starts the engines that they name, and runs the gateway in front of them.

1. A model that is an address is an upstream that runs already; any other is drawn by an engine on this machine (`engines.py`),
   which starts before the gateway and ends with it.
   While it runs, a thread looks whether it still lives, and says once how it ended.
2. A candidate is the same, for a share of users.
3. What is wrong with them, or taken already, such as the port, is said before an engine starts.
4. Options and a file become one tree of tables, of which the options win; what is wrong in it is one line.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

from laconic.config.defaults import TRAFFIC_FOLDER
from laconic.config.serving import parse_serving, read_serving
from laconic.errors import InputError
from laconic.samplers.endpoints import is_endpoint
from laconic.serving.addresses import NamedUpstream, parse_upstream, with_candidate, with_upstreams
from laconic.serving.budgets import ThinkingBudget, budget_from
from laconic.serving.engines import choose_engine, engine_started
from laconic.serving.program import check_gateway, run_gateway

BETWEEN_LOOKS_AT_ENGINES = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The options of the command. `curve` is where a budget is chosen, `route` has keys of each route, `whole` keys of the
    gateway; what is not given is in neither."""

    model: str | None
    upstreams: Sequence[str]
    config: Path | None
    engine: str | None
    candidate: str | None
    share: float | None
    budget: int | None
    curve: Path | None
    keep_accuracy: float
    route: Mapping[str, Any]
    whole: Mapping[str, Any]


def serve_until_asked(options: ServeOptions, say: Callable[[str], None]) -> None:
    """Serve until a signal comes. Raises `InputError` where something cannot be served, `RunFailed` where an engine does not
    start, and `Terminated` at the end."""
    tree = read_serving(options.config) if options.config else {}
    if options.model is None and not options.upstreams and not tree:
        raise InputError("serve: expected a model, --upstream NAME=http://HOST:PORT/v1#MODEL, or a file (--config)")
    budget, route = chosen_budget(options, say), dict(options.route)
    if budget is not None:
        given = {"budget": budget.tokens, "budget_end": budget.force_text, "budget_answer_tokens": budget.answer_tokens}
        route |= {key: value for key, value in given.items() if value is not None}
    where = f"{options.config}: " if options.config else "--"
    models = [text for text in (options.model, options.candidate) if text is not None]
    starts_engine = any(not is_endpoint(_split(text)[1]) for text in models)
    if options.engine is not None and not starts_engine:
        raise InputError("--engine: no engine is started for an address; leave it out")
    with ExitStack() as engines:
        upstreams = [parse_upstream(text) for text in options.upstreams]
        if starts_engine:
            planned = _planned(tree, upstreams, route, options)
            check_gateway(parse_serving({**planned, **options.whole}, where))
        if options.model is not None:
            upstreams.append(engines.enter_context(opened_model(options.model, options.engine, budget, say)))
        tree = with_upstreams(tree, upstreams, route)
        if options.candidate is not None:
            candidate = engines.enter_context(opened_model(options.candidate, options.engine, budget, say))
            tree = with_candidate(tree, candidate, options.share)
        run_gateway(parse_serving({**tree, **options.whole}, where), say)


def _planned(
    tree: Mapping[str, Any], upstreams: Sequence[NamedUpstream], route: Mapping[str, Any], options: ServeOptions
) -> Mapping[str, Any]:
    """The tree as it will be, with an upstream that stands for each engine, so that what is wrong in it is said before one
    starts."""
    models = [] if options.model is None else [_stand_in(options.model)]
    tree = with_upstreams(tree, [*upstreams, *models], route)
    return tree if options.candidate is None else with_candidate(tree, _stand_in(options.candidate), options.share)


def _stand_in(text: str) -> NamedUpstream:
    name, model = _split(text)
    if is_endpoint(model):
        return parse_upstream(text)
    name = served_name(name, model)
    return NamedUpstream(name, "http://127.0.0.1:1/v1", name, budgets="laconic")


def chosen_budget(options: ServeOptions, say: Callable[[str], None]) -> ThinkingBudget | None:
    """The budget of requests that name none: the option's number, or the one that a curve shows."""
    if options.curve is None:
        return None if options.budget is None else ThinkingBudget(options.budget)
    if options.budget is not None:
        raise InputError("--budget: goes without --budget-from, which chooses one")
    chosen = budget_from(options.curve, options.keep_accuracy)
    say(chosen.words)
    return chosen.budget


@contextmanager
def opened_model(
    text: str, engine: str | None, budget: ThinkingBudget | None, say: Callable[[str], None]
) -> Iterator[NamedUpstream]:
    """The upstream that `[NAME=]MODEL` stands for: an address, or a model for which an engine is started. An engine may have
    to know at its start with which words a `budget` ends a thought."""
    name, model = _split(text)
    if is_endpoint(model):
        yield parse_upstream(text)
        return
    choice = choose_engine(model, engine)
    Path(TRAFFIC_FOLDER).mkdir(parents=True, exist_ok=True, mode=0o700)
    served = served_name(name, model)
    log = Path(TRAFFIC_FOLDER) / f"engine-{Path(served).name}.log"
    say(f"{choice.why}; it starts now and writes to {log}")
    with engine_started(model, choice, log, budget=budget) as running, end_is_said(running.failure, say):
        yield NamedUpstream(served, running.url, running.model, None, running.tokenizer, running.budgets)


def served_name(name: str, model: str) -> str:
    """What clients call a model: the name that was given, else that of its folder or file, else the model's own.

    >>> served_name("", "no/such-folder"), served_name("", ".") == Path.cwd().name
    ('no/such-folder', True)
    """
    path = Path(model)
    if name or not path.exists():
        return name or model
    return (path.resolve() if path.name in ("", "..") else path).name or model


@contextmanager
def end_is_said(
    failure: Callable[[], str | None], say: Callable[[str], None], between: float = BETWEEN_LOOKS_AT_ENGINES
) -> Iterator[None]:
    """While the context lasts, look every `between` seconds whether an engine has ended, and say so once. `failure` is that of an
    `Engine`."""
    is_over = Event()

    def look() -> None:
        while not is_over.wait(between):
            if said := failure():
                say(f"{said}; requests to it fail until laconic serve is started again")
                return

    looking = Thread(target=look, name="looking-at-engine", daemon=True)
    looking.start()
    try:
        yield
    finally:
        is_over.set()
        looking.join()


def _split(text: str) -> tuple[str, str]:
    """The name and the model of `NAME=MODEL`; a model alone has no name."""
    name, equals, rest = text.partition("=")
    return (name.strip(), rest) if equals and not is_endpoint(text) and "/" not in name else ("", text)
