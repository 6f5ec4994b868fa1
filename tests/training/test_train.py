"""Training runs: they resume bit for bit after any kill, keep their sets apart, roll back, and leave a whole directory."""

import copy
import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small import save_small_model, small_recipe, write_small_recipe

from laconic.config.difference import Difference, first_difference
from laconic.config.load import dump, parse_recipe
from laconic.config.policy import PolicyConfig
from laconic.errors import InputError, ProblemsError, RecipeError, RunError, SelectionError
from laconic.models.loading import load_tokenizer
from laconic.models.policy import Policy
from laconic.problems.sets import load_problem_sets
from laconic.rng import stream
from laconic.system.progress import Reporter
from laconic.training import curriculum as curricula
from laconic.training.check.recipe import check_recipe
from laconic.training.curriculum import Curriculum, admit
from laconic.training.measure_run import measure_base, measure_run
from laconic.training.phase import PhaseRun
from laconic.training.phase_end import Watch
from laconic.training.run import start
from laconic.training.run_directory import Circumstances, RunDirectory
from laconic.types import FinishReason, Grade, Group, Problem, Response, Rollout

KILL_SCRIPT = """
import json, os, signal, sys
from pathlib import Path
from laconic.config.load import load_recipe
from laconic.system.progress import Reporter
from laconic.system import files
from laconic.training import run_directory
from laconic.training.run import start

PLACES = {
    "in a checkpoint": (files, "sync_files"),
    "before a phase is recorded": (run_directory.RunDirectory, "write_phases"),
    "after rollouts were stored": (run_directory.RunDirectory, "log_metrics"),
}

def train(out, where, count):
    module, name = PLACES[where]
    original, calls = getattr(module, name), []

    def dying(*arguments):
        calls.append(1)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments)

    setattr(module, name, dying)
    start(load_recipe(Path(sys.argv[1])), out, resume=False, reporter=Reporter(is_silent=True)).train()

for number, (where, count) in enumerate(json.loads(sys.argv[2])):
    child = os.fork()
    if child == 0:
        train(Path(str(number)), where, count)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
KILLS = [("in a checkpoint", 2), ("before a phase is recorded", 1), ("after rollouts were stored", 6)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_small_model(tmp_path_factory.mktemp("models") / "small")


def run(recipe, out, *, resume=False):
    trainer = start(recipe, out, resume=resume, reporter=Reporter(is_silent=True))
    trainer.train()
    return trainer


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    return run(small_recipe(model), out)


def weights(path):
    return load_file(path / "model.safetensors")


def is_same_run(one: Path, two: Path) -> bool:
    """Equal result weights to the bit, equal logs apart from the clock, equal rollouts and phases."""
    a, b = weights(one / "model"), weights(two / "model")
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert (one / "phases.json").read_text() == (two / "phases.json").read_text()
    logs = [
        [
            {key: value for key, value in json.loads(line).items() if not key.startswith("time/")}
            for line in (path / "metrics.jsonl").read_text().splitlines()
        ]
        for path in (one, two)
    ]
    assert logs[0] == logs[1]
    rollouts = [{f.name: f.read_text() for f in sorted((path / "rollouts").iterdir())} for path in (one, two)]
    assert rollouts[0] == rollouts[1]
    return True


def test_training_changes_the_weights(whole, model):
    """The comparison of runs below is not one of untouched weights."""
    before, after = weights(model), weights(whole.run.directory.path / "model")
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(whole, model, tmp_path):
    """Two runs agree to the bit; seed 1 does not."""
    again = run(small_recipe(model), tmp_path / "again")
    assert is_same_run(whole.run.directory.path, again.run.directory.path)
    other = run(small_recipe(model, seed=1), tmp_path / "other")
    a, b = weights(again.run.directory.path / "model"), weights(other.run.directory.path / "model")
    assert any(not torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def killed(model, tmp_path_factory):
    """A folder with one run for each of `KILLS`, and how each process ended. They are forks of one that has loaded torch."""
    folder = tmp_path_factory.mktemp("killed")
    script = [
        sys.executable,
        "-c",
        KILL_SCRIPT,
        str(write_small_recipe(folder / "small.toml", model)),
        json.dumps(KILLS),
    ]
    done = subprocess.run(script, cwd=folder, check=True, capture_output=True, text=True)
    return folder, [int(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("number", range(len(KILLS)), ids=[where for where, _ in KILLS])
def test_a_killed_run_resumes_to_the_same_weights(number, killed, whole, model):
    """kill -9 while a checkpoint is written, at the phase boundary, or within a step of phase 2; then --resume."""
    folder, codes = killed
    assert codes[number] == -signal.SIGKILL
    out = folder / str(number)
    assert not (out / "model").exists()
    resumed = run(small_recipe(model), out, resume=True)
    assert is_same_run(whole.run.directory.path, resumed.run.directory.path)
    assert not list(out.rglob("*.partial"))


def test_n_plus_m_steps_equal_n_then_m(whole, model, tmp_path, monkeypatch):
    """A run stopped by an exception after five steps goes on to the same end."""
    taken, original = [], PhaseRun.take_step

    def stopping(self):
        if len(taken) == 5:
            raise KeyboardInterrupt
        taken.append(1)
        original(self)

    monkeypatch.setattr(PhaseRun, "take_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(small_recipe(model), tmp_path / "run")
    monkeypatch.setattr(PhaseRun, "take_step", original)
    resumed = run(small_recipe(model), tmp_path / "run", resume=True)
    assert is_same_run(whole.run.directory.path, resumed.run.directory.path)


def test_a_finished_run_resumes_to_nothing_to_do(whole, model):
    """Resuming what is finished changes no file of weights."""
    before = (whole.run.directory.path / "model" / "model.safetensors").stat().st_mtime_ns
    run(small_recipe(model), whole.run.directory.path, resume=True)
    assert (whole.run.directory.path / "model" / "model.safetensors").stat().st_mtime_ns == before


def test_resuming_with_another_recipe_names_the_difference(whole, model):
    """The run's config.json decides."""
    with pytest.raises(RunError, match=r"seed was 0 and is now 7"):
        run(small_recipe(model, seed=7), whole.run.directory.path, resume=True)


def test_a_run_of_an_older_version_resumes_although_recipes_have_new_keys(whole, tmp_path):
    """A key that it did not know takes its default and is recorded; any other value is a change like others."""
    config = whole.run.directory.config()
    older = copy.deepcopy(config)
    for phase in older["phases"]:
        del phase["sampler"]["engine"], phase["end"]["alarms"]["kl"]
    directory = RunDirectory.create(tmp_path / "run", older, whole.run.directory.environment())
    directory.lock.release()
    resumed = RunDirectory.resume(directory.path, config)
    now = Circumstances({}, whole.run.directory.environment())
    assert resumed.take_up(0, config, now)[0] == 'phases.first.sampler.engine was absent and is now "local"'
    resumed.lock.release()
    assert resumed.config() == config
    RunDirectory.create(tmp_path / "other", older, whole.run.directory.environment()).lock.release()
    config["phases"][0]["sampler"]["engine"] = "vllm"
    with pytest.raises(RunError, match=r"engine was absent and is now \"vllm\""):
        RunDirectory.resume(tmp_path / "other", config)


def test_a_difference_is_named_as_the_recipe_names_it():
    """Phases by name, both values; of phases added only their number; a key that only one of them has."""
    began = {"seed": 0, "phases": [{"name": "accuracy", "steps": 8}, {"name": "brevity", "steps": 8}]}
    longer = {"seed": 0, "phases": [{"name": "accuracy", "steps": 8}, {"name": "brevity", "steps": 10}]}
    assert first_difference(began, longer) == Difference("phases.brevity.steps", 8, 10, began["phases"][1])
    assert first_difference(began, {"seed": 0, "phases": began["phases"][:1]}).key == "phases"
    assert first_difference({"a": None}, {}).key == "a"
    assert first_difference(began, dict(began)) is None


def test_a_reward_whose_file_changed_says_what_to_do(tmp_path):
    """The hash itself is of no use to a person."""
    term = {"name": "/mine/my_rewards.py:short", "sha256": "a"}
    directory = RunDirectory.create(tmp_path / "run", {"phases": [{"name": "one", "terms": [term]}]}, {})
    changed = {"phases": [{"name": "one", "terms": [term | {"sha256": "b"}]}]}
    with pytest.raises(
        RunError, match=r"/mine/my_rewards\.py has changed since .*; put the file back .* another --out"
    ):
        RunDirectory.resume(directory.path, changed)


def test_a_run_whose_rewards_moved_with_it_is_resumed(tmp_path):
    """Another folder of the same file is no change; another function of it is one."""
    term = {"name": "/mine/my_rewards.py:short", "sha256": "a"}
    tree = lambda **changed: {"phases": [{"name": "one", "terms": [term | changed]}]}  # noqa: E731
    directory = RunDirectory.create(tmp_path / "run", tree(), {})
    directory.lock.release()
    moved = tree(name="/yours/my_rewards.py:short")
    resumed = RunDirectory.resume(directory.path, moved)
    resumed.lock.release()
    assert resumed.take_up(0, moved, None, accept_changes=False) == []
    assert json.loads((directory.path / "config.json").read_text()) == moved
    with pytest.raises(RunError, match=r"my_rewards\.py:short\" and is now \"/yours/my_rewards\.py:long"):
        RunDirectory.resume(directory.path, tree(name="/yours/my_rewards.py:long"))


def test_a_file_is_no_run_folder(tmp_path):
    """Neither new nor resumed."""
    (tmp_path / "afile").write_text("mine")
    for open_run in (
        lambda: RunDirectory.create(tmp_path / "afile", {}, {}),
        lambda: RunDirectory.resume(tmp_path / "afile", {}),
    ):
        with pytest.raises(RunError, match="afile: is a file; expected a folder"):
            open_run()


def test_a_used_folder_is_refused_and_left_alone(model, tmp_path):
    """Starting over a folder with anything in it is an error before anything is written."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty"):
        run(small_recipe(model), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(RunError, match="no run to resume"):
        run(small_recipe(model), tmp_path, resume=True)


def test_metrics_are_all_documented(whole):
    """Every key the loop emits has its row in docs/metrics.md, and every row is emitted by some step."""
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    documented = {row.split("`")[1] for row in page.splitlines() if row.startswith("| `")}
    documented = {key for key in documented if not key.startswith("sampler/")}  # of other engines: test_vllm_run.py
    emitted = {key for row in whole.run.directory.metrics() for key in row} - {"step", "phase", "phase_step"}
    assert emitted <= documented, emitted - documented
    assert documented <= emitted, documented - emitted


def test_an_alarm_ends_a_phase_as_its_recipe_says_and_does_so_again_after_a_kill(model, tmp_path, monkeypatch):
    """Nothing is solved, so all rewards are equal: phase 1 stops after the two steps that a sign must last in so short a phase,
    and phase 2, a copy of it, is rolled back to where it began. The run that was killed within phase 2 does the same."""
    tree = dump(small_recipe(model))
    first = tree["phases"][0] | {"select": {"how": "everything"}}
    first["end"] |= {"alarms": {"rewards": "stop"}}
    second = first | {"name": "second", "end": first["end"] | {"alarms": {"rewards": "rollback"}}}
    recipe = parse_recipe(tree | {"phases": [first, second]}, "alarmed")
    taken, original = [], PhaseRun.take_step

    def copying(self):
        taken.append(1)
        if len(taken) == 4:
            shutil.copytree(tmp_path / "whole", tmp_path / "killed")
        original(self)

    monkeypatch.setattr(PhaseRun, "take_step", copying)
    whole = run(recipe, tmp_path / "whole")
    assert [(record.last_step, record.result_step) for record in whole.finished] == [(2, 2), (4, 2)]
    stopped, rolled_back = (record.reason for record in whole.finished)
    assert stopped.startswith("alarm rewards: all rewards") and stopped.endswith("kept the last step 2")
    assert "phases.second.select" in rolled_back and rolled_back.endswith("rolled back to step 2")
    logged = [line["alarms/raised"] for line in whole.run.directory.metrics()]
    assert [any(alarm.startswith("rewards: ") for alarm in line) for line in logged] == [False, True, False, True]
    assert is_same_run(tmp_path / "whole", run(recipe, tmp_path / "killed", resume=True).run.directory.path)


def test_the_run_directory_holds_what_the_contract_names(whole):
    """Design section 7, and a checkpoint that loads as a model."""
    path = whole.run.directory.path
    for name in ("config.json", "environment.json", "metrics.jsonl", "phases.json", "model/tokenizer.json"):
        assert (path / name).exists(), name
    assert len(list((path / "rollouts").glob("step-*.jsonl"))) == 7
    line = json.loads((path / "rollouts" / "step-000001.jsonl").read_text().splitlines()[0])
    assert line["reward"] == pytest.approx(sum(line["reward_terms"].values()))
    assert (path / "phases" / "1-first" / "selection.jsonl").read_text().count("\n") == 8


def test_a_run_is_measured_on_the_reported_set(whole):
    """Base and both phases at both temperatures, a comparison each; done twice, the second changes nothing."""
    comparisons = measure_run(whole.run, whole.finished)
    assert set(comparisons) == {"t1", "greedy"}
    path = whole.run.directory.path
    files = {f: f.read_bytes() for f in sorted((path / "eval").rglob("*.json*"))}
    assert (
        len(files) == 36
    )  # samples, summary, settings, facts of problems and two of time; three models, two temperatures
    summary = json.loads((path / "eval" / "base-t1" / "summary.json").read_text())
    assert (summary["num_problems"], summary["num_samples"], summary["max_tokens"]) == (4, 2, 12)
    assert summary["oracle_tokens"] > 0
    measure_run(whole.run, whole.finished)
    assert files == {f: f.read_bytes() for f in files}


def test_the_base_may_be_measured_before_training(whole, model, tmp_path):
    """Greedy comes first. The files are those of a base that is measured afterwards, which then finds them and leaves them."""
    measure_run(whole.run, whole.finished)
    trainer = start(small_recipe(model), tmp_path / "run", resume=False, reporter=Reporter(is_silent=True))
    temperatures = []
    measure_base(trainer.run, lambda summary: temperatures.append(summary.setup.temperature))
    assert temperatures == [0.0, 1.0] and trainer.run.unmeasured() == [1, 2]
    trainer.train()
    base = {file: file.stat().st_mtime_ns for file in (tmp_path / "run" / "eval").rglob("*.json*")}
    measure_run(trainer.run, trainer.finished)
    assert trainer.run.unmeasured() == [] and base == {file: file.stat().st_mtime_ns for file in base}
    assert is_same_run(whole.run.directory.path, tmp_path / "run")
    evals = [path / "eval" for path in (whole.run.directory.path, tmp_path / "run")]
    names = ("*/samples.jsonl", "base-*/settings.json", "base-*/summary.json")  # the others name the run's own folder
    made = [{f.relative_to(e): f.read_bytes() for name in names for f in e.glob(name)} for e in evals]
    assert made[0] == made[1] and len(made[0]) == 10


def test_the_three_sets_never_meet(model, tmp_path):
    """A question of the reported set leaves the other two, one of the watched set the trained one."""
    lines = [{"id": f"p{i}", "problem": f"Compute 1 + {i}", "answer": str(1 + i)} for i in range(6)]
    for name, part in (("train", lines), ("watch", lines[2:]), ("report", lines[4:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in part))
    sources = {name: str(tmp_path / f"{name}.jsonl") for name in ("train", "watch", "report")}
    sets = load_problem_sets(small_recipe(model, problems=sources))
    assert [[p.id for p in s] for s in (sets.train, sets.watch, sets.report)] == [
        ["p0", "p1"],
        ["p2", "p3"],
        ["p4", "p5"],
    ]
    with pytest.raises(ProblemsError, match=r"problems\.watch: no problem is left"):
        load_problem_sets(small_recipe(model, problems=sources | {"watch": sources["report"]}))


def test_an_empty_selection_is_said_with_a_reason(model, tmp_path):
    """An untrained model solves nothing: the band is empty."""
    recipe = small_recipe(model)
    phase = recipe.phases[0].model_copy(
        update={
            "select": recipe.phases[0].select.model_copy(update={"how": "band", "options": {"low": 0.9, "high": 1.0}})
        }
    )
    with pytest.raises(
        SelectionError, match=r"phases\.first\.select: none of 8 probed problems qualifies; the first: 0/2"
    ):
        run(recipe.model_copy(update={"phases": (phase,)}), tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm": {"name": "rloo"}, "group_size": 1}, r"phases\.p\.group_size: rloo .* needs at least 2, got 1"),
        (
            {"algorithm": {"name": "sarsa"}},
            r"phases\.p\.algorithm\.name: unknown algorithm 'sarsa'; expected ppo, grpo, dr_grpo",
        ),
        ({"algorithm": {"critic": "lora"}}, r"'lora' needs \[policy\.lora\]"),
        ({"algorithm": {"old_logprobs": "sampler"}, "sampler": {"top_p": 0.9}}, r"with top_p = 1"),
        ({"sampler": {"temperature": 0.0}}, r"temperature above 0"),
        ({"algorithm": {"name": "grpo", "truncated": "bootstrap"}}, r"'bootstrap' needs a critic"),
        ({"rewards": {"terms": [{"name": "style"}]}}, r"unknown reward 'style'"),
        ({"rewards": {"terms": [{"name": "kimi_length", "options": {"x": 1.0}}]}}, r"has no option 'x'"),
        ({"select": {"how": "luck"}}, r"unknown selection 'luck'"),
        (
            {"budget": {"low": 1, "high": 2, "prompt": "l1_mx"}},
            r"phases\.p\.budget\.prompt: prompt 'l1_mx:2': no such name",
        ),
        ({"rollouts": "off_policy", "algorithm": {"old_logprobs": "sampler"}}, "unknown source 'off_policy'"),
    ],
)
def test_impossible_recipes_are_refused_before_any_work(changes, message, model):
    """Each names the field of the phase."""
    recipe = small_recipe(model, phases=[{"name": "p", "steps": 1, **changes}], defaults={})
    with pytest.raises(RecipeError, match=message):
        check_recipe(recipe)


def test_a_teacher_that_cannot_teach_is_refused_before_any_work(model, tmp_path):
    """One that is not there, and one with a word of its own: nothing is written, so the same command works once it is mended."""
    shutil.copytree(model, tmp_path / "other")
    other = load_tokenizer(str(model), PolicyConfig())
    other.add_tokens(["quux"])
    other.save_pretrained(tmp_path / "other")
    teachers = [
        ({"reference_model": str(tmp_path / "none")}, r"p\.algorithm\.reference_model: .*: no such folder"),
        ({"reference_model": str(tmp_path / "other")}, "must have the vocabulary of"),
        ({"reference_instruction": "be_concise"}, "the teacher would be the student"),  # its template drops the words
    ]
    for teacher, says in teachers:
        algorithm = {"name": "distill", **teacher}
        recipe = small_recipe(model, phases=[{"name": "p", "steps": 1, "algorithm": algorithm}], defaults={})
        with pytest.raises(InputError, match=says):
            start(recipe, tmp_path / "run", resume=False, reporter=Reporter())
        assert not (tmp_path / "run").exists()


def test_the_guard_rolls_the_weights_back(model, tmp_path, monkeypatch):
    """Watched accuracy 0.9 at step 2 and 0.1 at step 4: the run's model is that of step 2, to the bit."""
    accuracies = iter([0.5, 0.9, 0.1])
    monkeypatch.setattr(PhaseRun, "watch", lambda self, step: Watch(step, next(accuracies), 10.0))
    recipe = small_recipe(model)
    phase = recipe.phases[0].model_copy(
        update={"steps": 8, "end": recipe.phases[0].end.model_copy(update={"guard_drop": 0.2})}
    )
    trainer = run(recipe.model_copy(update={"phases": (phase,)}), tmp_path / "run")
    record = trainer.finished[0]
    assert (record.last_step, record.result_step) == (4, 2) and record.reason.startswith("guard")
    kept = weights(trainer.run.directory.checkpoints.place(2))
    assert all(torch.equal(kept[name], value) for name, value in weights(tmp_path / "run" / "model").items())


def rollout(grade, reward, tokens=3):
    reason = FinishReason.LENGTH if grade is Grade.TRUNCATED else FinishReason.STOP
    return Rollout(Response((7,) * tokens, (-1.0,) * tokens, "", reason), grade, 0, reward)


def group(*rollouts):
    return Group(Problem("p", "q", "1"), (1, 2), rollouts)


def test_admission_keeps_what_can_train(model):
    """Ungradable groups never train; uniform groups train unless dropped; nothing trains if only truncated ones are left."""
    recipe = small_recipe(model)
    mixed = group(rollout(Grade.CORRECT, 1.0), rollout(Grade.WRONG, -0.5))
    uniform = group(rollout(Grade.CORRECT, 1.0), rollout(Grade.CORRECT, 1.0))
    broken = group(rollout(Grade.UNGRADABLE, 0.0))
    cut = group(rollout(Grade.TRUNCATED, -1.0))

    def phase(**levers):
        first = recipe.phases[0]
        return first.model_copy(update={"algorithm": first.algorithm.model_copy(update=levers)})

    assert admit([mixed, uniform, broken], phase()) == [mixed, uniform]
    assert admit([mixed, uniform, broken], phase(uniform_groups="drop")) == [mixed]
    assert admit([cut], phase(truncated="mask")) == []
    assert admit([cut], phase()) == [cut]
    no_gold = group(rollout(Grade.TRUNCATED, -1.0), rollout(Grade.UNGRADABLE, 0.0))
    assert admit([no_gold], phase(truncated="mask")) == []
    assert replace(mixed, prompt_ids=(1,)).is_uniform is False


def test_a_reference_moves_at_its_steps_also_where_a_step_trains_nothing(model, tmp_path, monkeypatch):
    """Every second step of four, the fourth of which admits no group."""
    begun, moved, take_step = [], [], PhaseRun.take_step
    monkeypatch.setattr(PhaseRun, "take_step", lambda self: (begun.append(1), take_step(self)))
    monkeypatch.setattr(Policy, "update_reference", lambda self, decay: moved.append(len(begun)))
    monkeypatch.setattr(Curriculum, "admit", lambda self, groups: [] if len(begun) == 4 else groups)
    recipe = small_recipe(model)
    held = {"kl_coef": 0.1, "reference": "reset", "reference_every": 2}
    phase = recipe.phases[0]
    phase = phase.model_copy(update={"algorithm": phase.algorithm.model_copy(update=held)})
    run(recipe.model_copy(update={"phases": (phase,)}), tmp_path / "run")
    assert moved == [2, 4]


def test_every_problem_is_drawn_once_an_epoch(whole, model):
    """Six problems, three a step: two steps make an epoch."""
    lines = [
        [
            json.loads(line)
            for line in (whole.run.directory.path / "rollouts" / f"step-00000{step}.jsonl").read_text().splitlines()
        ]
        for step in (1, 2)
    ]
    drawn = [{line["problem_id"] for line in part} for part in lines]
    assert len(drawn[0]) == len(drawn[1]) == 3 and not drawn[0] & drawn[1]


def test_problems_are_shuffled_once_an_epoch_however_many_there_are(model, monkeypatch):
    """Two epochs of 1,000 problems, 100 a step: two shuffles, all drawn twice, each epoch in an order of its own."""
    shuffles = []
    monkeypatch.setattr(curricula, "stream", lambda *place: shuffles.append(place) or stream(*place))
    first = check_recipe(small_recipe(model))[0]
    phase = replace(first, config=first.config.model_copy(update={"problems_per_step": 100}))
    curriculum = Curriculum(phase, [Problem(str(i), "", "") for i in range(1000)], seed=0)
    drawn = [problem.id for step in range(1, 21) for problem in curriculum.draw(step)]
    assert len(shuffles) == 2
    assert sorted(drawn[:1000]) == sorted(drawn[1000:]) == sorted(map(str, range(1000)))
    assert drawn[:1000] != drawn[1000:]


def test_config_json_is_the_resolved_recipe(whole, model):
    """What was resolved is what is stored."""
    stored = json.loads((whole.run.directory.path / "config.json").read_text())
    assert stored == dump(small_recipe(model))
    assert RunDirectory.resume(whole.run.directory.path, stored).path == whole.run.directory.path
