"""The pool that grades responses, with a hard time limit on everything that needs algebra.

1. Each response goes through `grading.grade_response` in this process; most are decided there.
2. What is undecided is asked of Math-Verify in child processes: the extracted answer and the gold answer, nothing else.
3. A child that exceeds the limit is killed and replaced, and its item is `UNGRADABLE`; so is the item of a child that
   died and an item whose gold answer Math-Verify cannot read. None of these is ever `WRONG`.

Children are plain subprocesses that speak lines of JSON: no signals (they work in the main thread only), no `fork`
(threads and GPUs do not survive it), no re-import of the caller's main module (it may load torch). A child also ends
itself: when its input closes, when one question outlasts the limit, and when it outgrows `MAX_CHILD_BYTES`.
"""

import contextlib
import json
import logging
import os
import queue
import re
import subprocess
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

from laconic.answers import clean
from laconic.errors import RunFailed
from laconic.grading import compare_with, extract_answer, grade_response
from laconic.quantities import exact_number, is_double_precision
from laconic.types import Grade, Problem

START_SECONDS = 120.0
MAX_CHILD_BYTES = 4 << 30
MAX_KNOWN = 100_000
FLOAT_DIGITS = 12
"""Decimals Math-Verify compares of a printed double: 1.4142135623730951 is the square root of 2, 1.414214 is not."""

Pair = tuple[str, str, tuple[str, ...]]
"""Gold answer, extracted answer, choices."""

_SERVE = "from laconic.grader import serve; serve()"
_GRADES = {"right": Grade.CORRECT, "wrong": Grade.WRONG}


class Grader:
    """Grades responses; at most `workers` answers are under algebra at once, each for at most `timeout_seconds`.

    Use it as a context manager, from any thread. `reasons` counts ungradable items: `timeout`, `crash`, `gold`.
    Children start when they are first needed; `RunFailed` is raised where one cannot start at all.
    """

    def __init__(self, workers: int = 1, timeout_seconds: float = 5.0) -> None:
        if workers < 1 or timeout_seconds <= 0:
            raise ValueError(f"Grader: workers {workers} and timeout_seconds {timeout_seconds} must be positive")
        self.timeout_seconds = timeout_seconds
        self.reasons: Counter[str] = Counter()
        self._workers = workers
        self._lock = threading.Lock()
        self._known: dict[Pair, str] = {}
        self._children: queue.LifoQueue[_Child] = queue.LifoQueue()
        self._all = [_Child(timeout_seconds) for _ in range(workers)]
        for child in self._all:
            self._children.put(child)
        self._finalizer = weakref.finalize(self, _stop_all, self._all)

    def __enter__(self) -> "Grader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every child and wait for it; a later `grade_many` starts new ones."""
        _stop_all(self._all)

    def grade_many(self, items: Sequence[tuple[str, Problem, bool]]) -> list[Grade]:
        """The grade of each (response text, problem, is_truncated), in order; the text must not contain the prompt."""
        grades = [
            grade_response(text, problem.answer, is_truncated=is_truncated, choices=problem.choices)
            for text, problem, is_truncated in items
        ]
        pairs = {i: _pair(items[i][0], items[i][1]) for i, grade in enumerate(grades) if grade is None}
        outcomes = self._ask(list(dict.fromkeys(pairs.values())))
        with self._lock:
            self.reasons.update(outcome for pair in pairs.values() if (outcome := outcomes[pair]) not in _GRADES)
        return [
            grade if grade is not None else _GRADES.get(outcomes[pairs[i]], Grade.UNGRADABLE)
            for i, grade in enumerate(grades)
        ]

    def _ask(self, pairs: list[Pair]) -> dict[Pair, str]:
        """`right`, `wrong`, or the reason why neither is known, for each pair; all but a crash is remembered."""
        with self._lock:
            known = {pair: self._known[pair] for pair in pairs if pair in self._known}
        new = [pair for pair in pairs if pair not in known]
        if not new:
            return known
        with ThreadPoolExecutor(min(self._workers, len(new))) as threads:
            found = dict(zip(new, threads.map(self._ask_one, new), strict=True))
        with self._lock:
            if len(self._known) > MAX_KNOWN:
                self._known.clear()
            self._known.update({pair: outcome for pair, outcome in found.items() if outcome != "crash"})
        return known | found

    def _ask_one(self, pair: Pair) -> str:
        child = self._children.get()
        try:
            return child.ask(pair)
        finally:
            self._children.put(child)


def _pair(text: str, problem: Problem) -> Pair:
    answer = extract_answer(text)
    assert answer is not None, "an undecided response has an answer"
    return problem.answer, answer, problem.choices


class _Child:
    """One subprocess, started when first asked and again after it was lost."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._process: subprocess.Popen[str] | None = None

    def ask(self, pair: Pair) -> str:
        """The child's outcome, `timeout` where it was killed at the limit, `crash` where it died."""
        process = self._process if self._process and self._process.poll() is None else self._start()
        reply, is_late = None, False
        try:
            reply, is_late = _exchange(process, json.dumps(pair), self._timeout_seconds)
        finally:
            if reply is None or is_late:  # an interrupted child would answer the next question with this one's outcome
                self.stop()
        return reply or ("timeout" if is_late else "crash")

    def _start(self) -> "subprocess.Popen[str]":
        self.stop()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, "-P", "-c", _SERVE, str(self._timeout_seconds)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env=environment,
        )
        if _exchange(self._process, json.dumps(None), START_SECONDS)[0] != "ready":
            self.stop()
            raise RunFailed(
                "grader: the child process that runs Math-Verify does not start (is math-verify installed?)"
            )
        return self._process

    def stop(self) -> None:
        """Kill the process if there is one, and wait for it, so that nothing is left behind."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _exchange(process: "subprocess.Popen[str]", line: str, limit_seconds: float) -> tuple[str | None, bool]:
    """Write one line and read one; (line or None where the process died, whether it was killed at the limit)."""
    assert process.stdin is not None and process.stdout is not None, "the pipes were asked for"
    is_late = threading.Event()
    timer = threading.Timer(limit_seconds, _kill, (process, is_late))
    timer.daemon = True
    timer.start()
    reply = ""
    try:
        with contextlib.suppress(OSError, ValueError):
            process.stdin.write(line + "\n")
            process.stdin.flush()
            reply = process.stdout.readline()
    finally:
        timer.cancel()
        timer.join()
    return (reply.strip() if reply.endswith("\n") else None), is_late.is_set()


def _kill(process: "subprocess.Popen[str]", is_late: threading.Event) -> None:
    is_late.set()
    process.kill()


def _stop_all(children: Sequence[_Child]) -> None:
    for child in children:
        child.stop()


# --- in the child ----------------------------------------------------------------------------------------------------


class _GoldUnreadableError(Exception):
    """Math-Verify cannot read the gold answer."""


def serve() -> None:
    """The child's loop: a line `null` is answered with `ready`, a line [gold, answer, choices] with an outcome."""
    import faulthandler

    limit_seconds = float(sys.argv[1])
    _limit_memory()
    logging.disable(logging.CRITICAL)
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        for line in sys.stdin:
            pair = json.loads(line)
            limit = START_SECONDS if pair is None else limit_seconds
            faulthandler.dump_traceback_later(limit + 1.0, exit=True, file=nowhere)
            outcome = _ready() if pair is None else decide(*pair)
            faulthandler.cancel_dump_traceback_later()
            print(outcome, flush=True)


def _ready() -> str:
    _equal_by_algebra("2", "1+1")
    return "ready"


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not a Unix system
        return
    resource.setrlimit(resource.RLIMIT_AS, (MAX_CHILD_BYTES, MAX_CHILD_BYTES))


def decide(gold: str, answer: str, choices: Sequence[str] = ()) -> str:
    """`right`, `wrong`, or `gold` where Math-Verify cannot read the gold answer. No time limit: a child's work."""
    try:
        return "right" if compare_with(gold, answer, _equal_by_algebra, choices) is True else "wrong"
    except _GoldUnreadableError:
        return "gold"


def _equal_by_algebra(gold: str, answer: str) -> bool:
    """Math-Verify's verdict on two cleaned answers; an answer it cannot read is no answer to anything."""
    from math_verify import verify

    wanted, given = _parsed(gold), _parsed(answer)
    if not wanted:
        raise _GoldUnreadableError(gold)
    if not given:
        return False
    if verify(wanted, given, float_rounding=FLOAT_DIGITS, allow_set_relation_comp=True, timeout_seconds=None):
        return True
    return _vanishes(wanted[0], given[0])


# What Math-Verify's grammar reads otherwise than it is meant.
_RESERVED = (
    (re.compile(r"(?<=\d) (?=i(?![A-Za-z]))"), ""),  # 4 i is imaginary as 4i is
    (re.compile(r"(?<![A-Za-z\\])E(?=_)"), r"\\Xi"),  # E_1 is a name, not Euler's number
    (re.compile(r"_\{?\s*\\odot\s*\}?"), "_{o}"),
)


def _parsed(text: str) -> list[Any]:
    """What Math-Verify reads in a cleaned answer, nothing where it reads nothing; a number is handed to it exactly."""
    from math_verify.parser import LatexExtractionConfig, NormalizationConfig, parse, sympy

    value = exact_number(text)
    if value is not None and not is_double_precision(text, value):
        return [sympy.Rational(value.numerator, value.denominator)]

    reading = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
    )
    target = LatexExtractionConfig(boxed_match_priority=-1, normalization_config=reading)
    latex = clean(text).replace("$", "")
    for pattern, replacement in _RESERVED:
        latex = pattern.sub(replacement, latex)
    return list(parse(f"${latex}$", [target], fallback_mode="no_fallback", parsing_timeout=None))


def _vanishes(wanted: Any, given: Any) -> bool:
    """Whether the difference simplifies to zero: Math-Verify compares a lone symbol by its name only."""
    from math_verify.parser import sympy

    if not (isinstance(wanted, sympy.Expr) and isinstance(given, sympy.Expr)):
        return False
    difference = wanted - given
    units = {symbol: sympy.I for symbol in difference.free_symbols if str(symbol) == "i"}
    try:
        return bool(sympy.simplify(difference.subs(units)) == 0)
    except (TypeError, ValueError, AttributeError, NotImplementedError):
        return False
