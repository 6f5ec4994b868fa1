"""What a person sees while a program works: one live line, or plain lines where there is no terminal.

1. `Reporter.bar` shows a task's progress: responses done, tokens per second, time left; without a terminal it is a line after a
   minute, then at growing intervals. `on_sampled` is told how long it took.
2. `Reporter.step` prints one line per training step: accuracy, mean tokens, speed, and the time that the whole run still takes.

Everything goes to standard error, so that standard output stays for results.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from laconic.system.screen import Screen
from laconic.types import Progress as OnProgress

QUIET_SECONDS = 1.0  # tasks shorter than this leave no line
FIRST_LINE_SECONDS = (
    60.0  # without a terminal, a task says where it is after this time, then each time that it has doubled,
)
MOST_SECONDS_BETWEEN = 600.0  # and at least this often


class Reporter:
    """Prints progress; `is_silent` prints nothing. `on_sampled`, if set, is called with the tokens and seconds of every task."""

    def __init__(self, console: Console | None = None, *, is_silent: bool = False) -> None:
        self.console = console or Screen(stderr=True, quiet=is_silent)
        self.started = time.monotonic()
        self.on_sampled: Callable[[int, float], None] | None = None

    def say(self, text: str) -> None:
        """Print one line."""
        self.console.print(text, markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def bar(self, what: str, num_responses: int, *, leaves_line: bool = True) -> Iterator[OnProgress]:
        """A bar for a task of `num_responses` responses. Call the value with (responses, tokens) as responses finish. With
        `leaves_line` a line says in the end what was done, unless it took less than a second."""
        started, tokens, done, num_earlier = time.monotonic(), 0, 0, 0
        is_live, next_line = self.console.is_terminal, FIRST_LINE_SECONDS
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}", markup=False),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, transient=True, disable=not is_live) as live:
            task = live.add_task(what, total=num_responses, speed="")

            def advance(responses: int, new_tokens: int) -> None:
                nonlocal tokens, done, num_earlier, next_line
                if new_tokens:
                    tokens, done = tokens + new_tokens, done + responses
                else:
                    num_earlier += responses  # no new tokens: these responses were stored by an earlier run
                passed = time.monotonic() - started
                speed = f"{tokens / max(1e-9, passed):,.0f} tokens/s"
                live.update(task, advance=responses, speed=speed)
                num_left = num_responses - num_earlier - done
                if not is_live and passed >= next_line and num_left > 0 and done:
                    next_line = passed + min(passed, MOST_SECONDS_BETWEEN)
                    left = duration_words(passed * num_left / done)
                    self.say(
                        f"{what}: {num_earlier + done:,} of {num_responses:,} responses, {speed}, about {left} left"
                    )

            yield advance
        seconds = time.monotonic() - started
        if self.on_sampled and tokens:
            self.on_sampled(tokens, seconds)
        if leaves_line and seconds >= QUIET_SECONDS:
            before = f" ({num_earlier:,} more were there)" if num_earlier else ""
            speed = tokens / seconds
            self.say(
                f"{what}: {done:,} responses{before}, {tokens:,} tokens in {seconds:,.{seconds < 10:d}f} s ({speed:,.0f}/s)"
            )

    def step(
        self, metrics: Mapping[str, Any], num_steps: int, seconds_left: float, logprob: float | None = None
    ) -> None:
        """One line for a step of a phase of `num_steps`, and one for each alarm and for its watch; the whole run takes
        `seconds_left` more. `logprob` is the mean log-probability (nats) of the tokens trained on, where it is worth a line."""
        accuracy, idle = metrics["rollouts/accuracy_frac"], metrics.get("update/nothing_learnt")
        likelihood = "" if logprob is None else f"log-probability {logprob:.3f}, "
        self.say(
            f"{metrics['phase']} {metrics['phase_step']}/{num_steps}: "
            f"{'none gradable' if accuracy is None else f'{accuracy:.1%} correct'}, "
            f"{metrics['rollouts/mean_tokens']:.0f} tokens, {likelihood}{metrics['time/tokens_per_second']:,.0f} tokens/s, "
            f"about {duration_words(seconds_left)} left{f'; nothing was learnt: {idle}' if idle else ''}"
        )
        for alarm in metrics.get("alarms/raised", ()):
            self.say(f"{metrics['phase']}, ALARM {alarm}")
        if "watch/accuracy_frac" in metrics:
            figures = f"{metrics['watch/accuracy_frac']:.1%} correct, {metrics['watch/mean_tokens']:.0f} tokens"
            self.say(f"{metrics['phase']}, watched problems: {figures}")


def duration_words(seconds: float) -> str:
    """A duration for people, rounded by at most a tenth of itself (below 30 s to the next second).

    >>> [duration_words(seconds) for seconds in (0.2, 12.4, 47, 130, 2040, 9000)]
    ['1 s', '13 s', '45 s', '2.2 min', '34 min', '2.5 h']
    """
    if seconds < 30:
        return f"{math.ceil(seconds)} s"
    if seconds < 90:
        return f"{5 * round(seconds / 5)} s"
    minutes = seconds / 60
    if minutes < 90:
        return f"{minutes:.1f} min" if minutes < 10 else f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h"
