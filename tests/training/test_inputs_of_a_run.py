"""What a run is made of beside its recipe: the files of its model and of its teachers, and solutions to learn from.

Whatever of it `train` can find wrong is found before the run's folder is made, and what changed before a run is resumed is named.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_vllm import FakeVllm
from rich.console import Console
from safetensors.torch import load_file, save_file
from small import save_small_model

from laconic.config.load import dump, load_recipe, parse_recipe
from laconic.config.recipe import Recipe
from laconic.doctor.dry_run import print_plan
from laconic.doctor.examination import examine
from laconic.doctor.run import find
from laconic.errors import InputError, RunError, SelectionError, Terminated
from laconic.models.held_files import digests_of
from laconic.problems.load import load_problems
from laconic.sweep.config import load_sweep
from laconic.system.files import read_json, read_jsonl
from laconic.system.progress import Reporter
from laconic.training import curriculum
from laconic.training import phase as phase_module
from laconic.training.experience import ReferenceCache
from laconic.training.phase import PhaseRun
from laconic.training.phase_end import PhaseRecord, Watch
from laconic.training.run import Trainer, start
from laconic.training.run_directory import RunDirectory


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A random model, a teacher, and problems with worked solutions; the teacher's own tokenizer is the student's."""
    save_small_model(tmp_path / "student")
    save_small_model(tmp_path / "teacher", seed=1)
    write_problems(tmp_path)
    return tmp_path


def write_problems(folder: Path, **solutions: str) -> None:
    """Three problems; `solutions` by id replace the plain ones."""
    lines = [
        {"id": f"p{i}", "problem": f"Compute {i} + {i}", "answer": str(2 * i), "solution": f"{i}+{i}={2 * i};</think>"}
        | ({"solution": solutions[f"p{i}"]} if f"p{i}" in solutions else {})
        for i in range(1, 4)
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def recipe(folder: Path, *phases: dict[str, Any], **changes: Any) -> Recipe:
    """A recipe over the student whose phases of two steps differ from one another as `phases` says."""
    plain = {"steps": 2, "problems_per_step": 2, "group_size": 1, "sampler": {"max_tokens": 4}}
    tree = {
        "name": "inputs",
        "model": str(folder / "student"),
        "threads": 1,
        "problems": {"train": str(folder / "train.jsonl"), "watch": "tiny:count?count=1&split=watch"},
        "phases": [plain | {"name": f"p{i}"} | phase for i, phase in enumerate(phases)],
    }
    return parse_recipe(tree | changes, "inputs")


TAUGHT = {"algorithm": {"name": "distill", "reference_model": "TEACHER", "kl_coef": 0.1}}
SFT = {"rollouts": "solutions", "algorithm": {"name": "sft", "old_logprobs": "current"}}


def taught(folder: Path) -> dict[str, Any]:
    return {"algorithm": TAUGHT["algorithm"] | {"reference_model": str(folder / "teacher")}}


class Telling(Reporter):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(is_silent=True)
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def begin(asked: Recipe, out: Path, **options: Any) -> tuple[Trainer, list[str]]:
    reporter = Telling()
    trainer = start(asked, out, **{"resume": False, **options}, reporter=reporter)
    trainer.run.directory.lock.release()
    return trainer, reporter.said


# --- files of models -------------------------------------------------------------------------------------------------


def one_weight(folder: Path) -> None:
    """One number of one weight, which no sample of each weight needs to hit."""
    tensors = load_file(folder / "model.safetensors")
    name = max(tensors, key=lambda key: tensors[key].numel())
    tensors[name].view(-1)[3] += 0.5
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def a_config(file: str, **values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / file).write_text(json.dumps(read_json(folder / file) | values))

    return change


CHANGES: dict[str, Callable[[Path], None]] = {
    "model.safetensors": one_weight,
    "config.json": a_config("config.json", rope_theta=5000.0),
    "generation_config.json": a_config("generation_config.json", eos_token_id=[1, 2]),
    "tokenizer_config.json": a_config("tokenizer_config.json", note="another"),
}


@pytest.mark.parametrize("whose", ["student", "teacher"])
@pytest.mark.parametrize("file", CHANGES)
def test_a_file_of_a_model_that_changed_is_named(file: str, whose: str, folder: Path) -> None:
    """It can be put back, or the change accepted, which is recorded once."""
    asked, out = recipe(folder, taught(folder)), folder / "run"
    begin(asked, out)
    shutil.copytree(folder / whose, folder / "as it was")
    CHANGES[file](folder / whose)
    with pytest.raises(RunError) as error:
        begin(asked, out, resume=True)
    said = str(error.value)
    is_seen_at_once = whose == "student" and f"{out}: model: not as it was" in said  # by the sample of its weights
    assert is_seen_at_once or f"{out}: {folder / whose / file}: not as it was when the run began" in said
    assert "\n" not in said and "--accept-changes" in said
    _, told = begin(asked, out, resume=True, accept_changes=True)
    assert any(str(folder / whose / file) in line for line in told)
    begin(asked, out, resume=True)
    shutil.rmtree(folder / whose)
    shutil.copytree(folder / "as it was", folder / whose)
    with pytest.raises(RunError, match="not as it was"):
        begin(asked, out, resume=True)


def test_what_does_not_belong_to_the_model_may_change(folder: Path) -> None:
    asked, out = recipe(folder, taught(folder)), folder / "run"
    begin(asked, out)
    (folder / "teacher" / "README.md").write_text("a word about it")
    (folder / "student" / "trainer.json").write_text("{}")
    begin(asked, out, resume=True)


def test_a_run_of_an_earlier_version_recorded_fewer_inputs(folder: Path) -> None:
    asked, out = recipe(folder, taught(folder)), folder / "run"
    begin(asked, out)
    held = read_json(out / "environment.json")
    held["inputs"] = {key: held["inputs"][key] for key in ("model", "problems", "prompt")}
    (out / "environment.json").write_text(json.dumps(held))
    one_weight(folder / "teacher")
    begin(asked, out, resume=True)


@pytest.mark.parametrize("damage", [5, {"files": 5}, {"teachers": [7]}, {"teachers": {"1": None}}, {"problems": {}}])
def test_a_record_of_inputs_that_is_none_is_one_line(damage: Any, folder: Path) -> None:
    asked, out = recipe(folder, taught(folder)), folder / "run"
    begin(asked, out)
    held = read_json(out / "environment.json")
    held["inputs"] = held["inputs"] | damage if isinstance(damage, dict) else damage
    (out / "environment.json").write_text(json.dumps(held))
    with pytest.raises(RunError, match=r"not as it was when the run began|was started with another") as error:
        begin(asked, out, resume=True)
    assert "\n" not in str(error.value)


def test_changes_that_are_no_list_are_one_line(folder: Path) -> None:
    out = folder / "run"
    begin(recipe(folder, {}), out)
    (out / "environment.json").write_text(json.dumps(read_json(out / "environment.json") | {"changes": 5}))
    with pytest.raises(RunError, match=r"environment\.json: changes: expected a list"):
        begin(recipe(folder, {}, report={"margin": 0.2}), out, resume=True)


def test_the_teacher_of_a_finished_phase_is_needed_no_more(folder: Path) -> None:
    asked, out = recipe(folder, taught(folder), {}), folder / "run"
    begin(asked, out)
    record = PhaseRecord("p0", "distill", 1, 2, 0, "cap", 3, (Watch(0, 0.5, 4.0),))
    RunDirectory(out).write_phases([record.to_json()])
    shutil.rmtree(folder / "teacher")
    trainer, _ = begin(asked, out, resume=True)
    assert [finished.name for finished in trainer.finished] == ["p0"]


def test_a_teacher_with_broken_weights_is_found_before_the_folder_is_made(folder: Path) -> None:
    """Also that of the second phase, which would be loaded after the first was trained."""
    tensors = load_file(folder / "teacher" / "model.safetensors")
    name = next(iter(tensors))
    save_file(tensors | {name: torch.full_like(tensors[name], torch.nan)}, folder / "teacher" / "model.safetensors")
    with pytest.raises(InputError, match=r"^phases\.p1\.algorithm\.reference_model: .* holds NaN"):
        begin(recipe(folder, {}, taught(folder)), folder / "run")
    assert not (folder / "run").exists()


def test_a_model_on_the_hub_is_told_by_its_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laconic.models.held_files.cached_revision", lambda name: "abc123")
    assert digests_of("someone/model") == {"someone/model": "abc123"}
    monkeypatch.setattr("laconic.models.held_files.cached_revision", lambda name: None)
    assert digests_of("someone/model") == {}


# --- changes of what a phase goes on with ------------------------------------------------------------------------------


def interrupt(monkeypatch: pytest.MonkeyPatch, asked: Recipe, out: Path, step: int, **options: Any) -> None:
    """Train until a signal comes in `step`; the last whole step before it is saved."""
    plain = PhaseRun.roll_out

    def signalled(self: PhaseRun, problems: Any) -> Any:
        if self.step == step:
            raise Terminated("ended", 143)
        return plain(self, problems)

    trainer = start(asked, out, **{"resume": False, **options}, reporter=Reporter(is_silent=True))
    with monkeypatch.context() as patched, pytest.raises(Terminated):
        patched.setattr(PhaseRun, "roll_out", signalled)
        trainer.train()


PROBED = {"steps": 3, "problems_per_step": 9, "select": {"how": "all", "samples": 1}}


def test_a_probed_phase_trains_on_problems_as_they_are_now(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a mended file was accepted: with its answers, and without the problem that is gone."""
    out = folder / "run"
    interrupt(monkeypatch, recipe(folder, PROBED), out, 2)
    lines = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    mended = [line | {"answer": "77"} for line in lines if line["id"] != "p2"]
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in mended))
    start(recipe(folder, PROBED), out, resume=True, accept_changes=True, reporter=Reporter(is_silent=True)).train()
    trained = [
        {(row["problem_id"], row["gold"]) for row in read_jsonl(out / "rollouts" / f"step-00000{step}.jsonl")}
        for step in (1, 2)
    ]
    assert trained == [{("p1", "2"), ("p2", "4"), ("p3", "6")}, {("p1", "77"), ("p3", "77")}]


def test_a_probe_of_which_no_problem_is_left_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(monkeypatch, recipe(folder, PROBED), folder / "run", 2)
    (folder / "train.jsonl").write_text(json.dumps({"id": "new", "problem": "Compute 8 + 8", "answer": "16"}) + "\n")
    trainer, _ = begin(recipe(folder, PROBED), folder / "run", resume=True, accept_changes=True)
    with pytest.raises(SelectionError, match=r"1-p0/probe\.jsonl: no problem of it is among the problems to train on"):
        trainer.train()


def test_offline_responses_keep_their_problems_and_their_grader(folder: Path) -> None:
    """Their grades are stored. The refusal names the file, and nothing is recorded, so that it stands at the next try too."""
    offline, out = {"rollouts": "offline", "group_size": 2}, folder / "run"
    begin(recipe(folder, offline), out)
    (out / "phases" / "1-p0").mkdir(parents=True)
    (out / "phases" / "1-p0" / "offline.jsonl").touch()
    before = (out / "environment.json").read_bytes()
    write_problems(folder, p2="2+2=4;")
    for _ in range(2):
        with pytest.raises(
            RunError, match=r"problems\.train: not as it was .*1-p0/offline\.jsonl was made as it was"
        ) as e:
            begin(recipe(folder, offline), out, resume=True, accept_changes=True)
        assert "--accept-changes" not in str(e.value) and "\n" not in str(e.value)
    assert (out / "environment.json").read_bytes() == before
    write_problems(folder)
    with pytest.raises(RunError, match=r"phases\.p0\.select\.count .* and .*offline\.jsonl was made as it was"):
        begin(recipe(folder, offline | {"select": {"count": 2}}), out, resume=True, accept_changes=True)
    begin(recipe(folder, offline | {"optimizer": {"lr": 1e-7}}), out, resume=True, accept_changes=True)


@pytest.mark.parametrize("made", ["phases/1-p0/probe.jsonl", "checkpoints/step-000001/trainer.json"])
def test_a_phase_keeps_the_probe_that_it_began_with(made: str, folder: Path) -> None:
    """How it is drawn may change until there is one, or a checkpoint of the phase; how it is read always."""
    out, chosen = folder / "run", {"how": "all", "samples": 2}
    begin(recipe(folder, {"select": chosen}, {}), out)
    begin(recipe(folder, {"select": chosen | {"samples": 3}}, {}), out, resume=True, accept_changes=True)
    (out / made).parent.mkdir(parents=True)
    (out / made).write_text(json.dumps({"phase": 0}))
    for change in ({"how": "everything"}, {"samples": 4}, {"pool": 2}):
        with pytest.raises(RunError, match=rf"select\.{next(iter(change))} was .*was made as it was; resume it as"):
            RunDirectory.resume(
                out, dump(recipe(folder, {"select": chosen | {"samples": 3} | change}, {})), accept_changes=True
            )
    for phases in (
        ({"select": chosen | {"samples": 3, "count": 2}}, {}),
        ({"select": chosen | {"samples": 3}}, PROBED),
    ):
        asked = dump(recipe(folder, *[phase | {"steps": 2, "problems_per_step": 2} for phase in phases]))
        RunDirectory.resume(out, asked, accept_changes=True).lock.release()


def test_a_probe_that_is_missing_is_drawn_from_the_model_that_enters(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the checkpoint, of an older version, does not know of it."""
    asked = recipe(folder, SFT, SFT | PROBED, checkpoints={"every": 1})
    drawn_by, plain = [], curriculum.probe

    def noted(solver: Any, *args: Any, **options: Any) -> Any:
        drawn_by.append(solver.lm.fingerprint())
        return plain(solver, *args, **options)

    monkeypatch.setattr(curriculum, "probe", noted)
    with monkeypatch.context() as patched:
        patched.setattr(phase_module, "phase_digests", lambda folder: {})
        interrupt(patched, asked, folder / "run", 5)
    (folder / "run" / "phases" / "2-p1" / "probe.jsonl").unlink()
    trainer = start(asked, folder / "run", resume=True, reporter=Reporter(is_silent=True))
    loaded = trainer.run.policy.lm.fingerprint()
    trainer.train()
    assert len(drawn_by) == 2 and drawn_by[0] == drawn_by[1] != loaded


def test_scores_of_the_reference_are_not_kept_over_an_accepted_change(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At another temperature it gives others. They are forgotten too where a kill came before the next checkpoint."""
    phase = {"steps": 3, "problems_per_step": 3, "algorithm": {"name": "reinforce", "kl_coef": 0.1}}
    phase |= {"algorithm": phase["algorithm"] | {"uniform_groups": "keep"}, "group_size": 2}
    hot, out, restored = phase | {"sampler": {"max_tokens": 4, "temperature": 0.5}}, folder / "run", []
    rare = {"watch": {"every": 9}, "checkpoints": {"every": 9}, "report": {"margin": 0.1}}
    interrupt(monkeypatch, recipe(folder, phase, **rare), out, 2)
    monkeypatch.setattr(ReferenceCache, "load_state", lambda self, state: restored.append(len(state)))
    interrupt(monkeypatch, recipe(folder, phase, **rare | {"report": {"margin": 0.2}}), out, 2, resume=True)
    assert restored == [3]  # lengths, ids, logprobs
    interrupt(monkeypatch, recipe(folder, hot, **rare), out, 2, resume=True, accept_changes=True)
    interrupt(monkeypatch, recipe(folder, hot, **rare), out, 2, resume=True)
    assert restored == [3]


# --- worked solutions ------------------------------------------------------------------------------------------------

FAULTS: dict[str, tuple[dict[str, str], str]] = {
    "none": ({"p2": " "}, "problem p2: has no 'solution'"),
    "too long": ({"p2": "1+1=2;" * 500 + "</think>"}, r"1 of 3 .* problem p2\) exceed with their prompts the context"),
    "ended early": ({"p3": "3+3=6;<|end|></think>"}, r"1 of 3 .* problem p3\) hold an end token before their end"),
    "all wrong": ({f"p{i}": r"</think>\boxed{77}" for i in (1, 2, 3)}, "there is nothing to learn from: .* 3 wrong"),
    "still thinking": (
        {f"p{i}": "1+1=2;" for i in (1, 2, 3)},
        "there is nothing to learn from: .* inside the thinking",
    ),
}


def said_by_doctor(asked: Recipe) -> list[str]:
    return [
        f"{finding.where}: {finding.what}"
        for finding in find(examine(asked))
        if finding.level == "error" and "rollouts" in finding.where
    ]


@pytest.mark.parametrize("fault", FAULTS)
def test_solutions_that_cannot_be_learnt_are_found_before_the_folder_is_made(fault: str, folder: Path) -> None:
    """In the second phase too; training, the dry run and doctor say the same."""
    solutions, says = FAULTS[fault]
    write_problems(folder, **solutions)
    asked = recipe(folder, {}, SFT)
    with pytest.raises(InputError, match=rf"^phases\.p1\.rollouts: .*{says}") as error:
        begin(asked, folder / "run")
    assert not (folder / "run").exists()
    with pytest.raises(InputError) as planned:
        print_plan(asked, Console(quiet=True))
    assert str(planned.value) == str(error.value)
    assert str(error.value) in said_by_doctor(asked)


def test_a_flaw_of_some_solutions_is_a_warning_everywhere(folder: Path) -> None:
    write_problems(folder, p2=r"</think>\boxed{77}")
    asked, says = recipe(folder, SFT), "1 of 3 solutions (the first is of problem p2) are not graded correct: 1 wrong"
    _, said = begin(asked, folder / "run")
    assert said.count(f"warning: phases.p0.rollouts: {says}") == 1
    console = Console(record=True, width=300, quiet=False, file=(folder / "plan.txt").open("w"))
    print_plan(asked, console)
    assert says in console.export_text()
    assert says in [finding.what for finding in find(examine(asked)) if finding.level == "warning"]


# --- exits, layers ---------------------------------------------------------------------------------------------------


def test_a_forced_answer_must_fit_the_context_too(folder: Path) -> None:
    """A response of 2,030 tokens fits the context of 2,048, and the last of 63 exits from it does not."""
    phase = {"rollouts": "serial", "group_size": 64, "algorithm": {"name": "rloo"}, "sampler": {"max_tokens": 2030}}
    fits = recipe(folder, phase | {"group_size": 2})
    print_plan(fits, Console(quiet=True))
    asked = recipe(folder, phase)
    for check in (lambda: print_plan(asked, Console(quiet=True)), lambda: begin(asked, folder / "run")):
        with pytest.raises(InputError, match=r"phases\.p0\.sampler\.max_tokens: 20[0-9]{2} and .* exceed the context"):
            check()
    assert not (folder / "run").exists()


@pytest.mark.parametrize("targets", ["q_porj", ["q_proj", "gate"], "norm"])
def test_the_dry_run_finds_targets_that_match_no_layer(targets: Any, folder: Path) -> None:
    asked = recipe(folder, {}, policy={"lora": {"targets": targets}})
    with pytest.raises(InputError, match=r"policy\.lora\.targets: .* matches ") as error:
        print_plan(asked, Console(quiet=True))
    with pytest.raises(InputError) as trained:
        begin(asked, folder / "run")
    assert str(trained.value) == str(error.value)
    print_plan(recipe(folder, {}, policy={"lora": {"targets": ["q_proj"]}}), Console(quiet=True))


@pytest.mark.parametrize(("device", "is_there"), [("cuda:98", False), ("xpu:7", False), ("cpu", True), ("auto", True)])
def test_a_device_that_is_not_there_is_said_by_the_dry_run(device: str, is_there: bool, folder: Path) -> None:
    """As a warning, since the plan may be for another machine. Training and doctor refuse it."""
    asked = recipe(folder, {}, policy={"device": device})
    console = Console(record=True, width=300, file=(folder / "plan.txt").open("w"))
    print_plan(asked, console)
    says = f"warning: policy.device: {device!r} is not there"
    assert (says in console.export_text()) is not is_there
    for refuse in () if is_there else (lambda: begin(asked, folder / "run"), lambda: examine(asked)):
        with pytest.raises(InputError, match=f"policy.device: {device!r} is not there"):
            refuse()


@pytest.mark.parametrize(("targets", "is_idle"), [(["embed_tokens"], True), (["embed_tokens", "q_proj"], False)])
def test_dropout_that_no_adapter_has_is_said_everywhere(targets: list[str], is_idle: bool, folder: Path) -> None:
    """peft's adapters of embeddings have none."""
    lora = {"rank": 2, "dropout": 0.1, "targets": targets}
    asked = recipe(folder, {}, policy={"lora": lora})
    says = "policy.lora.dropout: 0.1 changes nothing: only embeddings are adapted, and their adapters have no dropout"
    console = Console(record=True, width=300, file=(folder / "plan.txt").open("w"))
    print_plan(asked, console)
    _, said = begin(asked, folder / "run")
    found = [f"{finding.where}: {finding.what}" for finding in find(examine(asked)) if finding.level == "warning"]
    told = [says in console.export_text(), f"warning: {says}" in said, says in found]
    assert told == [is_idle] * 3


def test_a_server_that_does_not_answer_is_said_before_anything_is_trained(folder: Path) -> None:
    """By the dry run and doctor as a warning, since it may yet be started; one that answers, and a program, are fine."""
    server = FakeVllm(folder / "student")

    def told(name: str) -> list[str]:
        asked = recipe(folder, {"sampler": {"engine": "vllm", "server": name}})
        console = Console(record=True, width=500, file=(folder / "plan.txt").open("w"))
        print_plan(asked, console)
        plan = [
            line for line in console.export_text().splitlines() if line.startswith("warning: phases.p0.sampler.server")
        ]
        found = [f for f in find(examine(asked)) if "sampler.server" in f.where and f.level == "warning"]
        assert [f"warning: {f.where}: {f.what}" for f in found] == plan
        return plan

    try:
        assert told(server.url) == told(sys.executable) == []
        server.fault = lambda path, body: (404, {"detail": "Not Found"})
        (line,) = told(server.url)
        assert "VLLM_SERVER_DEV_MODE=1" in line and line.endswith("training would refuse it")
    finally:
        server.close()
    (line,) = told(server.url)
    assert f"sampler.server: does not answer now ({server.url}/v1/models: Connect" in line
    (line,) = told("no-such-vllm")
    assert "there is no program 'no-such-vllm' to start vLLM with" in line


@pytest.mark.parametrize(
    "name", ["http://", "http://127.0.0.1:99999", "http://127.0.0.1:8000/v1#a-model", "vllm 'half"]
)
def test_an_address_that_is_none_is_refused_by_the_dry_run_as_by_training(name: str, folder: Path) -> None:
    asked = recipe(folder, {"sampler": {"engine": "vllm", "server": name}})
    for check in (lambda: print_plan(asked, Console(quiet=True)), lambda: begin(asked, folder / "run")):
        with pytest.raises(InputError, match=r"expected|is no command") as error:
            check()
        assert "\n" not in str(error.value)
    assert any(finding.level == "error" for finding in find(examine(asked)))


def test_the_dry_run_shows_the_alarms_that_are_not_as_usual(folder: Path) -> None:
    console = Console(record=True, width=200, file=(folder / "plan.txt").open("w"))
    alarms = {"alarms": {"kl": "rollback", "format": "off", "lengths": "stop"}}
    print_plan(recipe(folder, {"end": alarms, "steps": 40}, {}), console)
    shown = " ".join(console.export_text().replace("│", " ").split())
    assert shown.count("each reads the newest") == 1
    assert "off: format; warn: truncation, rewards, entropy, repetition, ending; stop: lengths; rollback: kl" in shown
    assert "each reads the newest 5 steps" in shown


# --- what might never end --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_might_never_end_is_not_read(kind: str, folder: Path) -> None:
    """A named pipe that nobody writes to, and a device: as a recipe, a sweep, or problems of either kind of file."""
    pipes = {suffix: folder / f"pipe{suffix}" for suffix in (".toml", ".json", ".jsonl", ".parquet")}
    for pipe in pipes.values():
        os.mkfifo(pipe) if kind == "pipe" else pipe.symlink_to("/dev/zero")
    readers: list[Callable[[], object]] = [
        lambda: load_recipe(pipes[".toml"]),
        lambda: load_recipe(pipes[".json"]),
        lambda: load_sweep(pipes[".toml"]),
        lambda: load_problems(str(pipes[".jsonl"]), seed=0),
        lambda: load_problems(str(pipes[".parquet"]), seed=0),
    ]
    for read in readers:
        with pytest.raises(InputError, match=r"pipe\.\w+: is a device or a pipe, which might never end"):
            read()


def test_the_output_of_a_command_is_read(folder: Path) -> None:
    """As in `laconic train <(make-recipe)`, for which a shell writes /dev/fd/N."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as file:
        file.write((folder / "train.jsonl").read_bytes())
    assert len(list(read_jsonl(Path(f"/dev/fd/{reader}")))) == 3
    os.close(reader)


def test_a_million_layers_are_not_made(folder: Path) -> None:
    a_config("config.json", num_hidden_layers=10**6)(folder / "student")
    says = "student: .*num_hidden_layers is 1,000,000, expected a number from 1 to 1,000"
    asked = recipe(folder, SFT, policy={"lora": {}})
    for check in (lambda: print_plan(asked, Console(quiet=True)), lambda: begin(asked, folder / "run")):
        with pytest.raises(InputError, match=says):
            check()


def test_a_folder_that_cannot_be_made_is_found_before_the_model_is_loaded(folder: Path) -> None:
    """Here there is no such model, and the folder is complained about."""
    asked = recipe(folder, {}, model=str(folder / "none"))
    with pytest.raises(RunError, match=r"train\.jsonl/run: .*train\.jsonl is a file; expected a folder"):
        begin(asked, folder / "train.jsonl" / "run")
