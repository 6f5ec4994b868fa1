"""Does the recipe make sense, and does it on this machine: unread keys, packages, servers, repeated problems, threads, disk?

Only certain faults are reported. For example, no check judges whether a learning rate is good.
"""

import math
import os
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from laconic.config.policy import ShapeConfig
from laconic.config.recipe import Recipe
from laconic.doctor.examination import Examined
from laconic.doctor.findings import Finding, Level, found_in
from laconic.doctor.memory_model import GIB
from laconic.doctor.weights import count_weights
from laconic.errors import ModelError, install_command
from laconic.models.loading import named_device
from laconic.problems.address import name_of
from laconic.problems.load import is_on_hub
from laconic.selection.pool import most_problems, visits
from laconic.system.text import counted
from laconic.system.threads import available_cores
from laconic.training.check.phases import ResolvedPhase
from laconic.training.check.recipe import complaints_about
from laconic.training.check.servers import complaints_about_servers

MANY_VISITS = 50  # visits to one problem; from this number on, a guard against learning by heart is needed
FLIPPED = (
    0.1  # share of problems whose grade changes; 0.09 fits benchmarks/two_phase.md (greedy, 240 problems, +-3.7 points)
)
FLOAT_BYTES = 4
SMALL_FILES = 2**24  # tokenizer, configs, rollouts of a short run


# --- senseless settings ----------------------------------------------------------------------------------------------


def check_sense(examined: Examined) -> Iterator[Finding]:
    """Does every key that the recipe changes make a difference? Errors of this kind are raised before anything is examined."""
    complaints = complaints_about(examined.recipe, examined.phases)
    yield from map(found_in, complaints) if complaints else [Finding("fine", "every changed key is read", "recipe")]


# --- packages --------------------------------------------------------------------------------------------------------

IsNeeded = Callable[[str], bool]
EXTRAS: tuple[tuple[str, tuple[str, ...], IsNeeded], ...] = (
    ("gym", ("reasoning_gym",), lambda source: source.startswith("gym:")),
    ("data", ("datasets",), is_on_hub),
    ("data", ("pyarrow",), lambda source: name_of(source).endswith(".parquet")),
)
"""For each extra, the modules that it installs and a test for the sources of problems that need them."""

PAGE_MODULE = "jinja2"  # a module of the extra `report`, which a run does not need


def check_extras(examined: Examined) -> Iterator[Finding]:
    """Is every optional package installed that the recipe's problems need?"""
    problems = examined.recipe.problems
    sources = {f"problems.{name}": source for name, source in problems.model_dump().items() if source is not None}
    lacking = [
        Finding("error", f"{source} needs {module}, which is not installed", where, install_command(extra))
        for where, source in sources.items()
        for extra, modules, is_wanted in EXTRAS
        for module in modules
        if is_wanted(source) and not is_installed(module)
    ]
    if not is_installed(PAGE_MODULE):
        remedy = install_command("report")
        lacking.append(
            Finding("warning", f"laconic report needs {PAGE_MODULE}, which is not installed", "report", remedy)
        )
    yield from lacking or [
        Finding("fine", "every optional package that problems and page need is installed", "problems")
    ]


def is_installed(module: str) -> bool:
    """Whether a package could be imported, found out without importing it."""
    return find_spec(module) is not None


# --- servers ---------------------------------------------------------------------------------------------------------


def check_servers(examined: Examined) -> Iterator[Finding]:
    """Do the vLLM servers that phases name answer, and are the programs there that start them?"""
    try:
        complaints = list(complaints_about_servers(examined.phases))
    except ModelError as error:
        where, _, what = str(error).partition(": ")
        yield Finding("error", what, where, "sampler.server=http://HOST:PORT, or the path of vllm")
        return
    named = any(phase.config.sampler.engine == "vllm" for phase in examined.phases)
    what = "every vLLM server answers, or can be started" if named else "no phase names a vLLM server"
    yield from map(found_in, complaints) if complaints else [Finding("fine", what, "sampler.server")]


# --- how often, how sure ---------------------------------------------------------------------------------------------


def check_epochs(examined: Examined) -> Iterator[Finding]:
    """How often is each problem trained on? A few problems that recur often are learnt by heart; only the watch set shows
    this."""
    for phase in examined.recipe.phases:
        size = most_problems(phase, len(examined.trainable))
        if not size:
            continue
        times = visits(phase, size)
        what = f"{counted(size, 'problem')}, each seen up to {math.ceil(times)} times in {counted(phase.steps, 'step')}"
        if times > MANY_VISITS and phase.end.guard_drop is None:
            field = f"phases.{phase.name}.end.guard_drop"
            yield Finding("warning", f"{what}, with no guard against learning them by heart", field, f"{field}=0.05")
        else:
            yield Finding("fine", what, f"phases.{phase.name}")


def check_margin(examined: Examined) -> Iterator[Finding]:
    """Is the report set large enough for the margin?

    The paired change of accuracy over n problems with one response each has a 95% interval of about 1.96 sqrt(d / n) to either
    side, where d is the share of problems whose grade changed: a difference of -1, 0 or 1 has variance d if its mean is small.
    """
    if examined.recipe.problems.report is None:
        yield Finding("fine", "no problems are reported on, so nothing is claimed", "problems.report")
        return
    size, margin = len(examined.sets["report"]), examined.recipe.report.margin
    width = 1.96 * math.sqrt(FLIPPED / size)
    what = f"{counted(size, 'reported problem')} show a change of accuracy to about {100 * width:.1f} points"
    if width <= margin:
        yield Finding("fine", f"{what}, the margin is {100 * margin:g}", "report.margin")
        return
    more = f"report about {math.ceil((1.96 / margin) ** 2 * FLIPPED):,} problems, or " if margin else ""
    remedy = f"{more}report.margin={math.ceil(100 * width) / 100:g}"
    yield Finding("warning", f"{what}; a margin of {100 * margin:g} cannot be shown to hold", "report.margin", remedy)


# --- the machine -----------------------------------------------------------------------------------------------------


def check_threads(examined: Examined) -> Iterator[Finding]:
    """Are there more threads than cores? They would wait for one another."""
    threads, cores = examined.recipe.threads, available_cores()
    is_cpu = named_device(examined.recipe.policy.device).type == "cpu"
    if is_cpu and threads is not None and threads > cores:
        yield Finding("warning", f"{threads} threads on {counted(cores, 'core')}", "threads", f"threads={cores}")
    else:
        yield Finding("fine", f"{counted(threads or cores, 'thread')} on {counted(cores, 'core')}", "threads")


def check_disk(examined: Examined) -> Iterator[Finding]:
    """Do the checkpoints fit the disk of the working directory, where runs are written unless --out names another place?"""
    place = Path.cwd()
    if not os.access(place, os.W_OK):
        yield Finding("warning", f"{place} cannot be written to", "--out", "give train another folder with --out")
        return
    assert examined.shape is not None, "the table says that this check needs the shape"
    recipe = examined.recipe
    size = max(_phase_bytes(examined.shape.config, recipe, phase) for phase in examined.phases)
    others = len(recipe.phases) + 1  # beside the newest: every phase's result, the best so far
    number, free = recipe.checkpoints.keep + others, shutil.disk_usage(place).free
    what = f"up to {number} checkpoints of {size / GIB:.2f} GiB, {free / GIB:.2f} GiB free here"
    level: Level = "error" if number * size + SMALL_FILES > free else "fine"
    helps = "checkpoints.keep=1, or " if (1 + others) * size + SMALL_FILES <= free else ""
    elsewhere = f"{helps}--out on a disk with {(number * size + SMALL_FILES) / GIB:.2f} GiB free"
    yield Finding(level, what, "checkpoints", elsewhere if level == "error" else "")


def _phase_bytes(shape: ShapeConfig, recipe: Recipe, phase: ResolvedPhase) -> int:
    """Bytes of a checkpoint: the stored model, the trainable weights in float32 with Adam's two moments, and a reference that
    moves."""
    weights, has_lora = count_weights(shape, recipe.policy), recipe.policy.lora is not None
    learns = weights.adapters if has_lora else weights.total
    critic = {"zero": 0, "lora": weights.adapters, "separate": weights.adapters if has_lora else weights.body}
    reference = learns if phase.has_moving_reference else 0
    moved = 3 * (learns + critic[phase.critic]) + reference
    return weights.total * shape.stored_bytes + FLOAT_BYTES * moved
