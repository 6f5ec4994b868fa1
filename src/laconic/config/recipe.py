"""A recipe: one typed tree that describes a whole run.

Everything is frozen. The package that holds the table of algorithms checks a name such as `algorithm.name`; so for other names.
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
    """A checkpoint is written every `every` steps and at the end of each phase. The newest `keep` are kept, and the result of
    every phase."""

    every: Positive = 10
    keep: Positive = 2


class Recipe(Node):
    """A whole run. `threads` sets the number of torch's intra-op threads (by default torch chooses); with the same number a run
    on a CPU repeats bit for bit."""

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
