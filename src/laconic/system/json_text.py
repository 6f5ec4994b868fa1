"""JSON as its standard has it: what Python's own reader lets through on top of that is refused.

1. `NaN`, `Infinity` and numbers beyond the range of floating point are no numbers. A statistic that does not exist is null.
2. A key stands only once in an object. Python would keep the last value and drop the others without a word.

What is left out: files and their lines (`files.py`), and what the values mean (`fields.py`).
"""

import json
from collections import Counter
from math import isinf
from typing import Any, NoReturn


def parse_json(text: str) -> Any:
    """The value that a JSON text spells. Raises `ValueError` for anything that is not JSON.

    >>> parse_json('{"a": [1, 2.5, null]}')
    {'a': [1, 2.5, None]}
    """
    return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse, parse_float=_finite)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice!r:.80} stands twice in one object")
    return record


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number; what does not exist is null")


def _finite(text: str) -> float:
    value = float(text)
    if isinf(value):
        raise ValueError(f"{text:.40} is beyond the range of floating point")
    return value
