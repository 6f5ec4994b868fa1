"""Prompts: what is fed is the template's rendering, and it never reaches the grader."""

import copy
import pickle
import re

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from laconic.errors import InputError
from laconic.grading.rules import grade_response, same_answer
from laconic.prompts.instructions import (
    BOX,
    BOXED_INSTRUCTION,
    COMPRESSION_PROMPTS,
    DRAFTS,
    INSTRUCTIONS,
    LETTER,
    R1_INSTRUCTION,
    asked_tokens,
    conversation_ids,
    messages,
    plain_text,
    render,
    resolve_instruction,
    user_text,
)
from laconic.types import Grade, Problem

PROBLEM = Problem("1", "What is 6 times 7 ?", "42")
TEMPLATE = (
    r"{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} {% endfor %}example \boxed{42} "
    r"{% if add_generation_prompt %}<assistant>{% endif %}"
)


def tokenizer(template=None, *, begin=False, end=False):
    """A word-level tokenizer that knows every word of these tests."""
    words = " ".join([PROBLEM.question, BOXED_INSTRUCTION, "<user> <system> <assistant> example (A) (B) be kind"])
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


def test_an_instruction_is_a_name_or_a_text_with_spaces():
    """A text is returned as it stands, one that is no English word too; resolving twice is resolving once."""
    assert resolve_instruction("r1") is R1_INSTRUCTION and resolve_instruction("") == ""
    assert resolve_instruction("Be quick.") == "Be quick." and resolve_instruction("请逐步推理") == "请逐步推理"
    assert messages(PROBLEM, "Be quick.") == [{"role": "user", "content": f"{PROBLEM.question}\nBe quick."}]
    drafts = resolve_instruction("chain_of_draft")
    assert resolve_instruction(drafts) is drafts


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("be_consice", ["'be_consice'", "no such name", "be_concise"]),
        ("Token_Limits:100", ["no such name", "token_limit"]),
        ("Hurry.", ["no such name", "laconic list prompts"]),
        ("word_limit", ["needs a number", "word_limit:100"]),
        ("word_limit:", ["whole number"]),
        ("word_limit:many", ["'word_limit:many'", "whole number"]),
        ("word_limit:0", ["from 1 to 999,999,999"]),
        ("word_limit:-5", ["from 1 to 999,999,999"]),
        ("tale:" + "9" * 40, ["from 1 to 999,999,999"]),
        ("tale:" + "9" * 5000, ["from 1 to 999,999,999"]),
        ("token_limit:1000000000", ["from 1 to 999,999,999"]),
        ("token_limit:1_000", ["from 1 to 999,999,999"]),
        ("x" * 3000, ["no such name"]),
        ("word_limit:5:5", ["whole number"]),
        ("boxed:5", ["'boxed:5'", "takes no number"]),
        ("chain_of_draft:5", ["takes no number"]),
    ],
)
def test_a_mistyped_name_is_one_line_that_says_what_would_be_right(name, said):
    """A single word is a name: it never becomes the instruction by accident."""
    with pytest.raises(InputError) as caught:
        resolve_instruction(name)
    assert all(piece in str(caught.value) for piece in said) and "\n" not in str(caught.value), str(caught.value)
    assert len(str(caught.value)) < 250


def test_the_tokens_that_an_instruction_asks_for_are_known():
    """Of names alone, and of those that count tokens; words, letters and steps are no tokens."""
    counting = [name for name in INSTRUCTIONS if asked_tokens(f"{name}:007") == 7]
    assert counting == ["token_limit", "tale", "l1_exact", "l1_max"]
    assert all(asked_tokens(name) is None for name in (*INSTRUCTIONS, "Use less than 9 tokens.", "tale:", "tale:x"))


def test_every_named_instruction_asks_for_one_box_but_none():
    """With and without a number, so that an answer can be found whatever the style."""
    named = [row.text for row in INSTRUCTIONS.values() if row.text is not None]
    numbered = [resolve_instruction(f"{name}:7") for name, row in INSTRUCTIONS.items() if row.with_number is not None]
    assert [text for text in named if text.count(r"\boxed{}") != 1] == [""]
    assert all(text.count(r"\boxed{}") == 1 and re.search(r"\b7\b", text) and "{n}" not in text for text in numbered)
    assert len(numbered) == 8
    assert resolve_instruction("tale:50") == f"Let's think step by step and use less than 50 tokens. {BOX}"
    assert resolve_instruction("l1_max:512") == f"{R1_INSTRUCTION} Think for maximum 512 tokens."


def test_the_compression_prompts_are_the_31_of_the_paper():
    """8 styles without a number, Chinese, and limits on words (7), letters, tokens, characters of Chinese (4 each), steps (3)."""
    assert len(COMPRESSION_PROMPTS) == 8 + 1 + 7 + 3 * 4 + 3 == 31
    assert len({resolve_instruction(name) for name in COMPRESSION_PROMPTS}) == 31


def test_drafts_are_earlier_turns_of_the_conversation():
    """Three examples, each asked as the problem is; the zero-shot form says the same words without them."""
    instruction = resolve_instruction("chain_of_draft")
    turns = messages(PROBLEM, instruction, "be kind")
    assert [turn["role"] for turn in turns] == ["system", *["user", "assistant"] * 3, "user"]
    assert all(turn["content"].endswith(BOX) for turn in turns if turn["role"] == "user")
    assert turns[-1]["content"] == user_text(PROBLEM, instruction)
    assert resolve_instruction("chain_of_draft_zero_shot") == instruction
    assert len(messages(PROBLEM, resolve_instruction("chain_of_draft_zero_shot"))) == 1


@pytest.mark.parametrize("number", range(3))
def test_a_draft_is_right_and_its_steps_have_at_most_five_words(number):
    """The examples are what they teach."""
    response = DRAFTS[number][1]
    steps = response.split("\n")
    assert all(len(re.findall(r"[A-Za-z]{2,}", step)) <= 5 for step in steps) and len(steps) >= 2
    assert grade_response(response, ("18", "4", "7")[number], is_truncated=False).grade is Grade.CORRECT


def test_without_a_template_the_examples_stand_before_the_question():
    """System, then each example closed by a blank line, then the problem; a rendering by name says the same."""
    text = plain_text(PROBLEM, resolve_instruction("chain_of_draft"), "be kind")
    question, response = DRAFTS[0]
    assert text.startswith(f"be kind\n{question}\nThink step by step") and f"{response}\n\n{DRAFTS[1][0]}\n" in text
    assert text.count(r"\boxed{}") == 4 and text.endswith(f"{BOX}\n")
    tok = tokenizer()
    assert render(tok, PROBLEM, instruction="chain_of_draft", system="be kind") == tok.encode(text)


def test_an_instruction_keeps_its_examples_on_the_way_to_another_process():
    """It is a string wherever one is wanted."""
    drafts = resolve_instruction("chain_of_draft")
    for other in (pickle.loads(pickle.dumps(drafts)), copy.deepcopy(drafts)):
        assert other == drafts and messages(PROBLEM, other) == messages(PROBLEM, drafts)


@pytest.mark.parametrize("name", ["boxed", "be_concise", "token_limit:10"])
def test_multiple_choice_asks_for_the_letter_in_the_box(name):
    """Only where there are choices and gold is one of their letters, and never in a text of the user's own."""
    letters = Problem("1", "Which?", "B", choices=("yes", "no"))
    spelled = Problem("1", "Which?", "no", choices=("yes", "no"))
    instruction = resolve_instruction(name)
    assert user_text(letters, instruction) == f"Which?\n(A) yes\n(B) no\n{instruction} {LETTER}"
    assert LETTER not in user_text(spelled, instruction) + user_text(PROBLEM, instruction)
    assert LETTER not in user_text(letters, "Box it in \\boxed{}.") + user_text(letters, resolve_instruction("none"))


@pytest.mark.parametrize(
    ("gold", "wants"),
    [("b", True), ("(B)", True), ("B.", True), ("B. no", True), (r"\text{B}", True), ("no", False), ("C", False)],
)
def test_a_gold_letter_is_read_as_the_grader_reads_it(gold, wants):
    assert (LETTER in user_text(Problem("1", "Which?", gold, choices=("yes", "no")))) is wants
    assert LETTER not in user_text(Problem("1", "Which?", gold))


class Bytes:
    """A tokenizer without a template that keeps every character."""

    def encode(self, text):
        return list(text.encode())


@pytest.mark.parametrize("name", ["boxed", "none", "chain_of_draft"])
@pytest.mark.parametrize("system", [None, "", "Be kind."])
def test_without_a_template_a_conversation_is_the_text_that_the_model_was_trained_on(name, system):
    """A served model gets its turns as `messages`; it was trained on `plain_text`."""
    text = resolve_instruction(name)
    served = bytes(conversation_ids(Bytes(), messages(PROBLEM, text, system)))
    assert served.decode() == plain_text(PROBLEM, text, system)
    assert served == bytes(render(Bytes(), PROBLEM, instruction=text, system=system))


def test_the_prompt_is_never_graded():
    r"""The rendered prompt holds \boxed{42} and gold is 42: a response without a box still has no answer."""
    tok = tokenizer(TEMPLATE)
    prompt = decoded(tok, render(tok, PROBLEM))
    response = "6 times 7 , let me think"
    assert r"\boxed{42}" in prompt
    assert grade_response(response, PROBLEM.answer, is_truncated=False).grade is Grade.NO_ANSWER
    # what the rule prevents: prompt and response graded as one text would be correct
    assert grade_response(prompt + response, PROBLEM.answer, is_truncated=False).grade is Grade.CORRECT
    assert same_answer(PROBLEM.answer, "42") is True
