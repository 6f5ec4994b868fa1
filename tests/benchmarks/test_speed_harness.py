"""What the speed harness claims: sides are given the same work, take turns, and a side that is missing or fails says so."""

import doctest
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small import save_small_model

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from sides import contest, table  # noqa: E402
from sides.contest import SIDES, Bench, Contender, Options, Variant, slope_and_r2, tokens_per_second  # noqa: E402
from sides.pipe import SideFailed, Worker  # noqa: E402
from sides.table import Figure, Row, at_least, at_most, markdown  # noqa: E402
from sides.workload import GROUP_SIZE, Workload  # noqa: E402

_spec = importlib.util.spec_from_file_location("speed", BENCHMARKS / "run.py")
assert _spec is not None and _spec.loader is not None
speed = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(speed)

OPTIONS = Options(repeats=2, threads=1, batches=(4,), problems=2, cap=8, long_cap=16, fixed=8, graded=20)


# --- figures and rows ------------------------------------------------------------------------------------------------


def row(ours: float, theirs: float, bound: table.Bound | None) -> Row:
    return Row("what", "tokens/s", Figure("laconic", (ours,)), Figure("peer", (theirs,)), bound)


def test_a_ratio_is_ours_over_theirs_and_is_held_to_its_bound() -> None:
    assert row(10.0, 2.0, None).ratio == 5.0
    assert [row(ours, 2.0, at_least(5)).result for ours in (10.0, 9.9)] == ["pass", "fail"]
    assert [row(ours, 2.0, at_most(1)).result for ours in (2.0, 2.1)] == ["pass", "fail"]
    assert row(1.0, 1.0, None).result == ""


def test_a_side_without_figures_is_named_with_the_reason() -> None:
    """Not measured is neither pass nor fail, and never left out."""
    missing = Row("what", "s", Figure("laconic", (1.0,)), Figure("vllm", trouble="not installed"), at_least(2))
    assert missing.ratio is None and missing.result == "not measured"
    (line,) = markdown([missing]).splitlines()[2:]
    assert "| vllm | not installed |" in line and "| ≥ 2 | not measured |" in line


def test_the_median_stands_beside_its_range() -> None:
    assert table.shown(Figure("x", (3.0, 100.0, 1.0))) == "3 (1-100)"


def test_a_slope_of_one_is_linear() -> None:
    """y = x^2 has slope 2; R² is 1 for every power law."""
    assert slope_and_r2([1, 3, 9], [1, 9, 81]) == pytest.approx((2.0, 1.0))
    assert slope_and_r2([1, 2, 4, 8], [1, 4, 3, 9])[1] < 1.0


@pytest.mark.parametrize("module", [table, contest])
def test_doctests(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


# --- the page --------------------------------------------------------------------------------------------------------


def test_a_section_measured_again_leaves_the_others(tmp_path: Path) -> None:
    bench = Bench(OPTIONS, tmp_path)
    bench.versions = {"laconic": {"torch": "1.2.3"}}
    speed.write(tmp_path, "step", speed.record(bench, "step", [row(4.0, 1.0, at_least(4))]))
    speed.write(tmp_path, "grading", speed.record(bench, "grading", [row(7.0, 1.0, None)]))
    speed.write(tmp_path, "step", speed.record(bench, "step", [row(3.0, 1.0, at_least(4))]))
    entries = json.loads((tmp_path / "speed.json").read_text("utf-8"))
    assert set(entries) == {"step", "grading"}
    assert Row.from_json(entries["step"]["rows"][0]) == row(3.0, 1.0, at_least(4))
    page = (tmp_path / "speed.md").read_text("utf-8")
    assert page.index("## Step") < page.index("## Grading")
    assert (
        "| 3.00 | ≥ 4 | fail |" in page
        and "torch 1.2.3" in page
        and "run.py step --repeats 2 --threads 1 --batches 4" in page
    )


def test_a_larger_model_has_sections_of_its_own(tmp_path: Path) -> None:
    """Its name stands in heading and command, its folder nowhere."""
    larger = Options(model=str(tmp_path / "Larger-135M"), repeats=2, threads=1)
    for options in (larger, OPTIONS):
        bench = Bench(options, tmp_path)
        bench.rates = {"1": 115.4, "2": 210.0}
        entry = speed.record(bench, "sampling", [row(4.0, 1.0, None)])
        speed.write(tmp_path, speed.title("sampling", options), entry)
    page = (tmp_path / "speed.md").read_text("utf-8")
    assert page.index("## Sampling\n") < page.index("## Sampling, Larger-135M\n")
    assert "--model Larger-135M" in page and str(tmp_path) not in page
    assert page.count("float32 matrix products run at 115 on 1 and 210 on 2 threads (GFLOP/s)") == 2


def test_the_command_line_names_sections_and_sizes(tmp_path: Path) -> None:
    sections, options, out = speed.parse(["step", "--repeats", "3", "--batches", "8", "64", "--out", str(tmp_path)])
    assert (sections, options, out) == (["step"], Options(repeats=3, batches=(8, 64)), tmp_path)
    assert speed.parse([])[:2] == ([name for name in speed.SECTIONS if name != "change"], Options())
    assert speed.parse(["change", "--since", "HEAD"])[1] == Options(since="HEAD")
    (tmp_path / "a-model").symlink_to(tmp_path, target_is_directory=True)
    found = speed.parse(["step", "--model", str(tmp_path / "a-model")])[1]
    assert speed.title("step", found) == "step, a-model"  # the name that was given, wherever it leads
    for wrong in (["speed"], ["change"], ["step", "--since", "HEAD"]):
        with pytest.raises(SystemExit):
            speed.parse(wrong)


def test_the_linear_range_is_sixteen_fold() -> None:
    """32 problems of 8 responses: 32, 64, ..., 512 rollouts."""
    assert [size * GROUP_SIZE for size in Options().linear_problems] == [32, 64, 128, 256, 512]
    assert Options(problems=2).linear_problems == (1, 2, 4)


# --- taking turns ----------------------------------------------------------------------------------------------------


class FakeWorker:
    """Answers with `tokens` in one second, or with an error, and writes down who was asked."""

    def __init__(self, asked: list[str], name: str, tokens: int, error: str = "") -> None:
        self.asked, self.name, self.tokens, self.error = asked, name, tokens, error

    def ask(self, task: str, **_: Any) -> dict[str, Any]:
        self.asked.append(f"{self.name} {task}")
        answer = {"tokens": self.tokens, "seconds": 1.0, "rows": 2}
        return {"error": self.error} if self.error else answer


def fake(asked: list[str], **tokens: int) -> Contender:
    pairs: list[Any] = [(Variant(name, "none"), FakeWorker(asked, name, n)) for name, n in tokens.items()]
    return Contender("side", pairs)


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contest, "REST_SECONDS", 0.0)


@pytest.mark.usefixtures("restless")
def test_sides_take_turns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []
    contenders = {"a": fake(asked, a=1), "b": fake(asked, b=1)}
    bench = Bench(OPTIONS, tmp_path)
    monkeypatch.setattr(bench, "contender", contenders.__getitem__)
    bench.compete(["a", "b"], task="t")
    assert asked == ["a t", "b t"] * 3  # a warm-up and two repeats


@pytest.mark.usefixtures("restless")
def test_the_fastest_variant_is_kept_and_named() -> None:
    contender = fake([], slow=10, fast=30, middle=20)
    contender.settle({"task": "t"})
    contender.measure({"task": "t"})
    assert contender.figure(tokens_per_second) == Figure("fast", (30.0,), mean_tokens=15.0)


@pytest.mark.usefixtures("restless")
def test_a_variant_that_fails_is_named_beside_the_one_that_does_not() -> None:
    contender, failing = fake([], working=10), FakeWorker([], "failing", 1, error="no")
    pair: Any = (Variant("failing", "none"), failing)
    contender.variants.append(pair)
    contender.settle({"task": "t"})
    contender.measure({"task": "t"})
    (line,) = markdown([Row("what", "s", contender.figure(tokens_per_second))]).splitlines()[2:]
    assert "| working | 10 |" in line and "failing: no |" in line


@pytest.mark.usefixtures("restless")
def test_a_slow_side_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contest, "SLOW_SECONDS", 0.5)
    contender = fake([], slow=10)
    contender.settle({"task": "t"})
    for _ in range(3):
        contender.measure({"task": "t"})
    assert len(contender.answers) == 1


@pytest.mark.usefixtures("restless")
def test_a_warm_up_may_be_shorter_than_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    caps: list[int] = []
    monkeypatch.setattr(FakeWorker, "ask", lambda self, cap, **_: caps.append(cap) or {"tokens": 1, "seconds": 1.0})
    contender = fake([], a=1)
    contender.warm_up = 8
    for cap in (64, 4):
        contender.settle({"task": "sample", "cap": cap})
        contender.measure({"task": "sample", "cap": cap})
    contender.settle({"task": "update", "cap": 64})
    assert caps == [8, 64, 4, 4, 64]


@pytest.mark.usefixtures("restless")
def test_an_error_and_a_short_count_both_disqualify() -> None:
    failing: Any = FakeWorker([], "failing", 1, error="RuntimeError: no")
    broken, short = Contender("broken", [(Variant("failing", "none"), failing)]), fake([], short=7)
    broken.settle({"task": "t"})
    short.settle({"task": "t", "is_fixed": True, "cap": 4})  # two rows of four tokens are eight
    assert broken.figure(tokens_per_second) == Figure("broken", trouble="failing: RuntimeError: no")
    assert short.figure(tokens_per_second).trouble == "short: drew 7 tokens where 8 were asked for"


def test_a_peer_that_is_not_there_is_named_with_its_remedy(tmp_path: Path) -> None:
    absent = Variant("vllm eager", "sides.vllm_side", tmp_path / "vllm" / "bin" / "python")
    contender = Bench(OPTIONS, tmp_path).contender("vllm", [absent])
    contender.settle({"task": "sample"})
    assert (
        contender.figure(tokens_per_second).trouble
        == "vllm eager: not installed: `benchmarks/peers.sh vllm` installs it"
    )


def test_a_process_that_dies_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(SideFailed, match=r"No module named sides\.nowhere"):
        Worker(Path(sys.executable), "sides.nowhere", {}, {}, tmp_path / "log")


# --- Laconic's own side, for real ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Real processes over an untrained reasoner of one layer."""
    folder = tmp_path_factory.mktemp("bench")
    (folder / "workload").mkdir()
    model = save_small_model(folder / "model")
    made = Bench(
        Options(**{name: getattr(OPTIONS, name) for name in OPTIONS.__slots__} | {"model": str(model)}), folder
    )
    made.prepare()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(contest, "REST_SECONDS", 0.0)
        yield made
    made.close()


@pytest.mark.parametrize("is_fixed", [False, True])
def test_our_environments_sides_sample(bench: Bench, is_fixed: bool) -> None:
    """Fixed lengths are exact on every side; natural ones are at most the cap."""
    sides = ("laconic", "generate", "continuous")
    found = bench.compete(sides, task="sample", batch=4, cap=8, is_fixed=is_fixed)
    for side in sides:
        figure = found[side].figure(tokens_per_second)
        assert not figure.trouble and len(figure.values) == bench.options.repeats
        assert figure.mean_tokens == 8 if is_fixed else 0 < (figure.mean_tokens or 0) <= 8


def test_updates_agree_with_themselves_and_not_with_another_algorithms(bench: Bench) -> None:
    """First updates start from the same weights. PPO's advantages differ from GRPO's, and so does its gradient."""
    grpo, ppo = bench.compete(["laconic grpo", "laconic ppo"], task="update", cap=8).values()
    assert not grpo.trouble and not ppo.trouble
    assert grpo.first["grad_norm"] > 1e-3, "a batch whose gradient is 0 would agree with everything"
    assert speed.agreement(grpo, grpo).endswith("equal")
    assert speed.agreement(grpo, ppo).endswith("DIFFERENT")


def test_steps_of_both_algorithms(bench: Bench) -> None:
    found = bench.compete(["laconic grpo", "laconic ppo"], task="step", cap=8, is_fixed=True, num_problems=2)
    for contender in found.values():
        assert not contender.trouble and all(answer["peak_mib"] > 0 for answer in contender.answers)
        assert contender.answers[0]["tokens"] == 2 * GROUP_SIZE * 8


def test_the_processors_own_speed(bench: Bench) -> None:
    assert min(bench.matrix_rates().values()) > 0 and set(bench.matrix_rates()) == {"1"}


def test_work_beside_the_sampler_and_the_step(bench: Bench) -> None:
    """Both are measured quiet and busy, and nothing goes on running."""
    rows = speed.busy(bench)
    assert [line.bound for line in rows] == [at_least(0.4)] * 2
    for line in rows:
        assert line.theirs is not None and len(line.ours.values) == len(line.theirs.values) == bench.options.repeats


def test_other_work_ends_with_its_block() -> None:
    with speed.other_work() as process:
        assert process.poll() is None
    assert process.poll() is not None


def test_grading_and_start_up(bench: Bench) -> None:
    for line in (*speed.grading(bench), *speed.startup(bench)):
        assert len(line.ours.values) == bench.options.repeats and min(line.ours.values) > 0


def test_every_side_is_fed_the_same_prompts(bench: Bench) -> None:
    """TRL tokenizes text itself, and Laconic's step renders the problems file: both must give the prompts' token ids."""
    from transformers import AutoTokenizer

    from laconic.problems.load import load_problems
    from laconic.prompts.instructions import render

    workload = Workload(bench.folder / "workload")
    tokenizer = AutoTokenizer.from_pretrained(workload.checkpoint)
    prompts = workload.prompts()
    problems = load_problems(str(workload.problems_file(len(prompts))), seed=0)
    assert len({tuple(prompt.token_ids) for prompt in prompts}) == len(prompts) == 4
    for prompt, problem in zip(prompts, problems, strict=True):
        assert tokenizer(text=[prompt.text])["input_ids"] == [prompt.token_ids] == [render(tokenizer, problem)]


def test_tokens_count_up_to_the_end_token() -> None:
    """Of [5 1 0 0] two tokens were drawn, of [5 5 5 1] four, of [5 5 5 5] four, of [1 1 1 1] one."""
    from sides.transformers_side import num_drawn

    new = torch.tensor([[5, 1, 0, 0], [5, 5, 5, 1], [5, 5, 5, 5], [1, 1, 1, 1]])
    assert num_drawn(new, 1) == 2 + 4 + 4 + 1
    assert num_drawn(new, None) == 16


def test_every_side_has_a_script() -> None:
    for variants in SIDES.values():
        for variant in variants:
            assert (BENCHMARKS / f"{variant.module.replace('.', '/')}.py").is_file()
