"""`tracking.json` in a run's folder: what each tracker calls the run, where it shows it, and what it has been sent.

Addresses stand there, and on the report's page, without the names and passwords of those who may write to them.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from laconic.system.fields import Fields
from laconic.system.files import read_json, write_json_atomically
from laconic.system.locks import LOCK_FILE, waiting_turn

TRACKING_FILE = "tracking.json"
USER_INFO = re.compile(r"(?<=://)(?:[^/\s]*|[^/\s:]*:[^\s@]*)@")
"""What stands before the host in an address, `user:password@`; a password may hold a slash where SQLAlchemy reads it."""
SECRET_OPTION = re.compile(r"(?<=[?&])(\w*(?:password|passfile|token|secret|key))=[^&\s#'\"]*", re.IGNORECASE)
"""An option of an address that lets its holder in, such as `?password=...`."""
SECRET_WORD = re.compile(
    r"(?<![\w-])(--?(?:[\w-]*-)?(?:key|token|secret|password)[= ]\s*)(?:'[^']*'|\"[^\"]*\"|[^\s'\"]+)", re.IGNORECASE
)
"""An option of a command that does, such as `--api-key ...`."""


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """A run in a tracker. `link` is the address of its page, empty if it has none; `shown_by` is the command that shows it here.

    `step` is the last step that was sent, and `results` those of the report set. `is_followed` is true if the run sends its steps
    while it trains.
    """

    run_id: str
    step: int
    link: str
    shown_by: str
    is_followed: bool
    results: Mapping[str, float] = field(default_factory=dict)


def without_passwords(text: str) -> str:
    """A text in which no address names a user, a password or a key, and no command a key.

    >>> without_passwords("http://ann:pw@host:5000/#/runs/1"), without_passwords("postgresql://host/db?password=pw&a=1")
    ('http://host:5000/#/runs/1', 'postgresql://host/db?password=...&a=1')
    >>> without_passwords("vllm --api-key sk-123 --max-tokens 9 --hf-token=hf_1")
    'vllm --api-key ... --max-tokens 9 --hf-token=...'
    """
    return SECRET_WORD.sub(r"\1...", SECRET_OPTION.sub(r"\1=...", USER_INFO.sub("", text)))


def read_tracked_runs(run: Path) -> dict[str, TrackedRun]:
    """The run in every tracker to which it was sent, by the tracker's name. Raises an `InputError` if the file is damaged."""
    file = run / TRACKING_FILE
    if not file.exists():
        return {}
    stored = Fields(read_json(file), str(file))
    return {name: _tracked(stored.object(name)) for name in stored.record}


def _tracked(stored: Fields) -> TrackedRun:
    results = stored.object("results")
    return TrackedRun(
        run_id=stored.text("run_id"),
        step=stored.whole("step"),
        link=without_passwords(stored.text("link")),
        shown_by=without_passwords(stored.text("shown_by")),
        is_followed=stored.truth("is_followed"),
        results={key: results.number(key) for key in results.record},
    )


def write_tracked_runs(run: Path, tracked: Mapping[str, TrackedRun]) -> None:
    """Write the file, completely or not at all."""
    write_json_atomically(run / TRACKING_FILE, {name: asdict(found) for name, found in tracked.items()})


def change_tracked_runs(run: Path, change: Callable[[dict[str, TrackedRun]], Mapping[str, TrackedRun]]) -> None:
    """Write what `change` makes of the file's content. Other processes that do so, for other trackers, wait meanwhile."""
    with waiting_turn(run / f".{TRACKING_FILE}{LOCK_FILE}"):
        write_tracked_runs(run, change(read_tracked_runs(run)))


def followed_tracker(run: Path) -> str | None:
    """The tracker that follows the run in the folder whenever it trains; None if there is none."""
    return next((name for name, found in read_tracked_runs(run).items() if found.is_followed), None)
