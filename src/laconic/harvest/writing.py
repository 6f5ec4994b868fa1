"""Writes the file of an export, until the store registers them itself."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from laconic.system.files import to_jsonl, write_text_atomically
from laconic.traffic.store import TrafficStore


def write_export(store: TrafficStore, path: Path, rows: Sequence[Mapping[str, Any]]) -> int:
    """Write the rows that are not made of forgotten requests, one JSON object per line; how many there were."""
    gone = store.tombstones()
    kept = [row for row in rows if gone.isdisjoint(row["traffic_request"])]
    write_text_atomically(path, to_jsonl(kept))
    return len(kept)
