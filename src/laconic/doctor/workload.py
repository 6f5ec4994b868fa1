"""The work of a recipe: what is drawn and what is trained on in each part of a run, in responses and tokens.

1. `training/time_left.py` counts the responses of every probe, step, watch and evaluation. A set on the hub, which a dry run does
   not fetch, has an unknown size: what depends on it is left out and named (`left_out`).
2. Prompts are counted with the tokenizer if problems and tokenizer are at hand, otherwise assumed.
3. Nobody knows how long responses will be. `Lengths` holds what is assumed, and words that say on what ground: a probe, or a
   share of the cap. The problems' own texts, from which some phases learn, are counted (`text_lengths`). `parts_of` makes the
   parts under given lengths, so that the expected work and the most work are the same code.

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
from laconic.doctor.memory_needs import ASSUMED_PROMPT_TOKENS, Sources, forced_tokens, tokenizer_at_hand
from laconic.doctor.reading import SETS, Probed, read_probed
from laconic.evaluation.evaluate import num_samples
from laconic.problems.sets import ProblemSets, disjoint_sets
from laconic.prompts.instructions import render, resolve_instruction
from laconic.rollouts.sources import FORCED_ANSWER_TOKENS, OWN_TEXTS
from laconic.selection.pool import needs_probe, pool_of
from laconic.system.text import counted
from laconic.training.check.phases import ResolvedPhase
from laconic.training.measure_run import report_cap
from laconic.training.time_left import PhasePlan, group_of, plan_of
from laconic.types import Grade, Problem

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
        return work.calls * work.responses * work.trained_share * work.epochs if work else 0.0

    @property
    def prompt_tokens(self) -> float:
        """Tokens of prompts that go through the layers: once for each distinct one that is sampled, and with every response that
        is trained on, or once for those of a group that share it."""
        if self.sampling:
            return self.sampling.read.tokens
        return self.training.learnt.tokens - self.response_tokens if self.training else 0.0

    @property
    def response_tokens(self) -> float:
        """Tokens of responses that are drawn or trained on."""
        work = self.sampling or self.training
        return self.responses * work.response_tokens if work else 0.0


# --- lengths ---------------------------------------------------------------------------------------------------------


def capped(_phase: ResolvedPhase | None, cap: int) -> Lengths:
    """Every response runs to its cap."""
    return Lengths(cap, cap, "the cap")


def expected_lengths(probe: Path | None, run_folder: Path | None) -> LengthsOf:
    """What is expected of lengths, from the best that is at hand: a probe that is given, the phase's own probe in the run's
    folder, and else a share of the cap. Raises an `InputError` if a probe is wrong."""
    given = read_probed(probe) if probe else None
    files = sorted(run_folder.glob("phases/*/probe.jsonl")) if run_folder else []
    own = {file.parent.name: read_probed(file) for file in files}

    def lengths_of(phase: ResolvedPhase | None, cap: int) -> Lengths:
        folder = f"{phase.index + 1}-{phase.name}" if phase is not None else ""
        found = given or own.get(folder) or next(iter(own.values()), None)
        return (_probed_lengths(found, cap) if found else None) or _assumed(cap)

    return lengths_of


def _assumed(cap: int) -> Lengths:
    return Lengths(
        ASSUMED_SHARE * cap, cap, "assumed to be half of their cap on average, and the longest as long as the cap"
    )


def _probed_lengths(probe: Probed, cap: int) -> Lengths | None:
    """Lengths as in a probe, cut at `cap`. The longest is taken to reach the cap if the probe's attempts are not stored beside
    it, and if its own cap was lower and cut off some; how long these would have become nobody knows."""
    whence, num_cut = f"as in {probe.path}", sum(stat.counts.get(Grade.TRUNCATED, 0) for stat in probe.stats)
    is_cut = probe.cap is not None and probe.cap < cap and num_cut > 0
    if is_cut:
        whence = f"{whence}, whose own cap of {probe.cap:,} cut off {counted(num_cut, 'response')}: they may be longer"
    if probe.lengths:
        cut = [min(length, cap) for length, _ in probe.lengths]
        return Lengths(fmean(cut), cap if is_cut else max(cut), whence)
    means = [stat.mean_tokens for stat in probe.stats if stat.mean_tokens]
    return Lengths(min(fmean(means), cap), cap, whence) if means else None


def text_lengths(recipe: Recipe, phases: Sequence[ResolvedPhase], sources: Sources) -> dict[str, Lengths]:
    """Lengths of the problems' own texts in tokens, end token included, by the name of each phase that learns from them; without
    those that are not at hand. No cap cuts them."""
    problems = sources["train"]
    learning = [phase.config for phase in phases if phase.config.rollouts in OWN_TEXTS]
    tokenizer = tokenizer_at_hand(recipe) if problems and learning else None
    return {phase.name: _text_lengths(phase, problems, tokenizer) for phase in learning if problems and tokenizer}


def _text_lengths(phase: PhaseConfig, problems: Sequence[Problem], tokenizer: Any) -> Lengths:
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
    texts: Mapping[str, Lengths] | None = None,
    most: bool = False,
) -> list[Part]:
    """The parts of a run in their order. `texts` are the lengths of the problems' own texts, by the phase that learns from them.
    With `most`, uniform groups are drawn again as often as they may be."""
    plan = plan_of(recipe, _sets(recipe, sources))
    num_forced = forced_tokens(recipe)
    parts: list[Part] = []
    for phase, planned in zip(phases, plan.phases, strict=True):
        lengths, text = lengths_of(phase, planned.cap), (texts or {}).get(phase.name)
        work = _PhaseWork(recipe, phase, planned, prompts, lengths, text, num_forced, most)
        parts += work.before_its_steps(is_known=sources["train"] is not None)
        parts += [*work.rollouts(), work.update, work.watch(lengths_of)]
    return [part for part in (*parts, *_evaluations(recipe, sources, prompts, lengths_of)) if part.responses]


def _sets(recipe: Recipe, sources: Sources) -> ProblemSets:
    """The sets as training makes them; a train set of unknown size has as many problems as a phase looks at or a step takes."""
    sets = disjoint_sets(**{name: problems or [] for name, problems in sources.items()})
    if sources["train"] is not None:
        return sets
    usable = max(p.select.pool or p.select.count or p.problems_per_step for p in recipe.phases)
    return ProblemSets((STAND_IN,) * usable, sets.watch, sets.report)


@dataclass(frozen=True, slots=True)
class _PhaseWork:
    """A phase, with the lengths of its responses, and those of the problems' own texts if it learns from these and they are at
    hand. `num_forced` tokens force an answer."""

    recipe: Recipe
    phase: ResolvedPhase
    plan: PhasePlan
    prompts: Mapping[str, float]
    lengths: Lengths
    text: Lengths | None
    num_forced: int
    most: bool

    @property
    def prompt(self) -> float:
        return self.prompts["train"]

    @property
    def group(self) -> int:
        return group_of(self.phase.config)

    @property
    def answer(self) -> float:
        """Tokens of a forced answer."""
        return FORCED_ANSWER_TOKENS * (1.0 if self.most else ASSUMED_SHARE)

    def drawn(self, name: str, calls: int, responses: float, per_prompt: int) -> Part:
        slots, lengths = self.phase.config.sampler.batch_size, self.lengths
        sampling = Sampling(calls, responses, responses / per_prompt, slots, self.prompt, lengths.mean, lengths.longest)
        return Part(self.phase.name, name, sampling=sampling)

    def before_its_steps(self, *, is_known: bool) -> Iterator[Part]:
        """What is drawn before the first step; `is_known` says whether the number of problems is."""
        if is_known or not _has_unknown_probe(self.phase.config):
            yield self.drawn("probe", 1, self.plan.num_probed, self.phase.config.select.samples)
        if is_known:
            yield self.drawn("rollouts", 1, self.plan.num_offline, self.group)

    def rollouts(self) -> Iterator[Part]:
        """What the steps draw; a group of `serial` is one whole trace and forced answers after it."""
        algorithm, per_step = self.phase.config.algorithm, self.plan.per_step
        draws = algorithm.max_draws if self.most and algorithm.uniform_groups == "resample" else 1
        calls, distinct = self.plan.steps * draws, per_step / self.group
        if self.plan.is_kept:
            return
        if self.phase.config.rollouts != "serial":
            yield self.drawn("rollouts", calls, per_step, self.group)
            return
        yield self.drawn("traces", calls, distinct, 1)
        exits, slots = per_step - distinct, self.phase.config.sampler.batch_size
        context = self.prompt + self.lengths.mean / 2 + self.num_forced
        longest = FORCED_ANSWER_TOKENS
        yield Part(
            self.phase.name, "exits", sampling=Sampling(calls, exits, exits, slots, context, self.answer, longest)
        )

    @property
    def trained_tokens(self) -> float:
        """The mean length of what is trained on: the problems' own texts, or responses. Exits are half a trace on average, with
        the answer that is forced on it."""
        if self.text is not None:
            return self.text.mean
        if self.phase.config.rollouts != "serial":
            return self.lengths.mean
        exit_tokens = self.lengths.mean / 2 + self.num_forced + self.answer
        return (self.lengths.mean + (self.group - 1) * exit_tokens) / self.group

    @property
    def update(self) -> Part:
        plan, warmup = self.plan, self.phase.config.optimizer.critic_warmup_steps
        trained = Training(
            plan.steps, plan.per_step, plan.epochs, self.prompt, self.trained_tokens, plan.trained_share, warmup
        )
        return Part(self.phase.name, "update", training=trained)

    def watch(self, lengths_of: LengthsOf) -> Part:
        cap = self.recipe.report.max_tokens or self.plan.cap
        watched, plan = lengths_of(self.phase, cap), self.plan
        calls, distinct = 1 + plan.watches_after(0), plan.num_watched / self.recipe.watch.samples
        slots, prompt = self.phase.config.sampler.batch_size, self.prompts["watch"]
        sampling = Sampling(calls, plan.num_watched, distinct, slots, prompt, watched.mean, watched.longest)
        return Part(self.phase.name, "watch", sampling=sampling)


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
