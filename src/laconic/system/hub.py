"""The hub, asked once: does it answer, and does it hold a model or a dataset of that name?

1. `hub_answers` opens one short connection, since the hub's libraries try for most of a minute where there is no network. What
   it found is remembered for `REMEMBERED_SECONDS`: a command asks for a model and three sets of problems.
2. `ask_hub` then asks for one name: "there", "absent" or "out of reach". What is out of reach is read from the hub's cache or
   not at all.
3. `cache_only` keeps libraries that have no such option of their own from asking the hub.

What is left out: downloads, which the libraries do themselves, and which revision is there.
"""

import contextlib
import socket
import time
from collections.abc import Iterator
from functools import lru_cache
from threading import Thread
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import getproxies

RepositoryKind = Literal["model", "dataset"]
Presence = Literal["there", "absent", "out of reach"]
HUB_SECONDS = 3.0  # to answer a connection, the look-up of its address included
REQUEST_SECONDS = 5.0  # to answer one request
REMEMBERED_SECONDS = 60


def ask_hub(name: str, kind: RepositoryKind) -> Presence:
    """Whether the hub holds the model or dataset `name`, by one request: never longer than a few seconds.

    "absent" is a name that the hub does not show, or that is none; a hub that answers anything else counts as "there", since
    its library then says what is wrong. No network, a hub that is switched off (`HF_HUB_OFFLINE`) or slow is "out of reach".
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
    except Exception:  # no network, in the words of whichever library sends the request
        return "out of reach"
    return "there"


def hub_answers() -> bool:
    """Whether the hub can be reached. What a proxy reaches, a connection of our own does not tell: there it counts as reached."""
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return False
    place = urlsplit(constants.ENDPOINT)
    port = place.port or (80 if place.scheme == "http" else 443)
    return bool(getproxies()) or _connects(place.hostname or "", port, int(time.monotonic() // REMEMBERED_SECONDS))


@lru_cache(maxsize=4)
def _connects(host: str, port: int, _minute: int) -> bool:
    """One connection in a thread of its own: no timeout of a socket covers the look-up of the address."""
    reached: list[bool] = []

    def connect() -> None:
        with contextlib.suppress(OSError):
            socket.create_connection((host, port), timeout=HUB_SECONDS).close()
            reached.append(True)

    worker = Thread(target=connect, daemon=True)
    worker.start()
    worker.join(HUB_SECONDS)
    return bool(reached)


@contextlib.contextmanager
def cache_only(is_wanted: bool = True) -> Iterator[None]:
    """Where wanted, the hub's libraries read their cache and send no request, as under `HF_HUB_OFFLINE=1`."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or is_wanted
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
