r"""What may change while a run is interrupted, before it is resumed.

1. What changes no training may change freely (`FREE`): how the report set is measured, how many checkpoints are kept.
2. What a person mends in a run that stopped may change where the person accepts it (`ACCEPTABLE`): rates and bounds of the
   update, rewards, the end rule, what the memory and the machine decide, and what the run reads.
3. Everything else would make another run, and is refused. So is a change of that by which a phase was probed or its offline
   rollouts were drawn and graded, where the phase has these already and goes on with them (`MADE_WITH`).

A key is written as `config/difference.py` names it: `phases.brevity.optimizer.lr`, `inputs.model`. Every change is recorded in
the run's environment.json, with the step after which it holds.
"""

import re
import shlex
from pathlib import Path, PurePath
from typing import Literal

from laconic.config.difference import Difference
from laconic.errors import InputError

Freedom = Literal["free", "acceptable", "refused"]

FREE = (
    r"report\.(temperatures|samples|margin)(\..+)?",
    r"(inputs\.)?problems\.report",  # where it shares a problem with the train set, inputs.problems.train changes too
    r"(name|grader\.workers|checkpoints\.keep|policy\.shape(\..+)?|phases\..+\.sampler\.server(_seconds)?)",
    r"machine\..+",
)
FREE_ONCE_TRAINED = r"report\.max_tokens|inputs\.teachers\..+"
"""Before, the former caps the responses of the watch set too, which may end a phase."""
NEVER_ONCE_TRAINED = (
    r"phases\..+\.(optimizer|end|select|alarms|algorithm|sampler\.temperature|rewards\.(correct|wrong|no_answer|truncated))(\..+)?"
    r"|phases\..+\.rewards\.terms\..+\.(weight|options(\..+)?)|checkpoints\.every"
)
"""What shapes training alone: a finished run would only tell of settings that no step had. A user's own file may have
changed since, for another run."""

ACCEPTABLE = (
    r"phases\..+\.(optimizer|end|select|alarms)(\..+)?",
    r"phases\..+\.algorithm\.(kl_coef|clip_low|clip_high|importance_cap|entropy_target|entropy_coef_step)",
    r"phases\..+\.rewards\.(correct|wrong|no_answer|truncated|timeout_seconds)",
    r"phases\..+\.rewards\.terms\..+\.(name|sha256|weight|options(\..+)?)",
    r"phases\..+\.sampler\.(temperature|batch_size|compile|engine)",
    r"(threads|policy\.device|checkpoints\.every|grader\.(timeout_seconds|name|sha256)|report\.max_tokens)",
    r"inputs\..+",
)
MEASURED_WITH = (
    r"grader\.(name|sha256)|report\.(samples|max_tokens)|inputs\.(model|prompt|problems\.report|files\..+)"
    r"|phases\..+\.sampler\.batch_size"
)
"""Keys on which the responses to the report set depend."""

MADE_WITH = {
    "probe.jsonl": r"phases\.PHASE\.select\.(how|pool|samples)",
    "offline.jsonl": r"phases\.PHASE\.select\.(how|pool|samples|count|options(\..+)?)"
    r"|inputs\.problems\.train|grader\.(name|sha256)|phases\.PHASE\.sampler\.temperature",
    "checkpoints": r"phases\.PHASE\.select\.(how|pool|samples)",
}
"""The keys by which each of what a phase has and a resumed run goes on with was made."""

INPUTS = r"inputs\.(files\.|teachers\.[0-9]+\.)?"
"""What stands before an input's name in a key: files are named by their paths, a teacher's after the number of its phase."""


def check_acceptance(*, resume: bool, accept_changes: bool) -> None:
    """Raise `InputError` where changes are to be accepted that a new run cannot have."""
    if accept_changes and not resume:
        raise InputError("--accept-changes: a new run has nothing that could have changed; it goes with --resume")


def freedom(key: str, *, is_trained: bool) -> Freedom:
    """Whether the key may change before a run is resumed; `is_trained` says whether all its phases are finished.

    >>> [freedom(key, is_trained=False) for key in ("report.samples", "phases.short.optimizer.lr", "seed")]
    ['free', 'acceptable', 'refused']
    >>> freedom("phases.short.optimizer.lr", is_trained=True)
    'refused'
    """
    if any(re.fullmatch(pattern, key) for pattern in (*FREE, *[FREE_ONCE_TRAINED] * is_trained)):
        return "free"
    if is_trained and re.fullmatch(NEVER_ONCE_TRAINED, key):
        return "refused"
    return "acceptable" if any(re.fullmatch(pattern, key) for pattern in ACCEPTABLE) else "refused"


def is_moved_file(difference: Difference) -> bool:
    """Whether it is only the folder of a user's own reward or grader, as after a run was copied. What the file holds has a digest
    beside its name, which differs by itself where it has changed.

    >>> is_moved_file(Difference("grader.name", "/a/mine.py:f", "/b/mine.py:f", {"sha256": "12"}))
    True
    """
    sides = difference.ours, difference.theirs
    is_file = difference.key.endswith(".name") and isinstance(difference.owner, dict) and difference.owner.get("sha256")
    if not is_file or not all(isinstance(side, str) for side in sides):
        return False
    before, after = map(PurePath, sides)
    return before.name == after.name


def changes_measuring(key: str) -> bool:
    """Whether responses to the report set that were drawn before the change would be drawn otherwise after it."""
    return re.fullmatch(MEASURED_WITH, key) is not None


def was_made_with(made: str, key: str, phase: str) -> bool:
    """Whether what a phase has made, a key of `MADE_WITH`, would be another one after a change of `key`.

    >>> [was_made_with("probe.jsonl", f"phases.brevity.select.{key}", "brevity") for key in ("samples", "count")]
    [True, False]
    >>> was_made_with("offline.jsonl", "phases.brevity.sampler.temperature", "brevity")
    True
    """
    return re.fullmatch(MADE_WITH[made].replace("PHASE", re.escape(phase)), key) is not None


def resume_command(run: Path, *changes: str) -> str:
    """The command that goes on with the run in the folder `run`, with changes to its recipe that are accepted.

    >>> resume_command(Path("runs/mine"), "seed=1")
    'laconic train runs/mine/config.json seed=1 --out runs/mine --resume --accept-changes'
    """
    words = ["laconic", "train", str(run / "config.json"), *changes, "--out", str(run), "--resume"]
    return shlex.join([*words, "--accept-changes"] if changes else words)


def refusal_line(difference: Difference, run: Path, *, is_acceptable: bool, made: Path | None = None) -> str:
    """Why the run in the folder `run` is not resumed in spite of the difference, and how it can be; one line. `made` is what was
    made with the value before, if that is the reason."""
    because = f", and {made} was made as it was" if made else ""
    accept = "accept the change from here on with --accept-changes" if is_acceptable else ""
    ways = f"{accept and f', {accept},'} or start a new run with another --out"
    if difference.key.endswith(".sha256"):
        file = re.sub(r"\.py:\w+$", ".py", difference.owner["name"])
        return (
            f"{file} has changed since the run began (its sha256 differs){because}; put the file back as it was{ways}"
        )
    if difference.key.startswith("inputs."):
        what = re.sub(INPUTS, "", difference.key, count=1)
        return f"{what}: not as it was when the run began (its digest differs){because}; put it back as it was{ways}"
    again = f"resume it as it was started, or with  {resume_command(run)}"
    return (
        f"the run was started with another recipe or overrides: {difference.sentence}{because}; {again}"
        f"{accept and f', or {accept}'}"
    )
