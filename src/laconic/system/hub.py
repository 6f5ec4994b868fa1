"""The Hugging Face hub: does it answer, and does it have a model or a dataset of a given name?

1. `hub_answers` opens one short connection, since the hub's libraries try for most of a minute where there is no network. The
   result is remembered for `REMEMBERED_SECONDS`, because one command asks for a model and three sets of problems.
2. `ask_hub` then sends one request about a name, and returns "there", "absent" or "out of reach". Where the hub is out of
   reach, callers read its local cache.
3. `cache_only` keeps libraries that have no such option of their own from sending requests to the hub.

What is left out: downloads, which the libraries do themselves, and the revisions of a model or dataset.
"""

import contextlib
import socket
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from threading import Thread
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import getproxies

RepositoryKind = Literal["model", "dataset"]
Presence = Literal["there", "absent", "out of reach"]
HUB_SECONDS = 3.0  # the longest wait for a connection, the look-up of its address included
REQUEST_SECONDS = 5.0  # the longest wait for the answer to one request
REMEMBERED_SECONDS = 60


def ask_hub(name: str, kind: RepositoryKind) -> Presence:
    """Whether the hub has the model or dataset `name`: one request, which takes a few seconds at most.

    "absent" means that the hub has no such name or that `name` is not a valid one. Where the hub answers with any other error,
    the result is "there": the library that loads the name then says what is wrong. "out of reach" means that there is no
    network, that the hub is switched off (`HF_HUB_OFFLINE`), or that it is too slow.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    if not hub_answers():
        return "out of reach"
    try:
        HfApi().repo_info(name, repo_type=kind, timeout=REQUEST_SECONDS)
    except GatedRepoError:
        return "there"
    except (RepositoryNotFoundError, HFValidationError):
        return "absent"
    except HfHubHTTPError:
        return "there"
    except Exception:  # no network: each of the libraries that may send the request raises an exception of its own
        return "out of reach"
    return "there"


def is_cached(name: str, file: str) -> bool:
    """Whether the hub's cache on this machine holds `file` of the model `name`; no request is sent."""
    return cached_file(name, file) is not None


def cached_file(name: str, file: str) -> Path | None:
    """Where the hub's cache on this machine holds `file` of the model `name`; None where it does not. No request is sent."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, file)
    except HFValidationError:  # no name that a model of the hub can have, such as a path
        return None
    return Path(found) if isinstance(found, str) else None


def hub_answers() -> bool:
    """Whether the hub can be reached. Behind a proxy a connection of our own would not show it, so the answer is then True."""
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return False
    place = urlsplit(constants.ENDPOINT)
    port = place.port or (80 if place.scheme == "http" else 443)
    return bool(getproxies()) or _connects(place.hostname or "", port, int(time.monotonic() // REMEMBERED_SECONDS))


@lru_cache(maxsize=4)
def _connects(host: str, port: int, _minute: int) -> bool:
    """Whether `host` accepts a connection. It is opened in a thread, since a socket's timeout does not cover the look-up of the
    address; `_minute` only makes the cache forget."""
    reached: list[bool] = []

    def connect() -> None:
        with contextlib.suppress(OSError):
            socket.create_connection((host, port), timeout=HUB_SECONDS).close()
            reached.append(True)

    worker = Thread(target=connect, daemon=True)
    worker.start()
    worker.join(HUB_SECONDS)
    return bool(reached)


def cached_revision(name: str) -> str | None:
    """The commit of the model `name` that lies in the hub's cache, and is read from there; None if there is none."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json")
    return Path(found).parent.name if isinstance(found, str) else None


@contextlib.contextmanager
def cache_only(is_wanted: bool = True) -> Iterator[None]:
    """Inside, if `is_wanted`, the hub's libraries read their cache and send no request, as under `HF_HUB_OFFLINE=1`."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or is_wanted
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
