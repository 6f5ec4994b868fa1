"""A recipe: one typed tree, the only place that holds defaults.

1. `load_recipe` reads TOML, or takes a resolved `config.json` back.
2. `key=value` overrides are applied to the raw tree: `seed=1`, `phases.brevity.steps=40`, `defaults.optimizer.lr=1e-5`.
3. The table `[defaults]` is merged into every phase (a phase's own keys win), then dropped.
4. The tree is validated; every mistake is a `RecipeError` that names the dotted field.
5. `dump` gives the resolved tree back as JSON-ready data: a run's `config.json`.

Everything is frozen. What a name such as `algorithm.name` may be is checked by the floor that holds its table.
"""

import difflib
import hashlib
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from laconic.errors import RecipeError

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]

CPU_MICRO_BATCH_TOKENS, MICRO_BATCH_TOKENS = 4096, 16_384  # where a recipe does not say: on a CPU, elsewhere
BAND_CONFIDENCE, BAND_ROUND_SIZE = 0.9, 8  # of a probe that stops where its band is settled


class _Node(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class LoraConfig(_Node):
    """Low-rank adapters instead of full fine-tuning (Hu et al. 2021); `targets` as in peft, "all-linear" by default."""

    rank: Positive = 16
    alpha: PositiveFloat = 32.0
    dropout: Fraction = 0.0
    targets: str | tuple[str, ...] = "all-linear"


class ShapeConfig(_Node):
    """A decoder's shape, for planning where the model's own config is out of reach."""

    layers: Positive
    hidden: Positive
    heads: Positive
    kv_heads: Positive
    intermediate: Positive
    vocabulary: Positive
    tied: bool = False
    stored_bytes: Positive = 2


class PolicyConfig(_Node):
    """How models are loaded and held. `shape` is read by the dry run only."""

    dtype: Literal["float32", "bfloat16", "auto"] = "float32"
    device: str = "auto"
    lora: LoraConfig | None = None
    gradient_checkpointing: bool = False
    trust_remote_code: bool = False
    shape: ShapeConfig | None = None


class PromptConfig(_Node):
    """What is said around a question: `instruction` is a name of `prompts.INSTRUCTIONS` or a text."""

    instruction: str = "boxed"
    system: str | None = None


class SamplerConfig(_Node):
    """How responses are drawn. `batch_size` is the number of rows decoded at once; `max_tokens` caps a response.

    `compile` hands the halves of a layer around attention to `torch.compile`, where the fused decoder serves the model. On a CPU
    that was slower in every case measured (LOG.md), so it is off.
    """

    temperature: NonNegative = 1.0
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    min_p: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    max_tokens: Positive = 1024
    batch_size: Positive = 256
    compile: bool = False


class GraderConfig(_Node):
    """The pool that grades: `workers` processes for symbolic comparison, each answer within `timeout_seconds`."""

    workers: Positive = 1
    timeout_seconds: PositiveFloat = 3.0


class ProblemsConfig(_Node):
    """Sources of the three sets that never meet (design section 3)."""

    train: str
    watch: str
    report: str | None = None


class SelectConfig(_Node):
    """Which problems a phase trains on, chosen from a probe of the model that enters it.

    The first `pool` problems of the training source are probed with `samples` responses each (none: all of them); `how`
    names a row of `selection.SELECTIONS` and `options` are its own. With `in_order` they are trained on in the selection's order,
    a curriculum; else shuffled every epoch. Without a probe (`how = "everything"`) the phase trains on
    all problems of its source.
    """

    how: str = "everything"
    options: dict[str, float | bool] = {}
    count: Positive | None = None
    in_order: bool = False
    pool: Positive | None = None
    samples: Positive = 16


class RewardTermConfig(_Node):
    """One row of `rewards.REWARDS`, or `FILE.py:FUNCTION` of one's own, with its weight and options.

    `sha256` is the file's, filled in when the recipe is loaded: a run goes on with the reward that it began with.
    """

    name: str
    sha256: str | None = None
    weight: float = 1.0
    options: dict[str, float | bool] = {}


class RewardsConfig(_Node):
    """The level each grade pays, and further terms. Defaults: Fatemi et al. 2025 (truncated counts as "no box": -1).

    With `standardize` rewards are centred and divided by their standard deviation over all rollouts that are paid at once: a
    step's, or, with `rollouts = "offline"`, the phase's (O1-Pruner's code).
    """

    correct: float = 1.0
    wrong: float = -0.5
    no_answer: float = -1.0
    truncated: float = -1.0
    standardize: bool = False
    terms: tuple[RewardTermConfig, ...] = ()


class AlgorithmConfig(_Node):
    """The row of `algorithms.ALGORITHMS` and every lever that moves length (design section 5).

    `options` are the algorithm's own. `old_logprobs = "current"` takes the policy as it is at every update for the old one: the
    ratio is 1, nothing is clipped, and the loss is a weighted likelihood. `ratio = "sequence"` clips one ratio a response, the
    exponential of its mean token log-ratio (O1-Pruner's code; GSPO). `kl_in = "centred"` takes the KL of a response from its
    reward after subtracting the mean of its group's others (T1). `kl_estimator = "exact"` sums over
    the vocabulary. The reference is the policy at the phase's start, or `reference_model`; it reads problems under
    `reference_instruction` where that is given.
    """

    name: str = "ppo"
    options: dict[str, float | bool | str] = {}
    gamma: Fraction = 1.0
    gae_lambda: Fraction = 0.95
    value_gae_lambda: Fraction | None = None
    critic: Literal["separate", "lora", "zero"] = "separate"
    whitening: Literal["none", "batch"] = "none"
    scale_by_std: bool = True
    clip_low: PositiveFloat = 0.2
    clip_high: PositiveFloat = 0.2
    value_clip: PositiveFloat | None = 0.2
    aggregation: Literal["response", "token", "constant", "sum"] = "response"
    ratio: Literal["token", "sequence"] = "token"
    kl_coef: NonNegative = 0.0
    kl_in: Literal["reward", "centred", "loss"] = "loss"
    kl_estimator: Literal["k1", "k2", "k3", "exact"] = "k3"
    reference: Literal["frozen", "ema", "reset"] = "frozen"
    ema_decay: Fraction = 0.99
    reference_every: Positive = 1
    reference_model: str | None = None
    reference_instruction: str | None = None
    entropy_coef: NonNegative = 0.0
    entropy_target: NonNegative | None = None
    entropy_coef_step: PositiveFloat = 1e-4
    truncated: Literal["penalise", "bootstrap", "mask"] = "penalise"
    uniform_groups: Literal["keep", "drop", "resample"] = "keep"
    max_draws: Positive = 3
    old_logprobs: Literal["sampler", "recompute", "current"] = "recompute"

    @model_validator(mode="after")
    def _an_adaptive_entropy_bonus_starts_somewhere(self) -> "AlgorithmConfig":
        if self.entropy_target is not None and self.entropy_coef == 0.0:
            raise ValueError("entropy_target needs an entropy_coef above 0 to start from")
        if self.kl_estimator == "exact" and self.kl_in != "loss":
            raise ValueError("kl_estimator = 'exact' has a gradient and belongs into the loss: expected kl_in = 'loss'")
        return self


class OptimizerConfig(_Node):
    """AdamW for policy and critic. One step's rollouts are cut into `minibatches` updates, `epochs` times over.

    `lr` is warmed up over `warmup_steps` and then follows `schedule` over the phase's `steps`, down to `min_lr_frac`.
    During the first `critic_warmup_steps` only the critic learns. `micro_batch_tokens` caps what goes through the model at
    once, padding included (none: 4,096 tokens on a CPU, 16,384 elsewhere).
    """

    lr: PositiveFloat = 1e-6
    critic_lr: PositiveFloat = 1e-5
    betas: tuple[Fraction, Fraction] = (0.9, 0.95)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegative = 0.0
    max_grad_norm: PositiveFloat = 1.0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: Count = 0
    min_lr_frac: Fraction = 0.0
    critic_warmup_steps: Count = 0
    epochs: Positive = 1
    minibatches: Positive = 1
    micro_batch_tokens: Positive | None = None


class EndConfig(_Node):
    """When a phase ends before its cap of `steps`, judged on the watched set alone.

    goal        what a better step is: higher "accuracy", or fewer "tokens" at an accuracy above the guard's floor
    patience    watches without a better step before the phase ends as a plateau (none: run to the cap)
    guard_drop  the phase ends, rolled back to its best watched step, where accuracy falls this far below the higher of its
                first and its best step's (absolute; none: no guard)
    keep        whether the phase hands on its "last" or its watched-"best" step
    """

    goal: Literal["accuracy", "tokens"] = "accuracy"
    patience: Positive | None = None
    guard_drop: Fraction | None = 0.1
    keep: Literal["last", "best"] = "last"


class BudgetConfig(_Node):
    """A number of tokens asked for in the prompt, drawn for each problem and step between `low` and `high` (L1, arXiv
    2503.04697); `prompt` is the instruction's name without its number."""

    low: Positive
    high: Positive
    prompt: str = "l1_max"

    @model_validator(mode="after")
    def _low_is_not_above_high(self) -> "BudgetConfig":
        if self.low > self.high:
            raise ValueError(f"expected low <= high, got {self.low} and {self.high}")
        return self


class PhaseConfig(_Node):
    """One phase of a run: up to `steps` steps of `problems_per_step` problems with `group_size` rollouts each.

    `rollouts` says where they come from, a row of `sources.SOURCES`: drawn from the policy as it learns ("on_policy"), drawn once
    from the model that enters the phase ("offline"), the problems' own worked solutions ("solutions"), or exits of one trace
    ("serial"). `entry_share` is what the weights that enter the phase keep in the average that leaves it (Kimi's merging).
    """

    name: str
    steps: Positive
    rollouts: str = "on_policy"
    budget: BudgetConfig | None = None
    entry_share: Fraction = 0.0
    problems_per_step: Positive = 8
    group_size: Positive = 8
    select: SelectConfig = SelectConfig()
    sampler: SamplerConfig = SamplerConfig()
    rewards: RewardsConfig = RewardsConfig()
    algorithm: AlgorithmConfig = AlgorithmConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    end: EndConfig = EndConfig()


class WatchConfig(_Node):
    """How the watched set is measured: before a phase, every `every` steps, and after its last step."""

    every: Positive = 5
    samples: Positive = 2


class ReportConfig(_Node):
    """How the reported set is measured after the run, at each of `temperatures` (greedy takes one sample).

    `max_tokens` caps a response there and on the watched set; none: the cap of the phases, whose largest counts here.
    """

    temperatures: tuple[NonNegative, ...] = (1.0, 0.0)
    samples: Positive = 4
    max_tokens: Positive | None = None
    margin: Fraction = 0.01


class CheckpointConfig(_Node):
    """A checkpoint every `every` steps and at the end of each phase; the newest `keep` stay, and every phase's result."""

    every: Positive = 10
    keep: Positive = 2


class Recipe(_Node):
    """A whole run. `threads` fixes torch's intra-op threads (none: torch's choice); a CPU run repeats bit for bit at the same
    number."""

    name: str
    model: str
    problems: ProblemsConfig
    phases: tuple[PhaseConfig, ...] = Field(min_length=1)
    seed: int = 0
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


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe at `path` (`.toml`, or a run's `config.json`) with `key=value` overrides applied.

    Raises `RecipeError` with one line: which file, which field, what was expected.
    """
    tree = _read(path)
    for override in overrides:
        _apply(tree, override)
    return parse_recipe(tree, where=str(path), folder=path.parent)


def parse_recipe(tree: dict[str, Any], where: str, folder: Path = Path()) -> Recipe:
    """The recipe held by a raw tree; `where` names its origin in errors, rewards of one's own lie in `folder`. Raises
    `RecipeError`."""
    merged = dict(tree)
    defaults = merged.pop("defaults", {})
    phases = merged.get("phases", [])
    if not isinstance(defaults, dict) or not isinstance(phases, list) or not all(isinstance(p, dict) for p in phases):
        raise RecipeError(f"{where}: expected a table [defaults] and an array of tables [[phases]]")
    merged["phases"] = [_merge(defaults, phase) for phase in phases]
    try:
        return _with_own_rewards(Recipe.model_validate(merged), folder)
    except ValidationError as error:
        raise RecipeError(f"{where}: {_first_mistake(error, merged['phases'])}") from None


def dump(recipe: Recipe) -> dict[str, Any]:
    """The resolved tree as JSON-ready data; `parse_recipe` gives the same recipe back."""
    return recipe.model_dump(mode="json")


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror}); expected a recipe in TOML") from None
    try:
        tree = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:
        raise RecipeError(f"{path}: {error}") from None
    if not isinstance(tree, dict):
        raise RecipeError(f"{path}: expected a table at the top level")
    return tree


def _apply(tree: dict[str, Any], override: str) -> None:
    """Set one dotted key of the raw tree in place; phases are addressed by name or index."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"override {override!r}: expected key=value, for example seed=1")
    node: Any = tree
    *parents, last = key.strip().split(".")
    while parents:
        taken = _parts_of_name(node, parents)
        node, parents = _child(node, ".".join(parents[:taken]), key), parents[taken:]
    if isinstance(node, list):
        raise RecipeError(f"override {key!r}: expected a field after {key.strip().rpartition('.')[0]!r}")
    node[last] = _value(text)


def _parts_of_name(node: Any, parts: Sequence[str]) -> int:
    """How many of `parts` are the next name: items of a list may have names with dots (`my_rewards.py:short`)."""
    names = [str(item.get("name")) for item in node if isinstance(item, dict)] if isinstance(node, list) else []
    return max((n for n in range(1, len(parts) + 1) if ".".join(parts[:n]) in names), default=1)


def _child(node: Any, part: str, key: str) -> Any:
    if isinstance(node, list):
        names = [item.get("name") for item in node]
        if part in names:
            return node[names.index(part)]
        if part.isdigit() and int(part) < len(node):
            return node[int(part)]
        raise RecipeError(f"override {key!r}: nothing is named {part!r} there; expected {', '.join(map(str, names))}")
    child = node.setdefault(part, {})
    if not isinstance(child, dict | list):
        raise RecipeError(f"override {key!r}: {part!r} is a value, not a table")
    return child


def _value(text: str) -> Any:
    """A TOML value where the text is one, else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _merge(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        both_are_tables = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both_are_tables else value
    return merged


def _with_own_rewards(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with rewards of one's own named by their whole path, and the hash of their file beside it."""
    phases = tuple(
        phase.model_copy(
            update={
                "rewards": phase.rewards.model_copy(
                    update={"terms": tuple(_pinned(term, folder, phase.name) for term in phase.rewards.terms)}
                )
            }
        )
        for phase in recipe.phases
    )
    return recipe.model_copy(update={"phases": phases})


def _pinned(term: RewardTermConfig, folder: Path, phase: str) -> RewardTermConfig:
    file, is_own, function = term.name.partition(".py:")
    if not is_own:
        return term
    path = (folder / f"{file}.py").resolve()
    field = f"phases.{phase}.rewards.terms"
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise RecipeError(f"{field}: {path}: cannot be read ({error.strerror}); expected a reward's file") from None
    if term.sha256 not in (None, digest):
        raise RecipeError(f"{field}: {path}: is not the file that the run began with; expected sha256 {term.sha256}")
    return term.model_copy(update={"name": f"{path}:{function}", "sha256": digest})


def _first_mistake(error: ValidationError, phases: list[dict[str, Any]]) -> str:
    mistake = error.errors()[0]
    parts = [str(part) for part in mistake["loc"]]
    if len(parts) > 1 and parts[0] == "phases" and parts[1].isdigit():
        parts[1] = str(phases[int(parts[1])].get("name", parts[1]))
    field = ".".join(parts) or "recipe"
    if mistake["type"] == "extra_forbidden":
        near = difflib.get_close_matches(parts[-1], _ALL_KEYS, n=3)
        return f"{field}: unknown key" + (f"; near it: {', '.join(near)}" if near else "")
    if mistake["type"] == "missing":
        return f"{field}: missing, but required"
    if mistake["type"] in ("model_type", "model_attributes_type"):
        return f"{field}: expected a table, got {mistake['input']!r}; for example {field}.name=..."
    message = mistake["msg"].removeprefix("Value error, ")
    return f"{field}: {message[0].lower()}{message[1:]}, got {mistake['input']!r}" if mistake["loc"] else message


_ALL_KEYS = sorted({name for node in _Node.__subclasses__() for name in node.model_fields})
