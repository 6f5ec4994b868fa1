"""`laconic quantize`: what is refused, what is calibrated on, and, where the libraries are installed, what comes of it."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from small import save_small_model

from laconic.config.policy import PolicyConfig
from laconic.config.solver import SamplerConfig
from laconic.errors import InputError, ModelError, ProblemsError
from laconic.models.loading import load_model
from laconic.models.policy import Policy
from laconic.notebook.solvers import open_solver
from laconic.problems.forgotten import list_text
from laconic.problems.load import load_problems
from laconic.problems.made_from_traffic import NOTE, made_of, note_made
from laconic.quantization import schemes
from laconic.quantization.calibration import CalibrationRequest, CalibrationText, check_enough, describe_text, draw_text
from laconic.quantization.libraries import COMPRESS, Compression, linear_widths
from laconic.quantization.quantize import write_quantized
from laconic.quantization.schemes import LLM_COMPRESSOR, SCHEMES, TORCHAO, find_scheme
from laconic.quantization.sources import check_source
from laconic.samplers.decoders import can_fuse
from laconic.types import Problem

GREEDY = SamplerConfig(temperature=0.0, max_tokens=12, batch_size=8)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("small") / "model")


@pytest.fixture
def both_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemes, "find_spec", lambda name: object())


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("tiny", "--scheme", "w3"), "--scheme w3: is no scheme; expected w8a8, w4a16, fp8"),
        (("tiny", "--scheme", "fp8", "--through", "torchao"), "--through torchao: does not do fp8 here"),
        (("tiny", "--scheme", "w8a8"), "--problems: name problems of the kind that it will meet"),
        (("tiny", "--scheme", "fp8", "--problems", "tiny:mix"), "--problems: leave it out: nothing is calibrated"),
        (("tiny", "--scheme", "fp8", "--out", "taken"), "--out taken: stands already; expected a new folder"),
        (("http://127.0.0.1:1/v1#m", "--scheme", "fp8"), "runs elsewhere, so its weights are not here"),
        (("some.gguf", "--scheme", "fp8"), "some.gguf: is a GGUF file"),
        (("adapter", "--scheme", "fp8"), "adapter: holds an adapter of LoRA (adapter_config.json); merge it"),
        (("eight", "--scheme", "fp8"), "eight: is quantized already (compressed-tensors)"),
        (("nowhere/at/all", "--scheme", "fp8"), "nowhere/at/all: no such folder"),
    ],
)
def test_what_cannot_be_quantized_is_one_line(laconic, tmp_path, small, both_installed, arguments, complaint):
    for name in ("taken", "adapter", "eight"):
        (tmp_path / name).mkdir()
    (tmp_path / "taken" / "file").touch()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    stated = json.loads((small / "config.json").read_text()) | {
        "quantization_config": {"quant_method": "compressed-tensors"}
    }
    (tmp_path / "eight" / "config.json").write_text(json.dumps(stated))
    (tmp_path / "eight" / "model.safetensors").touch()
    code, _, err = laconic("quantize", *arguments)
    assert code == 2 and complaint in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("library", "remedy"), [(LLM_COMPRESSOR, "llmcompressor>=0.14"), (TORCHAO, "pip install 'torchao>=")]
)
def test_a_library_that_is_missing_is_named_with_its_remedy(monkeypatch, library, remedy):
    monkeypatch.setattr(schemes, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="is not installed") as raised:
        find_scheme("w8a8", library)
    assert remedy in str(raised.value)


def test_a_plain_model_may_be_quantized(small):
    assert check_source(str(small)) == str(small)


# --- calibration -----------------------------------------------------------------------------------------------------


def test_the_model_writes_its_own_text(small):
    """Each text is a prompt with one response; the same request gives the same text."""
    solver = open_solver(str(small))
    request = CalibrationRequest("tiny:mix?count=3", tuple(load_problems("tiny:mix?count=3")), 2, GREEDY, "boxed", 5)
    text = draw_text(solver, request)
    assert len(text.texts) == 6 and text == draw_text(solver, request)
    assert 6 <= text.num_response_tokens <= 6 * 12 and text.num_tokens > text.num_response_tokens
    said = describe_text(request, text)
    assert (said["num_problems"], said["num_responses"], said["max_tokens"], said["seed"]) == (3, 6, 12, 5)


def test_less_text_than_the_widest_layer_has_inputs_is_too_little(small):
    """The small model has 32 wide layers, and 96 inputs in the last one of its MLP."""
    widths = linear_widths(load_model(str(small), PolicyConfig()).model)
    assert set(widths) == {32, 96}
    check_enough(CalibrationText((tuple(range(96)),), 50), widths)
    with pytest.raises(InputError, match="are 95 tokens, too few to calibrate on; expected at least 96"):
        check_enough(CalibrationText((tuple(range(95)),), 50), widths)
    with pytest.raises(InputError, match="1 different responses with their prompts are 50 tokens"):
        check_enough(CalibrationText((tuple(range(50)),) * 8, 50), widths)


# --- what forgetting names -------------------------------------------------------------------------------------------


def test_a_model_that_was_made_from_traffic_is_named_and_says_so(monkeypatch, tmp_path, small):
    """By the run in which the model lies, whether calibrated or not, and by the problems on which it was calibrated."""

    def copies(source, scheme, text, folder):
        shutil.copytree(source, folder, dirs_exist_ok=True)
        return Compression("a copy", None, 1)

    monkeypatch.setitem(COMPRESS, LLM_COMPRESSOR, copies)
    gone, run = tmp_path / "forgotten.txt", tmp_path / "run"
    gone.write_text(list_text([]))
    taught, shown = (
        Problem(name, "1 + 1", "2", meta={"traffic_request": [name], "tombstones": str(gone)}) for name in "ab"
    )
    shutil.copytree(small, run / "model")
    note_made(run, [taught])
    calibration = CalibrationRequest("f", (shown,), 1, GREEDY, "boxed", 0), CalibrationText(((1, 2),), 1)
    for scheme, out, text in (("w8a8", "q8", calibration), ("fp8", "qf", None)):
        model = str(run / "model")
        write_quantized(model, model, SCHEMES[scheme], LLM_COMPRESSOR, tmp_path / out, text)
    noted = [json.loads((tmp_path / name / NOTE).read_text())[str(gone)] for name in ("q8", "qf")]
    assert noted == [["a", "b"], ["a"]]
    assert made_of(gone, frozenset({"a"})) == [tmp_path / "q8", tmp_path / "qf", run]
    assert made_of(gone, frozenset({"b"})) == [tmp_path / "q8"]
    model = str(run / "model")
    assert check_source(model) == model
    gone.write_text(list_text(["a"]))
    with pytest.raises(ProblemsError, match="run: 1 of its requests were forgotten"):
        check_source(model)


# --- quantized models elsewhere --------------------------------------------------------------------------------------


def test_a_quantized_model_is_asked_through_its_own_modules_and_not_trained(small):
    """What its config says is enough: a library may compute with any of its maps in its own way."""
    lm = load_model(str(small), PolicyConfig())
    assert can_fuse(lm) and not lm.is_quantized
    lm.model.config.quantization_config = {"quant_method": "compressed-tensors"}
    assert lm.is_quantized and not can_fuse(lm)
    with pytest.raises(ModelError, match="its weights are quantized; train the model that they were made from"):
        Policy(lm, PolicyConfig(), seed=0)


needs_llm_compressor = pytest.mark.skipif(find_spec("llmcompressor") is None, reason="llmcompressor is not installed")
needs_torchao = pytest.mark.skipif(find_spec("torchao") is None, reason="torchao is not installed")
CALIBRATED = ("--problems", "tiny:mix?count=8", "--max-tokens", 16)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("--scheme", "w8a8", *CALIBRATED), marks=needs_llm_compressor),
        pytest.param(("--scheme", "w4a16", *CALIBRATED), marks=needs_llm_compressor),
        pytest.param(("--scheme", "fp8"), marks=needs_llm_compressor),
        pytest.param(("--through", "torchao"), marks=needs_torchao),
    ],
)
def test_a_quantized_folder_is_smaller_near_the_model_and_evaluated(laconic, tmp_path, small, arguments):
    """The evaluation of its folder is one like any other; logits stay near those of the model."""
    code, out, err = laconic("quantize", small, *arguments)
    assert code == 0 and "next:  laconic evaluate quantized PROBLEMS" in out, err
    told = json.loads((tmp_path / "quantized" / "quantization.json").read_text())
    assert told["num_bytes_after"] < 0.6 * told["num_bytes_before"]
    ids = torch.arange(2, 30)[None]
    models = [load_model(str(folder), PolicyConfig()).model for folder in (small, "quantized")]
    with torch.no_grad():
        before, after = (model(ids).logits for model in models)
    assert 0 < (before - after).abs().mean() < 0.3 * before.std()
    code, _, err = laconic("evaluate", "quantized", "tiny:mix?count=2", "--temperature", 0, "--max-tokens", 8)
    assert code == 0, err
