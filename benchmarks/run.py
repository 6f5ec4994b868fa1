"""Speed and memory beside what one would pick instead: `make bench`, or `python benchmarks/run.py [section ...]`.

1. Every side is a process of its own, with its own interpreter, that loads once and then answers requests (`sides/`).
   Transformers run in Laconic's environment; vLLM and TRL in theirs, which `benchmarks/peers.sh` makes.
2. The Laconic side makes the workload once: prompts as token ids, the checkpoint with and without its end token, a graded batch.
3. A comparison asks its sides in turn, `--repeats` times after a warm-up: same checkpoint, prompts, cap, float32 and threads.
   Of a side's variants (vLLM eager or compiled, TRL's micro-batch sizes) the faster one is kept.
4. Medians, ratios and targets go to `speed.json` section by section, and every section from there to `speed.md`.

Tokens are those really generated, end token included; lengths drawn at random differ from side to side, so mean lengths stand
beside them. A side that is missing or fails is a row that says so. The harness imports the standard library alone.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

from sides.contest import (
    GROUP_SIZE,
    OWN,
    SIDES,
    Bench,
    Contender,
    Options,
    peak_mib,
    slope_and_r2,
    step_seconds,
    tokens_per_second,
)
from sides.pipe import BENCHMARKS, CHECKOUT
from sides.table import Bound, Figure, Row, at_least, at_most, markdown

MEMORY_REPEATS = 3
LOSS_TOLERANCE = 1e-4
BUSY_SHARE = 0.4
TINY_BOUNDS = (
    {"generate": at_least(5), "vllm": at_least(1.5)},
    {"generate": at_least(2), "vllm": at_least(2)},
)
LARGER_BOUNDS = ({"generate": at_least(2)}, {"generate": at_least(1), "vllm": at_least(1)})
"""The targets of sampling: at natural lengths and at fixed ones, by the other side."""
CAP_TOLERANCE = 0.9


# --- sections --------------------------------------------------------------------------------------------------------


def sampling(bench: Bench) -> list[Row]:
    """Tokens per second, one response to each of `batch` distinct prompts, log-probabilities returned.

    The targets are those of the largest batch.
    """
    options, rows = bench.options, []
    natural, fixed = TINY_BOUNDS if options.is_tiny else LARGER_BOUNDS
    sides = ("laconic", "generate", *(["continuous"] if options.is_tiny else []), "vllm")
    for batch in options.batches:
        for what, cap, is_fixed, bounds in (
            ("natural lengths", options.cap, False, natural),
            (f"{options.fixed} tokens each", options.fixed, True, fixed),
        ):
            found = bench.compete(sides, task="sample", batch=batch, cap=cap, is_fixed=is_fixed)
            wanted = bounds if batch == max(options.batches) else {}
            rows += [
                speeds(f"{what}, batch {batch}", found["laconic"], found[side], wanted.get(side)) for side in sides[1:]
            ]
    return rows


def updating(bench: Bench) -> list[Row]:
    """Response tokens per second of one update on one batch: GRPO beside TRL's on the same tensors, and, of the bundled reasoner,
    PPO with critic and reference."""
    is_tiny = bench.options.is_tiny
    sides = ("laconic grpo", "trl", "laconic ppo") if is_tiny else ("laconic grpo", "trl, larger model")
    found = bench.compete(sides, task="update", cap=bench.options.cap)
    grpo, trl, *ppo = (found[side] for side in sides)
    bound = None if is_tiny else at_least(1.5)
    return [
        speeds("GRPO update", grpo, trl, bound, note=agreement(grpo, trl)),
        *(speeds("PPO update, with critic and reference", other, grpo) for other in ppo),
    ]


def agreement(ours: Contender, theirs: Contender) -> str:
    """Whether the first updates of two sides, from the same weights, had the same loss and gradient norm."""
    if not (ours.first and theirs.first):
        return ""
    pairs = [
        (name, ours.first[key], theirs.first[key]) for name, key in (("loss", "loss"), ("gradient norm", "grad_norm"))
    ]
    is_equal = all(abs(a - b) <= LOSS_TOLERANCE * max(1.0, abs(b)) for _, a, b in pairs)
    shown = ", ".join(f"{name} {a:.6f} / {b:.6f}" for name, a, b in pairs)
    return f"{shown}: {'equal' if is_equal else 'DIFFERENT'}"


def step(bench: Bench) -> list[Row]:
    """Tokens per second of whole RL steps (sample, grade, update); PPO has a separate critic and no reference."""
    options, rows = bench.options, []
    sides = ("laconic grpo", "laconic ppo", "trl")
    for what, cap, is_fixed, bound in (
        ("natural lengths", options.cap, False, at_least(4)),
        (f"{options.fixed} tokens each", options.fixed, True, at_least(2)),
    ):
        found = bench.compete(sides, task="step", cap=cap, is_fixed=is_fixed, num_problems=options.problems)
        grpo, ppo, trl = (found[side] for side in sides)
        rows += [
            speeds(f"GRPO step, {what}", grpo, trl, bound),
            row(f"PPO step over GRPO step, {what}", "s", ppo, grpo, step_seconds, at_most(2)),
        ]
    return rows


def busy(bench: Bench) -> list[Row]:
    """The speed beside one other process that never rests, over the quiet speed."""
    options, rows = bench.options, []
    batch = max(options.batches)
    asked = {
        f"sampling, natural lengths, batch {batch}": ("laconic", {"task": "sample", "batch": batch}),
        "GRPO step, natural lengths": ("laconic grpo", {"task": "step", "num_problems": options.problems}),
    }
    for what, (side, request) in asked.items():
        alone, beside = bench.contender(side), bench.contender(side)
        request |= {"cap": options.cap, "is_fixed": False}
        for contender in (alone, beside):
            contender.settle(request)
        for repeat in range(options.repeats):
            alone.measure(request | {"seed": repeat})
            with other_work():
                beside.measure(request | {"seed": repeat})
        rows.append(speeds(f"{what}: one core busy over none", beside, alone, at_least(BUSY_SHARE)))
    return rows


@contextmanager
def other_work() -> Iterator[subprocess.Popen[bytes]]:
    """A process that keeps one core busy as long as the block runs."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def memory(bench: Bench) -> list[Row]:
    """Peak resident memory, each figure from processes that did nothing else. Variants are not chosen among: each has a row."""
    options = bench.options
    sample = {"task": "sample", "batch": max(options.batches), "cap": options.cap, "is_fixed": False}
    whole = {"task": "step", "cap": options.cap, "is_fixed": False, "num_problems": options.problems}
    drawn, grpo, ppo = (
        peak(bench, s, r) for s, r in (("laconic", sample), ("laconic grpo", whole), ("laconic ppo", whole))
    )
    what = f"sampling, natural lengths, batch {max(options.batches)}"
    rows = [
        Row(what, "MiB", drawn[0], theirs)
        for side in ("generate", "continuous", "vllm")
        for theirs in peak(bench, side, sample)
    ]
    rows += [
        Row("GRPO step, natural lengths", "MiB", grpo[0], theirs, at_most(1)) for theirs in peak(bench, "trl", whole)
    ]
    return said([*rows, Row("PPO step, natural lengths", "MiB", ppo[0], grpo[0])])


def peak(bench: Bench, side: str, request: dict[str, Any]) -> list[Figure]:
    """The peak of each variant after two requests, measured `MEMORY_REPEATS` times (or fewer, where the options say)."""
    figures = []
    for variant in SIDES[side]:
        values, trouble = [], ""
        for _ in range(min(MEMORY_REPEATS, bench.options.repeats)):
            with bench.fresh(side, [variant]) as contender:
                contender.settle(request)
                contender.measure(request | {"seed": 1})
                values += [peak_mib(answer) for answer in contender.answers]
                trouble = trouble or contender.trouble
        figures.append(Figure(variant.name, () if trouble else tuple(values), trouble=trouble))
    return figures


def change(bench: Bench) -> list[Row]:
    """This checkout beside the commit that `--since` names: whole steps and sampling, in one run."""
    options, rows = bench.options, []
    batch = max(options.batches)
    sample = {"task": "sample", "batch": batch, "cap": options.cap}
    whole = {"task": "step", "cap": options.cap, "is_fixed": False, "num_problems": options.problems}
    asked = (
        (f"sampling, natural lengths, batch {batch}", "laconic", sample | {"is_fixed": False}),
        (
            f"sampling, {options.fixed} tokens each, batch {batch}",
            "laconic",
            sample | {"is_fixed": True, "cap": options.fixed},
        ),
        ("GRPO step, natural lengths", "laconic grpo", whole),
        ("PPO step, natural lengths", "laconic ppo", whole),
    )
    with checkout_of(options.since, bench.folder) as old:
        for what, side, request in asked:
            before = [replace(variant, name=f"{side} at {options.since}", checkout=old) for variant in SIDES[side]]
            now, then = bench.contender(side), bench.contender(side, before)
            bench.take_turns([now, then], request)
            rows.append(speeds(what, now, then))
        bench.close()
    return rows


@contextmanager
def checkout_of(commit: str, folder: Path) -> Iterator[Path]:
    """A work tree of `commit` in `folder`, as long as the block runs."""
    tree = folder / "since"
    git = ["git", "-C", str(CHECKOUT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
    try:
        yield tree
    finally:
        subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def startup(bench: Bench) -> list[Row]:
    """Seconds of commands that need no model, beside an interpreter that does nothing."""
    commands = {"laconic --help": ["--help"], "laconic list recipes": ["list", "recipes"]}
    rows = []
    for what, arguments in commands.items():
        ours, bare = [], []
        for _ in range(bench.options.repeats + 1):
            ours.append(seconds_of([str(OWN), "-m", "laconic", *arguments]))
            bare.append(seconds_of([str(OWN), "-c", "pass"]))
        rows.append(Row(what, "s", Figure("laconic", tuple(ours[1:])), Figure("python -c pass", tuple(bare[1:]))))
    return said(rows)


def seconds_of(command: Sequence[str]) -> float:
    """Wall time of a command that must succeed."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=BENCHMARKS.parent)
    return time.perf_counter() - began


def grading(bench: Bench) -> list[Row]:
    """Responses per second whose boxed answers are plain integers."""
    rows = []
    for how in ("grade_response", "grade_many"):
        found = bench.compete(["laconic"], task="grade", how=how, count=bench.options.graded)
        rows.append(Row(how, "responses/s", found["laconic"].figure(tokens_per_second)))
    return said(rows)


def linear(bench: Bench) -> list[Row]:
    """A GRPO step's cost against the tokens it sampled, over a 16-fold range of rollouts; and against the cap alone."""
    options, tokens, seconds, rows = bench.options, [], [], []
    for size in options.linear_problems:
        found = bench.compete(["laconic grpo"], task="step", cap=options.cap, is_fixed=False, num_problems=size)
        answers = found["laconic grpo"].answers
        rows.append(row(f"{size * GROUP_SIZE} rollouts", "s", found["laconic grpo"], None, step_seconds))
        tokens += [statistics.median(answer["tokens"] for answer in answers)] if answers else []
        seconds += [statistics.median(answer["seconds"] for answer in answers)] if answers else []
    if len(tokens) > 1:
        slope, r2 = slope_and_r2(tokens, seconds)
        note = (
            f"R² {r2:.4f}, from {min(tokens):,.0f} to {max(tokens):,.0f} tokens per step; 1 is linear, less is cheaper"
        )
        rows += said([Row("slope of log seconds over log tokens", "", Figure("laconic grpo", (slope,)), note=note)])
    return rows + caps(bench)


def caps(bench: Bench) -> list[Row]:
    """The same step under two caps, asked in turn: responses end by themselves, so the cap should not matter."""
    options = bench.options
    low, high = (bench.contender("laconic grpo") for _ in range(2))
    request = {"task": "step", "is_fixed": False, "num_problems": options.problems}
    pairs = [(low, request | {"cap": options.cap}), (high, request | {"cap": options.long_cap})]
    for contender, asked in pairs:
        contender.settle(asked)
    for repeat in range(options.repeats):
        for contender, asked in pairs:
            contender.measure(asked | {"seed": repeat})
    return [speeds(f"cap {options.long_cap} over cap {options.cap}", high, low, at_least(CAP_TOLERANCE))]


SECTIONS: dict[str, Callable[[Bench], list[Row]]] = {
    section.__name__: section for section in (sampling, updating, step, busy, memory, change, startup, grading, linear)
}


# --- rows ------------------------------------------------------------------------------------------------------------


def row(
    what: str,
    unit: str,
    ours: Contender,
    theirs: Contender | None,
    quantity: Callable[[dict[str, Any]], float],
    bound: Bound | None = None,
    note: str = "",
) -> Row:
    """One comparison of two contenders, printed as it comes."""
    other = theirs.figure(quantity) if theirs else None
    return said([Row(what, unit, ours.figure(quantity), other, bound, note)])[0]


def speeds(what: str, ours: Contender, theirs: Contender, bound: Bound | None = None, note: str = "") -> Row:
    """One comparison in tokens per second."""
    return row(what, "tokens/s", ours, theirs, tokens_per_second, bound, note)


def said(rows: list[Row]) -> list[Row]:
    """The rows, printed."""
    for line in markdown(rows).splitlines()[2:]:
        print(line, flush=True)
    return rows


# --- the page --------------------------------------------------------------------------------------------------------


def record(bench: Bench, name: str, rows: Sequence[Row]) -> dict[str, Any]:
    """A section's entry in speed.json: its rows, and what one needs to repeat them."""
    return {
        "date": date.today().isoformat(),
        "machine": machine(),
        "matrix_rates": bench.rates,
        "command": command(name, bench.options),
        "versions": dict(bench.versions),
        "rows": [line.to_json() for line in rows],
    }


def command(name: str, options: Options) -> str:
    """What to type to measure the section again: repeats, threads, and every other option that is not the default."""
    shown = {"repeats", "threads"} | {
        key for key in asdict(options) if getattr(options, key) != getattr(Options(), key)
    }
    values = {key: value for key, value in asdict(options).items() if key in shown} | (
        {} if options.is_tiny else {"model": Path(options.model).name}
    )
    flags = [f"--{key.replace('_', '-')} {_joined(value)}" for key, value in values.items()]
    return " ".join(["python benchmarks/run.py", name, *flags])


def _joined(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def machine() -> str:
    """Processor, cores this process may use, operating system."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{names[0] if names else platform.processor()}, {cores} cores, {platform.system()}"


def render(record: dict[str, dict[str, Any]]) -> str:
    """speed.md of everything in speed.json, in the order of `SECTIONS`."""
    head = (
        "# Speed and memory\n\n"
        "`make bench` writes this page (`benchmarks/run.py` says how it measures, `benchmarks/peers.sh` installs the other "
        "sides). The bundled reasoner, or the model that a heading names; float32, T = 1; medians of alternating repeats after a "
        "warm-up, with their range. A ratio is the left figure over the right one.\n"
    )
    order = {name: number for number, name in enumerate(SECTIONS)}
    names = sorted(record, key=lambda name: (order[name.partition(",")[0]], name))
    return "\n".join([head, *(_section(name, record[name]) for name in names)])


def title(name: str, options: Options) -> str:
    """What a section is called in speed.json: with the model's name, where it is not the bundled reasoner."""
    return name if options.is_tiny else f"{name}, {Path(options.model).name}"


def _section(name: str, entry: dict[str, Any]) -> str:
    says = " ".join((SECTIONS[name.partition(",")[0]].__doc__ or "").split())
    versions = "; ".join(
        f"{side}: {', '.join(f'{package} {number}' for package, number in packages.items())}"
        for side, packages in entry["versions"].items()
    )
    rows = markdown([Row.from_json(line) for line in entry["rows"]])
    measured = (
        f"`{entry['command']}`, {entry['date']}, {entry['machine']}{_rates(entry.get('matrix_rates', {}))}. {versions}."
    )
    return f"## {name[0].upper()}{name[1:]}\n\n{says}\n\n{measured}\n\n{rows}"


def _rates(rates: Mapping[str, float]) -> str:
    """The processor's own speed in words."""
    shown = " and ".join(f"{rate:.0f} on {number}" for number, rate in rates.items())
    return f"; float32 matrix products run at {shown} threads (GFLOP/s)" if shown else ""


def write(out: Path, name: str, entry: dict[str, Any]) -> None:
    """Put one section into speed.json and write speed.md anew."""
    file = out / "speed.json"
    entries = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    entries[name] = entry
    file.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    (out / "speed.md").write_text(render(entries), encoding="utf-8")


def parse(arguments: Sequence[str]) -> tuple[list[str], Options, Path]:
    """Sections, options and the folder of speed.json and speed.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Options()
    parser.add_argument(
        "sections", nargs="*", metavar="section", help=f"of {', '.join(SECTIONS)}; all but change without one"
    )
    parser.add_argument("--model", default=default.model, help='a model folder, or "tiny"')
    for name in ("repeats", "threads", "problems", "cap", "long-cap", "fixed", "warm-up", "graded"):
        parser.add_argument(f"--{name}", type=int, default=getattr(default, name.replace("-", "_")))
    parser.add_argument("--batches", type=int, nargs="+", default=default.batches)
    parser.add_argument("--since", default=default.since, metavar="COMMIT", help="measure `change` against this commit")
    parser.add_argument("--out", type=Path, default=BENCHMARKS, help="folder of speed.json and speed.md")
    given = vars(parser.parse_args(arguments))
    sections, out = given.pop("sections") or [name for name in SECTIONS if name != "change"], given.pop("out")
    if Path(given["model"]).is_dir():
        given["model"] = str(Path(given["model"]).absolute())  # since the sides have another working directory
    if unknown := [name for name in sections if name not in SECTIONS]:
        parser.error(f"unknown section {unknown[0]!r}; expected {', '.join(SECTIONS)}")
    if ("change" in sections) != bool(given["since"]):
        parser.error("the section change and the option --since need each other")
    return sections, Options(**given | {"batches": tuple(given["batches"])}), out


def main(arguments: Sequence[str]) -> None:
    """Measure the sections that were asked for, one after the other."""
    sections, options, out = parse(arguments)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="laconic-bench-") as folder:
        (Path(folder) / "workload").mkdir()
        bench = Bench(options, Path(folder))
        try:
            bench.prepare()
            bench.rates = bench.matrix_rates()
            for name in sections:
                print(f"\n{name}", flush=True)
                bench.versions.clear()
                write(out, title(name, options), record(bench, name, SECTIONS[name](bench)))
        finally:
            bench.close()


if __name__ == "__main__":
    main(sys.argv[1:])
