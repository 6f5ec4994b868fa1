"""The program `quantize`: from a model's folder to a smaller one that `laconic evaluate` reads.

1. The model, the scheme and the place are checked before anything is loaded.
2. Where the scheme is calibrated, the model writes its own text first (`calibration.py`).
3. A library quantizes the model as its folder holds it (`libraries.py`). Tokenizer and generation config are the model's own.
4. The result is loaded and asked once, as an evaluation would, so that no folder is left which nothing reads.
5. quantization.json says what was done, on how much text, and how large the weights were and are. Where model or text came from
   stored traffic, a note in the folder says so (`problems/made_from_traffic.py`).

What is left out: whether the smaller model is as good. `laconic evaluate` and `laconic compare` say that, and whether its chains
have grown.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import GenerationConfig

from laconic.config.policy import PolicyConfig
from laconic.config.solver import SamplerConfig
from laconic.errors import LaconicError, RunFailed
from laconic.models.loading import hub_options, load_model, load_tokenizer, quiet
from laconic.problems.made_from_traffic import note_made, note_models
from laconic.quantization.calibration import CalibrationRequest, CalibrationText, check_enough, describe_text, draw_text
from laconic.quantization.libraries import COMPRESS, Compression, muted_libraries
from laconic.quantization.schemes import Scheme
from laconic.rollouts.solver import Solver
from laconic.samplers.local import LocalSampler
from laconic.samplers.protocol import Request
from laconic.system.files import whole_folder, write_json_atomically
from laconic.types import Progress

REPORT_FILE = "quantization.json"
PROBE_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Quantized:
    """What came of it: the bytes of the weights before and after, and the text on which they were calibrated."""

    num_bytes_before: int
    num_bytes_after: int
    text: CalibrationText | None

    @property
    def share(self) -> float:
        """The size of the weights as a share of what it was."""
        return self.num_bytes_after / self.num_bytes_before


def calibrate(
    solver: Solver, request: CalibrationRequest, widths: list[int], on_progress: Progress | None = None
) -> CalibrationText:
    """The text that the model writes, which must be enough for its layers."""
    text = draw_text(solver, request, on_progress=on_progress)
    check_enough(text, widths)
    return text


def write_quantized(
    model: str,
    source: str,
    scheme: Scheme,
    library: str,
    out: Path,
    calibration: tuple[CalibrationRequest, CalibrationText] | None,
) -> Quantized:
    """Write the folder `out`, whole or not at all. `source` is where the weights of `model` are.

    Raises `RunFailed` where the library fails, or where nothing can read what it wrote.
    """
    text = calibration[1] if calibration else None
    request = calibration[0] if calibration else None
    _note_origin(out, source, request)  # so that forgetting names one that is being written
    with whole_folder(out) as folder:
        try:
            done = COMPRESS[library](source, scheme, text, folder)
        except LaconicError:
            raise
        except Exception as error:  # each library raises errors of its own
            raise RunFailed(f"{library}: {type(error).__name__}: {' '.join(str(error).split()):.300}") from error
        _write_rest(model, source, folder)
        result = Quantized(done.num_bytes_before, _weight_bytes(folder), text)
        write_json_atomically(folder / REPORT_FILE, _report(model, scheme, done, result, calibration))
        _ask_once(folder)
    _note_origin(out, source, request)
    return result


def _note_origin(out: Path, source: str, request: CalibrationRequest | None) -> None:
    """Note of which stored traffic the folder `out` is made: what the model was trained on, and what it is calibrated on."""
    note_made(out, request.problems if request else ())
    note_models(out, [source])


def _write_rest(model: str, source: str, folder: Path) -> None:
    """The tokenizer, and the generation config, which states where responses end."""
    with quiet():
        load_tokenizer(model, PolicyConfig()).save_pretrained(folder)
        try:
            GenerationConfig.from_pretrained(source, **hub_options(source)).save_pretrained(folder)
        except OSError:
            return  # the model has none, and its config states the ends


def _report(
    model: str,
    scheme: Scheme,
    done: Compression,
    result: Quantized,
    calibration: tuple[CalibrationRequest, CalibrationText] | None,
) -> dict[str, Any]:
    return {
        "model": model,
        "scheme": scheme.name,
        "library": done.library,
        "group_size": done.group_size,
        "num_bytes_before": result.num_bytes_before,
        "num_bytes_after": result.num_bytes_after,
        "calibration": describe_text(*calibration) if calibration else None,
    }


def _weight_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _ask_once(folder: Path) -> None:
    """Draw a few tokens as an evaluation would. Raises `RunFailed` where the folder cannot be read or asked."""
    decoding = SamplerConfig(temperature=0.0, max_tokens=PROBE_TOKENS, batch_size=1)
    try:
        with muted_libraries():
            lm = load_model(str(folder), PolicyConfig())
            prompt = tuple(token % lm.vocabulary_size for token in range(1, PROBE_TOKENS + 1))
            LocalSampler(lm).sample([Request("probe", prompt, 1)], decoding, seed=0)
    except LaconicError as error:
        raise RunFailed(f"what the library wrote cannot be asked: {error}") from error
