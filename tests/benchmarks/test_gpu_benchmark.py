"""What `benchmarks/gpu.py` claims: its floors and FLOPs are the stated arithmetic, its toy run writes the same table as a GPU's,
a failed check is an exit code, and what does not fit says so."""

import importlib
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
gpu = importlib.import_module("gpu")
work = importlib.import_module("gpu_workloads")


def tables_of(text: str) -> dict[str, list[dict[str, str]]]:
    """Rows by column of each section; a short row lacks its last columns."""
    found = {}
    for part in text.split("### ")[1:]:
        name, *lines = [line for line in part.splitlines() if line.strip()]
        columns, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line[0] == "|"]
        found[name] = [dict(zip(columns, row, strict=False)) for row in rows]
    return found


# --- arithmetic ------------------------------------------------------------------------------------------------------


def test_weights_are_those_of_the_models() -> None:
    """Every matrix of the real architectures, without the untied embedding, which is only looked up."""
    # 28 (2 * 1536 * 1536 + 2 * 1536 * 256 + 3 * 1536 * 8960) and 151936 * 1536
    assert work.num_weights(work.QWEN_1B) == (1_310_195_712, 233_373_696)
    for shape in (work.QWEN_1B, work.QWEN_7B, work.SMALL):
        model = work.make_lm(shape, torch.device("meta"), torch.bfloat16).model
        matrices = sum(p.numel() for p in model.parameters() if p.ndim == 2)
        assert sum(work.num_weights(shape)) == matrices - (0 if shape.tied else shape.vocabulary * shape.hidden)


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


# --- the toy run -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The file a toy run writes, with three laps for every figure, whatever time they take."""

    def seconds_of(call: Callable[[], object], device: torch.device, seconds: float, inner: int = 1) -> float:
        return min(work.once(call, device)[1] for _ in range(3))

    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("gpu") / "gpu.md"
    with pytest.MonkeyPatch.context() as patch:
        for module in (gpu, work):
            patch.setattr(module, "seconds_of", seconds_of)
        assert gpu.main(["--toy", "--seconds", "3600", "--out", str(out)]) == 0
    return out.read_text(encoding="utf-8")


def limits_of(report: str) -> tuple[float, float]:
    """Bytes a second and FLOP/s as printed."""
    speeds = re.search(r"limits: (\S+) GB/s read, (\S+) GB/s copied", report)
    rate = re.search(r"products (\S+) TFLOP/s \(toy\)", report)
    assert speeds and rate
    return max(map(float, speeds.groups())) * 1e9, float(rate[1]) * 1e12


def test_every_section_has_its_rows(report: str) -> None:
    tables = tables_of(report)
    assert {name: len(rows) for name, rows in tables.items()} == {"check": 6, "decode": 2, "update": 4, "step": 2}
    assert all(list(row) == gpu.COLUMNS[name].split(" | ") for name, rows in tables.items() for row in rows)
    assert all(row["verdict"] == "pass" for row in tables["check"])
    assert "`python benchmarks/gpu.py check decode update step --toy --models toy" in report


def test_decode_rows_are_measured_over_floor(report: str) -> None:
    """Prompts of 8, 16 steps: the mean context is 8 + 17/2 = 16.5 positions, 2 * 2 * 2 * 16 = 128 numbers each."""
    bandwidth, _ = limits_of(report)
    for row in tables_of(report)["decode"]:
        batch, step, floor = int(row["batch"]), float(row["a step, ms"]), float(row["floor, ms"])
        assert floor == pytest.approx((73_728 + 32_768 + 128 * 16.5 * batch) * 2 / bandwidth * 1e3, rel=0.01)
        assert float(row["ratio"]) == pytest.approx(step / floor, rel=0.01)
        assert float(row["tokens/s"]) == pytest.approx(batch / step * 1e3, rel=0.01)


def test_update_rows_are_flops_over_seconds(report: str) -> None:
    """Four responses of the stated lengths to prompts of 8."""
    _, rate = limits_of(report)
    lengths = [(8, n) for n in work.natural_lengths(4, 12, 32)]
    for row in tables_of(report)["update"]:
        is_full = row["weights"] == "full"
        flops = work.update_flops(work.SMALL, lengths, learns_all=is_full, has_critic=not is_full, recomputes=False)
        assert int(row["tokens"]) == sum(map(sum, lengths))
        assert float(row["model TFLOP"]) == pytest.approx(flops / 1e12, rel=0.001)
        assert float(row["TFLOP/s"]) == pytest.approx(flops / 1e12 / float(row["update, s"]), rel=0.01)
        share = float(row["of the matrix rate"].rstrip("%")) / 100
        assert share == pytest.approx(float(row["TFLOP/s"]) * 1e12 / rate, abs=0.001)
        spends_more = float(row["hardware TFLOP/s"]) > float(row["TFLOP/s"])
        assert spends_more == (row["checkpointing"] == "on")


def test_the_step_takes_the_papers_shape_of_rollouts(report: str) -> None:
    for row in tables_of(report)["step"]:
        assert (row["cap"], row["responses"], row["fits"]) == ("32", "4", "pass")
        assert 1 <= float(row["mean tokens"]) <= 32
        parts = sum(float(row[part]) for part in ("sampling, s", "scoring, s", "update, s"))
        assert float(row["step, s"]) == pytest.approx(parts, abs=0.02)


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_failed_check_is_exit_code_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gpu, "sampler_error", lambda lm, shape: 0.5)
    assert gpu.main(["check", "--toy", "--seconds", "1"]) == 1
    assert "| 0.5 | 0.0001 | FAIL |" in capsys.readouterr().out


def test_what_does_not_fit_says_so() -> None:
    def too_large(deadline: float) -> str:
        raise torch.OutOfMemoryError("no")

    cpu = torch.device("cpu")
    assert gpu.guarded(too_large, time.monotonic() + 60, cpu) == "out of memory"
    assert gpu.guarded(too_large, time.monotonic() - 1, cpu) == "not measured: the time was over"


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is at hand")
def test_full_size_needs_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        gpu.main(["decode"])
    assert "--toy runs anywhere" in capsys.readouterr().err
