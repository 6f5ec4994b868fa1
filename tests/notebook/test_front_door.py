"""What the front door claims: it is light, its six lines work, a model in memory is taken wherever one is named and stays as it
is, and what is given wrongly is an `InputError`."""

import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import oracles
import pytest
import torch

import laconic
from laconic.config.load import parse_recipe
from laconic.config.policy import PolicyConfig
from laconic.errors import InputError, LaconicWarning, ModelError, RunError, SelectionError
from laconic.models.loading import copy_model
from laconic.notebook.results import ProbeResult
from laconic.types import Grade, Problem

PROBLEMS = "tiny:mix?count=4&split=report"
NOTHING = ProbeResult((), ())

RECIPE: dict[str, Any] = {
    "name": "small",
    "model": "tiny",
    "threads": 1,
    "problems": {
        "train": "tiny:mix?count=8&split=train",
        "watch": "tiny:mix?count=2&split=watch",
        "report": "tiny:mix?count=2&split=report",
    },
    "watch": {"samples": 1},
    "report": {"samples": 1, "max_tokens": 48},
    "phases": [
        {
            "name": "brevity",
            "steps": 2,
            "problems_per_step": 2,
            "group_size": 2,
            "sampler": {"max_tokens": 48},
            "algorithm": {"name": "rloo"},
            "optimizer": {"lr": 1e-3},
        }
    ],
}


@pytest.fixture(scope="module")
def tiny() -> Any:
    return laconic.load_model("tiny", device="cpu")


def weights(model: Any) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def is_same(model: Any, before: list[torch.Tensor]) -> bool:
    return all(torch.equal(now, then) for now, then in zip(model.parameters(), before, strict=True))


# --- the door --------------------------------------------------------------------------------------------------------


def test_importing_the_package_is_quick_and_loads_nothing_heavy() -> None:
    """At most three times as long as Python alone, the best of five in turn; light modules only."""

    def seconds(statement: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", statement], check=True)
        return time.perf_counter() - began

    heavy = "import laconic, sys; assert not {'torch', 'numpy', 'typing', 'laconic.types'} & set(sys.modules)"
    seconds(heavy)
    pairs = [(seconds("import laconic"), seconds("pass")) for _ in range(5)]
    ours, bare = (min(pair[side] for pair in pairs) for side in (0, 1))
    assert ours < 3 * bare


def test_every_name_is_there_and_an_unknown_one_is_told() -> None:
    assert set(laconic.__all__) <= set(dir(laconic))
    assert all(getattr(laconic, name) is not None for name in laconic.__all__)
    assert "kimi_length" in laconic.rewards.table.REWARDS
    with pytest.raises(AttributeError, match=r"'evalute'.* offers compare, evaluate"):
        _ = laconic.evalute  # type: ignore[attr-defined]


def test_what_is_light_needs_no_torch() -> None:
    """An endpoint is asked, and what it answered is compared and shown, where torch is not installed."""
    names = "laconic.compare, laconic.report, laconic.load_problems, laconic.rewards, laconic.select, laconic.evaluate"
    statement = f"import laconic, sys; {names}, laconic.open_solver; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", statement], check=True)


# --- measuring -------------------------------------------------------------------------------------------------------


def test_from_a_model_to_an_evaluation_and_on(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures are those of the rows; what has no folder lives as long as its result, and its report lives on."""
    monkeypatch.chdir(tmp_path)
    solver = laconic.open_solver(tiny, grader_workers=1)
    with solver.grader:
        plain = laconic.evaluate(solver, PROBLEMS, samples=2, max_tokens=96)
        again = laconic.evaluate(
            solver, laconic.load_problems(PROBLEMS), samples=2, max_tokens=96, out=tmp_path / "a", name="tiny-mix"
        )
        rows = plain.responses
        assert plain.summary == again.summary and plain.summary.setup.benchmark == "tiny-mix"
        assert plain.accuracy == sum(row.grade is Grade.CORRECT for row in rows) / 8
        assert plain.tokens == sum(row.num_tokens for row in rows) / 8
        assert plain.accuracy_ci95[0] <= plain.accuracy <= plain.accuracy_ci95[1]

        probed = laconic.probe(solver, PROBLEMS, samples=2, max_tokens=96, out=tmp_path / "probe.jsonl")
        assert set(probed.solve_rates.values()) <= {0.0, 0.5, 1.0}
        kept = laconic.select(probed, how="band", low=0.0, high=1.0, count=3)
        assert kept == laconic.select(tmp_path / "probe.jsonl", how="band", low=0.0, high=1.0, count=3)
        assert len(kept.kept) == 3 and len(kept.reasons) == 4

        brief = laconic.evaluate(
            laconic.open_solver(tiny, prompt="tale:20"), PROBLEMS, samples=2, max_tokens=96, out=tmp_path / "b"
        )
    compared = laconic.compare(again, tmp_path / "b")
    assert compared.accuracy_change == pytest.approx(brief.accuracy - plain.accuracy)
    assert "accuracy" in str(compared)
    assert laconic.report(again, brief, out=tmp_path / "page.html").read_text().startswith("<!")
    folder, page = plain.folder, laconic.report(plain)
    assert folder.exists() and laconic.report(again) == tmp_path / "a" / "report.html"
    del plain
    assert not folder.exists()
    assert page == Path("report.html") and page.exists()


def test_a_model_may_stand_where_a_solver_does(tiny: Any) -> None:
    one = Problem("sum", "7 + 5?", "12")
    assert laconic.evaluate(tiny, [one], samples=1, temperature=0.0, max_tokens=64).summary.setup.num_problems == 1
    assert laconic.probe("tiny", [one], samples=1, max_tokens=64).stats[0].attempts == 1


def test_a_model_in_memory_is_asked_as_it_is() -> None:
    """In training mode and without a config's name: afterwards both are as before, weights and gradients' flags too."""
    model, tokenizer = oracles.small_model("llama"), oracles.small_tokenizer()
    model.train()
    before = weights(model)
    lm = laconic.load_model((model, tokenizer))
    assert lm.model is model and lm.name == "LlamaForCausalLM"
    result = laconic.evaluate((model, tokenizer), [Problem("1", "w0 w1", "2")], samples=2, max_tokens=8)
    assert result.summary.setup.model == "LlamaForCausalLM"
    assert model.training and is_same(model, before)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda lm: laconic.load_model("tiny", dtype="float8"), "dtype"),
        (lambda lm: laconic.load_model(lm, device="cpu"), "device: a model in memory stays as it is"),
        (lambda lm: laconic.load_model("./absent"), "no such folder"),
        (lambda lm: laconic.load_model(lm.model), "expected a name, a folder or a pair"),
        (lambda lm: laconic.load_model((lm.tokenizer, lm.model)), "expected a pair of a transformers PreTrainedModel"),
        (lambda lm: laconic.open_solver(lm, prompt="no_such_name"), "no_such_name"),
        (lambda lm: laconic.open_solver(lm, grader_workers=0), "workers"),
        (lambda lm: laconic.open_solver("http://127.0.0.1:9/v1#m", dtype="float32"), "runs elsewhere"),
        (lambda lm: laconic.evaluate(lm, []), "expected at least one"),
        (lambda lm: laconic.evaluate(lm, PROBLEMS, temperature=-1.0), "temperature"),
        (lambda lm: laconic.evaluate(lm, PROBLEMS, max_tokens=10_000), "max_tokens: 10000 and the prompt"),
        (lambda lm: laconic.evaluate(lm, PROBLEMS, budgets=40), "budgets: expected a list of whole numbers .*, got 40"),
        (lambda lm: laconic.evaluate(lm, PROBLEMS, budgets="40"), "budgets: expected a list of whole numbers"),
        (lambda lm: laconic.evaluate(lm, PROBLEMS, out=3), "out: expected a path, got 3"),
        (lambda lm: laconic.evaluate(lm, PROBLEMS, out=""), "out: expected a path, got ''"),
        (lambda lm: laconic.probe(lm, PROBLEMS, out=b"probe.jsonl"), "out: expected a path, got b'probe.jsonl'"),
        (lambda lm: laconic.probe(lm, PROBLEMS, band=0.5), "band: Input should be a valid tuple"),
        (lambda lm: laconic.probe(lm, PROBLEMS, band=(0.2, "x")), "band.1: Input should be a valid number"),
        (lambda lm: laconic.select(None, how="band"), "probe: expected the result of a probe, or its file, got None"),
        (lambda lm: laconic.select(NOTHING, how=["band"]), "how: Input should be a valid string"),
        (lambda lm: laconic.select(NOTHING, how="band", count=2.5), "count: Input should be a valid integer"),
        (lambda lm: laconic.select(NOTHING, how="band", seed="one"), "seed: Input should be a valid integer"),
        (lambda lm: laconic.select(NOTHING, how="band", against=3), "against: expected a list of addresses .*, got 3"),
        (lambda lm: laconic.select(NOTHING, how="band", against=[[1]]), r"against: .*; one of them is \[1\]"),
        (lambda lm: laconic.load_problems(3), "source: expected an address of problems, got 3"),
        (lambda lm: laconic.load_problems(PROBLEMS, seed=-1), r"seed must be a whole number from 0 to .*, got -1"),
        (lambda lm: laconic.load_problems(PROBLEMS, count=0), "count must be a whole number from 1 to 10000000, got 0"),
        (lambda lm: laconic.report(), "expected a run"),
        (lambda lm: laconic.report(None), "folders: expected a run, .*, got None"),
        (lambda lm: laconic.compare("absent", 3), "folders: expected a run, .*, got 3"),
        (lambda lm: laconic.compare("absent", "absent too", seed=-1), "seed: Input should be greater than or equal"),
        (lambda lm: laconic.compare("absent", "absent too", by="level"), "by: Input should be a valid tuple"),
        (lambda lm: laconic.compare("absent", "absent too", margin="x"), "margin: Input should be a valid number"),
        (lambda lm: laconic.compare("absent", "absent too", tokens_margin=None), "tokens_margin: Input should be"),
        (lambda lm: laconic.train("two_phase", out=3), "out: expected a path, got 3"),
        (lambda lm: laconic.compare("absent", "absent too"), "absent"),
        (lambda lm: laconic.train("two_phases"), "near it: two_phase"),
        (lambda lm: laconic.train(parse_recipe(RECIPE, "a test"), "seed=1"), "change a Recipe with model_copy"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tiny: Any, call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        call(tiny)
    assert "\n" not in str(caught.value)


def test_a_cap_that_does_not_fit_is_lowered_aloud_only_where_it_was_not_asked_for(tiny: Any) -> None:
    long = Problem("long", "1 + " * 950 + "1?", "951")
    with pytest.warns(UserWarning, match=r"cap \d+ tokens, not 1024"):
        laconic.evaluate(tiny, [long], samples=1, temperature=0.0)


def test_a_selection_that_keeps_nothing_is_refused(tiny: Any) -> None:
    probed = laconic.probe(tiny, [Problem("1", "7 + 5?", "13")], samples=2, max_tokens=64)
    with pytest.raises(SelectionError, match="none of 1 problems qualifies"):
        laconic.select(probed, how="hard")


def test_what_is_only_evaluated_is_held_as_it_computes(tmp_path: Path) -> None:
    """In bfloat16 the maps of a solver's model are held in it; a model that is loaded may be trained, and is whole."""
    folder = str(oracles.save_checkpoint("qwen2", tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LaconicWarning)  # of a processor that is slow in bfloat16
        solver = laconic.open_solver(folder, device="cpu", dtype="bfloat16")
        loaded = laconic.load_model(folder, device="cpu", dtype="bfloat16")
    rounded = {name for name, p in solver.lm.model.named_parameters() if p.dtype == torch.bfloat16}
    assert rounded == {name for name, _ in loaded.model.named_parameters() if "_proj." in name} and rounded
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}


# --- training --------------------------------------------------------------------------------------------------------


def test_a_copy_for_training_is_held_as_the_recipe_says_and_leaves_the_original(tiny: Any) -> None:
    """bfloat16 weights that were frozen learn in float32; tied weights stay tied; rotary frequencies keep their dtype."""
    model = oracles.small_model("qwen2").to(torch.bfloat16).requires_grad_(False)
    lm = laconic.load_model((model, oracles.small_tokenizer()))
    copied = copy_model(lm, PolicyConfig(device="cpu", dtype="bfloat16"), "memory:one")
    assert {p.dtype for p in copied.model.parameters()} == {torch.float32}
    assert all(p.requires_grad for p in copied.model.parameters())
    assert (copied.stored_dtype, copied.autocast_dtype) == (torch.bfloat16, torch.bfloat16)
    assert len(list(copied.model.parameters())) == len(list(model.parameters()))
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert not any(p.requires_grad for p in model.parameters())


def test_a_model_in_memory_trains_as_the_same_model_by_its_name(tiny: Any, tmp_path: Path) -> None:
    """Bit for bit. The object stays as it is; config.json names it; only the same weights resume the run."""
    recipe, before = parse_recipe(RECIPE, "a test"), weights(tiny.model)
    by_name = laconic.train(recipe, out=tmp_path / "by_name")
    handed = laconic.train(recipe, out=tmp_path / "handed", model=(tiny.model, tiny.tokenizer))
    assert is_same(tiny.model, before)
    one, other = (laconic.load_model(result.model).model for result in (by_name, handed))
    assert is_same(one, weights(other)) and not is_same(one, before)
    assert by_name.evaluations["base-greedy"].tokens == handed.evaluations["base-greedy"].tokens
    assert set(handed.comparisons) == {"greedy", "t1"} and len(handed.metrics) == 2
    assert '"model": "memory:' in (tmp_path / "handed" / "config.json").read_text()

    assert (
        laconic.train(recipe, out=tmp_path / "handed", model=(tiny.model, tiny.tokenizer), resume=True).model
        == handed.model
    )
    with pytest.raises(RunError, match=r"a model in memory, not from memory:.*hand the same model"):
        laconic.train(recipe, out=tmp_path / "handed", model=(one, tiny.tokenizer), resume=True)
    with pytest.raises(RunError, match="a model in memory, not from tiny"):
        laconic.train(recipe, out=tmp_path / "handed", resume=True)
    with pytest.raises(ModelError, match="lies in no file; hand the same model over again"):
        laconic.train(tmp_path / "handed" / "config.json", out=tmp_path / "handed", resume=True)


def test_problems_may_be_written_as_the_lines_of_a_file(tiny: Any) -> None:
    """A mapping with id, problem and answer is a problem; anything else is one line that says which item is none."""
    result = laconic.evaluate(
        tiny, [{"id": "1", "problem": "1+1", "answer": "2"}], samples=1, temperature=0.0, max_tokens=32
    )
    assert result.responses[0].problem_id == "1"
    assert repr(result) == str(result) and len(repr(result)) < 200
    with pytest.raises(InputError, match=r"problems, item 1: expected a Problem or a mapping .*, got str"):
        laconic.evaluate(tiny, [{"id": "1", "problem": "1+1", "answer": "2"}, "1+1"])
    with pytest.raises(InputError, match="item 0"):
        laconic.evaluate(tiny, [{"id": "1", "problem": "1+1"}])


@pytest.mark.parametrize("function", [laconic.evaluate, laconic.probe])
def test_problems_of_one_id_are_refused_before_anything_is_drawn(tiny: Any, function: Any) -> None:
    """A file with a repeated id is refused, and so is a list: their responses would be one problem's."""
    problems = laconic.load_problems(PROBLEMS)
    for again in (problems[0], replace(problems[0], question="1+1?", answer="2")):
        with pytest.raises(InputError, match="stands twice, as number 1 and as number 5; give each"):
            function(tiny, [*problems, again], samples=1, max_tokens=32)


@pytest.mark.parametrize("function", [laconic.evaluate, laconic.probe])
def test_no_samples_are_refused(tiny: Any, function: Any) -> None:
    with pytest.raises(InputError, match="samples: Input should be greater than 0"):
        function(tiny, PROBLEMS, samples=0)


@pytest.mark.parametrize("function", [laconic.evaluate, laconic.probe])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": "2"}, "samples: Input should be a valid integer"),
        ({"problems": None}, "problems: expected an address or a list of problems, got NoneType"),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0"),
        ({"seed": 1.5}, "seed: Input should be a valid integer"),
    ],
)
def test_a_wrong_argument_is_one_line(tiny: Any, function: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        function(tiny, **{"problems": PROBLEMS} | settings)


def test_what_the_command_refuses_is_refused(tiny: Any) -> None:
    """A budget that cuts nothing, and a name that would break a line."""
    with pytest.raises(InputError, match="budgets 48: cuts nothing, since responses have at most 48 tokens"):
        laconic.evaluate(tiny, PROBLEMS, samples=1, max_tokens=48, budgets=(48, 8))
    with pytest.raises(InputError, match="name: expected one line"):
        laconic.evaluate(tiny, PROBLEMS, samples=1, max_tokens=48, name="two\nlines")


def test_only_an_earlier_result_is_written_over(tiny: Any, tmp_path: Path) -> None:
    """A set of problems stays as it is, be it the one that is measured; nothing is drawn."""
    file = tmp_path / "problems.jsonl"
    file.write_text('{"id": "1", "problem": "1 + 1?", "answer": "2"}\n')
    before, probed = file.read_text(), ProbeResult((), ())
    for write, message in (
        (lambda: laconic.probe(tiny, file, out=file), "out .*is no probe"),
        (lambda: probed.write(file), "path .*is no probe"),
        (lambda: laconic.report(tmp_path, out=file), "out .*is no page"),
        (lambda: laconic.evaluate(tiny, file, out=file), "out .*is a file; expected a folder"),
    ):
        with pytest.raises(InputError, match=message):
            write()
    assert file.read_text() == before and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("name", ["train", "evaluate", "probe"])
def test_one_process_of_several_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As torchrun starts a script: each process would do the same work, and write the same files."""
    place = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    for variable, value in place.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(
        InputError, match=f"laconic.{name}: .* rank 1 of 2; share it out with  torchrun -m laconic {name} "
    ):
        getattr(laconic, name)("tiny", "tiny:mix?count=1")
