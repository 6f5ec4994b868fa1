"""The model card: metadata that the hub reads, and a text for people, in sections.

1. What the model is, with the verdict of its comparison, and how it is used.
2. What was measured: before and after at each temperature, with intervals, and by slice.
3. How and on what it was trained.
4. Its limits, its licence, and who answers for it.

Every figure is one that the run stored. What was not measured is said to be unknown.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from laconic import __version__
from laconic.comparison.figures import SliceFigures
from laconic.comparison.sentences import plural, slices_line
from laconic.comparison.slices import num_decided, worst_slice
from laconic.config.solver import PromptConfig
from laconic.evaluation.figures import Summary
from laconic.prompts.instructions import messages, plain_text, resolve_instruction, user_text
from laconic.publishing.hub_results import dataset_of, drawn_words, index_entries, report_source
from laconic.publishing.licence import UNLISTED, Licence, hub_name
from laconic.publishing.markdown import code, plain, python_block
from laconic.publishing.measured_run import MeasuredChange, MeasuredRun
from laconic.publishing.origin import GENERATED, Origin, is_local_model
from laconic.publishing.places import without_folders
from laconic.publishing.training_words import phase_words, shared_words
from laconic.reporting.numbers import UNKNOWN, Show, count, ends_shown, percent, points, shown, signed
from laconic.statistics.intervals import Interval
from laconic.system.files import read_json
from laconic.types import Grade, Problem

RECIPE_FILE = "laconic/recipe.json"
QUESTION = "QUESTION"


@dataclass(frozen=True, slots=True)
class Publisher:
    """What the run does not know: the model's name, its licence, who answers for it, and the base's name on the hub."""

    name: str
    licence: Licence
    contact: str
    base: str | None


def write_card(run: MeasuredRun, publisher: Publisher, origin: Origin, today: date) -> str:
    """The whole card, as README.md holds it; the hub's library has checked its metadata."""
    from huggingface_hub import ModelCard

    text = "\n\n".join(section.strip() for section in _sections(run, publisher, origin, today))
    return str(ModelCard(f"---\n{metadata_yaml(run, publisher)}\n---\n\n{text}\n"))


def metadata_yaml(run: MeasuredRun, publisher: Publisher) -> str:
    """The card's metadata in the hub's form."""
    from huggingface_hub import ModelCardData

    is_local = is_local_model(run.recipe.model, run.environment)
    base = publisher.base or (None if is_local else hub_name(run.recipe.model))
    train = dataset_of(run.recipe.problems.train)
    algorithms = dict.fromkeys(phase.algorithm.name for phase in run.recipe.phases)
    data = ModelCardData(
        license=publisher.licence.identifier,
        license_name=publisher.licence.name if publisher.licence.identifier == UNLISTED else None,
        base_model=base,
        base_model_relation="finetune" if base else None,
        datasets=[train.name] if train else None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["laconic", "reasoning", "short-reasoning", *algorithms],
        metrics=["accuracy"],
        model_name=publisher.name.rpartition("/")[2],
        eval_results=index_entries(run),
    )
    return data.to_yaml()


def _sections(run: MeasuredRun, publisher: Publisher, origin: Origin, today: date) -> Iterator[str]:
    yield f"# {publisher.name.rpartition('/')[2]}"
    yield _summary(run, publisher)
    yield f"## How to use it\n\n{_usage(run, publisher)}"
    yield f"## What was measured\n\n{_measured(run)}"
    yield f"## By slice: who pays for brevity?\n\n{_slices(run)}"
    yield f"## How it was trained\n\n{_training(run)}"
    yield f"## What it was trained on\n\n{_data(run, origin, today)}"
    yield f"## Limits\n\n{_limits(run)}"
    yield f"## Licence and contact\n\n{_contact(publisher)}"


# --- what it is ------------------------------------------------------------------------------------------------------


def _summary(run: MeasuredRun, publisher: Publisher) -> str:
    base = publisher.base or run.recipe.model
    phases = plural(len(run.phases), "phase")
    first = f"{code(base)}, trained further in {phases} to reason in fewer tokens."
    lines = [f"- {_where(change)}: {change.change.figures.verdict}" for change in run.changes]
    return "\n".join([f"{first} Compared with it, on problems that played no part in training:", "", *lines])


def _where(change: MeasuredChange) -> str:
    return drawn_words(change.after)


def _usage(run: MeasuredRun, publisher: Publisher) -> str:
    cap = run.changes[0].after.setup.max_tokens
    lines = f"""from transformers import AutoModelForCausalLM, AutoTokenizer

name = "{publisher.name}"  # or the folder in which this card lies
tokenizer, model = AutoTokenizer.from_pretrained(name), AutoModelForCausalLM.from_pretrained(name)
question = {json.dumps(_example(run), ensure_ascii=False)}
{_encoded(run)}
print(tokenizer.decode(model.generate(**inputs, max_new_tokens={cap})[0]))"""
    return (
        f"{python_block(lines)}\n\nIt was asked like this when it was measured. Asked otherwise, it may write longer or shorter "
        "answers than the figures below."
    )


def _example(run: MeasuredRun) -> str:
    """A question as the model reads them: the first reported one where a generator made it, for others may belong to somebody."""
    if not report_source(run).startswith(GENERATED):
        return "A question, written like those below."
    return run.changes[0].question


def _encoded(run: MeasuredRun) -> str:
    """The lines of Python that make a prompt as it was made when the model was measured."""
    return encoding_lines(run.recipe.prompt, has_template=_has_template(run.model))


def encoding_lines(prompt: PromptConfig, *, has_template: bool) -> str:
    """Lines of Python that make `inputs` for the model from a `tokenizer` and a `question`, asked by this prompt."""
    problem, instruction = Problem("", QUESTION, ""), resolve_instruction(prompt.instruction)
    asked = user_text(problem, instruction)
    after = asked.removeprefix(QUESTION)
    if not has_template:
        before = plain_text(problem, instruction, prompt.system).removesuffix(f"{asked}\n")
        text = _around_question(before, f"{after}\n")
        return f'inputs = tokenizer({text}, return_tensors="pt")'
    *earlier, _ = messages(problem, instruction, prompt.system)
    last = f"{{'role': 'user', 'content': {_around_question('', after)}}}"
    turns = [*map(repr, earlier), last]
    return (
        f"messages = [{', '.join(turns)}]\n"
        'inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")'
    )


def _around_question(before: str, after: str) -> str:
    """The expression of a text that the question stands in."""
    return " + ".join([repr(before)] * bool(before) + ["question"] + [repr(after)] * bool(after))


def _has_template(model: Path) -> bool:
    settings = model / "tokenizer_config.json"
    return (model / "chat_template.jinja").exists() or (settings.is_file() and "chat_template" in read_json(settings))


# --- what was measured -----------------------------------------------------------------------------------------------

_COLUMNS = ("", "base", "this model", "change")


def _measured(run: MeasuredRun) -> str:
    parts = [
        part
        for change in run.changes
        for part in (f"### {_where(change)[:1].upper()}{_where(change)[1:]}", _table(change))
    ]
    return "\n\n".join([_how(run), *parts, *_caveats(run)])


def _how(run: MeasuredRun) -> str:
    setup = run.changes[0].after.setup
    return (
        f"On {plural(setup.num_problems or 0, 'problem')} of {code(report_source(run))}, none of which was trained on or chose "
        f"anything, graded by {setup.grader or 'an unknown grader'}. Tokens are those of a response, its thinking and its end "
        "token included. In brackets: 95% intervals over problems, for one training run; a change is paired over problems."
    )


def _table(change: MeasuredChange) -> str:
    before, after, figures = change.before.figures, change.after.figures, change.change.figures
    rows = [
        (
            "accuracy",
            _mean(before.accuracy, percent),
            _mean(after.accuracy, percent),
            _change(figures.accuracy_change, points),
        ),
        (
            "mean tokens",
            _mean(before.tokens, count),
            _mean(after.tokens, count),
            _change(figures.tokens_change, percent),
        ),
        ("cut off at the cap", _cut(change.before), _cut(change.after), UNKNOWN),
    ]
    return _rows(_COLUMNS, rows)


def _mean(found: Interval | None, show: Show) -> str:
    return UNKNOWN if found is None else f"{shown(found.estimate, show)} {ends_shown(found, show)}".strip()


def _change(found: Interval, show: Show) -> str:
    return f"{signed(found.estimate, show)} {ends_shown(found, show, is_change=True)}".strip()


def _cut(summary: Summary) -> str:
    return shown(summary.figures.grade_frac.get(Grade.TRUNCATED), percent)


def _rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


def _caveats(run: MeasuredRun) -> list[str]:
    """What the comparisons themselves warn of, each once."""
    found = [
        caveat
        for change in run.changes
        for caveat in (*change.change.caveats, *(c for b in change.change.benchmarks.values() for c in b.caveats))
    ]
    return ["\n".join(f"- Note: {plain(caveat)}" for caveat in dict.fromkeys(found))] if found else []


def _slices(run: MeasuredRun) -> str:
    sliced = [change for change in run.changes if change.change.slices]
    if not sliced:
        return "Unknown: there are too few reported problems, or nothing tells them apart."
    return "\n\n".join(part for change in sliced for part in _slice_table(change))


def _slice_table(change: MeasuredChange) -> Iterator[str]:
    slices = change.change.slices
    line = slices_line(worst_slice(slices), num_decided(slices))
    yield f"**{_where(change)}.** {plain(line[0].upper() + line[1:])}."
    yield _rows(
        ("slice", "problems", "accuracy, vs base", "tokens, vs base", "shown against it"),
        [_slice_row(s) for s in slices],
    )


def _slice_row(part: SliceFigures) -> list[str]:
    name = plain(f"{part.key.replace('_', ' ')} {part.value}")
    changes = _change(part.accuracy_change, points), _change(part.tokens_change, percent)
    return [name, str(part.num_problems), *changes, part.shown_words or "nothing"]


# --- how and on what -------------------------------------------------------------------------------------------------


def _training(run: MeasuredRun) -> str:
    phases = [
        ";\n  ".join(phase_words(number, phase, record)) + "."
        for number, (phase, record) in enumerate(zip(run.recipe.phases, run.phases, strict=True), start=1)
    ]
    lines = [*phases, ";\n  ".join(shared_words(run.recipe)) + "."]
    machine = run.environment.get("device")
    packages = run.environment.get("packages") or {}
    versions = ", ".join(
        f"{name} {packages[name]}" for name in ("laconic", "torch", "transformers") if name in packages
    )
    return "\n".join(f"- {line[0].upper()}{line[1:]}" for line in lines) + (
        f"\n\nThe whole recipe is [`{RECIPE_FILE}`]({RECIPE_FILE}); `laconic train {RECIPE_FILE}` trains by it again, where its "
        f"model and problems are. It was trained with {versions or 'unknown versions'} on {machine or 'an unknown device'}."
    )


def _data(run: MeasuredRun, origin: Origin, today: date) -> str:
    sets = run.recipe.problems
    lines = [
        f"- taught: {code(sets.train)}",
        f"- watched during training: {code(str(sets.watch))}",
        f"- reported, and not trained on: {code(str(sets.report))}",
    ]
    lines += [
        f"- before this run, its base was trained on: {code(without_folders(earlier.source))}"
        for earlier in origin.earlier
    ]
    said = f"{_traffic_words(origin, today)} What the base had been trained on before is for its own card to say."
    return "\n".join([*lines, "", said])


def _traffic_words(origin: Origin, today: date) -> str:
    """What came from stored traffic. Of a local model of no known run that is unknown, so it is not said that nothing did."""
    num, unknown = origin.total_from_traffic, origin.all_unknown_models
    words = []
    if num:
        words.append(
            f"{plural(num, 'problem')} of these came from stored traffic of people who consented. On {today.isoformat()} none of "
            "the requests behind them had been forgotten."
        )
    if unknown:
        names = ", ".join(code(without_folders(name)) for name in unknown)
        words.append(
            f"It is unknown whether stored traffic of users was among what {names} was trained on: it belongs to no known run."
        )
    return " ".join(words) or "None of them came from stored traffic of users."


def _limits(run: MeasuredRun) -> str:
    unclear = any(not change.change.figures.non_inferior for change in run.changes)
    lines = [
        f"Measured on {code(report_source(run))} alone. Accuracy and length on other problems, other languages, conversations "
        "and tools are unknown.",
        "The intervals are over problems, for this one training run. Another seed may give another model.",
        "A shorter chain of thought shows less of how an answer came about, and leaves less room to find a mistake.",
        "Not measured: safety, bias, calibration, and what users think of short answers.",
    ]
    if unclear:
        lines.insert(0, "At some temperature above it is not shown to be as accurate as its base within the margin.")
    return "\n".join(f"- {line}" for line in lines)


def _contact(publisher: Publisher) -> str:
    licence = publisher.licence
    source = "" if licence.origin == "given" else f" ({licence.origin})"
    return (
        f"Licence: {licence.words}{source}. Who answers for this model: {publisher.contact}.\n\n"
        f"This card was written by Laconic {__version__} from the files of the run."
    )
