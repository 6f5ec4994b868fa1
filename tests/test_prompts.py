"""Prompts: what is fed is the template's rendering, and it never reaches the grader."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from laconic.grading import compare, grade_response
from laconic.prompts import BOXED_INSTRUCTION, INSTRUCTIONS, messages, render, resolve_instruction, user_text
from laconic.types import Grade, Problem

PROBLEM = Problem("1", "What is 6 times 7 ?", "42")
TEMPLATE = (
    r"{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} {% endfor %}example \boxed{42} "
    r"{% if add_generation_prompt %}<assistant>{% endif %}"
)


def tokenizer(template=None, *, begin=False, end=False):
    """A word-level tokenizer that knows every word of these tests."""
    words = " ".join([PROBLEM.question, *INSTRUCTIONS.values(), "<user> <system> <assistant> example (A) (B) be kind"])
    vocabulary = ["<unk>", "<s>", "</s>", "\\boxed{42}", *dict.fromkeys(words.split())]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(dict.fromkeys(vocabulary))}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if begin or end:
        core.post_processor = processors.TemplateProcessing(
            single=f"{'<s> ' if begin else ''}$A{' </s>' if end else ''}", special_tokens=[("<s>", 1), ("</s>", 2)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>", chat_template=template
    )


def decoded(tok, ids):
    return tok.decode(ids, clean_up_tokenization_spaces=False)


def test_the_chat_template_renders_the_turns_up_to_the_response():
    """The ids are plain integers in a list, and end where the assistant's turn begins."""
    tok = tokenizer(TEMPLATE)
    ids = render(tok, PROBLEM, system="be kind")
    assert type(ids) is list and all(type(i) is int for i in ids)
    expected = rf"<system> be kind <user> {PROBLEM.question} {BOXED_INSTRUCTION} example \boxed{{42}} <assistant>"
    assert decoded(tok, ids) == expected


@pytest.mark.parametrize("end", [False, True])
def test_without_a_template_the_text_stands_as_it_is(end):
    """The beginning token comes where the tokenizer adds one; an end token it appends is taken off again."""
    tok = tokenizer(begin=True, end=end)
    ids = render(tok, PROBLEM, instruction="none")
    assert decoded(tok, ids) == f"<s> {PROBLEM.question}"
    assert render(tokenizer(), PROBLEM, instruction="none") == ids[1:]


def test_choices_stand_by_their_letters():
    """Question, choices and instruction, a line each."""
    problem = Problem("1", "Which?", "B", choices=("yes", "no"))
    assert user_text(problem, "Say.") == "Which?\n(A) yes\n(B) no\nSay."
    assert user_text(problem, "") == "Which?\n(A) yes\n(B) no"
    with pytest.raises(ValueError, match="27 choices"):
        user_text(Problem("1", "Which?", "A", choices=("x",) * 27))


def test_an_instruction_is_a_name_or_its_own_text():
    """The table holds three; anything else is the instruction itself."""
    assert set(INSTRUCTIONS) == {"boxed", "r1", "none"}
    assert resolve_instruction("r1") == INSTRUCTIONS["r1"] and resolve_instruction("Hurry.") == "Hurry."
    assert messages(PROBLEM, "Hurry.") == [{"role": "user", "content": f"{PROBLEM.question}\nHurry."}]


def test_the_prompt_is_never_graded():
    r"""The rendered prompt holds \boxed{42} and gold is 42: a response without a box still has no answer."""
    tok = tokenizer(TEMPLATE)
    prompt = decoded(tok, render(tok, PROBLEM))
    response = "6 times 7 , let me think"
    assert r"\boxed{42}" in prompt
    assert grade_response(response, PROBLEM.answer, is_truncated=False) is Grade.NO_ANSWER
    # what the rule prevents: prompt and response graded as one text would be correct
    assert grade_response(prompt + response, PROBLEM.answer, is_truncated=False) is Grade.CORRECT
    assert compare(PROBLEM.answer, "42") is True
