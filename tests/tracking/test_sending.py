"""What a tracker gets of a run: every step once and whole, whatever happened to the run, and its results."""

import json
import multiprocessing

import pytest
from folders import BASE, SHORT, Run

from laconic.errors import InputError, RunError, RunFailed
from laconic.tracking import trackers
from laconic.tracking.content import numbers_of_step, results_of, settings_by_key
from laconic.tracking.following import tracker_to_follow
from laconic.tracking.sending import Sending, lock_of, send_run
from laconic.tracking.tracked_runs import (
    TrackedRun,
    change_tracked_runs,
    followed_tracker,
    read_tracked_runs,
    write_tracked_runs,
)
from laconic.tracking.trackers import TrackerRow

CONFIG = {
    "name": "mine",
    "seed": 3,
    "threads": None,
    "phases": [{"name": "short", "steps": 8, "sampler": {"top_p": 1.0}}],
}


class Book:
    """A tracker that writes down what it is sent: (run, step, numbers). Opening it again goes on in the same book."""

    link, shown_by = "https://book/run", "read the book"

    def __init__(self):
        self.rows, self.results, self.opened, self.closed, self.error = [], [], [], 0, None

    def open(self, run):
        self.opened.append(run)
        self.run_id = run.run_id or f"{run.name}-{len(self.opened)}"
        return self

    def send(self, step, numbers):
        if self.error:
            raise self.error
        self.rows.append((self.run_id, step, dict(numbers)))

    def conclude(self, step, results):
        self.results.append(dict(results))

    def close(self):
        self.closed += 1

    @property
    def steps(self):
        return [step for _, step, _ in self.rows]


@pytest.fixture
def book(monkeypatch):
    """The book, which stands in the table of trackers under its name, and as `wipe` as one that is written anew."""
    book = Book()
    rows = {
        "book": TrackerRow("json", book.open, "a book"),
        "wipe": TrackerRow("json", book.open, "", is_rewritten=True),
    }
    monkeypatch.setattr(trackers, "TRACKERS", {**rows, "absent": TrackerRow("no_such_package", book.open, "")})
    return book


@pytest.fixture
def run(tmp_path):
    """A run's folder with three steps."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    log(folder, 1, 2, 3)
    return folder


def log(folder, *steps, loss=0.5):
    """The log of these steps, which replaces what was logged before."""
    lines = [{"step": step, "phase": "short", "update/policy_loss": loss * step} for step in steps]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def sending(run, name="book", **options):
    return Sending(run, name, trackers.TRACKERS[name], **{"is_followed": True, **options})


# --- content ---------------------------------------------------------------------------------------------------------


def test_words_and_missing_statistics_are_no_numbers():
    """None, text and infinity are left out; a list counts its items; the step is the axis and not a number of its own."""
    row = {"step": 2, "phase": "p", "a": None, "b": "x", "c": float("inf"), "d": 1, "alarms/raised": ["e: f", "g: h"]}
    assert numbers_of_step(row) == {"d": 1.0, "alarms/raised": 2.0}


def test_settings_are_named_as_overrides_name_them():
    found = settings_by_key(CONFIG)
    assert found == {"name": "mine", "seed": 3} | {
        f"phases.short.{key}": value for key, value in (("name", "short"), ("steps", 8), ("sampler.top_p", 1.0))
    }
    assert settings_by_key({"report": {"temperatures": [0.6, 0.0]}}) == {"report.temperatures": "[0.6, 0.0]"}


def test_results_are_those_of_finished_evaluations(run):
    """Base: half of a's and none of b's; tokens 30 and 70. An evaluation under way has no summary."""
    figures = {"accuracy": {"mean": 0.25, "ci95": [0, 1]}, "tokens": {"mean": 50.0, "ci95": [0, 90]}}
    Run(BASE, figures).write(run / "eval" / "base-t0.6")
    (Run(SHORT).write(run / "eval" / "phase-1-t0.6") / "summary.json").unlink()
    assert results_of(run) == {"report/base-t0.6/accuracy_frac": 0.25, "report/base-t0.6/mean_tokens": 50.0}


# --- steps -----------------------------------------------------------------------------------------------------------


def test_every_step_is_sent_once_as_it_comes(run, book):
    """Three steps, none, then a fourth beside half a line that is still being written."""
    sent = sending(run)
    sent.catch_up()
    sent.catch_up()
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "update/policy_loss": 2.0}\n{"step": 5, "upd')
    sent.catch_up()
    assert book.rows == [("mine-1", step, {"update/policy_loss": 0.5 * step}) for step in (1, 2, 3, 4)]
    assert read_tracked_runs(run)["book"] == TrackedRun("mine-1", 4, "https://book/run", "read the book", True)


def test_a_resumed_run_goes_on_in_the_same_tracked_run(run, book):
    """After step 3 the run was killed and went on from step 2: steps 3 and 4 are trained, and only 4 is sent."""
    sending(run).catch_up()
    log(run, 1, 2, 3, 4, loss=7.0)
    again = sending(run)
    again.catch_up()
    assert book.steps == [1, 2, 3, 4] and {name for name, _, _ in book.rows} == {"mine-1"}
    assert book.opened[1].run_id == "mine-1" and book.opened[0].settings["seed"] == 3


def test_a_tracker_that_is_written_anew_holds_the_log_as_it_is(run, book):
    """While it follows, the run is rolled back to step 1, and its steps 2 and 3 come out otherwise; then it is opened again."""
    sent = sending(run, "wipe")
    sent.catch_up()
    log(run, 1)
    sent.catch_up()
    log(run, 1, 2, 3, loss=7.0)
    sent.catch_up()
    assert book.steps == [1, 2, 3, 1, 1, 2, 3][: len(book.rows)] and book.rows[-1][2] == {"update/policy_loss": 21.0}
    before = len(book.rows)
    sending(run, "wipe").catch_up()
    assert book.steps[before:] == [1, 2, 3]


def test_a_run_that_is_there_is_sent_with_its_results_and_only_what_is_lacking(run, book):
    Run(BASE, {"accuracy": {"mean": 0.25, "ci95": [0, 1]}}).write(run / "eval" / "base-t0.6")
    assert send_run(run, "book").step == 3 and book.closed == 1
    assert book.results == [{"report/base-t0.6/accuracy_frac": 0.25}]
    log(run, 1, 2, 3, 4)
    send_run(run, "book")
    assert book.steps == [1, 2, 3, 4] and len(book.results) == 1, "the same results were sent twice"
    send_run(run, "book", is_anew=True)
    assert book.steps == [1, 2, 3, 4] * 2 and book.rows[-1][0] == "mine-3"


def test_what_a_tracker_raises_is_one_line_and_nothing_counts_as_sent(run, book):
    book.error = TimeoutError("no answer")
    with pytest.raises(RunFailed, match=r"mine: book did not take the run \(TimeoutError: no answer\)") as caught:
        send_run(run, "book")
    assert "\n" not in str(caught.value) and read_tracked_runs(run)["book"].step == 0
    book.error = None
    assert send_run(run, "book").step == 3 and book.steps == [1, 2, 3]


def test_a_step_that_was_sent_before_the_tracker_failed_is_not_sent_again(run, book):
    """The server takes steps 1 and 2 and is gone at 3; later it gets 3 alone."""
    send = book.send

    def break_at_three(step, numbers):
        if step == 3:
            raise ConnectionError("server gone")
        send(step, numbers)

    book.send = break_at_three
    with pytest.raises(RunFailed, match="server gone"):
        send_run(run, "book")
    book.send = send
    assert send_run(run, "book").step == 3 and book.steps == [1, 2, 3]


def _note_steps(run, name, barrier, count):
    barrier.wait()
    for step in range(count):
        entry = {name: TrackedRun(name, step, "", "", False)}
        change_tracked_runs(run, lambda runs, entry=entry: runs | entry)


def test_two_trackers_that_write_at_once_keep_each_others_entry(run):
    """Each of two processes writes its own entry 40 times; neither takes the other's off with what it read before."""
    fork = multiprocessing.get_context("fork")
    barrier = fork.Barrier(2)
    processes = [fork.Process(target=_note_steps, args=(run, name, barrier, 40)) for name in ("book", "wipe")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert {name: found.step for name, found in read_tracked_runs(run).items()} == {"book": 39, "wipe": 39}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("paper", "--to: unknown tracker 'paper'; expected one of book, wipe, absent"),
        ("absent", "--to absent: needs a package that is not installed: pip install no_such_package"),
    ],
)
def test_an_unknown_tracker_and_a_missing_package_are_one_line(run, book, name, says):
    with pytest.raises(InputError) as caught:
        send_run(run, name)
    assert str(caught.value) == says and not book.opened


def test_no_run_is_one_line_and_leaves_nothing(tmp_path, book):
    with pytest.raises(RunError, match=r"no run here \(no config.json\)"):
        send_run(tmp_path / "nothing", "book")
    assert not (tmp_path / "nothing").exists()


# --- which tracker follows a run -------------------------------------------------------------------------------------


def test_a_resumed_run_is_followed_by_the_tracker_before_unless_another_is_named(run, book):
    """`--track` decides; without it a resumed run keeps its tracker, and `none` is none. Sending a run later follows nothing."""
    assert tracker_to_follow(None, run, resume=True) is None
    sending(run, "wipe", is_followed=False)
    assert followed_tracker(run) is None
    sending(run)
    assert [tracker_to_follow(asked, run, resume=True) for asked in (None, "wipe", "none")] == ["book", "wipe", None]
    assert tracker_to_follow(None, run, resume=False) is None
    sending(run, "wipe")
    assert tracker_to_follow(None, run, resume=True) == "wipe"
    with pytest.raises(InputError, match="--track: unknown tracker 'paper'"):
        tracker_to_follow("paper", run, resume=False)


def test_of_several_processes_the_first_alone_has_a_tracker(run, book, monkeypatch):
    """torchrun gives each process its rank."""
    found = []
    for name, value in {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        found.append(tracker_to_follow("book", run, resume=False))
    assert found == ["book", None]


def test_the_file_is_read_as_it_was_written_and_a_damaged_one_is_named(run):
    tracked = {"book": TrackedRun("a", 3, "", "look", False)}
    write_tracked_runs(run, tracked)
    assert read_tracked_runs(run) == tracked
    (run / "tracking.json").write_text('{"book": {"run_id": "a", "step": "3"}}')
    with pytest.raises(InputError, match=r"tracking.json: book.step is '3', expected a whole number"):
        read_tracked_runs(run)


def test_a_successor_waits_for_who_still_sends_and_then_gives_up(run, monkeypatch):
    """The lock of another process, which is given back after two tries."""
    refusals = [RunError("mine/book: laconic is at work on it")] * 2

    def take(lock):
        if refusals:
            raise refusals.pop()

    monkeypatch.setattr("laconic.tracking.sending.FolderLock.take", take)
    monkeypatch.setattr("laconic.tracking.sending.LOCK_POLL_SECONDS", 0.0)
    with pytest.raises(RunError, match="mine/book: laconic is at work on it"), lock_of(run, "book"):
        pass
    with lock_of(run, "book", patience_seconds=60.0):
        assert not refusals


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"book": {"run_id": 5}}', "tracking.json: book.run_id is 5, expected text"),
        ("[1]", "tracking.json: expected a JSON object"),
        ('{"paper": FOLLOWED}', "tracking.json: unknown tracker 'paper'"),
        ('{"absent": FOLLOWED}', "tracking.json absent: needs a package that is not installed"),
    ],
)
def test_a_run_whose_tracker_is_lost_can_go_on_without_it(content, says, run, book):
    """What a tracker is called is no part of a run: nobody said `--track`, and `--track none` resumes it."""
    followed = {"run_id": "a", "step": 3, "link": "", "shown_by": "", "is_followed": True}
    (run / "tracking.json").write_text(content.replace("FOLLOWED", json.dumps(followed)))
    with pytest.raises(InputError) as refused:
        tracker_to_follow(None, run, resume=True)
    assert says in str(refused.value) and str(refused.value).endswith("go on without a tracker:  --track none")
    assert tracker_to_follow("none", run, resume=True) is None
