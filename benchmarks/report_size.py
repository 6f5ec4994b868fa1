"""Does the report of a large run open at once? `python benchmarks/report_size.py [--responses 25000] [--out FILE]`.

1. Two evaluation folders, base and after, are drawn from a fixed seed: responses of about 2 kB of words and sums, four a
   problem. Words are as frequent as in a natural language (Zipf's law), so that texts pack about as well as real ones.
2. `laconic report` writes their page in a process of its own: seconds, start-up included, and the most memory it held.
3. Headless Chromium, a fresh one each time, opens the page three times: first paint and load event by the page's own clock,
   then the seconds from scrolling to the browser of responses until it shows a pair.
4. The table goes to `benchmarks/report_size.md`, with machine and date; the exit code is 1 where any load event took 3
   seconds or more.

Left out: reading the page over a network, and a cold file cache: the page was just written. Needs Chromium on the path
(`tests/chromium.py` drives it) and Linux, which counts a child's peak in KiB.
"""

import argparse
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from chromium import Browser, find_chromium  # noqa: E402
from page_files import summary_of, write_json  # noqa: E402

RESPONSES = 25_000  # of each folder
NUM_SAMPLES = 4  # of each problem
MEAN_CHARS = {"base": 2_400, "after": 1_900}
SKILL = {"base": 0.60, "after": 0.62}
NUM_WORDS = 4_000
OPENINGS = 3
LIMIT_MS = 3_000
MB, KIB_A_MIB = 10**6, 1024
READY = "document.getElementById('browser').dataset.ready === 'true'"
HELD = "document.querySelector('#responses p').textContent"


@dataclass(frozen=True, slots=True)
class Written:
    """How the page came about."""

    sample_bytes: int
    page_bytes: int
    seconds: float
    peak_mib: float


@dataclass(frozen=True, slots=True)
class Opened:
    """How the page opened once; `num_held` of `num_rows` responses are in it, as it says itself."""

    first_paint_ms: float
    load_ms: float
    ready_seconds: float
    num_held: int
    num_rows: int


# --- the run ---------------------------------------------------------------------------------------------------------


def vocabulary() -> list[str]:
    """Invented words of one to four syllables, the same ones always."""
    rng = Random("vocabulary")
    syllables = [a + b + c for a in "bdfgklmnprstvz" for b in "aeiou" for c in ("", "", "n", "r", "s")]
    words = ("".join(rng.choices(syllables, k=rng.choice((1, 2, 2, 3, 3, 4)))) for _ in range(3 * NUM_WORDS))
    return list(dict.fromkeys(words))[:NUM_WORDS]


WORDS = vocabulary()
WEIGHTS = list(accumulate(1 / rank for rank in range(1, NUM_WORDS + 1)))  # Zipf's law


def sentence(rng: Random) -> str:
    """Some words and a sum."""
    a, b = rng.randrange(1_000), rng.randrange(1_000)
    return f"{' '.join(rng.choices(WORDS, cum_weights=WEIGHTS, k=rng.randint(8, 24)))}: {a} + {b} = {a + b}.\n"


def response_text(rng: Random, num_chars: int, answer: int) -> str:
    """Sentences up to about `num_chars` characters, then the answer."""
    text = ""
    while len(text) < num_chars:
        text += sentence(rng)
    return f"{text}</think>\\boxed{{{answer}}}"


def rows_of(name: str, num_responses: int) -> Iterator[dict[str, Any]]:
    """Lines of samples.jsonl; problems are the same in both folders, responses have a stream of their own."""
    rng = Random(f"responses {name}")
    for number in range(num_responses // NUM_SAMPLES):
        of_problem = Random(f"problem {number}")
        question, gold, ease = sentence(of_problem), of_problem.randrange(10_000), of_problem.random()
        problem = {"problem_id": f"p{number:05d}", "question": question, "gold": str(gold)}
        for sample in range(NUM_SAMPLES):
            is_correct = rng.random() < (ease + SKILL[name]) / 2
            answer = gold if is_correct else gold + rng.randint(1, 9)
            text = response_text(rng, int(rng.gammavariate(4, MEAN_CHARS[name] / 4)), answer)
            yield problem | {
                "sample": sample,
                "grade": "correct" if is_correct else "wrong",
                "num_tokens": len(text) // 4,
                "thinking_tokens": len(text) // 4 - 6,
                "finish_reason": "stop",
                "answer": str(answer),
                "text": text,
            }


def write_folder(folder: Path, num_responses: int) -> Path:
    """One evaluation folder, line by line; its name says which."""
    folder.mkdir(parents=True)
    graded = []
    with (folder / "samples.jsonl").open("w", encoding="utf-8") as file:
        for row in rows_of(folder.name, num_responses):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            graded.append({key: row[key] for key in ("grade", "num_tokens")})
    write_json(folder / "summary.json", summary_of(graded, 1.0, NUM_SAMPLES))
    return folder


# --- writing and opening ---------------------------------------------------------------------------------------------


def write_page(folders: Sequence[Path], page: Path) -> Written:
    """`laconic report` in its own process. Raises `RuntimeError` where it fails."""
    command = [sys.executable, "-m", "laconic", "report", *map(str, folders), "--out", str(page)]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}")
    sample_bytes = sum((folder / "samples.jsonl").stat().st_size for folder in folders)
    return Written(sample_bytes, page.stat().st_size, seconds, usage.ru_maxrss / KIB_A_MIB)


def open_page(page: Path) -> Opened:
    """Opens the page in a fresh browser. Raises `RuntimeError` where the page complains or was not read to its end."""
    with Browser() as browser:
        browser.size(1280)
        browser.open(page)
        browser.wait_for("performance.getEntriesByType('navigation')[0].loadEventEnd > 0")
        browser.wait_for("performance.getEntriesByName('first-paint').length > 0")
        paint = float(browser.ask("performance.getEntriesByName('first-paint')[0].startTime"))
        load = float(browser.ask("performance.getEntriesByType('navigation')[0].loadEventEnd"))
        began = time.monotonic()
        browser.ask("document.getElementById('responses').scrollIntoView()")
        browser.wait_for(READY)
        ready = time.monotonic() - began
        held, rows = counts_in(str(browser.ask(HELD)))
        num_read = browser.ask("performance.getEntriesByType('navigation')[0].decodedBodySize")
        if browser.problems or num_read != page.stat().st_size:
            raise RuntimeError(f"{page}: {num_read} bytes read, {browser.problems}")
    return Opened(paint, load, ready, held, rows)


def counts_in(sentence: str) -> tuple[int, int]:
    """Held and all, from "All 50,000 responses are ..." or "25,000 of 50,000 responses are ..."."""
    found = re.search(r"(?:All|([\d,]+) of) ([\d,]+) responses", sentence)
    if found is None:
        raise RuntimeError(f"expected how many responses the page holds, found {sentence!r}")
    held, rows = (int((text or found[2]).replace(",", "")) for text in found.groups())
    return held, rows


def exit_code(openings: Sequence[Opened]) -> int:
    """1 where the slowest load event took the limit or longer."""
    return int(max(opened.load_ms for opened in openings) >= LIMIT_MS)


# --- the table -------------------------------------------------------------------------------------------------------


def spread(values: Sequence[float], digits: int) -> str:
    """Median and range: "120 (110-140)"."""
    middle, low, high = (f"{v:,.{digits}f}" for v in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low}-{high})"


def table(written: Written, openings: Sequence[Opened]) -> str:
    """One figure a row."""
    rows = [
        ("`samples.jsonl`, both folders, MB", f"{written.sample_bytes / MB:.1f}"),
        ("responses in the page", f"{openings[0].num_held:,} of {openings[0].num_rows:,}"),
        ("page, MB", f"{written.page_bytes / MB:.1f}"),
        ("writing it, s", f"{written.seconds:.1f}"),
        ("writing it, peak MiB", f"{written.peak_mib:,.0f}"),
        ("first paint, ms", spread([o.first_paint_ms for o in openings], 0)),
        (f"load event, ms (limit {LIMIT_MS:,})", spread([o.load_ms for o in openings], 0)),
        ("browser of responses ready after scrolling there, s", spread([o.ready_seconds for o in openings], 2)),
    ]
    return "\n".join(f"| {what} | {value} |" for what, value in [("figure", "value"), ("---", "---"), *rows])


def machine() -> str:
    """Processor and cores this process may use."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {len(os.sched_getaffinity(0))} cores"


def niceness() -> str:
    """How the command began where it was not run at the usual priority."""
    return f"nice -n {os.nice(0)} " if os.nice(0) else ""


def chromium_version() -> str:
    """As the program says it."""
    program = find_chromium()
    assert program is not None
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return " ".join(said.split()[:2])


def measure(folder: Path, num_responses: int) -> tuple[Written, list[Opened]]:
    """Draws the run under `folder`, writes its page and opens it."""
    folders = [write_folder(folder / name, num_responses) for name in MEAN_CHARS]
    written = write_page(folders, folder / "report.html")
    return written, [open_page(folder / "report.html") for _ in range(OPENINGS)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--responses", type=int, default=RESPONSES, help="of each folder")
    parser.add_argument("--out", type=Path, default=HERE / "report_size.md")
    asked = parser.parse_args(arguments)
    if asked.responses < 1 or asked.responses % NUM_SAMPLES:
        parser.error(f"--responses: expected a multiple of {NUM_SAMPLES}, found {asked.responses}")
    if find_chromium() is None:
        parser.error("no Chromium on the path")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        written, openings = measure(Path(folder), asked.responses)
    text = TEXT.format(
        command=f"{niceness()}python benchmarks/report_size.py --responses {asked.responses}",
        date=datetime.date.today(),
        machine=machine(),
        chromium=chromium_version(),
        load=f"{load:.1f}",
        openings=OPENINGS,
        samples=NUM_SAMPLES,
        table=table(written, openings),
    )
    asked.out.write_text(text, "utf-8")
    print(text)
    return exit_code(openings)


TEXT = """# The report of a large run

`{command}`, {date}, {machine}, {chromium}, headless.
Load average {load} before it began: other work that shared the machine.

Two synthetic folders of evaluations, {samples} responses per problem, whose texts are invented words and sums. The page is
written by `laconic report` in its own process, start-up included, and opened {openings} times from disk, each in a fresh
browser: medians, and the range in brackets. First paint and load event are counted from the start of navigation, by the page's
clock. MB is 10^6 bytes, MiB 2^20.

{table}
"""


if __name__ == "__main__":
    sys.exit(main())
