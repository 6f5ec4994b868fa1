"""What `benchmarks/gpu.py` claims: its floors and FLOPs are the stated arithmetic, a rehearsal fills the table that a GPU fills,
a section is cut off at its deadline, and a run that is begun again measures only what is missing."""

import importlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
gpu = importlib.import_module("gpu")
work = importlib.import_module("gpu_workloads")
children, correctness, rows, speed, table, updating = (
    importlib.import_module(f"gpus.{name}")
    for name in ("children", "correctness", "rows", "speed", "table", "updating")
)
CPU = torch.device("cpu")


# --- arithmetic ------------------------------------------------------------------------------------------------------


def test_weights_are_those_of_the_models() -> None:
    """Every matrix of the real architectures."""
    # 28 (2 * 1536 * 1536 + 2 * 1536 * 256 + 3 * 1536 * 8960) and 151936 * 1536
    assert work.num_weights(work.QWEN_1B) == (1_310_195_712, 233_373_696)
    for shape in (work.QWEN_1B, work.SMALL):
        model = work.make_lm(shape, torch.device("meta"), torch.bfloat16).model
        assert sum(work.num_weights(shape)) == sum(p.numel() for p in model.parameters() if p.ndim == 2)


def test_the_floor_reads_weights_and_live_cache_once() -> None:
    """64 rows of 256 positions: 2 * 28 * 2 * 128 * 64 * 256 = 234,881,024 numbers beside 1,543,569,408 weights, 2 bytes each."""
    expected = (1_543_569_408 + 234_881_024) * 2 / 4e12  # 0.89 ms at 4 TB/s
    assert work.decode_floor_seconds(work.QWEN_1B, 64, 256, 4e12) == pytest.approx(expected)


def test_flops_by_hand() -> None:
    """One row of 3 + 5 tokens: body 2 * 36,864 weights and a head of 32,768; attention 2 * 2 * 64 * 8^2 = 16,384 forward."""
    linear = 2 * (2 * 36_864 * 8 + 32_768 * 5)  # 1,507,328: the head reads 5 tokens
    options = {"learns_all": True, "has_critic": False, "recomputes": False}

    def flops(**changes: bool) -> float:
        return work.update_flops(work.SMALL, [(3, 5)], **(options | changes))

    assert flops() == 3 * linear + 3 * 16_384
    assert flops(recomputes=True) == 4 * linear + 4 * 16_384
    assert (
        flops(learns_all=False) == 2 * linear + 3 * 16_384
    )  # no gradients of frozen weights; attention has no weights
    assert flops(has_critic=True) - flops() == 3 * (2 * 2 * 36_864 * 8 + 16_384)  # a second body, without a head


def test_full_fine_tuning_is_six_n_a_token() -> None:
    """6 N T, and 12 layers hidden T/2 a token for attention."""
    n, length = sum(work.num_weights(work.QWEN_1B)), 1000
    expected = 6 * n * length + 12 * 28 * 1536 * (length / 2) * length
    options = {"learns_all": True, "has_critic": False, "recomputes": False}
    assert work.update_flops(work.QWEN_1B, [(0, length)], **options) == pytest.approx(expected)


def test_lengths_have_the_stated_mean_and_cap() -> None:
    """64 quantiles of a log-normal: the mean within 3%, the longest at the cap."""
    lengths = work.natural_lengths(64, 2500, 8192)
    assert sum(lengths) / 64 == pytest.approx(2500, rel=0.03)
    assert lengths == sorted(lengths)
    assert work.natural_lengths(64, 5000, 8192)[-1] == 8192


# --- the rehearsal ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a rehearsal writes, with a warm-up and one lap for every figure."""

    def seconds_of(call: Callable[[], object], device: torch.device, seconds: float, inner: int = 1) -> float:
        call()
        return float(work.once(call, device)[1])

    torch.set_num_threads(1)
    names = [name for name in gpu.SECTIONS if not name.startswith("attention-")]  # the same with other variables
    out = tmp_path_factory.mktemp("gpu")
    with pytest.MonkeyPatch.context() as patch:
        for module in (speed, work):
            patch.setattr(module, "seconds_of", seconds_of)
        patch.setattr(updating, "seconds_of", lambda call, device, seconds: work.once(call, device)[1])
        assert gpu.main([*names, "--toy", "--here", "--seconds", "3600", "--out", str(out), "--commit", "abc"]) == 0
    return out


@pytest.mark.filterwarnings("ignore::UserWarning")  # a recipe of one step holds much in vain
def test_every_section_has_its_rows(rehearsed: Path) -> None:
    found = table.Table(rehearsed)
    assert list(found.sections) == [name for name in gpu.SECTIONS if not name.startswith("attention-")]
    assert all(section.is_sound and section.rows for section in found.sections.values())
    about = found.sections["decode"].about
    assert (about["torch"], about["commit"], about["shape"]) == (str(torch.__version__), "abc", "toy")
    assert {"device", "transformers", "CUDA", "date"} <= about.keys()
    text = (rehearsed / "gpu.md").read_text()
    assert text.count("\n## ") == len(found.sections)
    assert "| Llama, float32: sampled, full forward |" in text


def test_ratios_are_measured_over_limit(rehearsed: Path) -> None:
    """Decode at context 8 for 16 steps: 16.5 positions on average, of 2 * 2 * 2 * 16 = 128 numbers; updates over the rate."""
    found = table.Table(rehearsed)
    limits = found.limits()
    for (num_rows, _), row in zip(work.TOY.cells, found.sections["decode"].rows, strict=True):
        floor = (73_728 + 32_768 + 128 * 16.5 * num_rows) * 2 / limits[speed.BANDWIDTH]
        assert row.limit == pytest.approx(floor * 1e3)
        assert row.ratio == pytest.approx(row.measured / row.limit)
    rates = [row for row in found.sections["update"].rows if row.unit == "GFLOP/s"]
    assert len(rates) == 2
    assert all(row.limit == pytest.approx(limits[speed.MATRIX_RATE] / 1e9) for row in rates)


def test_before_and_after_are_rows_of_real_training(rehearsed: Path) -> None:
    names = [row.what for row in table.Table(rehearsed).sections["real"].rows]
    assert [name.split(":")[0] for name in names] == [
        *("sft, base-t0.6", "sft, phase-1-t0.6"),
        *("two_phase, base-t0.6", "two_phase, phase-1-t0.6", "two_phase, phase-2-t0.6"),
    ]


def test_what_is_done_is_not_measured_again(rehearsed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (rehearsed / "gpu.json").read_bytes()
    names = list(table.Table(rehearsed).sections)
    assert gpu.main([*names, "--toy", "--here", "--out", str(rehearsed)]) == 0
    assert (rehearsed / "gpu.json").read_bytes() == before
    assert capsys.readouterr().out.count(": done before") == len(names)


def test_the_checks_can_fail() -> None:
    """Other weights give other log-probabilities, another seed's responses differ, and half a way apart is a share of a half."""
    lm, other = (correctness.make_small("Llama", mode, CPU) for mode in ("float32", "LoRA"))
    (drawn,), (others,) = (correctness.sampled(model, graphs=True, times=1) for model in (lm, other))
    assert correctness.forward_error(other, drawn) > 1e-3
    assert correctness.num_different(drawn, others) > 0
    before, one, two = ({"w": torch.tensor([x])} for x in (0.0, 2.0, 1.0))
    assert correctness.stray_share(one, two, before) == 0.5


# --- what goes wrong -------------------------------------------------------------------------------------------------


def plans(**measures: Callable[[Any], Iterator[Any]]) -> dict[str, Any]:
    return {name: gpu.Plan(measure, 60, may_lose_graphs=name == "real") for name, measure in measures.items()}


@pytest.mark.parametrize("error", [0.5, 1e-6])
def test_training_goes_without_graphs_where_correctness_does_not_hold(
    error: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table says so, and the command fails."""

    def check(bench: Any) -> Iterator[Any]:
        yield rows.at_most("sampled, full forward", error, 1e-4)

    def real(bench: Any) -> Iterator[Any]:
        yield rows.Row("graphs", float(os.environ.get("LACONIC_CUDA_GRAPHS", "1")))

    other = gpu.Plan(real, 60, (("LACONIC_CUDA_GRAPHS", "7"),))  # a section with a variable of its own
    monkeypatch.setattr(gpu, "SECTIONS", plans(correctness=check, real=real) | {"other": other})
    is_right = error < 1e-4
    assert gpu.main(["--toy", "--here", "--out", str(tmp_path)]) == int(not is_right)
    assert "LACONIC_CUDA_GRAPHS" not in os.environ
    found, other = (table.Table(tmp_path).sections[name] for name in ("real", "other"))
    assert found.rows[0].measured == float(is_right)
    assert (other.rows[0].measured, other.about["with"]) == (7.0, "LACONIC_CUDA_GRAPHS=7")
    assert bool(found.remark) != is_right
    assert ("| FAIL |" in (tmp_path / "gpu.md").read_text()) != is_right


def child(tmp_path: Path, code: str, seconds: float) -> tuple[str, list[Any], str]:
    """How a child ended, what the table would take up of what it printed, and the log."""
    taken: list[Any] = []
    log = tmp_path / "gpu.log"
    end = children.run_child([sys.executable, "-c", code], {"WITH": "7"}, seconds, taken.append, log)
    return end, taken, log.read_text()


def test_a_section_is_killed_at_its_deadline_and_keeps_its_rows(tmp_path: Path) -> None:
    code = 'import time; print("row: {}", flush=True); time.sleep(600)'
    began = time.monotonic()
    assert child(tmp_path, code, 0.8) == ("cut off", [{}], "")
    assert time.monotonic() - began < 300


def test_a_section_that_fails_leaves_its_traceback(tmp_path: Path) -> None:
    code = 'import os; print("row: " + os.environ["WITH"]); print("words"); raise ValueError("why")'
    end, taken, log = child(tmp_path, code, 60)
    assert (end, taken) == ("failed", [7])
    assert "words" in log and "ValueError: why" in log
    assert child(tmp_path, "pass", 60)[0] == "done"


def test_a_section_that_was_cut_off_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(bench: Any) -> Iterator[Any]:
        yield rows.Row("a", 1.0)

    held = table.Table(tmp_path)
    held.sections["correctness"] = table.Section("cut off", 60.0, [rows.Row("a", math.nan, note="x")], {"torch": "1"})
    held.write()
    assert json.loads((tmp_path / "gpu.json").read_text())["correctness"]["rows"][0]["measured"] is None
    assert math.isnan(table.Table(tmp_path).sections["correctness"].rows[0].measured)
    monkeypatch.setattr(gpu, "SECTIONS", plans(correctness=check))
    assert gpu.main(["--toy", "--here", "--out", str(tmp_path)]) == 0
    assert [row.measured for row in table.Table(tmp_path).sections["correctness"].rows] == [1.0]


def test_what_does_not_fit_says_so() -> None:
    def too_large() -> Any:
        raise torch.OutOfMemoryError("no")

    notes = []
    for seconds in (60.0, -1.0):
        bench = rows.Bench(work.TOY, CPU, time.monotonic() + seconds, {})
        (row,) = rows.guarded("a step", too_large, bench)
        notes.append(row.note)
        assert math.isnan(row.measured) and row.is_met is None
    assert notes == ["out of memory", "not measured: the time was over"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is at hand")
def test_full_size_needs_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        gpu.main(["decode"])
    assert "--toy runs anywhere" in capsys.readouterr().err
