"""What do the model's prompts look like, and where does its response begin?

1. Template: is there one, does it include the system's text and the instruction, and does it end where the model's turn begins?
2. Beginning: does the prompt have exactly one beginning-of-text token, if the tokenizer has such a token?
3. Answer: does the prompt ask for a box or a marker, which the grader looks for? A box in the prompt itself does no harm, because
   only the response is graded.
4. Room: do the longest prompt and the cap together fit the model's context?
"""

from collections.abc import Iterator, Mapping
from math import isnan, nan

from laconic.config.solver import PromptConfig
from laconic.doctor.examination import Examined
from laconic.doctor.findings import FEWEST_RESPONSES, Finding, Level
from laconic.doctor.reading import Prompt
from laconic.grading.thought import find_thought
from laconic.prompts.endings import template_end
from laconic.prompts.instructions import resolve_instruction
from laconic.prompts.refusals import lost_digits
from laconic.prompts.templates import own_system_text
from laconic.prompts.thinking import prompt_mark
from laconic.rollouts.sources import OWN_TEXTS
from laconic.system.text import brief, counted
from laconic.training.check.context import caps_of
from laconic.types import Grade

ANSWER_FORMS = ("\\boxed", "\\fbox", "####", "<answer>", "answer is", "answer:")
FEW_ANSWERS, NO_ANSWERS = 0.8, 0.02  # shares of finished responses with an answer: below, a warning or an error


def check_template(examined: Examined) -> Iterator[Finding]:
    """Does a chat template render the question?"""
    if getattr(examined.tokenizer, "chat_template", None):
        mark = prompt_mark(_prompts(examined)[0].ids, examined.tokenizer)
        opened = f"; it opens {mark}, the response begins inside" if find_thought(mark).is_open else ""
        yield Finding("fine", f"prompts are rendered by the chat template{opened}", "prompt")
    else:
        remedy = "for a chat model add its chat_template.jinja; for a base model this is meant to be so"
        yield Finding(
            "warning", "the tokenizer has no chat template: questions are fed as plain text", "prompt", remedy
        )


def check_system(examined: Examined) -> Iterator[Finding]:
    """Does the system's text reach the model, or does the template write one of its own? (A template that refuses the role is
    found when prompts are rendered.)"""
    prompt = examined.recipe.prompt
    if prompt.system is None:
        yield from _unasked_system(examined)
        return
    if _renders_alike(examined, prompt.model_copy(update={"system": None})):
        yield Finding(
            "warning",
            "the chat template leaves the system's text out",
            "prompt.system",
            "put it into prompt.instruction",
        )
    else:
        yield Finding("fine", "the system's text reaches the prompt", "prompt.system")


def _unasked_system(examined: Examined) -> Iterator[Finding]:
    own = own_system_text(examined.tokenizer)
    if own is None:
        return
    count = len(examined.tokenizer.encode(own, add_special_tokens=False))
    what = (
        f"no system's text is given, so the chat template writes its own into every prompt ({counted(count, 'token')})"
    )
    yield Finding("fine", f"{what}: {brief(own)}; prompt.system would replace it", "prompt.system")


def check_beginning(examined: Examined) -> Iterator[Finding]:
    """Does the prompt have one beginning-of-text token, if the tokenizer puts one before texts?"""
    tokenizer = examined.tokenizer
    begin, name = getattr(tokenizer, "bos_token_id", None), getattr(tokenizer, "bos_token", None)
    is_usual = begin is not None and tokenizer.encode("a")[:1] == [begin]
    count = 0 if begin is None else _leading(_prompts(examined)[0].ids, begin)
    if count > 1:
        remedy = "take one out of the chat template or the system's text"
        yield Finding("warning", f"prompts begin with {name} {count} times", "prompt", remedy)
    elif is_usual and count == 0:
        what = f"the tokenizer begins texts with {name}, the chat template does not"
        yield Finding("warning", what, "prompt", "put it at the start of the chat template")
    else:
        yield Finding(
            "fine", f"prompts begin with {f'one {name}' if count else 'no beginning-of-text token'}", "prompt"
        )


def _leading(ids: tuple[int, ...], token: int) -> int:
    return next((place for place, found in enumerate(ids) if found != token), len(ids))


def check_turn(examined: Examined) -> Iterator[Finding]:
    """Does the prompt end where the model's turn begins? After a turn that is already closed, the model writes nothing."""
    prompt = _prompts(examined)[0]
    last = next((i for i in reversed(prompt.ids) if examined.tokenizer.decode([i]).strip()), None)
    if last in {*examined.stop_ids, template_end(examined.tokenizer)} and last is not None:
        name = examined.tokenizer.convert_ids_to_tokens(last)
        remedy = "let the chat template open the assistant's turn where add_generation_prompt is set"
        yield Finding("error", f"the prompt ends with {name}: the turn is not handed to the model", "prompt", remedy)
    else:
        yield Finding("fine", "the prompt ends where the model's turn begins", "prompt")


def check_unknown_tokens(examined: Examined) -> Iterator[Finding]:
    """Does the tokenizer have tokens for all characters of the questions, and does it give numbers back as they are?"""
    if fault := lost_digits(examined.tokenizer):
        yield Finding("error", f"{fault}, so that no answer could be right", "model", "mend the tokenizer's decoder")
    unknown, prompts = getattr(examined.tokenizer, "unk_token_id", None), _prompts(examined)
    hit = [prompt for prompt in prompts if unknown is not None and unknown in prompt.ids]
    if hit:
        worst = max(hit, key=lambda prompt: prompt.ids.count(unknown) / len(prompt.ids))
        most = f"{worst.ids.count(unknown)} of {len(worst.ids)} tokens in problem {worst.problem.id}"
        what = f"the tokenizer cannot write {len(hit)} of the {len(prompts)} longest questions whole: it lacks {most}"
        yield Finding("warning", what, "problems", "rewrite such questions, or choose a model that knows their script")
    else:
        yield Finding("fine", "the tokenizer knows every character of the longest questions", "problems")


# --- the answer ------------------------------------------------------------------------------------------------------


def check_answer_form(examined: Examined) -> Iterator[Finding]:
    """Does the prompt ask for a box or an answer marker, which the grader looks for, or does the probe contain answers?"""
    text = _text(examined, _prompts(examined)[0]).lower()
    form = next((form for form in ANSWER_FORMS if form in text), None)
    if examined.probe is not None:
        yield from _answers_seen(examined)
    elif form is not None:
        yield Finding("fine", f"the prompt asks for {form}; it is never graded itself", "prompt.instruction")
    elif _leaves_out_the_default(examined):
        yield Finding(
            "fine",
            "the chat template leaves the instruction out: the model answers in its own form",
            "prompt.instruction",
        )
    else:
        what = "nothing in the prompt asks for a box or an answer marker, which the grader reads most surely"
        yield Finding("warning", what, "prompt.instruction", "prompt.instruction=boxed")


def _answers_seen(examined: Examined) -> Iterator[Finding]:
    share, num_finished, where = answered_share(examined), _num_finished(examined), "prompt.instruction"
    what = f"{share:.0%} of the probe's finished responses hold an answer"
    if isnan(share):
        yield Finding("unknown", "not checked: answer form: the probe holds no finished response", where)
    elif share >= FEW_ANSWERS:
        yield Finding("fine", what, where)
    elif num_finished < FEWEST_RESPONSES:
        few = f"{counted(num_finished, 'response')} show too little, expected at least {FEWEST_RESPONSES}"
        yield Finding("unknown", f"{what}; but {few}", where, examined.probe_command)
    else:
        learns_texts = examined.recipe.phases[0].rollouts in OWN_TEXTS
        level: Level = "error" if share < NO_ANSWERS and not learns_texts else "warning"
        look = (
            "read a few responses: is this the prompt that the model was trained with? A model that seldom closes with an "
            'answer learns it in a first phase with rollouts = "solutions"'
        )
        if learns_texts:
            yield Finding(
                level, f"{what}, before the first phase teaches it to", where, "probe what comes out of that phase"
            )
            return
        yield Finding(
            level, what, where, look if _asks_for_box(examined) else "prompt.instruction=boxed, and probe again"
        )


def answered_share(examined: Examined) -> float:
    """Share of the probe's responses with an answer, among those that were not cut off; `nan` if all were cut off."""
    counts, finished = _probed_counts(examined), _num_finished(examined)
    silent = sum(count.get(Grade.NO_ANSWER, 0) for count in counts)
    return 1 - silent / finished if finished else nan


def _num_finished(examined: Examined) -> int:
    """The number of the probe's responses that were not cut off."""
    return sum(sum(count.values()) - count.get(Grade.TRUNCATED, 0) for count in _probed_counts(examined))


def _probed_counts(examined: Examined) -> list[Mapping[Grade, int]]:
    return [stat.counts for stat in examined.probe.stats] if examined.probe else []


def _asks_for_box(examined: Examined) -> bool:
    return "\\boxed" in _text(examined, _prompts(examined)[0])


def _leaves_out_the_default(examined: Examined) -> bool:
    """Whether the template drops the default instruction. Such a model answers in its own form, like the embedded reasoner."""
    prompt, default = examined.recipe.prompt, PromptConfig()
    if prompt.instruction != default.instruction or not resolve_instruction(prompt.instruction):
        return False
    return _renders_alike(examined, prompt.model_copy(update={"instruction": "none"}))


def check_instruction(examined: Examined) -> Iterator[Finding]:
    """Does the template drop an instruction that was written for this recipe?"""
    prompt = examined.recipe.prompt
    if prompt.instruction == PromptConfig().instruction or not resolve_instruction(prompt.instruction):
        return
    if _renders_alike(examined, prompt.model_copy(update={"instruction": "none"})):
        yield Finding(
            "warning",
            "the chat template leaves the instruction out",
            "prompt.instruction",
            "put it into prompt.system, or mend the template",
        )


# --- room ------------------------------------------------------------------------------------------------------------


def check_context(examined: Examined) -> Iterator[Finding]:
    """Do prompt and response fit the model's context together?"""
    assert examined.model is not None, "the table says that this check needs the model"
    limit = examined.model.context_length
    if limit is None:
        yield Finding("unknown", "not checked: context: the model's config does not state one", "model")
        return
    for cap in caps_of(examined.recipe, examined.phases, examined.tokenizer):
        longest = _longest_prompt(examined, cap.instruction)
        what = f"{cap.max_tokens:,} and the prompt of problem {longest.problem.id} ({len(longest.ids):,} tokens)"
        if len(longest.ids) + cap.max_tokens > limit:
            room = limit - len(longest.ids)
            remedy = f"{cap.field}={room}" if room > 0 else "leave that problem out"
            yield Finding(
                "error", f"{what} exceed the model's context of {examined.model.context_words}", cap.field, remedy
            )
        else:
            yield Finding("fine", f"{what} fit the model's context of {limit:,}", cap.field)


def _longest_prompt(examined: Examined, instruction: str) -> Prompt:
    """The longest of the prompts under an instruction."""
    config = examined.recipe.prompt.model_copy(update={"instruction": instruction})
    problems = [prompt.problem for prompt in _prompts(examined)]
    return max((Prompt(p, examined.prompt_ids(p, config)) for p in problems), key=lambda prompt: len(prompt.ids))


def _prompts(examined: Examined) -> tuple[Prompt, ...]:
    assert examined.prompts, "the table says that these checks need rendered prompts"
    return examined.prompts


def _renders_alike(examined: Examined, other: PromptConfig) -> bool:
    """Whether a problem's prompt is the same under `other`; it is not where a template cannot render that."""
    problem = _prompts(examined)[0].problem
    try:
        return examined.prompt_ids(problem) == examined.prompt_ids(problem, other)
    except Exception:  # a template may raise any error, such as for a turn that it demands
        return False


def _text(examined: Examined, prompt: Prompt) -> str:
    return str(examined.tokenizer.decode(list(prompt.ids)))
