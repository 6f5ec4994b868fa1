"""How problems become graded attempts: the prompt around a question, how responses are drawn, and how they are graded."""

from typing import Literal

from laconic.config.defaults import (
    BATCH_SIZE,
    GRADER_TIMEOUT_SECONDS,
    GRADER_WORKERS,
    INSTRUCTION,
    MAX_TOKENS,
    MIN_P,
    SERVER_SECONDS,
    TEMPERATURE,
    TOP_P,
    VLLM_SERVER,
)
from laconic.config.node import Flag, Node, OneLine, PartOfOne, Positive, Processes, Seconds, Temperature, Text, TopP


class PromptConfig(Node):
    """The text around a question: `instruction`, a name of `prompts.INSTRUCTIONS` or a text, and the `system` turn."""

    instruction: Text = INSTRUCTION
    system: Text | None = None


class SamplerConfig(Node):
    """How responses are drawn. `batch_size` is the number of responses decoded at once; `max_tokens` caps the length of one.

    With `compile`, `torch.compile` compiles the two halves of a layer, before and after attention, where the fused decoder serves
    the model. On a CPU this was slower in every case that was measured (LOG.md), so it is off by default.

    With `engine = "vllm"` a vLLM server draws them: the one at the address `server`, or one that the program `server` starts for
    the run. It may be away for `server_seconds`, at its start and whenever it is started again.
    """

    temperature: Temperature = TEMPERATURE
    top_p: TopP = TOP_P
    min_p: PartOfOne = MIN_P
    max_tokens: Positive = MAX_TOKENS
    batch_size: Positive = BATCH_SIZE
    compile: Flag = False
    engine: Literal["local", "vllm"] = "local"
    server: OneLine = VLLM_SERVER
    server_seconds: Seconds = SERVER_SECONDS


class GraderConfig(Node):
    """The pool that grades: `workers` processes compare answers by algebra, each within `timeout_seconds`."""

    workers: Processes = GRADER_WORKERS
    timeout_seconds: Seconds = GRADER_TIMEOUT_SECONDS
