"""A run's folder after a kill, a full disk or damage: it goes on to the same weights, or one line names the file."""

import errno
import json
import os
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small import save_small_model

from laconic.config.load import parse_recipe
from laconic.errors import InputError, LaconicError, ModelError, RunError, RunFailed, Terminated
from laconic.samplers.local import LocalSampler
from laconic.system.files import read_json, read_jsonl, write_json_atomically
from laconic.system.progress import Reporter
from laconic.system.termination import heeding_signals
from laconic.training import phase as phase_module
from laconic.training import run_directory
from laconic.training.checkpoint_files import Checkpoint
from laconic.training.measure_run import measure_run
from laconic.training.phase import PhaseRun
from laconic.training.phase_end import Watch
from laconic.training.run import Trainer, start
from laconic.training.run_directory import RunDirectory

RECIPE: dict[str, Any] = {
    "name": "damaged",
    "threads": 1,
    "watch": {"every": 2, "samples": 1},
    "checkpoints": {"every": 1, "keep": 9},
    "report": {"temperatures": [0.0], "samples": 1},
    "problems": {
        "train": "tiny:mix?count=4&split=train",
        "watch": "tiny:mix?count=2&split=watch",
        "report": "tiny:mix?count=2&split=report",
    },
    "defaults": {
        "steps": 2,
        "problems_per_step": 2,
        "group_size": 2,
        "sampler": {"max_tokens": 8, "batch_size": 8},
        "optimizer": {"lr": 1e-2},
        "end": {"guard_drop": None},
    },
    "phases": [
        {"name": "one", "algorithm": {"name": "rloo", "entropy_coef": 0.1}, "select": {"how": "all", "samples": 1}},
        {
            "name": "two",
            "rollouts": "offline",
            "algorithm": {"name": "reinforce", "kl_coef": 0.1},
            "rewards": {"terms": [{"name": "linear_length", "weight": 0.5}]},
        },
    ],
}


class Telling(Reporter):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(is_silent=True)
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("models") / "small")


def recipe(model: Path, **changes: Any) -> Any:
    return parse_recipe(RECIPE | {"model": str(model)} | changes, "damaged")


def begin(asked: Any, out: Path, **options: Any) -> tuple[Trainer, list[str]]:
    reporter = Telling()
    return start(asked, out, resume=options.pop("resume", False), reporter=reporter, **options), reporter.said


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two phases with two steps each."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    trainer, _ = begin(recipe(model), out)
    trainer.train()
    return out


@pytest.fixture
def halted(whole: Path, tmp_path: Path) -> Path:
    """The run as it was after three of its four steps."""
    out = tmp_path / "run"
    shutil.copytree(whole, out, ignore=shutil.ignore_patterns("model", "step-000004*"))
    write_json_atomically(out / "phases.json", json.loads((whole / "phases.json").read_text())[:1])
    return out


def untimed(out: Path) -> list[dict[str, Any]]:
    rows = read_jsonl(out / "metrics.jsonl")
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows]


def is_same_result(one: Path, two: Path) -> bool:
    """Equal weights to the bit, equal phases."""
    a, b = (load_file(out / "model" / "model.safetensors") for out in (one, two))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    assert read_phases(one) == read_phases(two)
    return True


def read_phases(out: Path) -> Any:
    return json.loads((out / "phases.json").read_text())


# --- damage that is mended -------------------------------------------------------------------------------------------


def flip(file: Path) -> None:
    """Another byte in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def in_checkpoint(step: int, name: str) -> Callable[[Path], Path]:
    return lambda out: out / "checkpoints" / f"step-00000{step}" / name


def written(file: str, text: str) -> Callable[[Path], object]:
    def write(out: Path) -> None:
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        (out / file).write_text(text)

    return write


def lose_both(out: Path) -> None:
    """The second phase has no checkpoint, and the result of the first is damaged."""
    shutil.rmtree(out / "checkpoints" / "step-000003")
    flip(in_checkpoint(2, "trainer.safetensors")(out))


def copy_checkpoint(out: Path) -> None:
    shutil.copytree(out / "checkpoints" / "step-000002", out / "checkpoints" / "step-000007")


MENDED: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda out: None, ""),
    "state of training": (
        lambda out: flip(in_checkpoint(3, "trainer.safetensors")(out)),
        "trainer.safetensors: is dam",
    ),
    "weights": (lambda out: flip(in_checkpoint(3, "model.safetensors")(out)), "model.safetensors: is damaged"),
    "bookkeeping": (lambda out: in_checkpoint(3, "trainer.json")(out).write_text("{"), "trainer.json: is damaged"),
    "a file gone": (lambda out: in_checkpoint(3, "tokenizer.json")(out).unlink(), "tokenizer.json: is missing"),
    "the result of a phase": (lose_both, "one is trained again from the checkpoint before it"),
    "the weights that entered a phase": (
        lambda out: flip(in_checkpoint(2, "trainer.safetensors")(out)),
        "one is trained again from the checkpoint before it",
    ),
    "a share of another checkpoint": (
        written("checkpoints/step-000003/trainer/shard-00003.safetensors", "another's"),
        "shard-00003.safetensors: does not belong to this checkpoint, and would be read with it",
    ),
    "a copied checkpoint": (copy_checkpoint, "step-000007: holds the state after step 2"),
    "stray folders": (written("checkpoints/step-mine/notes.txt", "mine"), ""),
    "an empty checkpoint": (lambda out: (out / "checkpoints" / "step-000009").mkdir(), "SHA256SUMS: cannot be read"),
    "a stray file": (written("checkpoints/step-000008", "mine"), ""),
    "stray rollouts": (written("rollouts/step-mine.jsonl", "mine"), ""),
    "no phases": (lambda out: (out / "phases.json").unlink(), "phases.json: lacks phases"),
    "phases that are no JSON": (written("phases.json", "[{"), "phases.json: not JSON"),
    "phases that are a pipe": (
        lambda out: ((out / "phases.json").unlink(), os.mkfifo(out / "phases.json")),
        "phases.json: is a device or a pipe",
    ),
    "phases of another kind": (written("phases.json", "{}"), "phases.json: expected a list"),
    "a phase without its step": (written("phases.json", '[{"name": "one"}]'), "phases.json: algorithm is missing"),
    "a phase twice": (
        lambda out: write_json_atomically(out / "phases.json", read_phases(out) * 2),
        "phases.json: lacks phases, or holds others than the run's; it is written again with the 1 that are known",
    ),
    "a phase of another name": (
        lambda out: write_json_atomically(out / "phases.json", [read_phases(out)[0] | {"name": "nope"}]),
        "phases.json: lacks phases, or holds others",
    ),
    "offline rollouts": (
        lambda out: flip(out / "phases" / "2-two" / "offline.jsonl"),
        "offline.jsonl: is damaged or mis",
    ),
    "no checkpoints": (lambda out: shutil.rmtree(out / "checkpoints"), "step-000002: is missing; one is trained again"),
    "no offline rollouts": (lambda out: (out / "phases" / "2-two" / "offline.jsonl").unlink(), "it is made again"),
}


@pytest.mark.parametrize("name", MENDED)
def test_damage_is_mended_or_gone_round(name: str, halted: Path, whole: Path, model: Path) -> None:
    """The run ends with the same weights, and says what was damaged."""
    damage, says = MENDED[name]
    damage(halted)
    trainer, said = begin(recipe(model), halted, resume=True)
    trainer.train()
    assert is_same_result(whole, halted)
    assert untimed(halted) == untimed(whole)
    assert says in "\n".join(said) and (not says or str(halted) in "\n".join(said))


def test_a_damaged_line_of_the_metrics_costs_no_other(halted: Path, whole: Path, model: Path) -> None:
    """The second of three lines is cut, and one holds no phase; the file as it was stays beside it. Of a leftover that is a link
    only the link is removed, and a file of the user's is no leftover."""
    (halted / ".linked.7.partial").symlink_to(model)
    (halted / "mine.partial").write_text("mine")
    lines = (halted / "metrics.jsonl").read_text().splitlines()
    broken = "\n".join([lines[0], lines[1][:30], '{"step": 2}', lines[2], lines[2][:9]])
    (halted / "metrics.jsonl").write_text(broken)
    trainer, said = begin(recipe(model), halted, resume=True)
    trainer.train()
    assert [row["step"] for row in read_jsonl(halted / "metrics.jsonl")] == [1, 3, 4]
    assert any("metrics.jsonl, line 2: is damaged (2 lines left out" in line for line in said)
    assert (halted / "metrics.jsonl.damaged").read_text() == broken
    assert (halted / "mine.partial").read_text() == "mine"
    assert not (halted / ".linked.7.partial").is_symlink() and any(model.iterdir())
    assert is_same_result(whole, halted)


def change_a_figure(file: Path) -> None:
    file.write_text(file.read_text().replace('"rollouts/mean_tokens": ', '"rollouts/mean_tokens": 1', 1))


def lose_a_line(file: Path) -> None:
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))


@pytest.mark.parametrize("damage", [change_a_figure, lose_a_line, Path.unlink])
def test_a_log_that_is_not_as_it_was_logged_is_told(
    damage: Callable[[Path], None], halted: Path, whole: Path, model: Path
) -> None:
    """Every line that is left can be read, but they are not those that the checkpoint knows. The weights do not depend on it."""
    damage(halted / "metrics.jsonl")
    trainer, said = begin(recipe(model), halted, resume=True)
    trainer.train()
    assert sum("metrics.jsonl: lines up to step 3 are missing or were changed" in line for line in said) == 1
    assert is_same_result(whole, halted)


def one_line(error: pytest.ExceptionInfo[LaconicError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a recipe that is no JSON": (
        written("config.json", "{"),
        r"config\.json: not JSON .*; put back a copy of it, or train anew with another --out",
    ),
    "a recipe of another kind": (
        written("config.json", "[]"),
        r"config\.json: expected a JSON object.*; put back a copy",
    ),
    "an environment that is no JSON": (
        written("environment.json", "{"),
        r"environment\.json: not JSON .*; put back a copy",
    ),
    "no environment": (
        lambda out: (out / "environment.json").unlink(),
        r"environment\.json: cannot be read .*; put back a copy",
    ),
    "phases without a checkpoint": (
        lambda out: (shutil.rmtree(out / "checkpoints"), written("phases.json", "[{")(out)),
        "phases.json: not JSON .* train anew with another --out",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_damage_that_cannot_be_mended_is_one_line(name: str, halted: Path, model: Path) -> None:
    """The lock is given back, so that the run can be resumed once the file is."""
    damage, says = REFUSED[name]
    damage(halted)
    with pytest.raises(InputError, match=says) as error:
        begin(recipe(model), halted, resume=True)
    assert str(halted) in one_line(error)
    assert not (halted / ".lock").exists()


@pytest.mark.parametrize("damage", [flip, Path.unlink], ids=["damaged", "missing"])
def test_the_model_of_a_finished_run_is_written_again(
    damage: Callable[[Path], None], whole: Path, model: Path, tmp_path: Path
) -> None:
    """From the checkpoint of the last phase's result."""
    shutil.copytree(whole, tmp_path / "run")
    damage(tmp_path / "run" / "model" / "model.safetensors")
    trainer, said = begin(recipe(model), tmp_path / "run", resume=True)
    trainer.train()
    assert is_same_result(whole, tmp_path / "run")
    assert any("model.safetensors: is " in line for line in said)


@pytest.mark.parametrize("name", ["metrics.jsonl", "config.json", "environment.json"])
def test_a_pipe_in_place_of_a_file_of_the_run_is_named_and_not_waited_for(name: str, halted: Path, model: Path) -> None:
    (halted / name).unlink()
    os.mkfifo(halted / name)
    with pytest.raises(InputError, match=rf"{name}: is a device or a pipe") as error:
        begin(recipe(model), halted, resume=True)[0].train()
    one_line(error)


@pytest.mark.parametrize("name", ["SHA256SUMS", "trainer.json", "trainer.safetensors"])
def test_a_pipe_in_a_checkpoint_is_damage(name: str, halted: Path, whole: Path, model: Path) -> None:
    file = in_checkpoint(3, name)(halted)
    file.unlink()
    os.mkfifo(file)
    trainer, said = begin(recipe(model), halted, resume=True)
    trainer.train()
    assert any(f"step-000003/{name}: is " in line and "going on from the checkpoint before it" in line for line in said)
    assert is_same_result(whole, halted)


def test_a_damaged_result_is_not_measured(halted: Path, model: Path) -> None:
    trainer, _ = begin(recipe(model), halted, resume=True)
    trainer.train()
    trainer, _ = begin(recipe(model), halted, resume=True)
    flip(in_checkpoint(2, "model.safetensors")(halted))
    with pytest.raises(RunError, match=r"step-000002/model\.safetensors: is damaged .*; put back a copy"):
        measure_run(trainer.run, trainer.finished)


# --- beginning -------------------------------------------------------------------------------------------------------


def test_a_beginning_that_failed_leaves_a_folder_that_can_be_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full when the second file is written; the same command works once there is room."""

    def full(path: Path, value: Any) -> None:
        if path.name == "config.json":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write_json_atomically(path, value)

    monkeypatch.setattr(run_directory, "write_json_atomically", full)
    with pytest.raises(OSError, match=r"No space left .*config\.json"):
        RunDirectory.create(tmp_path / "run", {"name": "mine"}, {})
    monkeypatch.undo()
    (tmp_path / "run" / ".config.json.7.partial").write_text("{")
    with pytest.raises(RunError, match="no run to resume"):
        RunDirectory.resume(tmp_path / "run", {"name": "mine"})
    RunDirectory.create(tmp_path / "run", {"name": "mine"}, {})
    assert read_json(tmp_path / "run" / "config.json") == {"name": "mine"}
    with pytest.raises(RunError, match="is not empty"):
        RunDirectory.create(tmp_path / "run", {"name": "mine"}, {})


# --- a full disk -----------------------------------------------------------------------------------------------------


def no_room(folder: Path) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_costs_no_checkpoint(tmp_path: Path) -> None:
    """Full while the weights are written, or, by a limit on the size of files, while the state of training is."""
    directory = RunDirectory.create(tmp_path / "run", {}, {})
    directory.checkpoints.save(Checkpoint(1, {}, {"a": torch.zeros(9)}), lambda folder: None)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(
        RunFailed, match=r"step-000002/model.safetensors: cannot .* \(No space .* of step 1\. .* --resume"
    ):
        directory.checkpoints.save(Checkpoint(2, {}, {}), no_room)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, limits[1]))
        with pytest.raises(
            RunFailed, match=r"step-000002/trainer\.safetensors: cannot be written .* of step 1\."
        ) as error:
            directory.checkpoints.save(Checkpoint(2, {}, {"a": torch.zeros(9000)}), lambda folder: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    one_line(error)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000001"]
    assert directory.checkpoints.load(1).tensors["a"].tolist() == [0.0] * 9


# --- SIGTERM ---------------------------------------------------------------------------------------------------------


def test_sigterm_saves_the_last_whole_step(
    whole: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While rollouts are drawn, and while an update works, of a phase that keeps the reference's scores: no step is lost, and the
    run goes on to the same weights."""
    asked = recipe(
        model, checkpoints={"every": 2, "keep": 9}, phases=RECIPE["phases"][1:], watch={"every": 3, "samples": 1}
    )
    asked = asked.model_copy(update={"phases": (asked.phases[0].model_copy(update={"steps": 3}),)})
    trainer, _ = begin(asked, tmp_path / "whole")
    trainer.train()
    plain = RunDirectory.log_rollouts

    def asking(self: RunDirectory, step: int, groups: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        plain(self, step, groups)

    monkeypatch.setattr(RunDirectory, "log_rollouts", asking)
    for step in (1, 2):
        trainer, _ = begin(asked, tmp_path / "run", resume=step > 1)
        with pytest.raises(Terminated, match="ended by SIGTERM; go on"), heeding_signals(lambda: "go on"):
            trainer.train()
        assert trainer.run.directory.checkpoints.steps()[0] == step
    monkeypatch.undo()
    trainer, _ = begin(asked, tmp_path / "run", resume=True)
    trainer.train()
    assert is_same_result(tmp_path / "whole", tmp_path / "run")
    assert untimed(tmp_path / "whole") == untimed(tmp_path / "run")


def test_sigterm_breaks_off_rollouts(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the second step; the first is saved out of turn."""
    plain, calls = LocalSampler.sample, []

    def asking(self: LocalSampler, *arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:  # a probe, a watch, and the first step's rollouts come before
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("went on")
        return plain(self, *arguments, **options)

    trainer, _ = begin(recipe(model, checkpoints={"every": 5, "keep": 2}), tmp_path / "run")
    monkeypatch.setattr(LocalSampler, "sample", asking)
    with pytest.raises(Terminated), heeding_signals(lambda: "go on"):
        trainer.train()
    assert trainer.run.directory.checkpoints.steps() == [1]
    assert [row["step"] for row in trainer.run.directory.metrics()] == [1]


# --- divergence ------------------------------------------------------------------------------------------------------


def test_a_diverged_run_goes_on_at_a_lower_rate(model: Path, tmp_path: Path) -> None:
    """The line tells what, when, and the command; the change is recorded with its step, and needs the switch."""
    out = tmp_path / "run"
    hot = {**RECIPE["defaults"], "optimizer": {"lr": 1e9}}
    rarely = {"checkpoints": {"every": 9, "keep": 9}, "watch": {"every": 9, "samples": 1}}
    trainer, _ = begin(recipe(model, defaults=hot, **rarely), out)
    says = "one: training diverged in step 2: .* is (nan|inf); there is no checkpoint yet. .*lr=0.0001 .*--accept-ch"
    with pytest.raises(RunFailed, match=says) as error:
        trainer.train()
    one_line(error)
    with pytest.raises(
        RunError, match=r"phases\.one\.optimizer\.lr was 1000000000\.0 and is now 0\.01; .* with --accept-changes"
    ):
        begin(recipe(model, **rarely), out, resume=True)
    trainer, said = begin(recipe(model, **rarely), out, resume=True, accept_changes=True)
    trainer.train()
    changes = read_json(out / "environment.json")["changes"]
    assert [(entry["step"], entry["key"], entry["was"], entry["is"]) for entry in changes] == [
        (0, f"phases.{name}.optimizer.lr", 1e9, 0.01) for name in ("one", "two")
    ]
    assert (
        "from step 0 on, as environment.json records: phases.one.optimizer.lr was 1000000000.0 and is now 0.01" in said
    )
    begin(recipe(model, **rarely), out, resume=True)


# --- what changes on resume ------------------------------------------------------------------------------------------


def test_what_only_measures_may_change(halted: Path, model: Path) -> None:
    """The report set and how it is sampled, also once all is trained; what was drawn otherwise is set aside and drawn anew. A
    report set with problems that were trained on is refused."""
    trainer, _ = begin(recipe(model), halted, resume=True)
    trainer.train()
    measure_run(trainer.run, trainer.finished)
    report = {"temperatures": [1.0], "samples": 2, "max_tokens": 6, "margin": 0.5}
    changed = recipe(model, report=report, problems=RECIPE["problems"] | {"report": "tiny:mix?count=3&split=report"})
    trainer, _ = begin(changed, halted, resume=True)
    comparisons = measure_run(trainer.run, trainer.finished)
    assert set(comparisons) == {"t1"}
    summary = read_json(halted / "eval" / "base-t1" / "summary.json")
    assert (summary["max_tokens"], summary["num_problems"]) == (6, 3)
    assert (halted / "replaced-1" / "eval" / "base-greedy" / "summary.json").exists()
    keys = {entry["key"] for entry in read_json(halted / "environment.json")["changes"]}
    measuring = {"report.temperatures.0", "report.samples", "report.max_tokens", "report.margin"}
    assert keys == measuring | {"problems.report", "inputs.problems.report"}
    shared = recipe(model, problems=RECIPE["problems"] | {"report": RECIPE["problems"]["train"].replace("=4", "=2")})
    with pytest.raises(RunError, match=r"run: problems\.train: not as it was"):
        begin(shared, halted, resume=True)


def test_a_cap_on_watched_responses_is_part_of_training(halted: Path, model: Path) -> None:
    """Until the last phase is over."""
    capped = recipe(model, report=RECIPE["report"] | {"max_tokens": 6})
    with pytest.raises(RunError, match=r"report\.max_tokens was null and is now 6; .* --accept-changes"):
        begin(capped, halted, resume=True)


def test_an_end_rule_that_asks_for_a_step_that_is_gone_is_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By accuracy step 6 is best, and kept; by tokens step 4 would be, whose checkpoint is gone. Under the rule that the phase
    began with it goes on."""
    accuracies = iter((0.5, 0.9, 0.7, 0.95, 0.8))
    tokens = {0.5: 90.0, 0.9: 50.0, 0.7: 40.0, 0.95: 60.0, 0.8: 70.0}

    def watched(phase_run: PhaseRun, step: int) -> Watch:
        accuracy = next(accuracies)
        return Watch(step, accuracy, tokens[accuracy])

    monkeypatch.setattr(PhaseRun, "watch", watched)
    end = {"guard_drop": None, "keep": "best", "goal": "accuracy"}
    (phase,) = [{"name": "one", "steps": 8, "algorithm": {"name": "rloo"}, "end": end}]
    asked = {"phases": [phase], "checkpoints": {"every": 1, "keep": 1}}
    out = tmp_path / "run"
    trainer, _ = begin(recipe(model, **asked), out)
    monkeypatch.setattr(PhaseRun, "ending", ending_at(6, PhaseRun.ending))
    with pytest.raises(Terminated):
        trainer.train()
    monkeypatch.undo()
    by_tokens = asked | {"phases": [phase | {"end": end | {"goal": "tokens"}}]}
    trainer, _ = begin(recipe(model, **by_tokens), out, resume=True, accept_changes=True)
    says = r"phases\.one\.end: calls step 4 the best so far, whose checkpoint the rule before did not keep"
    with pytest.raises(RunError, match=says) as error:
        trainer.train()
    one_line(error)
    accuracies = iter((0.8,))
    monkeypatch.setattr(PhaseRun, "watch", watched)
    trainer, _ = begin(recipe(model, **asked), out, resume=True, accept_changes=True)
    trainer.train()
    assert trainer.finished[0].result_step == 6


def ending_at(step: int, ending: Callable[[PhaseRun], Any]) -> Callable[[PhaseRun], Any]:
    """An end of the program after a step."""

    def checked(phase_run: PhaseRun) -> Any:
        if phase_run.step == step:
            raise Terminated("ended", 143)
        return ending(phase_run)

    return checked


def test_a_watched_set_that_nobody_could_grade_is_no_accuracy_of_0(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guard would call it a fall, and a first watch would leave the guard nothing to hold on to."""
    trainer, _ = begin(recipe(model), tmp_path / "run")
    monkeypatch.setattr(phase_module, "rollout_metrics", lambda groups: {"rollouts/accuracy_frac": None})
    with pytest.raises(
        RunFailed, match=r"problems\.watch: the grader could grade none of the 2 responses after step 0"
    ) as error:
        trainer.train()
    one_line(error)
    monkeypatch.undo()
    trainer, _ = begin(recipe(model), tmp_path / "run", resume=True)
    trainer.train()


def test_a_run_notices_that_its_inputs_changed(model: Path, tmp_path: Path) -> None:
    """Weights, chat template and problems that lie in files, and a recipe's model that is another."""
    shutil.copytree(model, tmp_path / "model")
    lines = [{"id": f"p{i}", "problem": f"Compute 1 + {i}", "answer": str(1 + i)} for i in range(4)]
    train = tmp_path / "train.jsonl"
    train.write_text("".join(json.dumps(line) + "\n" for line in lines))
    asked = recipe(tmp_path / "model", problems=RECIPE["problems"] | {"train": str(train)})
    begin(asked, tmp_path / "run")[0].run.directory.lock.release()
    train.write_text(train.read_text().replace("1 + 2", "2 + 1"))
    with pytest.raises(RunError, match=r"run: problems\.train: not as it was when the run began .* --accept-changes"):
        begin(asked, tmp_path / "run", resume=True)
    begin(asked, tmp_path / "run", resume=True, accept_changes=True)
    save_small_model(tmp_path / "model", seed=1)
    with pytest.raises(RunError, match="run: model: not as it was when the run began"):
        begin(asked, tmp_path / "run", resume=True)


def test_a_finished_run_takes_up_no_setting_that_none_of_its_steps_had(
    whole: Path, model: Path, tmp_path: Path
) -> None:
    """What is measured afresh may change; both stand in config.json, which says how the model was made."""
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    before = (out / "config.json").read_bytes()
    faster = RECIPE["defaults"] | {"optimizer": {"lr": 2e-2}}
    with pytest.raises(RunError, match=r"optimizer\.lr was 0\.01 and is now 0\.02; resume it as it was started"):
        begin(recipe(model, defaults=faster), out, resume=True, accept_changes=True)
    assert (out / "config.json").read_bytes() == before
    begin(recipe(model, threads=1), out, resume=True, accept_changes=True)


def test_a_new_run_has_no_changes_to_accept(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--accept-changes: .* goes with --resume"):
        begin(recipe(model), tmp_path / "run", accept_changes=True)
    assert not (tmp_path / "run").exists()


def test_the_cap_of_reported_responses_is_checked_before_training(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"report\.max_tokens: 9999 and the prompt of problem .* exceed the context"):
        begin(recipe(model, report={"max_tokens": 9999}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
