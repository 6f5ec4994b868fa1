"""How problems become graded attempts: the prompt around a question, how responses are drawn, and how they are graded."""

from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

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
from laconic.config.node import (
    Count,
    Flag,
    Node,
    OneLine,
    PartOfOne,
    PenaltySize,
    Positive,
    Processes,
    Seconds,
    Temperature,
    Text,
    TopP,
)


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


class PenalizedSampler(SamplerConfig):
    """How responses are drawn where the logits of `tokens`, which are `words`, are lowered by `penalty` at every step.

    No table of a recipe: training would have to score responses with the same penalty.
    """

    penalty: PenaltySize
    words: tuple[Text, ...]
    tokens: tuple[Count, ...]


class GraderConfig(Node):
    """What grades. Without a `name` it is the package's pool: `workers` processes compare answers by algebra, each within
    `timeout_seconds`.

    A `name` FILE.py:FUNCTION is a function of one's own (`grading/own.py`), FILE.toml a rubric by which a model judges
    (`rollouts/rubric.py`); `grader = "mine.py:grade"` says it without a table. The file is looked up from the recipe's folder.
    `sha256` is its hash, filled in when the recipe is loaded, so that a run is only resumed with the grader that it began with.
    """

    name: OneLine | None = None
    sha256: OneLine | None = None
    workers: Processes = GRADER_WORKERS
    timeout_seconds: Seconds = GRADER_TIMEOUT_SECONDS

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_serializer(mode="wrap")
    def _without_absent_name(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        record: dict[str, Any] = write(self)
        return {key: value for key, value in record.items() if value is not None}
