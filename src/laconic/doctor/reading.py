"""Reads what doctor looks at: a model's config and tokenizer, problems, prompts, a probe. No weights are loaded.

1. Everything is read from a folder, the hub, or the hub's cache if the hub does not answer.
2. What cannot be read becomes `Missing`, with the reason. Its level is "error" if the run would fail for the same reason,
   otherwise "unknown". No exception is raised, so that everything else is still checked. Only an invalid probe raises one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from laconic.comparison.folders import read_samples
from laconic.comparison.places import SETTINGS
from laconic.comparison.slices import Facts, known_facts
from laconic.config.recipe import Recipe
from laconic.config.solver import PromptConfig
from laconic.doctor.memory_needs import Shape, find_shape, longest_questions
from laconic.errors import InputError, MissingExtraError, ModelError
from laconic.evaluation.problem_meta import kept_values, read_meta
from laconic.models.config_numbers import context_of, context_words
from laconic.models.gguf.model_file import gguf_ends, is_gguf
from laconic.models.loading import hub_options, load_tokenizer, quiet, read_config, resolve_model
from laconic.problems.load import is_on_hub, load_problems
from laconic.prompts.endings import stated_ends
from laconic.prompts.instructions import render, resolve_instruction
from laconic.prompts.refusals import why_unrendered
from laconic.prompts.templates import TemplateError
from laconic.rollouts.log import beside
from laconic.rollouts.rows import ResponseRow, read_rows
from laconic.selection.probe import read_probe
from laconic.statistics.solve_rate import ProblemStats, problem_stats
from laconic.system.fields import Fields
from laconic.system.files import read_json
from laconic.system.hub import hub_answers
from laconic.types import Grade, Problem

SETS = ("train", "watch", "report")


@dataclass(frozen=True, slots=True)
class Missing:
    """Why something could not be read, in which field, and what would mend it; an "error" if the run could not read it either."""

    why: str
    where: str
    remedy: str = ""
    level: Literal["unknown", "error"] = "unknown"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model without its weights: its folder or GGUF file (None on the hub), its config, and the end tokens that its configs
    state.

    `is_cached` is true if the hub does not answer and only its cache is read.
    """

    place: Path | None
    config: Any
    stated_ends: tuple[int, ...]
    is_cached: bool = False

    @property
    def text(self) -> Any:
        """The decoder's part of the config."""
        return self.config.get_text_config()

    @property
    def context_length(self) -> int | None:
        """The largest number of tokens of prompt and response together; None if the config does not state it."""
        return context_of(self.text)

    @property
    def context_words(self) -> str:
        """`context_length` in words, for messages."""
        return context_words(self.text)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A problem of one of the sets and the token ids of its prompt."""

    problem: Problem
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Probed:
    """A probe: its statistics, and its settings (empty if their file is missing).

    `facts` are what is known of its problems, by which they fall into slices. `lengths` are each response's length in tokens and
    whether it was cut off, if the attempts are stored beside the probe.
    """

    path: str
    stats: tuple[ProblemStats, ...]
    settings: Mapping[str, Any]
    lengths: tuple[tuple[int, bool], ...] | None
    facts: Facts = field(default_factory=dict)

    @property
    def cap(self) -> int | None:
        """The largest number of tokens that a response of the probe could have."""
        return self.settings.get("max_tokens")


# --- the model's files -----------------------------------------------------------------------------------------------


def read_model(recipe: Recipe) -> ModelFiles | Missing:
    """Config and end tokens of the recipe's model."""
    try:
        source = resolve_model(recipe.model)
        options = hub_options(source)
    except (ModelError, MissingExtraError) as error:
        return Missing(str(error), "model", level="error")
    place, is_cached = (Path(source) if Path(source).exists() else None), "local_files_only" in options
    try:
        with quiet():
            config = read_config(source, {"trust_remote_code": recipe.policy.trust_remote_code} | options)
        return ModelFiles(place, config, _stated_ends(source, config, is_cached), is_cached)
    except Exception as error:  # for a broken file, the library raises errors of many kinds
        return _unread(recipe, "config", error, is_cached)


def _stated_ends(source: str, config: Any, is_cached: bool) -> tuple[int, ...]:
    """The end tokens of the generation config, or of the config if there is no generation config."""
    from transformers import GenerationConfig

    if is_gguf(source):
        return gguf_ends(Path(source))
    try:
        with quiet():
            stated = GenerationConfig.from_pretrained(source, local_files_only=is_cached).eos_token_id
    except OSError:
        stated = getattr(config.get_text_config(), "eos_token_id", None)
    return stated_ends(stated)


def read_tokenizer(recipe: Recipe, model: ModelFiles | Missing) -> Any:
    """The tokenizer of a model, read as training reads it."""
    if isinstance(model, Missing):
        return model
    try:
        return load_tokenizer(recipe.model, recipe.policy)
    except ModelError as error:
        return _unread(recipe, "tokenizer", error, model.is_cached)


def _unread(recipe: Recipe, what: str, error: Exception, is_out_of_reach: bool) -> Missing:
    if is_out_of_reach:
        why = f"{recipe.model}: the hub does not answer from here, and its {what} is not in the cache"
        return Missing(why, "model", "run this where the hub can be reached, or give a local folder")
    reason = first_line(error).removeprefix(f"{recipe.model}: cannot be loaded: ")
    return Missing(f"{recipe.model}: its {what} cannot be read: {reason}", "model", level="error")


def read_shape(recipe: Recipe, model: ModelFiles | Missing) -> Shape | Missing:
    """The model's shape, from its config or the recipe."""
    if isinstance(model, Missing) and (recipe.policy.shape is None or model.level == "error"):
        return model
    try:
        return find_shape(recipe)
    except (ModelError, AttributeError) as error:  # a config without layers or heads does not describe a decoder
        return Missing(str(error), "model", level="error")


# --- problems, prompts, probe ----------------------------------------------------------------------------------------


def read_problems(recipe: Recipe) -> dict[str, list[Problem] | Missing]:
    """The recipe's problem sets by name."""
    return {name: _read_set(name, source, recipe.seed) for name, source in _addresses(recipe).items()}


def read_sources(recipe: Recipe) -> dict[str, list[Problem] | None]:
    """The recipe's problem sets for a dry run, by name; a set on the hub is None. Raises an `InputError` if a set is wrong."""
    return {
        name: None if is_on_hub(source) else load_problems(source, seed=recipe.seed)
        for name, source in _addresses(recipe).items()
    }


def _addresses(recipe: Recipe) -> dict[str, str]:
    addresses = {name: getattr(recipe.problems, name) for name in SETS}
    return {name: source for name, source in addresses.items() if source is not None}


def _read_set(name: str, source: str, seed: int) -> list[Problem] | Missing:
    where = f"problems.{name}"
    try:
        if is_on_hub(source) and not hub_answers():
            return Missing(
                f"{source}: the hub does not answer from here",
                where,
                "run this where it can be reached, or give a file",
            )
        return load_problems(source, seed=seed)
    except MissingExtraError as error:
        return Missing(str(error), where)
    except InputError as error:
        return Missing(str(error), where, level="error")


def read_probed(path: Path) -> Probed:
    """A probe, with its settings and attempts if they are stored beside it; or an evaluation folder, which says the same of its
    problems. Raises an `InputError` if a file is wrong."""
    if path.is_dir():
        return _read_evaluated(path)
    problems, stats = read_probe(path)
    settings, samples = beside(path, "settings.json"), beside(path, "samples.jsonl")
    rows = read_rows(samples) if samples.exists() else ()
    meta = {problem.id: dict(kept_values(problem.meta)) for problem in problems}
    facts = known_facts({problem.id: problem.question for problem in problems}, meta)
    return Probed(str(path), tuple(stats), _told(settings), _lengths(rows), facts)


def _read_evaluated(folder: Path) -> Probed:
    rows = list(read_samples(folder))
    by_problem: dict[str, list[ResponseRow]] = {}
    for row in rows:
        by_problem.setdefault(row.problem_id, []).append(row)
    stats = [
        problem_stats(name, [r.grade for r in held], [r.num_tokens for r in held]) for name, held in by_problem.items()
    ]
    facts = known_facts({name: held[0].question for name, held in by_problem.items()}, read_meta(folder))
    return Probed(str(folder), tuple(stats), _told(folder / SETTINGS), _lengths(rows), facts)


def _told(settings: Path) -> Mapping[str, Any]:
    """The settings with which responses were drawn; empty where they are not stored."""
    known = read_json(settings) if settings.exists() else {}
    told = Fields(known, str(settings))
    told.maybe("max_tokens", told.whole)
    told.object("prompt")
    return known


def _lengths(rows: Iterable[ResponseRow]) -> tuple[tuple[int, bool], ...] | None:
    return tuple((row.num_tokens, row.grade is Grade.TRUNCATED) for row in rows) or None


def read_prompts(
    recipe: Recipe, tokenizer: Any, sources: Mapping[str, list[Problem] | Missing]
) -> tuple[Prompt, ...] | Missing:
    """The prompts of the longest problems of each set; of a made-up problem if no set could be read."""
    if isinstance(tokenizer, Missing):
        return tokenizer
    sets = [found for found in sources.values() if not isinstance(found, Missing)]
    problems = [problem for found in sets for problem in longest_questions(found)] or [
        Problem("made-up", "What is 1 + 1?", "2")
    ]
    try:
        return tuple(Prompt(problem, rendered(tokenizer, problem, recipe.prompt)) for problem in problems)
    except Exception as error:  # a template may raise any error
        instruction = resolve_instruction(recipe.prompt.instruction)
        found = why_unrendered(tokenizer, problems[0], instruction, recipe.prompt.system, error)
        return Missing(found.what, found.where, found.remedy, level="error")


def rendered(tokenizer: Any, problem: Problem, prompt: PromptConfig) -> tuple[int, ...]:
    """The token ids of `problem` under `prompt`."""
    return tuple(render(tokenizer, problem, instruction=resolve_instruction(prompt.instruction), system=prompt.system))


def first_line(error: Exception) -> str:
    """The first line of an error's text, or the error's type if its text is empty; of a template's error the reason alone."""
    text = error.reason if isinstance(error, TemplateError) else str(error)
    return next(iter(text.strip().splitlines()), type(error).__name__)
