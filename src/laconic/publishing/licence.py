"""The licence and the base model as the hub names them. Neither is guessed.

1. `settle_licence` takes the licence that was given, or the one that is known: that of the bundled model, or the one that the
   base's own model card states, in its folder or in the hub's cache. Where there is none, it asks for one.
2. `hub_name` is the name of a model, if the hub can have one so called. Whether it is local is for the run to say (`origin.py`).

What is left out: whether a licence allows what is published. That is for the person who answers for the model.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from laconic.bundled import BUNDLED, BUNDLED_LICENCE
from laconic.errors import InputError
from laconic.publishing.places import without_folders
from laconic.system.hub import cached_file

UNLISTED = "other"
LICENCE_ID = re.compile(r"[a-z0-9][a-z0-9.+-]*")
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}")
CARD = "README.md"


@dataclass(frozen=True, slots=True)
class Licence:
    """`identifier` as the hub lists it, such as apache-2.0; a licence that it does not list is `other`, with a `name`."""

    identifier: str
    name: str | None = None
    origin: str = "given"

    @property
    def words(self) -> str:
        """The licence as the card's text names it."""
        return self.name or self.identifier


def settle_licence(model: str, given: str | None, name: str | None) -> Licence:
    """The licence of what is made from `model`. Raises an `InputError` that asks for one where it is neither given nor known."""
    if (given == UNLISTED) != (name is not None):
        raise InputError("--license-name: is for a licence that the hub does not list; it goes with --license other")
    if given is None:
        known = _known(model)
        if known is None:
            raise InputError(
                f"--license: nothing states the licence of {model}; name one that it allows, such as apache-2.0"
            )
        return known
    if not LICENCE_ID.fullmatch(given):
        raise InputError(f"--license {given}: expected an identifier of the hub, such as apache-2.0, or other")
    if name is not None and not (name.strip() and name.isprintable()):
        raise InputError("--license-name: expected what the licence is called, in one line")
    return Licence(given, name)


def hub_name(name: str) -> str | None:
    """The name, if the hub can have a model so called; else None.

    >>> hub_name("Qwen/Qwen3-0.6B"), hub_name("tiny"), hub_name("runs/a/model")
    ('Qwen/Qwen3-0.6B', None, None)
    """
    return name if HUB_NAME.fullmatch(name) and not name.lower().endswith(".gguf") else None


def _known(model: str) -> Licence | None:
    if model in BUNDLED:
        return Licence(BUNDLED_LICENCE, origin=f"that of {model}")
    card = Path(model) / CARD if Path(model).is_dir() else cached_file(model, CARD)
    return None if card is None or not card.is_file() else _stated(card, f"that of {without_folders(model)}")


def _stated(card: Path, origin: str) -> Licence | None:
    """The licence that a model card states in its metadata."""
    from huggingface_hub import ModelCard

    try:
        data = ModelCard.load(card, ignore_metadata_errors=True).data.to_dict()
    except Exception:  # a card's metadata may be anything
        return None
    stated, name = data.get("license"), data.get("license_name")
    if not isinstance(stated, str) or not LICENCE_ID.fullmatch(stated):
        return None
    return Licence(stated, name if isinstance(name, str) else None, origin)
