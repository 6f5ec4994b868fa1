"""A recipe without the folders and servers of the machine on which it was trained, which may name people and hold keys.

1. An absolute path becomes its last part: what the file or folder is called is told, where it lay is not. Relative paths stay.
   Texts of prompts are no paths.
2. The `server` of a sampler, an address or a command, becomes the usual command.
"""

import re
from typing import Any

from laconic.config.defaults import VLLM_SERVER

FOLDERS = re.compile(r"(?:hf:)?(?:/|~|[A-Za-z]:[\\/])(?:.*[\\/])?(?=[^\\/])", re.DOTALL)
TEXT_KEYS = frozenset({"prompt", "reference_instruction", "budget"})
"""Keys of a recipe under which texts stand."""


def without_folders(address: str) -> str:
    """An address of a model, of problems or of a file with a function, without the folders of an absolute path.

    >>> without_folders("/home/ann/mine.jsonl?count=5"), without_folders("hf:/data/set:train"), without_folders("org/base")
    ('mine.jsonl?count=5', 'set:train', 'org/base')
    """
    found = FOLDERS.match(address)
    return address[found.end() :] if found else address


def public_tree(value: Any) -> Any:
    """A recipe's tree, or a part of it, with every address as `without_folders` gives it, and no server but the usual one."""
    if isinstance(value, str):
        return without_folders(value)
    if isinstance(value, list):
        return [public_tree(item) for item in value]
    if isinstance(value, dict):
        return {key: _public_item(key, item) for key, item in value.items()}
    return value


def _public_item(key: str, item: Any) -> Any:
    if key in TEXT_KEYS:
        return item
    public = public_tree(item)
    return public | {"server": VLLM_SERVER} if key == "sampler" and isinstance(public, dict) else public
