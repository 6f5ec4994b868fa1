"""What was made of stored traffic is named when somebody is forgotten, and is refused from then on, by every way out of it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small import save_small_model, write_small_recipe
from test_forgotten import write

from laconic.errors import InputError, ProblemsError
from laconic.evaluation.batch import read_batch
from laconic.integrations.lm_eval import grade_results
from laconic.integrations.verl.exported_phase import read_exported_phase
from laconic.problems.forgotten import list_text
from laconic.problems.load import load_problems
from laconic.problems.made_from_traffic import (
    LEDGER,
    NOTE,
    ledger_damage,
    made_of,
    note_copy,
    note_made,
    note_models,
    origin_file,
    point_to,
    refuse_made,
    refuse_models,
)

GONE = frozenset({"r1"})


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    """A file of two problems from traffic, and one of one's own."""
    (tmp_path / "traffic").mkdir()
    return write(tmp_path / "traffic", "r1", ["r2", "r3"])


def forget(problems: Path, *requests: str) -> None:
    (problems.parent / "forgotten.txt").write_text(list_text(requests))


def test_a_place_is_named_once_as_long_as_it_stands(tmp_path: Path, problems: Path) -> None:
    found, listed = load_problems(str(problems)), problems.parent / "forgotten.txt"
    run, other = tmp_path / "run", tmp_path / "other"
    for folder in (run / "eval", other):
        folder.mkdir(parents=True)
    for _ in range(2):  # begun and resumed
        note_made(run, found)
        note_made(run / "eval", found)
    note_made(other, found[1:])
    note_made(tmp_path / "traffic", found[2:])
    assert made_of(listed, GONE) == [run] and made_of(listed, frozenset({"r3"})) == [other, run]
    assert not (tmp_path / "traffic" / NOTE).exists()
    assert len((problems.parent / LEDGER).read_text().splitlines()) == 3
    shutil.rmtree(run)
    assert made_of(listed, GONE) == []


def test_a_folder_is_refused_where_it_goes_and_can_be_told_where_the_list_lies(tmp_path: Path, problems: Path) -> None:
    run, moved = tmp_path / "run", tmp_path / "elsewhere"
    run.mkdir()
    note_made(run, load_problems(str(problems)))
    refuse_made(run)
    run.rename(moved)
    forget(problems, "r1")
    with pytest.raises(ProblemsError, match=r"elsewhere: 1 of its requests were forgotten.*delete the folder"):
        refuse_made(moved)
    listed = problems.parent.rename(tmp_path / "taken") / "forgotten.txt"
    with pytest.raises(ProblemsError, match=r"elsewhere: .*laconic traffic clean .*elsewhere --list FILE"):
        refuse_made(moved)
    point_to(moved, listed)
    with pytest.raises(ProblemsError, match="delete the folder"):
        refuse_made(moved)
    assert made_of(listed, GONE) == [moved]
    with pytest.raises(InputError, match="has no note"):
        point_to(tmp_path / "taken", listed)


def test_what_is_copied_out_of_folders_is_made_of_what_they_are(tmp_path: Path, problems: Path) -> None:
    for name, some in (("a", slice(0, 1)), ("b", slice(1, 3)), ("c", slice(2, 3))):
        (tmp_path / name).mkdir()
        note_made(tmp_path / name, load_problems(str(problems))[some])
    page = tmp_path / "page.html"
    page.write_text("")
    note_copy(page, [tmp_path / name for name in "abc"])
    assert page in made_of(problems.parent / "forgotten.txt", frozenset({"r1"}))
    assert page in made_of(problems.parent / "forgotten.txt", frozenset({"r3"}))


def test_what_a_killed_writer_left_in_the_ledger_spoils_no_other_line(tmp_path: Path, problems: Path) -> None:
    ledger, listed = problems.parent / LEDGER, problems.parent / "forgotten.txt"
    ledger.write_text('{"path": "/some/run", "requ')
    assert (made_of(listed, GONE), ledger_damage(listed)) == ([], "")  # nothing was made of a line that was not written
    (tmp_path / "run").mkdir()
    note_made(tmp_path / "run", load_problems(str(problems)))
    assert made_of(listed, GONE) == [tmp_path / "run"]
    assert ledger_damage(listed) == f"{ledger}: damaged in line 1; correct or remove it"


def test_where_nobody_could_be_told_later_nothing_is_made(tmp_path: Path, problems: Path) -> None:
    (problems.parent / LEDGER).mkdir()
    with pytest.raises(InputError, match=r"made_from_traffic.jsonl: cannot be written .*laconic traffic clean"):
        note_made(tmp_path / "run", load_problems(str(problems)))


def test_prompts_of_forgotten_requests_are_not_asked_again(tmp_path: Path, problems: Path) -> None:
    rows = [json.loads(line) for line in problems.read_text().splitlines()]
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps(row | {"prompt": row["problem"]}) + "\n" for row in rows))
    assert len(read_batch(prompts)) == 3
    forget(problems, "r1")
    with pytest.raises(ProblemsError, match="1 of its requests were forgotten"):
        read_batch(prompts)


def test_what_is_made_of_models_is_made_of_what_they_are(tmp_path: Path, problems: Path) -> None:
    """By the run in which a model lies, or of which it was published; once noted it stays so where the model is gone."""
    run, published, later = tmp_path / "run", tmp_path / "published", tmp_path / "later"
    for folder in (run / "model", published, later):
        folder.mkdir(parents=True)
    note_made(run, load_problems(str(problems))[:1])
    origin_file(published).write_text(json.dumps({"run": str(run), "name": "org/short"}))
    note_models(later, ["tiny", "org/short", str(tmp_path / "nowhere")])
    assert not (later / NOTE).exists()
    for model in (run / "model", published):
        note_models(later, [str(model)])
        assert made_of(problems.parent / "forgotten.txt", GONE) == [later, run]
        refuse_models([str(later / "model"), str(model)])
        shutil.rmtree(model)
        note_models(later, [str(model)])
        note_made(later, [])
        assert "r1" in (later / NOTE).read_text()
        model.mkdir()
        (later / NOTE).unlink()
    forget(problems, "r1")
    for model in (run / "model", published):
        with pytest.raises(ProblemsError, match="run: 1 of its requests were forgotten"):
            refuse_models(["tiny", str(model)])


# --- the ways out ----------------------------------------------------------------------------------------------------

Laconic = Callable[..., tuple[int, str, str]]
SMALL = ("--samples", 2, "--max-tokens", 16)


def test_every_way_out_is_named_and_refused(laconic: Laconic, tmp_path: Path, problems: Path) -> None:
    """An evaluation, a probe, a selection, a task of lm-eval, a page and a log: each is named, and then refused or not made."""
    asked = (problems, *SMALL)
    smaller = (
        "phases.limit_96.optimizer.schedule=cosine",
        "phases.limit_96.steps=2",
        "phases.limit_96.problems_per_step=1",
    )
    model = save_small_model(tmp_path / "model")
    recipe = write_small_recipe(tmp_path / "small.toml", model)
    train = f'train = "{problems}"'
    recipe.write_text(
        recipe.read_text().replace('train = "tiny:mix?count=8&split=train"', train).replace("steps = 4", "steps = 1")
    )
    own = "problems.train=tiny:mix?count=8&split=train"
    for_verl = ("thinkprune", f"problems.train={problems}", *smaller, "--phase", "limit_96")
    for command in (
        ("evaluate", "tiny", *asked, "--out", "measured"),
        ("probe", "tiny", *asked, "--out", "probe.jsonl"),
        ("select", "probe.jsonl", "--band", "0:1", "--out", "chosen.jsonl"),
        ("export", "lm-eval", problems, "--out", "task"),
        ("report", "measured", "--out", "page.html"),
        ("export", "verl", *for_verl, "--out", "verl"),
        ("train", recipe, "--out", "run"),
        ("train", recipe, own, "model=run/model", "--out", "later"),
        ("train", recipe, own, "--out", "other"),
    ):
        code, _, err = laconic(*command)
        assert code == 0, err
    assert read_exported_phase(tmp_path / "verl").name == "limit_96"
    (document,) = [json.loads(line) for line in Path("task/problems.jsonl").read_text().splitlines() if "r1" in line]
    assert grade_results(document, ["\\boxed{1}"])["accuracy"] == 1.0
    gone = ("r1", "r2", "r3")
    forget(problems, *gone)
    named = {str(path.relative_to(tmp_path)) for path in made_of(problems.parent / "forgotten.txt", frozenset(gone))}
    files = {"probe.jsonl", "probe.samples.jsonl", "chosen.jsonl", "page.html"}
    assert named == {"measured/eval/problems", "task", "verl", "run", "later"} | files
    for command in (
        ("evaluate", "tiny", *asked, "--out", "measured"),
        ("report", "measured", "--out", "page.html"),
        ("audit", "measured"),
        ("compare", "measured", "elsewhere"),
        ("select", "probe.jsonl", "--band", "0:1", "--out", "again.jsonl"),
        ("export", "lm-eval", problems, "--out", "task2"),
        ("export", "inspect", "measured", "--out", "log.json"),
        ("export", "verl", *for_verl, "--out", "verl2"),
        ("train", recipe, "--out", "run2"),
        ("train", recipe, "--out", "run", "--resume"),
        ("report", "run", "--out", "page.html"),
        ("compare", "run"),
        ("compare", *(str(folder.parent) for folder in sorted(Path("run/eval").glob("*/summary.json")))),
        ("report", next(Path("run/eval").glob("base-*"))),
        ("train", recipe, own, "model=later/model", "--out", "run2"),
        ("train", recipe, own, "model=run/model", "--out", "later", "--resume"),
    ):
        code, _, err = laconic(*command)
        assert code == 2 and "were forgotten" in err and len(err.splitlines()) == 1, (command, err)
    with pytest.raises(ProblemsError, match="were forgotten"):
        grade_results(document, ["\\boxed{1}"])
    with pytest.raises(ProblemsError, match="were forgotten"):
        read_exported_phase(tmp_path / "verl")
    rows = [{"id": f"p{number}", "problem": f"{number} + 1", "answer": f"{number + 1}"} for number in range(3)]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))  # forgetting rewrites it, too
    code, _, err = laconic("train", recipe, "--out", "run", "--resume", "--accept-changes")
    assert code == 2 and "run: 3 of its requests were forgotten" in err
    assert not {"again.jsonl", "task2", "log.json", "verl2", "run2"} & {path.name for path in tmp_path.iterdir()}
