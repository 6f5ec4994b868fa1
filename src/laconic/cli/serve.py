"""The command `serve`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from laconic.config.defaults import CANDIDATE_SHARE, SALT_FILE, SERVE_HOST, SERVE_PORT, STORE_ADDRESS, TEXT_POLICY
from laconic.errors import InputError, MissingExtraError
from laconic.system.text import in_two_lines


def serve_models(
    upstream: Annotated[
        list[str] | None,
        typer.Option(
            help="An OpenAI-compatible endpoint, NAME=http://HOST:PORT/v1#MODEL; clients call it NAME. Two of one name answer "
            "for each other."
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A file of routes, limits and prices (docs/serving.md).")] = None,
    host: Annotated[str, typer.Option(help="Where to listen; other machines reach it only with --keys.")] = SERVE_HOST,
    port: Annotated[int, typer.Option(help="The port; 0 takes any.", min=0, max=65535)] = SERVE_PORT,
    keys: Annotated[Path | None, typer.Option(help="A file with lines  name = key  of those who may ask.")] = None,
    budget: Annotated[
        int | None, typer.Option(help="Tokens of thinking, where a request names no number.", min=0)
    ] = None,
    candidate: Annotated[
        str | None, typer.Option(help="Another model for a share of users: VERSION=http://HOST:PORT/v1#MODEL.")
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
    """Serve models behind an OpenAI-compatible gateway, which counts tokens, keeps no texts without consent, and can send a
    share of users to another model."""
    _need_extra()
    from laconic.config.serving import parse_serving, read_serving
    from laconic.serving.addresses import parse_upstream, with_candidate, with_upstreams
    from laconic.serving.program import run_gateway

    tree = read_serving(config) if config else {}
    if not upstream and not tree:
        raise InputError("serve: expected --upstream NAME=http://HOST:PORT/v1#MODEL, or a file (--config)")
    routes = _given(budget=budget, texts=texts if texts != TEXT_POLICY else None, tags=tag or None)
    tree = with_upstreams(tree, [parse_upstream(text) for text in upstream or ()], routes)
    if candidate:
        tree = with_candidate(tree, parse_upstream(candidate), share)
    said: dict[str, Any] = {"host": host, "port": port, "store": store, "salt": str(salt), "redact": redact}
    usual = {"host": SERVE_HOST, "port": SERVE_PORT, "store": STORE_ADDRESS, "salt": SALT_FILE, "redact": None}
    changed = {key: value for key, value in said.items() if value != usual[key]}
    tree |= changed | _given(keys=str(keys) if keys else None)
    run_gateway(parse_serving(tree, f"{config}: " if config else "--"), _say)


def _given(**options: object) -> dict[str, object]:
    return {key: value for key, value in options.items() if value is not None}


def _say(line: str) -> None:
    print(in_two_lines(f"laconic: {line}"), file=sys.stderr, flush=True)


def _need_extra() -> None:
    from importlib.util import find_spec

    if any(find_spec(name) is None for name in ("starlette", "uvicorn", "sqlalchemy", "prometheus_client")):
        raise MissingExtraError("laconic serve", "serve")
