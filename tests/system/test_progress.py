"""What a person sees of a program at work: short lines, and what is told to those who estimate."""

import io

from rich.console import Console

from laconic.system import progress
from laconic.system.progress import Reporter

STEP = {
    "phase": "accuracy",
    "phase_step": 12,
    "rollouts/accuracy_frac": 0.6953,
    "rollouts/mean_tokens": 84.2,
    "time/tokens_per_second": 12345.6,
}


def printed(work):
    """What `work` makes a reporter print."""
    console = Console(file=io.StringIO(), width=80)
    work(Reporter(console))
    return console.file.getvalue()


def test_a_step_is_one_line_of_at_most_80_columns():
    """With the time that the whole run still takes; nothing claims to be a bound."""
    line = printed(lambda reporter: reporter.step(STEP, 50, 130.0))
    assert line == "accuracy 12/50: 69.5% correct, 84 tokens, 12,346 tokens/s, about 2.2 min left\n"
    assert len(line) <= 80


def test_a_watch_has_a_line_of_its_own():
    """Below the line of its step."""
    watch = {"watch/accuracy_frac": 0.75, "watch/mean_tokens": 60.4}
    lines = printed(lambda reporter: reporter.step(STEP | watch, 50, 5.0)).splitlines()
    assert lines[1:] == ["accuracy, watched problems: 75.0% correct, 60 tokens"]


def test_a_step_without_a_gradable_response_is_said_to_be_one():
    """There is no accuracy then."""
    line = printed(lambda reporter: reporter.step(STEP | {"rollouts/accuracy_frac": None}, 50, 5.0))
    assert line.startswith("accuracy 12/50: none gradable, 84 tokens")


def test_a_step_that_taught_nothing_says_so_on_its_line():
    """With the reason."""
    idle = {"update/nothing_learnt": "every response was cut off at the cap"}
    line = printed(lambda reporter: reporter.step(STEP | idle, 50, 5.0))
    assert line.endswith("5 s left; nothing was learnt: every response was cut off at the cap\n")


def test_a_likelihood_stands_where_responses_do_not_change():
    """Their accuracy and length are the same at every step."""
    line = printed(lambda reporter: reporter.step(STEP, 50, 130.0, logprob=-0.2134))
    assert line.startswith("accuracy 12/50: 69.5% correct, 84 tokens, log-probability -0.213, ")


def test_an_alarm_is_a_line_of_its_own():
    """Above the watch of the same step."""
    more = {"alarms/raised": ["kl: far away; try this"], "watch/accuracy_frac": 0.75, "watch/mean_tokens": 60.4}
    lines = printed(lambda reporter: reporter.step(STEP | more, 50, 5.0)).splitlines()
    assert lines[1] == "accuracy, ALARM kl: far away; try this" and "watched" in lines[2]


def test_who_listens_hears_the_tokens_and_seconds_of_a_task(monkeypatch):
    """300 tokens in 4 seconds; nothing of a task whose responses were all there before."""
    now = [10.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    heard = []

    def work(reporter):
        reporter.on_sampled = lambda tokens, seconds: heard.append((tokens, seconds))
        with reporter.bar("probe", 3) as advance:
            advance(1, 100)
            now[0] += 4.0
            advance(2, 200)
        with reporter.bar("again", 3) as advance:
            advance(3, 0)

    assert printed(work) == "probe: 3 responses, 300 tokens in 4.0 s (75/s)\n"
    assert heard == [(300, 4.0)]


def test_a_task_that_others_tell_of_leaves_no_line(monkeypatch):
    """However long it took."""
    now = [10.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def work(reporter):
        with reporter.bar("rollouts", 1, leaves_line=False) as advance:
            now[0] += 4.0
            advance(1, 100)

    assert printed(work) == ""


def test_without_a_terminal_a_long_task_says_where_it_is_at_growing_intervals(monkeypatch):
    """2,000 responses of which 400 were stored, one of 10 tokens a second: lines after 60 s, 120, 240, 480, 960, and 1,560 (600 s
    later). 60 of the 1,600 that are to be drawn are done after a minute, so 1,540 seconds are left."""
    now = [10.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def work(reporter):
        with reporter.bar("offline rollouts", 2000) as advance:
            advance(400, 0)
            for _ in range(1600):
                now[0] += 1.0
                advance(1, 10)

    lines = printed(work).splitlines()
    assert lines[0] == "offline rollouts: 460 of 2,000 responses, 10 tokens/s, about 26 min left"
    assert [int(line.split()[2].replace(",", "")) - 400 for line in lines[:-1]] == [60, 120, 240, 480, 960, 1560]
    assert lines[-1] == "offline rollouts: 1,600 responses (400 more were there), 16,000 tokens in 1,600 s (10/s)"
