"""The work of a recipe: what is drawn and what is trained on in each part of a run, in responses and tokens.

1. `training/time_left.py` counts the responses of every probe, step, watch and evaluation. A set on the hub, which a dry run does
   not fetch, has an unknown size: what depends on it is left out and named (`left_out`).
2. Prompts are counted with the tokenizer if problems and tokenizer are at hand, otherwise assumed.
3. Nobody knows how long responses will be. `Lengths` holds what is assumed, and words that say on what ground: a probe, the
   problems' own solutions, or a share of the cap. `parts_of` makes the parts under given lengths, so that the expected work and
   the most work are the same code.

Responses are taken to stay as long as they are at the beginning: a run that makes them shorter takes less.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from laconic.config.phase import PhaseConfig
from laconic.config.recipe import Recipe
from laconic.config.solver import PromptConfig, SamplerConfig
from laconic.doctor.cost_model import Sampling, Training
from laconic.doctor.memory_needs import ASSUMED_PROMPT_TOKENS, Sources, tokenizer_at_hand
from laconic.doctor.reading import SETS, Probed, read_probed
from laconic.evaluation.evaluate import num_samples
from laconic.problems.sets import ProblemSets, disjoint_sets
from laconic.prompts.instructions import render, resolve_instruction
from laconic.rollouts.sources import FORCED_ANSWER_TOKENS, OWN_TEXTS
from laconic.selection.pool import needs_probe, pool_of
from laconic.training.check.phases import ResolvedPhase
from laconic.training.measure_run import report_cap
from laconic.training.time_left import PhasePlan, plan_of
from laconic.types import Problem

ASSUMED_SHARE = 0.5
"""The share of the cap that a response is taken to have where nothing was measured."""
MOST_RENDERED = 256
"""How many prompts, evenly spaced over a set, have their tokens counted."""
AFTERWARDS = "after the run"
STAND_IN = Problem("stand-in", "", "")


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long responses are taken to be under one cap: their mean, the longest of many, and words that say whence."""

    mean: float
    longest: float
    whence: str


LengthsOf = Callable[[ResolvedPhase | None, int], Lengths]
"""The lengths of a phase's responses (of the evaluations after the run, if None) under a cap."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a run: its phase, its name, and what is drawn or trained on in it (one of the two)."""

    phase: str
    name: str
    sampling: Sampling | None = None
    training: Training | None = None

    @property
    def responses(self) -> float:
        """Responses that are drawn or trained on."""
        if self.sampling:
            return float(self.sampling.calls * self.sampling.responses)
        work = self.training
        return work.calls * work.responses * work.share * work.epochs if work else 0.0

    @property
    def prompt_tokens(self) -> float:
        """Tokens of prompts that go through the layers: once for each distinct one that is sampled, and with every response that
        is trained on."""
        if self.sampling:
            return self.sampling.read.tokens
        return self.responses * self.training.prompt_tokens if self.training else 0.0

    @property
    def response_tokens(self) -> float:
        """Tokens of responses that are drawn or trained on."""
        work = self.sampling or self.training
        return self.responses * work.response_tokens if work else 0.0


# --- lengths ---------------------------------------------------------------------------------------------------------


def capped(_phase: ResolvedPhase | None, cap: int) -> Lengths:
    """Every response runs to its cap."""
    return Lengths(cap, cap, "the cap")


def expected_lengths(recipe: Recipe, sources: Sources, probe: Path | None, run_folder: Path | None) -> LengthsOf:
    """What is expected of lengths, from the best that is at hand: a probe that is given, the phase's own probe in the run's
    folder, worked solutions, and else a share of the cap. Raises an `InputError` if a probe is wrong."""
    given = read_probed(probe) if probe else None
    files = sorted(run_folder.glob("phases/*/probe.jsonl")) if run_folder else []
    own = {file.parent.name: read_probed(file) for file in files}

    def lengths_of(phase: ResolvedPhase | None, cap: int) -> Lengths:
        if phase is not None and phase.config.rollouts in OWN_TEXTS:
            return _own_lengths(recipe, phase.config, sources, cap) or _assumed(cap)
        folder = f"{phase.index + 1}-{phase.name}" if phase is not None else ""
        found = given or own.get(folder) or next(iter(own.values()), None)
        return (_probed_lengths(found, cap) if found else None) or _assumed(cap)

    return lengths_of


def _assumed(cap: int) -> Lengths:
    return Lengths(
        ASSUMED_SHARE * cap, cap, "assumed to be half of their cap on average, and the longest as long as the cap"
    )


def _probed_lengths(probe: Probed, cap: int) -> Lengths | None:
    """Lengths as in a probe, cut at `cap`; if its attempts are not stored beside it, the longest is taken to reach the cap."""
    whence = f"as in {probe.path}"
    if probe.lengths:
        cut = [min(length, cap) for length, _ in probe.lengths]
        return Lengths(fmean(cut), max(cut), whence)
    means = [stat.mean_tokens for stat in probe.stats if stat.mean_tokens]
    return Lengths(min(fmean(means), cap), cap, whence) if means else None


def _own_lengths(recipe: Recipe, phase: PhaseConfig, sources: Sources, cap: int) -> Lengths | None:
    """Lengths of the problems' own texts in tokens, end token included; None if they are not at hand."""
    tokenizer, problems = tokenizer_at_hand(recipe), sources["train"]
    if tokenizer is None or not problems:
        return None
    read = OWN_TEXTS[phase.rollouts]
    texts = [text for problem in _spread(pool_of(phase, problems)) for text in read(problem)]
    counts = [len(ids) + 1 for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    return Lengths(fmean(counts), max(counts), "those of the problems' own texts, counted")


# --- prompts ---------------------------------------------------------------------------------------------------------


def mean_prompts(recipe: Recipe, sources: Sources) -> tuple[dict[str, float], str]:
    """The mean length of a prompt of each set in tokens, and words that say whether it was counted or assumed."""
    tokenizer = tokenizer_at_hand(recipe)
    known = {name: problems for name, problems in sources.items() if problems}
    if tokenizer is None or not known:
        return dict.fromkeys(SETS, ASSUMED_PROMPT_TOKENS), f"assumed to be {ASSUMED_PROMPT_TOKENS} tokens"
    means = {name: _mean_prompt(tokenizer, problems, recipe.prompt) for name, problems in known.items()}
    rest = fmean(means.values())
    whence = "counted" if len(known) == len(sources) else "counted in the sets at hand"
    return {name: means.get(name, rest) for name in SETS}, whence


def _mean_prompt(tokenizer: Any, problems: Sequence[Problem], prompt: PromptConfig) -> float:
    text = resolve_instruction(prompt.instruction)
    return fmean(
        len(render(tokenizer, problem, instruction=text, system=prompt.system)) for problem in _spread(problems)
    )


def _spread(problems: Sequence[Problem]) -> Sequence[Problem]:
    """At most `MOST_RENDERED` of the problems, evenly spaced."""
    return problems[:: -(-len(problems) // MOST_RENDERED)] if problems else problems


# --- parts -----------------------------------------------------------------------------------------------------------


def left_out(recipe: Recipe, sources: Sources) -> list[str]:
    """What cannot be counted because the size of a set is not known: words for each."""
    unknown = {name for name, problems in sources.items() if problems is None}
    found = ["the watched set"] * ("watch" in unknown) + ["the evaluations after the run"] * ("report" in unknown)
    if "train" in unknown:
        found += [f"the probe of {phase.name}" for phase in recipe.phases if _has_unknown_probe(phase)]
        found += [f"the rollouts of {phase.name}" for phase in recipe.phases if phase.rollouts == "offline"]
    return found


def _has_unknown_probe(phase: PhaseConfig) -> bool:
    return needs_probe(phase) and phase.select.pool is None


def parts_of(
    recipe: Recipe,
    phases: Sequence[ResolvedPhase],
    sources: Sources,
    prompts: Mapping[str, float],
    lengths_of: LengthsOf,
    *,
    most: bool = False,
) -> list[Part]:
    """The parts of a run in their order. With `most`, uniform groups are drawn again as often as they may be."""
    plan = plan_of(recipe, _sets(recipe, sources))
    parts: list[Part] = []
    for phase, counted in zip(phases, plan.phases, strict=True):
        unknown = sources["train"] is None and (_has_unknown_probe(phase.config) or phase.config.rollouts == "offline")
        parts += _phase_parts(recipe, phase, counted, prompts, lengths_of, most=most, has_first=not unknown)
    return [part for part in (*parts, *_evaluations(recipe, sources, prompts, lengths_of)) if part.responses]


def _sets(recipe: Recipe, sources: Sources) -> ProblemSets:
    """The sets as training makes them; a train set of unknown size has as many problems as the phases can use."""
    sets = disjoint_sets(**{name: problems or [] for name, problems in sources.items()})
    if sources["train"] is not None:
        return sets
    usable = max(p.select.pool or p.select.count or p.steps * p.problems_per_step for p in recipe.phases)
    return ProblemSets((STAND_IN,) * usable, sets.watch, sets.report)


def _phase_parts(
    recipe: Recipe,
    phase: ResolvedPhase,
    plan: PhasePlan,
    prompts: Mapping[str, float],
    lengths_of: LengthsOf,
    *,
    most: bool,
    has_first: bool,
) -> Iterator[Part]:
    config, lengths = phase.config, lengths_of(phase, plan.cap)
    slots, prompt = config.sampler.batch_size, prompts["train"]
    first = config.select.samples if needs_probe(config) else config.group_size
    name = " and ".join(["probe"] * needs_probe(config) + ["rollouts"] * (config.rollouts == "offline"))
    if has_first:
        drawn = Sampling(1, plan.num_first, plan.num_first / first, slots, prompt, lengths.mean, lengths.longest)
        yield Part(phase.name, name, sampling=drawn)
    if not plan.is_kept:
        yield from _rollouts(phase, plan, prompt, lengths, most=most)
    trained = Training(plan.steps, plan.per_step, plan.epochs, prompt, lengths.mean, plan.trained_share)
    yield Part(phase.name, "update", training=trained)
    cap = recipe.report.max_tokens or plan.cap
    watched, samples = lengths_of(phase, cap), recipe.watch.samples
    calls, distinct = 1 + plan.watches_after(0), plan.num_watched / samples
    watch = Sampling(calls, plan.num_watched, distinct, slots, prompts["watch"], watched.mean, watched.longest)
    yield Part(phase.name, "watch", sampling=watch)


def _rollouts(phase: ResolvedPhase, plan: PhasePlan, prompt: float, lengths: Lengths, *, most: bool) -> Iterator[Part]:
    """What the steps draw; a group of `serial` is one whole trace and forced answers after it."""
    config = phase.config
    algorithm, slots, group = config.algorithm, config.sampler.batch_size, config.group_size
    draws = algorithm.max_draws if most and algorithm.uniform_groups == "resample" else 1
    calls, distinct = plan.steps * draws, plan.per_step / group
    if config.rollouts != "serial":
        drawn = Sampling(calls, plan.per_step, distinct, slots, prompt, lengths.mean, lengths.longest)
        yield Part(phase.name, "rollouts", sampling=drawn)
        return
    traces = Sampling(calls, distinct, distinct, slots, prompt, lengths.mean, lengths.longest)
    exits = plan.per_step - distinct
    context, answer = prompt + lengths.mean / 2, FORCED_ANSWER_TOKENS
    yield Part(phase.name, "traces", sampling=traces)
    yield Part(phase.name, "exits", sampling=Sampling(calls, exits, exits, slots, context, answer, answer))


def _evaluations(
    recipe: Recipe, sources: Sources, prompts: Mapping[str, float], lengths_of: LengthsOf
) -> Iterator[Part]:
    """The base and the result of every phase on the reported set, at every temperature."""
    reported, cap = sources.get("report") or (), report_cap(recipe)
    lengths, slots = lengths_of(None, cap), max(phase.sampler.batch_size for phase in recipe.phases)
    for temperature in sorted(recipe.report.temperatures):
        samples = num_samples(recipe.report.samples, SamplerConfig(temperature=temperature))
        drawn = Sampling(
            len(recipe.phases) + 1,
            len(reported) * samples,
            len(reported),
            slots,
            prompts["report"],
            lengths.mean,
            lengths.longest,
        )
        yield Part(AFTERWARDS, f"report at T={temperature:g}", sampling=drawn)
