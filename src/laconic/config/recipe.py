"""A recipe: one typed tree that describes a whole run.

Everything is frozen. The package that holds the table of algorithms checks a name such as `algorithm.name`; so for other names.
"""

from collections.abc import Sequence

from pydantic import Field, PrivateAttr, model_validator

from laconic.config.defaults import SEED
from laconic.config.evaluation import ReportConfig, WatchConfig
from laconic.config.node import Name, Node, OneLine, Positive, Processes, SeedNumber, first_repeated
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

    name: Name
    model: OneLine
    problems: ProblemsConfig
    phases: tuple[PhaseConfig, ...] = Field(min_length=1)
    seed: SeedNumber = SEED
    threads: Processes | None = None
    policy: PolicyConfig = PolicyConfig()
    prompt: PromptConfig = PromptConfig()
    grader: GraderConfig = GraderConfig()
    watch: WatchConfig = WatchConfig()
    report: ReportConfig = ReportConfig()
    checkpoints: CheckpointConfig = CheckpointConfig()
    _hidden_defaults: tuple[str, ...] = PrivateAttr(default=())

    @property
    def hidden_defaults(self) -> tuple[str, ...]:
        """The keys of `[defaults]` in the recipe's file that changed nothing, since every phase has its own."""
        return self._hidden_defaults

    def with_hidden_defaults(self, keys: Sequence[str]) -> "Recipe":
        """The same recipe, which remembers these keys of its file."""
        copied = self.model_copy()
        copied._hidden_defaults = tuple(keys)
        return copied

    @model_validator(mode="after")
    def _phase_names_are_distinct(self) -> "Recipe":
        """On some file systems names that differ in capitals alone are one folder."""
        if twice := first_repeated([phase.name for phase in self.phases], str.casefold):
            raise ValueError(f"phases: names must be distinct, whatever their capitals, got {twice[0]} and {twice[1]}")
        return self
