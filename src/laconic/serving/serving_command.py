"""What `laconic serve` does with its options: it starts the engines that they name, and runs the gateway in front of them.

1. A model that is an address is an upstream that runs already; any other is drawn by an engine on this machine (`engines.py`),
   which starts before the gateway and ends with it.
2. A candidate is the same, for a share of users.
3. Options and a file become one tree of tables, of which the options win; what is wrong in it is one line.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laconic.config.defaults import TRAFFIC_FOLDER
from laconic.config.serving import parse_serving, read_serving
from laconic.errors import InputError
from laconic.samplers.endpoints import is_endpoint
from laconic.serving.addresses import NamedUpstream, parse_upstream, with_candidate, with_upstreams
from laconic.serving.budgets import ThinkingBudget, budget_from
from laconic.serving.engines import choose_engine, engine_started
from laconic.serving.program import run_gateway


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The options of the command. `curve` is where a budget is chosen, `route` has keys of each route, `whole` keys of the
    gateway; what is not given is in neither."""

    model: str | None
    upstreams: Sequence[str]
    config: Path | None
    engine: str | None
    candidate: str | None
    share: float
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
    with ExitStack() as engines:
        upstreams = [parse_upstream(text) for text in options.upstreams]
        if options.model is not None:
            upstreams.append(engines.enter_context(opened_model(options.model, options.engine, budget, say)))
        tree = with_upstreams(tree, upstreams, route)
        if options.candidate is not None:
            candidate = engines.enter_context(opened_model(options.candidate, options.engine, budget, say))
            tree = with_candidate(tree, candidate, options.share)
        run_gateway(parse_serving({**tree, **options.whole}, f"{options.config}: " if options.config else "--"), say)


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
    say(choice.why)
    Path(TRAFFIC_FOLDER).mkdir(parents=True, exist_ok=True, mode=0o700)
    served = name or (Path(model).name if Path(model).exists() else model)
    log = Path(TRAFFIC_FOLDER) / f"engine-{Path(served).name}.log"
    with engine_started(model, choice, log, budget=budget) as running:
        yield NamedUpstream(served, running.url, running.model, None, running.tokenizer, running.budgets)


def _split(text: str) -> tuple[str, str]:
    """The name and the model of `NAME=MODEL`; a model alone has no name."""
    name, equals, rest = text.partition("=")
    return (name.strip(), rest) if equals and not is_endpoint(text) and "/" not in name else ("", text)
