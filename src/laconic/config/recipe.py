"""A recipe: one typed tree that describes a whole run.

Everything is frozen. What a name such as `algorithm.name` may be is checked by the package that holds its table.
"""

from pydantic import Field, model_validator

from laconic.config.defaults import SEED
from laconic.config.evaluation import ReportConfig, WatchConfig
from laconic.config.node import Node, Positive
from laconic.config.phase import PhaseConfig
from laconic.config.policy import PolicyConfig
from laconic.config.problems import ProblemsConfig
from laconic.config.solver import GraderConfig, PromptConfig


class CheckpointConfig(Node):
    """A checkpoint every `every` steps and at the end of each phase; the newest `keep` stay, and every phase's result."""

    every: Positive = 10
    keep: Positive = 2


class Recipe(Node):
    """A whole run. `threads` fixes torch's intra-op threads (none: torch's choice); a CPU run repeats bit for bit at the same
    number."""

    name: str
    model: str
    problems: ProblemsConfig
    phases: tuple[PhaseConfig, ...] = Field(min_length=1)
    seed: int = SEED
    threads: Positive | None = None
    policy: PolicyConfig = PolicyConfig()
    prompt: PromptConfig = PromptConfig()
    grader: GraderConfig = GraderConfig()
    watch: WatchConfig = WatchConfig()
    report: ReportConfig = ReportConfig()
    checkpoints: CheckpointConfig = CheckpointConfig()

    @model_validator(mode="after")
    def _phase_names_are_distinct(self) -> "Recipe":
        names = [phase.name for phase in self.phases]
        if len(set(names)) != len(names):
            raise ValueError(f"phases: names must be distinct, got {', '.join(names)}")
        return self
