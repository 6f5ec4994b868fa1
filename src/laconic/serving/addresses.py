"""Upstreams as a command names them, `NAME=http://HOST:PORT/v1#MODEL`, as tables of a gateway's file.

1. NAME is what clients call the model. Two upstreams of one name answer for each other. Without a name it is the model's.
2. Without `#MODEL` the endpoint is asked which model it has; it must then be there, and have one.
3. The key is the one in LACONIC_API_KEY or OPENAI_API_KEY, for all of them; a file can name another variable for each.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from laconic.config.serving import BudgetKeeper
from laconic.errors import InputError
from laconic.samplers.endpoints import KEY_VARIABLES, is_endpoint, parse_endpoint
from laconic.system.text import brief


@dataclass(frozen=True, slots=True)
class NamedUpstream:
    """An upstream of a command: what it is called, its address and its model; the variable that holds its key, its tokenizer, and
    who keeps thinking budgets on it."""

    name: str
    url: str
    model: str
    key_env: str | None = None
    tokenizer: str | None = None
    budgets: BudgetKeeper | None = None

    @property
    def table(self) -> dict[str, Any]:
        """Its table in a gateway's file."""
        given = {"key_env": self.key_env, "tokenizer": self.tokenizer, "budgets": self.budgets}
        table = {"url": self.url, "model": self.model}
        return table | {key: value for key, value in given.items() if value is not None}


def parse_upstream(text: str) -> NamedUpstream:
    """The upstream that `[NAME=]URL[#MODEL]` names. Raises `InputError` where it is none, or its model is not known."""
    name, address = ("", text) if is_endpoint(text) else tuple(text.partition("=")[::2])
    if not is_endpoint(address):
        raise InputError(f"--upstream {text}: expected NAME=http://HOST:PORT/v1#MODEL, or the address alone")
    endpoint = parse_endpoint(address)
    if "?" in address:
        raise InputError(f"--upstream {text}: options after ? are for evaluations; leave them out")
    model = endpoint.model or _only_model(address)
    key = next((variable for variable in KEY_VARIABLES if os.environ.get(variable, "").strip()), None)
    return NamedUpstream(name.strip() or model, endpoint.url, model, key)


def _only_model(address: str) -> str:
    from laconic.samplers.http import HttpSampler

    return HttpSampler.connect(address).endpoint.model


def with_upstreams(
    tree: Mapping[str, Any], upstreams: Sequence[NamedUpstream], options: Mapping[str, Any]
) -> dict[str, Any]:
    """The tree of a gateway with further upstreams, each on the route of its name, which is a new one unless the file has it.
    `options` are keys of these routes, or of all where there are no further upstreams, and replace those of the file. Raises
    `InputError` where the file has no tables there."""
    tables, routes = _table_of(tree, "upstreams"), _table_of(tree, "routes")
    for upstream in upstreams:
        slug = _free_slug(upstream.name, tables)
        tables[slug] = upstream.table
        route = _table_of(routes, upstream.name)
        routes[upstream.name] = {**route, "upstreams": [*route.get("upstreams", ()), slug]}
    for name in [upstream.name for upstream in upstreams] or list(routes):
        routes[name] = {**_table_of(routes, name), **options}
    return {**tree, "upstreams": tables, "routes": routes}


def _table_of(tree: Mapping[str, Any], key: str) -> dict[str, Any]:
    table = tree.get(key, {})
    if not isinstance(table, Mapping):
        raise InputError(f"--config: {key}: expected a table, got {brief(table)}")
    return dict(table)


def with_candidate(tree: Mapping[str, Any], candidate: NamedUpstream, share: float | None) -> dict[str, Any]:
    """The tree with a candidate on its only route; its name is its version, and without a `share` it has the usual one. Raises
    `InputError` where there are several routes."""
    if len(tree["routes"]) != 1:
        raise InputError(
            "--candidate: expected one served model; a file (--config) can give each of several a candidate"
        )
    slug = _free_slug(f"{candidate.name}-candidate", tree["upstreams"])
    table = {"upstreams": [slug], "version": candidate.name} | ({} if share is None else {"share": share})
    return {
        **tree,
        "upstreams": {**tree["upstreams"], slug: candidate.table},
        "routes": {name: {**route, "candidate": table} for name, route in tree["routes"].items()},
    }


def _free_slug(name: str, taken: Mapping[str, Any]) -> str:
    """A name for figures and tables, of letters and digits, that is not taken."""
    slug = re.sub(r"[^A-Za-z0-9_.+-]+", "-", name).strip("-.+")[:60] or "upstream"
    numbered = (slug if number == 1 else f"{slug}-{number}" for number in range(1, len(taken) + 2))
    return next(found for found in numbered if found not in taken)
