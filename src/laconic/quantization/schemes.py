"""The schemes of `laconic quantize`, and the libraries that carry them out.

`w8a8` holds weights and inputs of products in 8-bit integers, `w4a16` weights in 4 bits and inputs as they are, `fp8` both in
8-bit floating point. llm-compressor rounds the weights of the first two one column after another, each time correcting the
columns that are left for the error on calibration text (GPTQ, arXiv 2210.17323). fp8 and what torchao does is rounding to the
nearest, for which no text is needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from laconic.errors import InputError, install_command

LLM_COMPRESSOR, TORCHAO = "llm-compressor", "torchao"
MODULES = {LLM_COMPRESSOR: "llmcompressor", TORCHAO: "torchao"}
OWN_ENVIRONMENT = (
    "pip install 'llmcompressor>=0.14', which takes transformers below 5.18 and so an environment of its own"
)


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way to hold a model's weights: `num_bits` of each, its name in llm-compressor, and whether GPTQ rounds them."""

    name: str
    num_bits: int
    preset: str
    is_calibrated: bool
    libraries: tuple[str, ...] = (LLM_COMPRESSOR,)

    def needs_text(self, library: str) -> bool:
        """Whether it is calibrated where `library` carries it out."""
        return self.is_calibrated and library == LLM_COMPRESSOR


SCHEMES: Mapping[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme("w8a8", 8, "W8A8", is_calibrated=True, libraries=(LLM_COMPRESSOR, TORCHAO)),
        Scheme("w4a16", 4, "W4A16", is_calibrated=True),
        Scheme("fp8", 8, "FP8_DYNAMIC", is_calibrated=False),
    )
}


def find_scheme(name: str, library: str) -> Scheme:
    """The scheme of that name. Raises an `InputError`, one line, where there is none, or where `library` does not do it."""
    if name not in SCHEMES:
        raise InputError(f"--scheme {name}: is no scheme; expected {', '.join(SCHEMES)}")
    scheme = SCHEMES[name]
    if library not in scheme.libraries:
        raise InputError(f"--through {library}: does not do {name} here; expected {' or '.join(scheme.libraries)}")
    if find_spec(MODULES[library]) is None:
        remedy = OWN_ENVIRONMENT if library == LLM_COMPRESSOR else install_command("quantize")
        raise InputError(f"--scheme {name}: {library} is not installed; {remedy}")
    return scheme
