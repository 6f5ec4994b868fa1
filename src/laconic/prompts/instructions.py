r"""From a problem to the token ids of its prompt.

1. The user's turn is the question, its choices as `(A) ...` lines, and an instruction.
2. The instruction is a name of the table `INSTRUCTIONS`, such as `be_concise` or `token_limit:100`, or a text. The texts of named
   ones ask for a box, so that the answer can be found; where a problem has choices and its answer is a letter, they ask for the
   letter too.
3. Worked examples that belong to an instruction are earlier turns of the conversation.
4. A tokenizer with a chat template renders the turns; for one without, their plain text is the prompt.

Prompts that merely ask for brevity are the baseline that every training should be compared with. Those of Lee, Che and Peng
(arXiv 2503.01141) have the names of the paper. Their wording is ours, except for two quoted ones, so results may differ from
the paper's.
What is left out: prompts that depend on the problem, such as a budget that the model guesses (TALE-EP, arXiv 2412.18547).
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from laconic.errors import InputError
from laconic.grading.normal_form import clean
from laconic.grading.scalar_rules import choice_letter
from laconic.prompts.templates import Turns, render_turns
from laconic.system.text import brief
from laconic.types import Problem

BOX = r"Put your final answer within \boxed{}."
LETTER = "The final answer is the letter of the right choice alone."

Example = tuple[str, str]
"""A question and a response to it."""


class Instruction(str):
    """The text after a question: a string with its worked examples, and with a mark whether its text asks for a box.

    A user's own texts are plain strings: nothing is added to them.
    """

    examples: tuple[Example, ...]
    asks_for_box: bool

    def __new__(cls, text: str, *, examples: Sequence[Example] = (), asks_for_box: bool = True) -> "Instruction":
        """A string with two attributes. They survive pickling; methods that return a new string drop them."""
        instruction = super().__new__(cls, text)
        instruction.examples, instruction.asks_for_box = tuple(examples), asks_for_box
        return instruction


BOXED_INSTRUCTION = Instruction(r"Please reason step by step, and put your final answer within \boxed{}.")
"""The instruction that most open reasoning models were trained with (Qwen2.5-Math, DeepSeek-R1)."""

R1_INSTRUCTION = Instruction(r"Let's think step by step and output the final answer within \boxed{}.")
"""The prompt `r1-cot` of the code that Fatemi et al. 2025 (arXiv 2504.05185) released."""

DRAFTS: tuple[Example, ...] = (
    (
        "A baker packs 24 rolls into bags of 4 and sells each bag for 3 dollars. How many dollars do all the bags bring?",
        "bags: 24 / 4 = 6\nmoney: 6 * 3 = 18\n\\boxed{18}",
    ),
    ("What is the remainder when $2^5$ is divided by $7$?", "2^5 = 32\n32 = 4*7 + 4\n\\boxed{4}"),
    ("Solve for $x$: $3x - 5 = 16$.", "3x = 21\nx = 7\n\\boxed{7}"),
)
"""Chain of Draft's examples: steps of at most five words."""


@dataclass(frozen=True, slots=True)
class Wording:
    """One row of the table: the text for the name without a number, and the text for a name with one, which replaces `{n}`. None
    where the name must have, or must not have, a number."""

    source: str
    text: Instruction | None = None
    with_number: Instruction | None = None


def _boxed(text: str, examples: Sequence[Example] = ()) -> Instruction:
    """An instruction that says how to answer, and then asks for the box."""
    return Instruction(f"{text} {BOX}", examples=examples)


LEE = "Lee, Che, Peng 2025, arXiv 2503.01141"
DRAFT = "Xu et al. 2025, arXiv 2502.18600"
L1 = "Aggarwal, Welleck 2025, arXiv 2503.04697"

INSTRUCTIONS: Mapping[str, Wording] = {
    "boxed": Wording("Qwen2.5-Math, DeepSeek-R1", BOXED_INSTRUCTION),
    "r1": Wording("Fatemi et al. 2025, arXiv 2504.05185", R1_INSTRUCTION),
    "none": Wording("the question alone", Instruction("", asks_for_box=False)),
    "no_cot": Wording(LEE, _boxed("Give the final answer alone, without any explanation.")),
    "default_cot": Wording(LEE, _boxed("Think step by step before answering.")),
    "be_concise": Wording(LEE, _boxed("Think step by step before answering, but be concise.")),
    "bullet_points": Wording(LEE, _boxed("Write nothing but bullet points, and no full sentences.")),
    "only_numbers": Wording(LEE, _boxed("Write your steps in numbers and equations alone, with hardly any words.")),
    "no_spaces": Wording(LEE, _boxed("Leave out all spaces and line breaks, as in 'so7+5=12'.")),
    "no_proper_grammar": Wording(
        LEE, _boxed("Ignore grammar: leave out articles and linking words such as 'so' or 'if'.")
    ),
    "abbreviate_words": Wording(
        LEE, _boxed("Shorten every word you can by dropping its vowels, as in 'nmbr' for 'number'.")
    ),
    "word_limit": Wording(LEE, with_number=_boxed("Answer in at most {n} words.")),
    "char_limit": Wording(LEE, with_number=_boxed("Answer in at most {n} letters.")),
    "token_limit": Wording(LEE, with_number=_boxed("Answer in at most {n} tokens.")),
    "step_limit": Wording(
        LEE, with_number=_boxed("Number your steps 'Step 1', 'Step 2' and so on, and take at most {n}.")
    ),
    "chinese_cot": Wording(
        LEE, _boxed("Answer in Chinese."), with_number=_boxed("Answer in Chinese, in at most {n} characters.")
    ),
    "chain_of_draft": Wording(
        f"{DRAFT}, few-shot",
        _boxed("Think step by step, but write each step as a draft of at most five words.", DRAFTS),
    ),
    "chain_of_draft_zero_shot": Wording(
        f"{DRAFT}, without examples (the paper finds that it fails so)",
        _boxed("Think step by step, but write each step as a draft of at most five words."),
    ),
    "concise_cot": Wording("Renze, Guven 2024, arXiv 2401.05618", _boxed("Think step by step. Be concise.")),
    "tale": Wording(
        "Han et al. 2024, arXiv 2412.18547, fixed budget",
        with_number=_boxed("Let's think step by step and use less than {n} tokens."),
    ),
    "l1_exact": Wording(L1, with_number=Instruction(R1_INSTRUCTION + " Think for {n} tokens.")),
    "l1_max": Wording(L1, with_number=Instruction(R1_INSTRUCTION + " Think for maximum {n} tokens.")),
}
"""Every instruction that has a name. Those of arXiv 2503.04697 have an effect only on models that were trained with them."""

_LIMITS = {
    "word_limit": (1, 5, 10, 15, 25, 50, 100),
    "char_limit": (10, 50, 100, 500),
    "token_limit": (10, 50, 100, 500),
    "step_limit": (1, 2, 5),
    "chinese_cot": (10, 50, 100, 500),
}

COMPRESSION_PROMPTS: tuple[str, ...] = (
    *(name for name, wording in INSTRUCTIONS.items() if wording.source == LEE and wording.text is not None),
    *(f"{name}:{number}" for name, numbers in _LIMITS.items() for number in numbers),
)
"""The 31 prompts over which arXiv 2503.01141 estimates token complexity."""

MOST_ASKED = 10**9 - 1
"""The largest number in a prompt's name; no response is that long."""

_NAME_LIKE = re.compile(r"[A-Za-z0-9_.:+-]+")
_LIMIT = re.compile(r"0*[1-9][0-9]{0,8}")


def resolve_instruction(name_or_text: str) -> str:
    """The instruction of that name in `INSTRUCTIONS`, with a number after a colon where it takes one, else the text itself.

    An `Instruction` is returned unchanged, so resolving it again has no effect. Raises `InputError` for a name without the number
    that it needs or with one that it does not take, and for a single word that is not a name, since texts have spaces.

    >>> resolve_instruction("none"), resolve_instruction("Be brief."), resolve_instruction("token_limit:100")[:31]
    ('', 'Be brief.', 'Answer in at most 100 tokens. P')
    """
    if not _NAME_LIKE.fullmatch(name_or_text):
        return name_or_text
    name, colon, number = name_or_text.partition(":")
    wording = INSTRUCTIONS.get(name)
    if wording is None:
        near = difflib.get_close_matches(name.lower(), INSTRUCTIONS, n=3)
        hint = f"near it: {', '.join(near)}" if near else "laconic list prompts names them"
        raise InputError(f"prompt {brief(name_or_text)}: no such name, and a text has spaces; {hint}")
    return _with_number(name, wording, number) if colon else _without_number(name, wording)


def _without_number(name: str, wording: Wording) -> Instruction:
    if wording.text is None:
        raise InputError(f"prompt {name!r}: needs a number, as in {name}:100")
    return wording.text


def _with_number(name: str, wording: Wording, number: str) -> Instruction:
    if wording.with_number is None:
        raise InputError(f"prompt {brief(f'{name}:{number}')}: {name} takes no number")
    if not _LIMIT.fullmatch(number):
        raise InputError(
            f"prompt {brief(f'{name}:{number}')}: expected a whole number from 1 to {MOST_ASKED:,} after the colon"
        )
    return Instruction(wording.with_number.replace("{n}", str(int(number))))


def asked_tokens(name_or_text: str) -> int | None:
    """The most tokens that a named instruction asks for; None for a text, and for a name that says nothing of tokens.

    >>> asked_tokens("token_limit:100"), asked_tokens("word_limit:100"), asked_tokens("boxed")
    (100, None, None)
    """
    name, _, number = name_or_text.partition(":")
    wording = INSTRUCTIONS.get(name)
    asks = wording is not None and wording.with_number is not None and "{n} tokens" in wording.with_number
    return int(number) if asks and _LIMIT.fullmatch(number) else None


def user_text(problem: Problem, instruction: str = BOXED_INSTRUCTION) -> str:
    """Question, choices and instruction, each on a new line; an empty instruction adds no line.

    Raises `ValueError` for more choices than there are letters.
    """
    if len(problem.choices) > len(ascii_uppercase):
        raise ValueError(
            f"problem {problem.id}: {len(problem.choices)} choices, but only {len(ascii_uppercase)} letters"
        )
    choices = (f"({letter}) {choice}" for letter, choice in zip(ascii_uppercase, problem.choices, strict=False))
    asks_for_box = isinstance(instruction, Instruction) and instruction.asks_for_box
    request = f"{instruction} {LETTER}" if asks_for_box and _wants_letter(problem) else instruction
    return "\n".join(piece for piece in (problem.question, *choices, request) if piece)


def _wants_letter(problem: Problem) -> bool:
    """Whether the problem has choices and its gold answer is the letter of one, however it is spelled."""
    letter = choice_letter(clean(problem.answer), True) if problem.choices else None
    return letter is not None and letter in ascii_uppercase[: len(problem.choices)]


def messages(problem: Problem, instruction: str = BOXED_INSTRUCTION, system: str | None = None) -> list[dict[str, str]]:
    """The turns of the conversation: the system's where there is one, the instruction's examples, and the user's.

    `instruction` is a text, as `resolve_instruction` returns it, not a name.
    """
    turns = [] if system is None else [{"role": "system", "content": system}]
    for question, response in _examples(instruction):
        turns += [{"role": "user", "content": question}, {"role": "assistant", "content": response}]
    return [*turns, {"role": "user", "content": user_text(problem, instruction)}]


def _examples(instruction: str) -> list[Example]:
    """The instruction's examples; each question is followed by the instruction, as the problem's question is."""
    examples = instruction.examples if isinstance(instruction, Instruction) else ()
    return [(user_text(Problem("", question, ""), instruction), response) for question, response in examples]


def render(
    tokenizer: Any, problem: Problem, *, instruction: str = BOXED_INSTRUCTION, system: str | None = None
) -> list[int]:
    """Token ids of the prompt, up to where the model's response begins.

    `tokenizer` is a Hugging Face tokenizer, `instruction` a name in `INSTRUCTIONS` or a text. Without a chat template the prompt
    is `plain_text`, after the beginning-of-text token where the tokenizer adds one. Raises `InputError` for a mistyped name, and
    `TemplateError` where the template does not render the turns.
    """
    text = resolve_instruction(instruction)
    if getattr(tokenizer, "chat_template", None):
        return conversation_ids(tokenizer, messages(problem, text, system))
    return text_ids(tokenizer, plain_text(problem, text, system))


def conversation_ids(tokenizer: Any, turns: Turns) -> list[int]:
    """Token ids of the prompt that the turns of a conversation make, up to where the model's response begins.

    Without a chat template they are a plain text, as in `plain_text`. Raises `TemplateError` where the template does not render
    them.
    """
    if getattr(tokenizer, "chat_template", None):
        return _ids(tokenizer(render_turns(tokenizer, turns), add_special_tokens=False)["input_ids"])
    return text_ids(tokenizer, _plain_turns(turns))


def text_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a plain text that a model is to continue, after the beginning-of-text token where the tokenizer adds one."""
    return _ids(_without_end(tokenizer, tokenizer.encode(text)))


def plain_text(problem: Problem, instruction: str = BOXED_INSTRUCTION, system: str | None = None) -> str:
    """The prompt where there is no chat template: system, examples and question, with a blank line after each example."""
    return _plain_turns(messages(problem, instruction, system))


def _plain_turns(turns: Turns) -> str:
    """The texts of the turns, each on a new line, with a blank line after each response."""
    texts = (turn["content"] + ("\n" if turn["role"] == "assistant" else "") for turn in turns if turn["content"])
    return "\n".join(texts) + "\n"


def _ids(tokens: Sequence[int]) -> list[int]:
    return [int(token) for token in tokens]


def _without_end(tokenizer: Any, tokens: Sequence[int]) -> Sequence[int]:
    """`tokens` without the end token that some tokenizers add to every text: a model answers a prompt with it by nothing."""
    end = getattr(tokenizer, "eos_token_id", None)
    is_closed = len(tokens) > 1 and end is not None and tokens[-1] == end
    return tokens[:-1] if is_closed else tokens
