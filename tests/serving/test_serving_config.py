"""The options of a gateway's command, alone and with a file: what they mean, and what is refused in one line."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gateway_file import FILE

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("sqlalchemy", reason="needs the extra serve")

from laconic.cli.serve import serve_models
from laconic.config.defaults import (
    CANDIDATE_SHARE,
    KEEP_ACCURACY,
    SALT_FILE,
    SERVE_HOST,
    SERVE_PORT,
    STORE_ADDRESS,
    TEXT_POLICY,
)
from laconic.config.serving import ServingConfig, parse_serving
from laconic.errors import InputError
from laconic.serving.addresses import NamedUpstream, parse_upstream, with_candidate, with_upstreams
from laconic.serving.assignment import gets_candidate, place_of
from laconic.serving.engines import Engine, EngineChoice
from laconic.serving.serving_command import ServeOptions, serve_until_asked, served_name


def serving(*upstreams: str, candidate: str | None = None, **options: Any) -> ServingConfig:
    tree = with_upstreams({}, [parse_upstream(text) for text in upstreams], options)
    if candidate:
        tree = with_candidate(tree, parse_upstream(candidate), 0.2)
    return parse_serving(tree, "--")


def test_upstreams_of_one_name_answer_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LACONIC_API_KEY", "k")
    config = serving("m=http://a/v1#x", "m=http://b/v1#y", "http://c/v1#org/z", tags=["law"])
    assert {name: route.upstreams for name, route in config.routes.items()} == {"m": ("m", "m-2"), "org/z": ("org-z",)}
    assert [upstream.model for upstream in config.upstreams.values()] == ["x", "y", "org/z"]
    assert all(route.tags == ("law",) for route in config.routes.values())
    assert {upstream.key_env for upstream in config.upstreams.values()} == {"LACONIC_API_KEY"}


def test_a_candidate_is_a_version_of_the_only_route() -> None:
    config = serving("m=http://a/v1#x", candidate="v2=http://b/v1#y")
    candidate = config.routes["m"].candidate
    assert candidate is not None and (candidate.version, candidate.share) == ("v2", 0.2)
    with pytest.raises(InputError, match="--candidate: expected one served model"):
        serving("m=http://a/v1#x", "n=http://a/v1#y", candidate="v2=http://b/v1#y")


@pytest.mark.parametrize("text", ["m", "m=", "m=ftp://x/v1#y", "http://x/v1#y?seconds=5", "m=http://u:p@x/v1#y"])
def test_what_is_no_upstream_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_upstream(text)


def test_an_upstream_without_a_name_is_called_as_its_model() -> None:
    assert parse_upstream("http://x/v1/#org/y") == NamedUpstream("org/y", "http://x/v1", "org/y")


# --- the command -----------------------------------------------------------------------------------------------------


def options(**given: Any) -> ServeOptions:
    usual = ServeOptions(None, (), None, None, None, 0.05, None, None, 0.99, {}, {})
    return replace(usual, **given)


def served(monkeypatch: pytest.MonkeyPatch, **given: Any) -> tuple[ServingConfig, list[str]]:
    """The gateway that the command would run, and what it says before."""
    configs: list[ServingConfig] = []
    said: list[str] = []
    monkeypatch.setattr("laconic.serving.serving_command.run_gateway", lambda config, say: configs.append(config))
    monkeypatch.setattr("laconic.serving.serving_command.check_gateway", lambda config: None)
    serve_until_asked(options(**given), said.append)
    return configs[0], said


def test_options_and_a_file_make_one_gateway_and_options_win(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "serve.toml"
    path.write_text(FILE)
    config, _ = served(
        monkeypatch, config=path, upstreams=["extra=http://a/v1#x"], budget=9, route={"tags": ["t"]}, whole={"port": 0}
    )
    assert config.port == 0 and config.keys == "keys.txt" and set(config.routes) == {"org/short", "extra"}
    assert (config.routes["extra"].budget, config.routes["extra"].tags) == (9, ("t",))
    assert config.routes["org/short"].budget == 2048


def test_an_option_wins_over_the_file_also_where_it_says_the_usual(
    monkeypatch: pytest.MonkeyPatch, laconic: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    """The file says other than the defaults; the command says each default, and it holds. Without it the file's word does."""
    usual = {"host": SERVE_HOST, "port": SERVE_PORT, "store": STORE_ADDRESS, "salt": SALT_FILE}
    in_file = {"host": "localhost", "port": 9, "store": "sqlite:///other.db", "salt": "other/salt"}
    lines = [
        *(f"{key} = {json.dumps(value)}" for key, value in in_file.items()),
        "[upstreams.a]",
        'url = "http://a/v1"',
    ]
    (tmp_path / "gw.toml").write_text("\n".join([*lines, "[routes.m]", 'upstreams = ["a"]', 'texts = "consent"', ""]))
    configs: list[ServingConfig] = []
    monkeypatch.setattr("laconic.serving.serving_command.run_gateway", lambda config, say: configs.append(config))
    said = [text for key, value in usual.items() for text in (f"--{key}", value)]
    for arguments, whole, texts in (
        ((), in_file, "consent"),
        ((*said, "--texts", TEXT_POLICY), usual, TEXT_POLICY),
    ):
        assert laconic("serve", "--config", "gw.toml", *arguments)[0] == 0
        assert {key: getattr(configs[-1], key) for key in usual} == whole
        assert configs[-1].routes["m"].texts == texts


def test_what_holds_where_neither_command_nor_file_says_anything(
    monkeypatch: pytest.MonkeyPatch, laconic: Callable[..., tuple[int, str, str]]
) -> None:
    configs: list[ServingConfig] = []
    monkeypatch.setattr("laconic.serving.serving_command.run_gateway", lambda config, say: configs.append(config))
    assert laconic("serve", "m=http://a/v1#x", "--candidate", "v2=http://b/v1#y")[0] == 0
    (config,), route = configs, configs[0].routes["m"]
    assert (config.host, config.port, config.store, config.salt) == (SERVE_HOST, SERVE_PORT, STORE_ADDRESS, SALT_FILE)
    assert route.texts == TEXT_POLICY and route.candidate is not None and route.candidate.share == CANDIDATE_SHARE


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--keep-accuracy", KEEP_ACCURACY), "--keep-accuracy: goes with --budget-from"),
        (("--share", CANDIDATE_SHARE), "--share: goes with --candidate"),
        (("--engine", "vllm"), "--engine: no engine is started for an address"),
    ],
)
def test_an_option_that_nothing_reads_is_refused(
    laconic: Callable[..., tuple[int, str, str]], arguments: tuple[object, ...], says: str
) -> None:
    code, _, err = laconic("serve", "m=http://a/v1#x", *arguments)
    assert code == 2 and says in err and err.count("\n") == 1


def test_a_model_is_drawn_by_an_engine_that_lives_as_long_as_the_gateway(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    alive: list[str] = []

    @contextmanager
    def started(model: str, choice: EngineChoice, log: Path, *, budget: Any) -> Iterator[Engine]:
        alive.append(f"{model}, {log.name}, {budget.tokens}")
        yield Engine("local", "http://127.0.0.1:1/v1", "inner", None, "laconic", choice.why, lambda: None)
        alive.clear()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("laconic.serving.serving_command.engine_started", started)
    config, said = served(monkeypatch, model="short=tiny", engine="local", budget=9)
    assert alive == [] and said == [
        "local draws, as --engine says; it starts now and writes to traffic/engine-short.log"
    ]
    (upstream,) = config.upstreams.values()
    assert (upstream.url, upstream.model, upstream.budgets) == ("http://127.0.0.1:1/v1", "inner", "laconic")
    assert set(config.routes) == {"short"}


@pytest.mark.parametrize(
    ("model", "name"), [(".", "short"), ("./", "short"), ("inner/..", "short"), ("inner", "inner")]
)
def test_a_folder_is_served_by_its_name_however_it_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str, name: str
) -> None:
    (tmp_path / "short" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "short")
    assert served_name("", model) == name and served_name("mine", model) == "mine"


def test_options_are_of_every_route_where_the_command_names_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "serve.toml"
    path.write_text(FILE)
    config, _ = served(monkeypatch, config=path, budget=9)
    assert config.routes["org/short"].budget == 9


def test_a_file_may_say_more_of_the_route_of_a_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "serve.toml"
    path.write_text('[routes.m]\ntexts = "consent"\nbudget = 7\n')
    config, _ = served(monkeypatch, config=path, upstreams=["m=http://a/v1#x"], budget=9)
    assert (config.routes["m"].texts, config.routes["m"].budget, config.routes["m"].upstreams) == ("consent", 9, ("m",))
    path.write_text("routes = {m = 5}\n")
    with pytest.raises(InputError, match=r"--config: m: expected a table, got 5"):
        served(monkeypatch, config=path, upstreams=["m=http://a/v1#x"])


def test_no_engine_starts_for_a_gateway_that_cannot_begin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def started(*_: Any, **__: Any) -> None:
        raise AssertionError("an engine was started")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("laconic.serving.serving_command.engine_started", started)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for given, says in (
            ({"whole": {"port": port}}, rf"--port {port}: cannot be listened on \(Address already in use\)$"),
            ({"whole": {"host": "0.0.0.0"}}, "--host: 0.0.0.0 is open to other machines"),
            ({"whole": {"port": 0, "keys": "none.txt"}}, "none.txt"),
            ({"route": {"texts": "always"}}, "--routes.tiny.texts: input should be 'never'"),
            ({"candidate": "v2=tiny", "share": 2.0, "whole": {"port": 0}}, "share"),
        ):
            with pytest.raises(InputError, match=says):
                serve_until_asked(options(model="tiny", **given), print)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "expected a model, --upstream"),
        ({"model": "http://a/v1#x", "budget": 9, "curve": Path("r")}, "--budget: goes without --budget-from"),
        ({"model": "http://a/v1#x", "curve": Path("no-such-run")}, "no-such-run"),
        ({"model": "http://a/v1#x", "whole": {"host": "0.0.0.0"}}, "--host: 0.0.0.0 is open to other machines"),
        ({"model": "http://a/v1#x", "route": {"texts": "always"}}, "--routes.x.texts: input should be 'never'"),
        ({"model": "tiny", "engine": "fast"}, "--engine fast: expected one of"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        served(monkeypatch, **given)


def test_the_command_hands_over_what_was_said_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[ServeOptions] = []
    monkeypatch.setattr("laconic.serving.serving_command.serve_until_asked", lambda given, say: seen.append(given))
    serve_models("tiny", port=0, tag=["law"], texts="consent")
    assert (seen[0].route, seen[0].whole) == ({"texts": "consent", "tags": ["law"]}, {"port": 0})
    with pytest.raises(InputError, match="--keep-accuracy: goes with --budget-from"):
        serve_models("tiny", keep_accuracy=0.5)


# --- assignment ------------------------------------------------------------------------------------------------------


def test_the_candidate_gets_its_share_of_users() -> None:
    """Of 4,000 users at 0.25: 1,000, with a standard deviation of 27."""
    assert abs(sum(gets_candidate("e", f"user{number}", 0.25) for number in range(4000)) - 1000) < 4 * 27


def test_a_growing_share_only_adds_users_and_another_experiment_deals_anew() -> None:
    users = [f"user{number}" for number in range(400)]
    early, late = ({user for user in users if gets_candidate("e", user, share)} for share in (0.1, 0.3))
    other = {user for user in users if gets_candidate("f", user, 0.3)}
    assert early < late and late != other and early - other


def test_a_place_is_never_one_and_an_experiments_name_does_not_run_into_the_users() -> None:
    assert place_of("ab", "c") != place_of("a", "bc")
    assert not gets_candidate("e", "u", 0.0) and gets_candidate("e", "u", 1.0)
