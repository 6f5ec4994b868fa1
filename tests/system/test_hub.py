"""The hub, asked once: what its answers mean, how long it may take, and what is said where it does not answer."""

import socket
import threading

import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

from laconic.config.policy import PolicyConfig
from laconic.errors import ModelError, ProblemsError
from laconic.models.loading import hub_options, load_model, resolve_model
from laconic.problems.load import load_problems
from laconic.system import hub as hub_access
from laconic.system.hub import ask_hub, cache_only, hub_answers


@pytest.fixture
def online(monkeypatch):
    """As without HF_HUB_OFFLINE and without a proxy; nothing remembered."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_access, "getproxies", dict)
    hub_access._connects.cache_clear()
    yield
    hub_access._connects.cache_clear()


def raising(error):
    def asked(*_args, **_kwargs):
        raise error

    return asked


@pytest.mark.parametrize(
    ("error", "presence"),
    [
        (HFValidationError("no name"), "absent"),
        (RepositoryNotFoundError.__new__(RepositoryNotFoundError), "absent"),
        (OSError("no route"), "out of reach"),
        (TimeoutError("slow"), "out of reach"),
    ],
)
def test_what_the_hub_says_is_there_absent_or_out_of_reach(monkeypatch, error, presence):
    """A name that is none cannot be there; no network is not the name's fault."""
    monkeypatch.setattr(hub_access, "hub_answers", lambda: True)
    monkeypatch.setattr(HfApi, "repo_info", raising(error))
    assert ask_hub("someone/thing", "dataset") == presence
    monkeypatch.setattr(HfApi, "repo_info", lambda *_args, **_kwargs: object())
    assert ask_hub("someone/thing", "dataset") == "there"


def test_a_look_up_that_hangs_is_given_up_and_remembered(online, monkeypatch):
    """No timeout of a socket covers the look-up of an address; the second question costs nothing."""
    calls, over = [], threading.Event()

    def hangs(*_args, **_kwargs):
        calls.append(1)
        over.wait(60)
        calls.append(2)
        raise OSError

    monkeypatch.setattr(hub_access, "HUB_SECONDS", 0.1)
    monkeypatch.setattr(hub_access, "REMEMBERED_SECONDS", 10**9)
    monkeypatch.setattr(socket, "create_connection", hangs)
    assert ask_hub("someone/thing", "model") == ask_hub("other/thing", "dataset") == "out of reach"
    assert calls == [1], "one look-up, which has not ended"
    over.set()


def test_a_switched_off_hub_is_not_asked(monkeypatch):
    """`HF_HUB_OFFLINE=1`, which the tests run under."""
    monkeypatch.setattr(socket, "create_connection", raising(AssertionError("asked")))
    assert not hub_answers()


def test_reading_the_cache_only_ends_with_its_block(online):
    with cache_only(False):
        assert not constants.is_offline_mode()
    with pytest.raises(KeyError), cache_only():
        assert constants.is_offline_mode()
        raise KeyError
    assert not constants.is_offline_mode()


def test_a_mistyped_model_is_told_what_is_near_it(monkeypatch, tmp_path):
    """The bundled model and model folders beside it: out of reach, absent, and as a path."""
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ModelError, match=r"tinny: cannot be loaded: .*the hub does not answer from here; near it: tiny$"
    ):
        load_model("tinny", PolicyConfig(device="cpu"))
    with pytest.raises(ModelError, match=r"no such folder.*; near it: .*runs/mine$"):
        resolve_model(str(tmp_path / "runs" / "mime"))
    monkeypatch.setattr("laconic.models.loading.ask_hub", lambda name, kind: "absent")
    with pytest.raises(ModelError, match=r"tinny: neither a local folder .* shows; near it: tiny$"):
        hub_options("tinny")
    with pytest.raises(ModelError, match=r"shows; is it spelled right\?$"):
        hub_options("someone/reasoner")


def test_a_dataset_out_of_reach_is_one_line(monkeypatch):
    """No retry is printed, and the library's own advice is left out."""
    pytest.importorskip("datasets")
    with pytest.raises(ProblemsError, match=r"cannot be loaded \(the hub does not answer from here, and its cache"):
        load_problems("hf:someone/problems:test")
