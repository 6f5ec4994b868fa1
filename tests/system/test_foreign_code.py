"""Forks: one thread at a time makes one, and leaves the environment and the warnings as they were."""

import os
import threading

import pytest

from laconic.system.foreign_code import Answer, ForeignCode, quiet_fork

NAME = "TOKENIZERS_PARALLELISM"


@pytest.mark.parametrize("before", [None, "true"])
def test_threads_that_fork_at_the_same_time_leave_the_environment_as_it_was(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second waits until the first has forked; else it would take the first one's "false" for what was there before."""
    monkeypatch.delenv(NAME, raising=False)
    if before is not None:
        monkeypatch.setenv(NAME, before)
    second_is_inside = threading.Event()

    def second() -> None:
        with quiet_fork():
            second_is_inside.set()
            first_is_over.wait(5)

    first_is_over, thread = threading.Event(), threading.Thread(target=second)
    with quiet_fork():
        thread.start()
        assert not second_is_inside.wait(0.2)
    first_is_over.set()
    thread.join(5)
    assert second_is_inside.is_set()
    assert os.environ.get(NAME) == before


def test_a_forked_child_may_fork() -> None:
    """A child begins inside the `with` of the thread that forked it."""

    def prepare() -> tuple[Answer, None]:
        return lambda question: ForeignCode(lambda: (lambda number: number + 1, None), 10.0, 1 << 30).ask(
            question
        ), None

    code = ForeignCode(prepare, 10.0, 1 << 30)
    assert code.ask(41) == 42
    code.close()
