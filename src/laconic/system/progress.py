"""What a person sees while a program works: one live line, or plain lines where there is no terminal.

1. `Reporter.bar` shows a task's progress: responses done, tokens per second, time left.
2. `Reporter.step` prints one line per training step: accuracy, mean tokens by grade, tokens per second, time left.

Everything goes to standard error, so that standard output stays for results.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from laconic.types import Progress as OnProgress

QUIET_SECONDS = 1.0  # without a terminal, tasks shorter than this leave no line


class Reporter:
    """Prints progress; `is_silent` prints nothing."""

    def __init__(self, console: Console | None = None, *, is_silent: bool = False) -> None:
        self.console = console or Console(stderr=True, quiet=is_silent, highlight=False)
        self.started = time.monotonic()

    def say(self, text: str) -> None:
        """Print one line."""
        self.console.print(text, markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def bar(self, what: str, num_responses: int) -> Iterator[OnProgress]:
        """A bar for a task of `num_responses` responses. Call the value with (responses, tokens) as responses finish."""
        started, tokens, done, num_earlier = time.monotonic(), 0, 0, 0
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as live:
            task = live.add_task(what, total=num_responses, speed="")

            def advance(responses: int, new_tokens: int) -> None:
                nonlocal tokens, done, num_earlier
                if new_tokens:
                    tokens, done = tokens + new_tokens, done + responses
                else:
                    num_earlier += responses  # no new tokens: these responses were stored by an earlier run
                speed = tokens / max(1e-9, time.monotonic() - started)
                live.update(task, advance=responses, speed=f"{speed:,.0f} tokens/s")

            yield advance
        seconds = time.monotonic() - started
        if seconds >= QUIET_SECONDS:
            before = f" ({num_earlier:,} more were there)" if num_earlier else ""
            speed = tokens / seconds
            self.say(f"{what}: {done:,} responses{before}, {tokens:,} tokens in {seconds:.1f} s ({speed:,.0f}/s)")

    def step(self, metrics: Mapping[str, Any], num_steps: int, seconds_left: float) -> None:
        """One line for a training step of a phase of `num_steps`."""
        watch = (
            f"  watched {metrics['watch/accuracy_frac']:.1%} at {metrics['watch/mean_tokens']:.0f}"
            if "watch/accuracy_frac" in metrics
            else ""
        )
        self.say(
            f"{metrics['phase']} {metrics['phase_step']}/{num_steps}"
            f"  accuracy {metrics['rollouts/accuracy_frac']:.1%}"
            f"  tokens {metrics['rollouts/mean_tokens']:.0f}"
            f" (correct {_tokens(metrics, 'correct')}, wrong {_tokens(metrics, 'wrong')},"
            f" truncated {_tokens(metrics, 'truncated')})"
            f"  {metrics['time/tokens_per_second']:,.0f} tokens/s"
            f"  {metrics['time/step_seconds']:.1f} s, {seconds_left / 60:.1f} min left at most{watch}"
        )


def _tokens(metrics: Mapping[str, Any], grade: str) -> str:
    value = metrics[f"rollouts/{grade}_tokens"]
    return "-" if value is None else f"{value:.0f}"
