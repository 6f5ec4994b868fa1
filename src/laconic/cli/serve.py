"""The command `serve`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from laconic.cli.options import refuse_given
from laconic.config.defaults import (
    CANDIDATE_SHARE,
    KEEP_ACCURACY,
    SALT_FILE,
    SERVE_HOST,
    SERVE_PORT,
    STORE_ADDRESS,
    TEXT_POLICY,
)
from laconic.errors import MissingExtraError
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
    host: Annotated[
        str | None,
        typer.Option(help="Where to listen; other machines reach it only with --keys.", show_default=SERVE_HOST),
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="The port; 0 takes any.", min=0, max=65535, show_default=str(SERVE_PORT))
    ] = None,
    keys: Annotated[Path | None, typer.Option(help="A file with lines  name = key  of those who may ask.")] = None,
    budget: Annotated[
        int | None, typer.Option(help="Tokens of thinking, where a request names no number.", min=0)
    ] = None,
    budget_from: Annotated[
        Path | None, typer.Option(help="An evaluation with a budget curve, from which the budget is chosen.")
    ] = None,
    keep_accuracy: Annotated[
        float | None,
        typer.Option(
            help="With --budget-from: the share of accuracy that the chosen budget keeps.",
            min=0.0,
            max=1.0,
            show_default=str(KEEP_ACCURACY),
        ),
    ] = None,
    candidate: Annotated[
        str | None, typer.Option(help="Another model for a share of users: VERSION=MODEL, or its address.")
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(help="With --candidate: its share of users.", min=0.0, max=1.0, show_default=str(CANDIDATE_SHARE)),
    ] = None,
    texts: Annotated[
        str | None,
        typer.Option(help="Whether texts of users who consent are kept: never or consent.", show_default=TEXT_POLICY),
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A word of the header x-laconic-tag that is stored.")] = None,
    redact: Annotated[str | None, typer.Option(help="A function FILE.py:FUNCTION that texts go through.")] = None,
    store: Annotated[
        str | None,
        typer.Option(help="sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME.", show_default=STORE_ADDRESS),
    ] = None,
    salt: Annotated[
        Path | None, typer.Option(help="The file with the salt of users' pseudonyms.", show_default=SALT_FILE)
    ] = None,
) -> None:
    """Serve models behind an OpenAI-compatible gateway, which counts tokens, keeps thinking within a budget, keeps no texts
    without consent, and can send a share of users to another model."""
    _need_extra()
    if budget_from is None:
        refuse_given({"--keep-accuracy": keep_accuracy}, "goes with --budget-from, whose curve it looks at")
    if candidate is None:
        refuse_given({"--share": share}, "goes with --candidate, whose share of users it is")
    from laconic.serving.serving_command import ServeOptions, serve_until_asked

    route = _given(texts=texts, tags=tag or None)
    files = {name: None if path is None else str(path) for name, path in (("salt", salt), ("keys", keys))}
    whole = _given(host=host, port=port, store=store, redact=redact, **files)
    kept = KEEP_ACCURACY if keep_accuracy is None else keep_accuracy
    served = (model, upstream or (), config, engine, candidate, share)
    serve_until_asked(ServeOptions(*served, budget, budget_from, kept, route, whole), _say)


def _given(**options: object) -> dict[str, object]:
    return {key: value for key, value in options.items() if value is not None}


def _say(line: str) -> None:
    print(in_two_lines(f"laconic: {line}"), file=sys.stderr, flush=True)


def _need_extra() -> None:
    from importlib.util import find_spec

    needed = ("starlette", "uvicorn", "httptools", "aiohttp", "sqlalchemy", "prometheus_client")
    if any(find_spec(name) is None for name in needed):
        raise MissingExtraError("laconic serve", "serve")
