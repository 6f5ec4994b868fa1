"""Our grader beside others on the collected cases, and its speed beside Math-Verify: `python benchmarks/grading.py`.

1. Every case of `grading_cases.jsonl` goes through our grader, one at a time; the other graders' votes stand in the file.
2. The tables say how often each says what is expected, which wrong answers it accepts, and what it leaves undecided.
3. Speed: our grader and Math-Verify, each in a process of its own, on the cases that are not adversarial, one at a time and
   in turn, `--repeats` times. Starting and importing are left out of both; our child process and its pipe are counted.
4. The result is `benchmarks/grading.md`; nothing of the cases goes into it.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from laconic.grading.grader import Grader
from laconic.grading.rules import Undecided, grade_response
from laconic.types import Grade, Problem

ROOT = Path(__file__).resolve().parents[1]
CASES = ROOT.parent / "shared" / "data" / "grading_cases.jsonl"
PEERS = {
    "math_verify": "Math-Verify 0.9.0",
    "qwen": "Qwen2.5-Math `math_equal`",
    "prm800k": "PRM800K",
    "hendrycks": "Hendrycks `is_equiv`",
    "minerva": "Minerva (lm-eval)",
}
OURS = "laconic"
KINDS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "answers": lambda case: not case["policy"] and case["mode"] == "answer",
    "texts, box": lambda case: not case["policy"] and case.get("answer_in") == "box",
    "texts, marker": lambda case: not case["policy"] and case.get("answer_in") == "marker",
    "texts, neither": lambda case: not case["policy"] and case.get("answer_in") == "free",
    "all without policy": lambda case: not case["policy"],
    "with policy": lambda case: case["policy"],
}
Case = dict[str, Any]


def as_item(case: Case) -> tuple[str, Problem, bool]:
    """What the grader is handed: a bare answer stands in a box."""
    text = case["prediction"] if case["mode"] == "text" else rf"\boxed{{{case['prediction']}}}"
    return text, Problem(case["id"], "", case["gold"], meta={"tolerance": case.get("tolerance")}), False


def grade_all(cases: Sequence[Case]) -> tuple[list[Case], list[float]]:
    """The cases with our vote among the others', and the seconds each took."""
    voted, seconds = [], []
    with Grader() as grader:
        grader.grade_many([as_item(cases[0]), (r"\boxed{\sqrt{12}}", Problem("", "", r"2\sqrt{3}"), False)])
        for case in cases:
            began = time.perf_counter()
            grade = grader.grade_many([as_item(case)])[0].grade
            seconds.append(time.perf_counter() - began)
            vote = grade is Grade.CORRECT if grade is not Grade.UNGRADABLE else "ungradable"
            voted.append(case | {"graders": case.get("graders", {}) | {OURS: vote}})
    return voted, seconds


# --- tables ----------------------------------------------------------------------------------------------------------


def share(cases: Sequence[Case], grader: str) -> str:
    """Percent as expected and of how many; `-` where the grader never voted."""
    votes = [(case["graders"][grader] is True) == case["expected"] for case in cases if grader in case["graders"]]
    return f"{100 * sum(votes) / len(votes):.1f}% of {len(votes)}" if votes else "-"


def agreement(cases: Sequence[Case]) -> list[str]:
    """One row per grader, one column per kind of case."""
    lines = ["| grader | " + " | ".join(KINDS) + " |", "|---|" + "---|" * len(KINDS)]
    for grader, name in {OURS: "**Laconic**", **PEERS}.items():
        cells = [share([case for case in cases if is_kind(case)], grader) for is_kind in KINDS.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def failures(cases: Sequence[Case]) -> list[str]:
    """One row per grader: wrong answers accepted, right ones rejected, and cases without a verdict; cases without policy only."""
    lines = [
        "| grader | voted on | wrong accepted | of these adversarial | right rejected | no verdict |",
        "|---|---|---|---|---|---|",
    ]
    plain = [case for case in cases if not case["policy"]]
    for grader, name in {OURS: "**Laconic**", **PEERS}.items():
        voted = [(case, case["graders"][grader]) for case in plain if grader in case["graders"]]
        accepted = [case for case, vote in voted if vote is True and not case["expected"]]
        adversarial = sum(case["category"] == "adversarial" for case in accepted)
        rejected = sum(vote is not True and case["expected"] for case, vote in voted)
        undecided = sum(not isinstance(vote, bool) for _, vote in voted)
        lines.append(f"| {name} | {len(voted)} | {len(accepted)} | {adversarial} | {rejected} | {undecided} |")
    return lines


# --- speed -----------------------------------------------------------------------------------------------------------


def integers_per_second(count: int = 100_000) -> float:
    """Responses with a plain integer in a box, graded in this process."""
    texts = [rf"<think>12+{i}</think>\boxed{{{12 + i}}}" for i in range(count)]
    golds = [str(12 + i - i % 2) for i in range(count)]
    began = time.perf_counter()
    for text, gold in zip(texts, golds, strict=True):
        grade_response(text, gold, is_truncated=False)
    return count / (time.perf_counter() - began)


def side_laconic(cases: Sequence[Case]) -> list[float]:
    """Seconds per case, children included."""
    return grade_all(cases)[1]


def side_math_verify(cases: Sequence[Case]) -> list[float]:
    """Seconds per case with default settings: gold and text parsed, then compared."""
    from math_verify import parse, verify

    verify(parse("$2$"), parse(r"\boxed{1+1}"))
    seconds = []
    for case in cases:
        text, problem, _ = as_item(case)
        began = time.perf_counter()
        verify(parse(f"${problem.answer}$"), parse(text))
        seconds.append(time.perf_counter() - began)
    return seconds


SIDES = {OURS: side_laconic, "math_verify": side_math_verify}


def run_side(side: str, subset: str, cases: Path) -> float:
    """Answers per second of one side on one subset, measured in a fresh process."""
    command = [sys.executable, __file__, "--cases", str(cases), "--side", side, "--subset", subset]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = json.loads(done.stdout.splitlines()[-1])
    return len(seconds) / sum(seconds)


def speeds(cases: Sequence[Case], path: Path, repeats: int) -> list[str]:
    """Answers per second on each subset alone, medians of repeats taken in turn."""
    lines = ["| cases | how many | Laconic, per second | Math-Verify, per second | ratio |", "|---|---|---|---|---|"]
    for subset, chosen in SUBSETS.items():
        runs = [[run_side(side, subset, path) for side in SIDES] for _ in range(repeats)]
        ours, theirs = (statistics.median(run[i] for run in runs) for i in range(len(SIDES)))
        count = sum(map(chosen, cases))
        lines.append(f"| {subset} | {count} | {ours:,.0f} | {theirs:,.0f} | {ours / theirs:.1f} |")
    return lines


def _is_open(case: Case) -> bool:
    text, problem, _ = as_item(case)
    return isinstance(grade_response(text, problem.answer, is_truncated=False), Undecided)


SUBSETS: dict[str, Callable[[Case], bool]] = {
    "all but the adversarial": lambda case: case["category"] != "adversarial",
    "those our rules decide": lambda case: case["category"] != "adversarial" and not _is_open(case),
    "those that need algebra": lambda case: case["category"] != "adversarial" and _is_open(case),
}


# --- the page --------------------------------------------------------------------------------------------------------


def page(cases: Sequence[Case], path: Path, repeats: int, hardware: str) -> str:
    """The whole of `grading.md`."""
    voted, seconds = grade_all(cases)
    timed = [(case, s) for case, s in zip(cases, seconds, strict=True) if "max_seconds" in case]
    late = sum(s > case["max_seconds"] for case, s in timed)
    head = [
        "# Graders side by side",
        "",
        f"`python benchmarks/grading.py`, {hardware}, {date.today().isoformat()}; {len(cases)} cases, collected from the tests"
        " of eighteen public graders and trainers and from our own. A case with `policy` rests on a convention, or on where an"
        " answer may be read from; the others are mathematics. The other graders' votes were recorded with their own extraction"
        " and default settings.",
        "",
        "## As expected",
        "",
        *agreement(voted),
        "",
        "## What goes wrong, without policy",
        "",
        *failures(voted),
        "",
        f"Of the {len(timed)} adversarial cases with a time limit, Laconic answered {len(timed) - late} within it; the slowest"
        f" took {max(s for _, s in timed):.1f} s.",
        "",
        "## Speed",
        "",
        f"Plain integers in a box, in one process: {integers_per_second():,.0f} per second.",
        "",
        *speeds(cases, path, repeats),
        "",
        f"One answer at a time, medians of {repeats} runs taken in turn, each on its cases alone. The time of starting and"
        " importing is not counted, that of our child process is.",
    ]
    return "\n".join(head) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=Path, default=CASES)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "grading.md")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--hardware", default="AMD EPYC, two cores")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--subset", choices=SUBSETS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    cases = [json.loads(line) for line in given.cases.read_text(encoding="utf-8").splitlines()]
    if given.side:
        print(json.dumps(SIDES[given.side]([case for case in cases if SUBSETS[given.subset](case)])))
        return
    given.out.write_text(page(cases, given.cases, given.repeats, given.hardware), encoding="utf-8")
    print(given.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
