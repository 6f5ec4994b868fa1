"""A gateway's file: what it means, and what is refused in one line that names the key."""

import re
from pathlib import Path

import pytest
from gateway_file import FILE

from laconic.config.serving import parse_serving, read_serving
from laconic.errors import InputError
from laconic.system.text import parse_toml


def test_a_file_says_what_is_served() -> None:
    config = parse_serving(parse_toml(FILE.encode(), "serve.toml"), "serve.toml: ")
    route = config.routes["org/short"]
    assert config.upstreams["main"].url == "http://127.0.0.1:8000/v1" and config.limits.per_minute == 60
    assert route.candidate is not None and route.candidate.share == 0.1 and route.prices is not None


def changed(text: str, by: str) -> str:
    assert text in FILE
    return FILE.replace(text, by)


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("", "upstreams: missing, but required"),
        ("x = [", "expected a gateway's file in TOML"),
        (
            changed("//127.0.0.1:8000/v1/", "//[::1/v1"),
            "upstreams.main.url: expected http://HOST:PORT/v1 (Invalid IPv6",
        ),
        (changed("//127.0.0.1:8000/v1/", "//h:99999/v1"), "upstreams.main.url: expected http://HOST:PORT/v1 (Port out"),
        (changed("//127.0.0.1:8000/v1/", "///v1"), "upstreams.main.url: expected http://HOST:PORT/v1, where HOST"),
        (changed("//127.0.0.1:8000/v1/", "//a..b/v1"), "upstreams.main.url: expected http://HOST:PORT/v1, where HOST"),
        (changed("//127.0.0.1:8000/v1/", "//a b/v1"), "upstreams.main.url: expected http://HOST:PORT/v1, where HOST"),
        (changed("8000/v1/", "8080/v1/"), "upstreams.main.url: is the address of the gateway itself"),
        (changed('model = "org/model"', 'modle = "x"'), "upstreams.main.modle: unknown key; near it: model"),
        (
            changed('"http://127.0.0.1:8000/v1/"', '"127.0.0.1:8000"'),
            "upstreams.main.url: expected http://HOST:PORT/v1",
        ),
        (changed('"https://host/v1"', '"https://key@host/v1"'), "upstreams.new.url: expected http"),
        (
            changed('upstreams = ["main"]', 'upstreams = ["mian"]'),
            "routes.org/short.upstreams: there is no upstream mian",
        ),
        (changed('upstreams = ["main"]', "upstreams = []"), "routes.org/short.upstreams: tuple should have at least 1"),
        (changed('upstreams = ["new"]', 'upstreams = ["main"]'), "routes.org/short.upstreams: main occurs twice"),
        (changed('"2026-12"', '"2026-11"'), "routes.org/short.candidate.version: 2026-11 is the route's"),
        (
            changed("share = 0.1", "share = 1.5"),
            "routes.org/short.candidate.share: input should be less than or equal to 1",
        ),
        (changed("share = 0.1", "share = 0.0"), "routes.org/short.candidate.share: input should be greater than 0"),
        (
            changed('texts = "consent"', 'texts = "always"'),
            "routes.org/short.texts: input should be 'never' or 'consent'",
        ),
        (changed('tags = ["law"]', 'tags = ["law", "law"]'), "routes.org/short.tags: law occurs twice"),
        (
            changed("budget = 2048", "budget = -1"),
            "routes.org/short.budget: input should be greater than or equal to 0",
        ),
        (changed("prompt = 0.1", 'prompt = "x"'), "routes.org/short.prices.prompt: input should be a valid number"),
        (changed('keys = "keys.txt"', 'host = "0.0.0.0"'), "host: 0.0.0.0 is open to other machines"),
        (changed('keys = "keys.txt"', "port = 70000"), "port: input should be less than or equal to 65535"),
    ],
)
def test_a_mistake_in_a_file_is_one_line_that_names_the_key(tmp_path: Path, file: str, says: str) -> None:
    path = tmp_path / "serve.toml"
    path.write_text(file)
    with pytest.raises(InputError, match=re.escape(says)) as error:
        parse_serving(read_serving(path), f"{path}: ")
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
