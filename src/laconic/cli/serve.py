"""The command `serve`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from laconic.config.defaults import (
    CANDIDATE_SHARE,
    KEEP_ACCURACY,
    SALT_FILE,
    SERVE_HOST,
    SERVE_PORT,
    STORE_ADDRESS,
    TEXT_POLICY,
)
from laconic.errors import InputError, MissingExtraError
from laconic.system.text import in_two_lines


def serve_models(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A local folder, a hub name, a .gguf file, 'tiny' or 'seeker', for which an engine is started, or an "
            "address; NAME=MODEL is called NAME by clients."
        ),
    ] = None,
    upstream: Annotated[
        list[str] | None,
        typer.Option(
            help="An OpenAI-compatible endpoint, NAME=http://HOST:PORT/v1#MODEL; clients call it NAME. Two of one name answer "
            "for each other."
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A file of routes, limits and prices (docs/serving.md).")] = None,
    engine: Annotated[
        str | None, typer.Option(help="vllm, transformers or local; if not given, the one that fits the model.")
    ] = None,
    host: Annotated[str, typer.Option(help="Where to listen; other machines reach it only with --keys.")] = SERVE_HOST,
    port: Annotated[int, typer.Option(help="The port; 0 takes any.", min=0, max=65535)] = SERVE_PORT,
    keys: Annotated[Path | None, typer.Option(help="A file with lines  name = key  of those who may ask.")] = None,
    budget: Annotated[
        int | None, typer.Option(help="Tokens of thinking, where a request names no number.", min=0)
    ] = None,
    budget_from: Annotated[
        Path | None, typer.Option(help="An evaluation with a budget curve, from which the budget is chosen.")
    ] = None,
    keep_accuracy: Annotated[
        float, typer.Option(help="The share of accuracy that the chosen budget keeps.", min=0.0, max=1.0)
    ] = KEEP_ACCURACY,
    candidate: Annotated[
        str | None, typer.Option(help="Another model for a share of users: VERSION=MODEL, or its address.")
    ] = None,
    share: Annotated[float, typer.Option(help="The candidate's share of users.", min=0.0, max=1.0)] = CANDIDATE_SHARE,
    texts: Annotated[
        str, typer.Option(help="Whether texts of users who consent are kept: never or consent.")
    ] = TEXT_POLICY,
    tag: Annotated[list[str] | None, typer.Option(help="A word of the header x-laconic-tag that is stored.")] = None,
    redact: Annotated[str | None, typer.Option(help="A function FILE.py:FUNCTION that texts go through.")] = None,
    store: Annotated[str, typer.Option(help="sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME.")] = STORE_ADDRESS,
    salt: Annotated[Path, typer.Option(help="The file with the salt of users' pseudonyms.")] = Path(SALT_FILE),
) -> None:
    """Serve models behind an OpenAI-compatible gateway, which counts tokens, keeps thinking within a budget, keeps no texts
    without consent, and can send a share of users to another model."""
    _need_extra()
    if budget_from is None and keep_accuracy != KEEP_ACCURACY:
        raise InputError("--keep-accuracy: goes with --budget-from, whose curve it looks at")
    from laconic.serving.serving_command import ServeOptions, serve_until_asked

    route = _given(texts=None if texts == TEXT_POLICY else texts, tags=tag or None)
    whole = {"host": host, "port": port, "store": store, "salt": str(salt)}
    usual = {"host": SERVE_HOST, "port": SERVE_PORT, "store": STORE_ADDRESS, "salt": SALT_FILE}
    changed = {key: value for key, value in whole.items() if value != usual[key]}
    changed |= _given(keys=str(keys) if keys else None, redact=redact)
    served = (model, upstream or (), config, engine, candidate, share)
    serve_until_asked(ServeOptions(*served, budget, budget_from, keep_accuracy, route, changed), _say)


def _given(**options: object) -> dict[str, object]:
    return {key: value for key, value in options.items() if value is not None}


def _say(line: str) -> None:
    print(in_two_lines(f"laconic: {line}"), file=sys.stderr, flush=True)


def _need_extra() -> None:
    from importlib.util import find_spec

    needed = ("starlette", "uvicorn", "httptools", "aiohttp", "sqlalchemy", "prometheus_client")
    if any(find_spec(name) is None for name in needed):
        raise MissingExtraError("laconic serve", "serve")
