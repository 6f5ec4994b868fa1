"""Who is in a folder: prompts and checkpoints are told apart by what the summaries say, and the base is never guessed."""

from pathlib import Path

import pytest
from folders import BASE, SHORT, Run, prompt

from laconic.comparison.contenders import contenders_of, short_names
from laconic.errors import InputError


def names(*runs: Path) -> list[str]:
    return [contender.name for contender in contenders_of(runs)]


def test_a_run_with_one_prompt_is_one_contender_whatever_its_benchmarks(tmp_path):
    """A prompt of its own for each benchmark, several temperatures: still one model under one prompt."""
    for name in ("base", "after"):
        Run(BASE, {"benchmark": "math500", **prompt("boxed")}).write(tmp_path / name / "eval" / "math500-t0.6")
        greedy = {"benchmark": "math500", "temperature": 0.0, **prompt("boxed")}
        Run(BASE, greedy).write(tmp_path / name / "eval" / "math500-greedy")
        Run(BASE, {"benchmark": "mmlu_stem", **prompt("letter")}).write(tmp_path / name / "eval" / "mmlu_stem")
    first, second = contenders_of([tmp_path / "base", tmp_path / "after"])
    assert (first.name, second.name) == ("base", "after")
    assert len(first.evaluations) == 3
    assert first.prompt == "boxed, letter"


def test_prompts_of_one_folder_are_contenders_and_the_plain_one_is_the_base(tmp_path):
    """`be_concise` sorts before `boxed`, which is the base all the same; alone in its folder a run needs no name."""
    for name in ("be_concise", "boxed", "chain_of_draft"):
        Run(BASE, prompt(name)).write(tmp_path / "run" / "eval" / f"report-{name}")
    assert names(tmp_path / "run") == ["boxed", "be_concise", "chain_of_draft"]
    Run(SHORT, prompt("boxed")).write(tmp_path / "after")
    assert names(tmp_path / "run", tmp_path / "after") == [
        "run · boxed",
        "run · be_concise",
        "run · chain_of_draft",
        "after",
    ]
    assert names(tmp_path / "after", tmp_path / "run") == [
        "after",
        "run · be_concise",
        "run · boxed",
        "run · chain_of_draft",
    ]


def test_checkpoints_of_a_training_run_are_told_apart_by_their_folders(tmp_path):
    """The same prompt and benchmark: the folder's name without the temperature's tag."""
    for model in ("base", "phase-1"):
        Run(BASE).write(tmp_path / "eval" / f"{model}-t0.6")
        Run(BASE, {"temperature": 0.0}).write(tmp_path / "eval" / f"{model}-greedy")
    contenders = contenders_of([tmp_path])
    assert [c.name for c in contenders] == ["base", "phase-1"]
    assert [len(c.evaluations) for c in contenders] == [2, 2]


def test_a_benchmark_seen_under_one_prompt_only_goes_with_that_prompt_or_the_base(tmp_path):
    """gsm8k was asked with be_concise only; mmlu_stem with a prompt of its own, which is the base's."""
    for name in ("boxed", "be_concise"):
        Run(BASE, {"benchmark": "math500", **prompt(name)}).write(tmp_path / f"math500-{name}")
    Run(BASE, {"benchmark": "gsm8k", **prompt("be_concise")}).write(tmp_path / "gsm8k")
    Run(BASE, {"benchmark": "mmlu_stem", **prompt("letter")}).write(tmp_path / "mmlu_stem")
    base, other = contenders_of([tmp_path])
    assert {e.benchmark for e in base.evaluations} == {"math500", "mmlu_stem"}
    assert {e.benchmark for e in other.evaluations} == {"math500", "gsm8k"}


def test_a_base_that_is_not_clear_is_asked_for(tmp_path):
    """Two prompts, neither plain; and what stands beside them without a sign of where it belongs."""
    for name in ("be_concise", "chain_of_draft"):
        Run(BASE, prompt(name)).write(tmp_path / f"report-{name}")
    with pytest.raises(InputError, match="holds be_concise, chain_of_draft, and none is called base or boxed"):
        contenders_of([tmp_path])
    Run(BASE, {"benchmark": "mmlu_stem", **prompt("letter")}).write(tmp_path / "mmlu_stem")
    with pytest.raises(InputError, match="mmlu_stem: stands beside be_concise, chain_of_draft"):
        contenders_of([tmp_path])


def test_two_evaluations_that_nothing_tells_apart_are_refused(tmp_path):
    """`report` and `report-t0.6` are the same benchmark, prompt and decoding."""
    Run(BASE).write(tmp_path / "report")
    Run(BASE).write(tmp_path / "report-t0.6")
    with pytest.raises(InputError, match="evaluations of one benchmark, prompt and decoding; name one of them"):
        contenders_of([tmp_path])


def test_one_contender_has_nobody_to_be_compared_with(tmp_path):
    """A folder with one evaluation and no candidate."""
    Run(BASE).write(tmp_path / "run")
    with pytest.raises(InputError, match="holds one contender only, and no candidate was named"):
        contenders_of([tmp_path / "run"])


def test_names_are_the_shortest_tails_that_differ():
    """Folder names where they differ, more of the path where they do not."""
    paths = [Path("/runs/one/model"), Path("/runs/two/model"), Path("base"), Path("/model")]
    assert short_names(paths) == ["one/model", "two/model", "base", "/model"]
