"""A chat template that writes the date writes that of the first day, of a run as of an evaluation, however long it takes."""

import datetime
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from ranked import in_team
from scripted import PROBLEMS, ScriptedModel, ScriptedSampler, doubling, scripted_solver
from small import save_small_model, small_recipe
from transformers import AutoTokenizer
from transformers.utils import chat_template_utils

from laconic.config.solver import SamplerConfig
from laconic.errors import RunError
from laconic.evaluation.evaluate import EvaluationRequest, evaluate
from laconic.grading.grader import Grader
from laconic.prompts import day, templates
from laconic.prompts.day import kept_day, on_day
from laconic.prompts.templates import render_turns
from laconic.rollouts import log
from laconic.rollouts.solver import Solver
from laconic.system.files import read_json
from laconic.system.progress import Reporter
from laconic.training import run as training
from laconic.training.measure_run import measure_run
from laconic.training.phase import PhaseRun
from laconic.training.run import start

DATED = "{{ strftime_now('%d') }}\n"
FIRST, SECOND = "2026-03-17", "2026-03-18"
TURNS = [{"role": "user", "content": "1 + 1"}]
ASKED = EvaluationRequest("sums", PROBLEMS, 2, SamplerConfig(max_tokens=64, batch_size=2), seed=0)


@pytest.fixture(autouse=True)
def no_day(monkeypatch):
    """No day is kept before a test or after it."""
    monkeypatch.setattr(day, "_KEPT", {})


@pytest.fixture
def clock(monkeypatch):
    """Sets the clock of this process and of the children that render templates."""

    def show(today):
        class Fixed(datetime.datetime):
            @classmethod
            def now(cls, tz=None):
                return cls.fromisoformat(today)

        for module in (log, training):
            monkeypatch.setattr(module, "today", lambda: today)
        monkeypatch.setattr(chat_template_utils, "datetime", Fixed)
        for key in list(templates._CHILDREN):
            templates._drop(key)

    return show


@pytest.fixture(scope="module")
def dated(tmp_path_factory):
    """A model whose chat template writes the day of the month before everything."""
    folder = save_small_model(tmp_path_factory.mktemp("dated") / "model")
    file = folder / "chat_template.jinja"
    file.write_text(DATED + file.read_text())
    return folder


@pytest.fixture
def tokenizer(dated):
    return AutoTokenizer.from_pretrained(dated)


def test_a_template_sees_the_clock_until_a_day_is_kept(tokenizer, clock):
    """A server that runs for weeks writes the day that it is; inside a job it is the job's."""
    clock(FIRST)
    assert render_turns(tokenizer, TURNS).startswith("17\n")
    with on_day("2025-01-02"):
        assert render_turns(tokenizer, TURNS).startswith("02\n") and kept_day() == "2025-01-02"
        with on_day(None):
            assert render_turns(tokenizer, TURNS).startswith("02\n")
    assert render_turns(tokenizer, TURNS).startswith("17\n") and kept_day() is None


def begun(recipe, out, *, resume=False):
    return start(recipe, out, resume=resume, reporter=Reporter(is_silent=True))


def test_a_run_that_is_resumed_on_another_day_goes_on_with_its_prompts(dated, clock, tmp_path, monkeypatch):
    """Broken off after its first step, and resumed the day after: every prompt is of the first day, in training and in what is
    measured, and the weights are those of a run that was not broken off."""
    recipe = small_recipe(dated)
    prompts = spied_prompts(monkeypatch, AutoTokenizer.from_pretrained(dated))
    clock(FIRST)
    whole = begun(recipe, tmp_path / "whole").train()
    with monkeypatch.context() as patched:
        take_step = PhaseRun.take_step
        patched.setattr(PhaseRun, "take_step", lambda run: take_step(run) if run.step == 0 else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            begun(recipe, tmp_path / "torn").train()
    clock(SECOND)
    resumed = begun(recipe, tmp_path / "torn", resume=True)
    assert read_json(tmp_path / "torn" / "environment.json")["day"] == FIRST
    result = resumed.train()
    assert (result / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    measure_run(resumed.run, resumed.finished)
    settings = sorted((tmp_path / "torn" / "eval").glob("*/settings.json"))
    assert len(settings) == 6 and {read_json(file)["day"] for file in settings} == {FIRST}
    assert prompts and set(prompts) == {"17"}


def spied_prompts(monkeypatch, tokenizer):
    """The days of all prompts that are made, as they are made."""
    days, request = [], Solver.request

    def spied(solver, assignment):
        made = request(solver, assignment)
        days.append(tokenizer.decode(made.prompt_ids).strip()[:2])
        return made

    monkeypatch.setattr(Solver, "request", spied)
    return days


def test_a_run_goes_past_midnight(dated, clock, tmp_path, monkeypatch):
    """The clock strikes between the first step and the second; a new run takes the new day."""
    prompts = spied_prompts(monkeypatch, AutoTokenizer.from_pretrained(dated))
    clock(FIRST)
    trainer, take_step = begun(small_recipe(dated), tmp_path / "run"), PhaseRun.take_step
    monkeypatch.setattr(PhaseRun, "take_step", lambda run: [clock(SECOND), take_step(run)][1])
    trainer.train()
    assert set(prompts) == {"17"}
    trainer = begun(small_recipe(dated), tmp_path / "next")
    with trainer.run.directory.lock:
        assert trainer.run.directory.environment()["day"] == SECOND


def test_a_day_that_is_none_is_one_line(dated, clock, tmp_path):
    clock(FIRST)
    trainer = begun(small_recipe(dated), tmp_path / "run")
    trainer.run.directory.lock.release()
    file = tmp_path / "run" / "environment.json"
    file.write_text(json.dumps(read_json(file) | {"day": "the first"}))
    with pytest.raises(RunError, match=r"environment.json: day: expected a day, such as .*; put back a copy"):
        begun(small_recipe(dated), tmp_path / "run", resume=True)


# --- evaluations -----------------------------------------------------------------------------------------------------


def dated_solver(tokenizer, grader, calls=None):
    """The scripted solver over a model whose template writes the day; its sampler notes the days of its prompts."""
    sampler = ScriptedSampler(doubling, calls)
    lm = SimpleNamespace(
        **{**vars(ScriptedModel()), "tokenizer": tokenizer, "context_length": None, "context_words": "unknown"},
        fingerprint=lambda: "first",
        check_ids=lambda ids, whose: None,
    )
    solver = replace(scripted_solver(sampler, grader), lm=lm)
    days, sample = [], sampler.sample

    def noting(requests, *arguments, **options):
        days.extend(tokenizer.decode(request.prompt_ids).strip()[:2] for request in requests)
        spoken = [replace(request, messages=tuple(TURNS)) for request in requests]
        return sample(spoken, *arguments, **options)

    sampler.sample = noting
    return replace(solver, sampler=sampler), days


def test_an_evaluation_that_is_continued_on_another_day_keeps_its_day(tokenizer, clock, tmp_path):
    clock(FIRST)
    with Grader() as grader:
        solver, days = dated_solver(tokenizer, grader, 1)
        with pytest.raises(KeyboardInterrupt):
            evaluate(solver, ASKED, tmp_path)
        assert read_json(tmp_path / "settings.json")["day"] == FIRST and kept_day() is None
        clock(SECOND)
        solver, more = dated_solver(tokenizer, grader)
        evaluate(solver, ASKED, tmp_path)
        assert set(days) == set(more) == {"17"} and len(more) < len(PROBLEMS)
        again, other = dated_solver(tokenizer, grader)
        evaluate(again, ASKED, tmp_path / "new")
        assert set(other) == {"18"} and read_json(tmp_path / "new" / "settings.json")["day"] == SECOND


def test_settings_name_no_day_where_no_prompt_does(clock, tmp_path):
    clock(FIRST)
    with Grader() as grader:
        evaluate(scripted_solver(ScriptedSampler(doubling), grader), ASKED, tmp_path)
    assert "day" not in read_json(tmp_path / "settings.json")


def test_several_processes_agree_on_the_day(tokenizer, tmp_path):
    """Midnight lies between the beginnings of two processes: both draw on the day of the first."""

    def day_here(team):
        log.today = lambda: (FIRST, SECOND)[team.rank]
        solver = replace(dated_solver(tokenizer, None)[0], team=team)
        held = log.AttemptLog(solver, ASKED.decoding, tmp_path / "samples.jsonl", tmp_path / "timing.json", seed=0)
        return held._day

    assert in_team(2, day_here, tmp_path / "team") == [FIRST, FIRST]
