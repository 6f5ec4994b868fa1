"""Where an answer ends: tags, end tokens of tokenizers, remarks about the answer, and reasons after it."""

import pytest

from laconic.grading.extraction import extract_answer
from laconic.grading.rules import Graded, grade_response
from laconic.grading.scalar_rules import choice_letter
from laconic.types import Grade

END_TOKENS = [
    "</s>",
    "<s>",
    "<eos>",
    "<EOS>",
    "<pad>",
    "<eot>",
    "<eod>",
    "<eoa>",
    "<unk>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|return|>",
    "<|END_OF_TURN_TOKEN|>",
    "<|tool_call_end|>",
    "<end_of_turn>",
    "<end_of_text>",
    "<endoftext>",
    "<turn|>",
    "<｜end▁of▁sentence｜>",
    "<｜User｜>",
    "[EOS]",
    "[/INST]",
    "<extra_id_0>",
    "<0x0A>",
]
NO_ENDS = {"<s>", "<pad>", "<unk>", "<|tool_call_end|>", "[/INST]", "<extra_id_0>", "<0x0A>"}
SPELLINGS = ["The answer is 70.", "The answer is 70", "Answer: 70", "#### 70", r"\boxed{70}", "70", "So it is 70."]


@pytest.mark.parametrize("token", END_TOKENS)
def test_end_tokens_end_the_answer(token):
    """However the answer is marked, with a space or line between them, and with the next turn begun."""
    for text in SPELLINGS:
        for tail in (token, f" {token}", f"\n{token}", token * 3):
            assert extract_answer(text + tail) == "70", text + tail
    assert extract_answer(f"The answer is 4{token}2") != "42"


@pytest.mark.parametrize("token", [
    *(token for token in END_TOKENS if token not in NO_ENDS), "<|im_end|>\n<|im_start|>user\n", "<|im_start|>user\n",
    "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n", "<end_of_turn>\n<start_of_turn>user\n",
    "<|start_of_role|>user<|end_of_role|>",
    "<|user|>", "<|im_start|>assistant\n", "[INST]",
])  # fmt: skip
def test_nothing_after_the_first_end_is_read(token):
    """Whatever it says: the next turns are the model's own invention, a thought in them included."""
    for text in SPELLINGS[:5]:
        for tail in ("The answer is 71", r"\boxed{71}", "<think>no</think> <answer>71</answer>", "<think>and"):
            assert extract_answer(text + token + tail) == "70", text + token + tail
    assert extract_answer(f"<think>such as {token}</think>The answer is 70") == "70"
    is_own = token.endswith("assistant\n") or token == "[INST]"
    assert extract_answer(f"{token}The answer is 71") == ("71" if is_own else None)


def test_an_end_alone_is_no_answer():
    token = "</s>"
    assert extract_answer(f"The answer is{token}") is None


def test_what_only_looks_like_a_token_stays():
    """Inequalities between absolute values, and an interval."""
    assert extract_answer(r"\boxed{|x|<|y|}") == "|x|<|y|"
    assert extract_answer("The answer is [2, 5)") == "[2, 5)"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<answer>The answer is 70.</answer>", "70"),
        ("<ANSWER>70</ANSWER>", "70"),
        ("<Answer> 70 </Answer>", "70"),
        ("<answer>70</answer> I hope the answer is clear.", "70"),
        ("<answer>70</answer> This shows why the answer is correct and helpful.", "70"),
        ("<answer>70</answer>\n\nThe answer is verified.", "70"),
        ("<final_answer>70</final_answer>", "70"),
        ("<final answer>70</final answer>", "70"),
        ("< answer >70< / answer >", "70"),
        ("\\boxed{70</s>}", "70"),
        ("\\boxed{70<|im_end|>\n}", "70"),
        ('<answer type="int">70</answer>', "70"),
        ("[ANSWER]70[/ANSWER]", "70"),
        ("[answer] 70 [/ans] Done.", "70"),
        ("<answer>70</ans>", "70"),
        ("<answer>The answer is 70, not 71.</answer>", "70"),
        ("The answer is 70 (not 71).", "70"),
        ("The answer is not 70, not 71.", "not 70"),
        ("So \\boxed7", "7"),
        ("So \\boxed70.", "70."),
        ("Ответ: 70", "70"),
        ("< think >\\boxed{7}", None),
        ("<think >\\boxed{7}< / think >\\boxed{70}", "70"),
        ("<unused94>thought \\boxed{3}", None),
        ("<unused94>thought \\boxed{3}<unused95>70", "70"),
        ("<answer>Answer: 70</answer>", "70"),
        ("<answer>\n**Final Answer**\n70\n</answer>", "70"),
        ("<answer>70", "70"),
        ("<answer>41</answer> No: <answer>70</answer>", "70"),
        ("<answer>41</answer> No, the answer is 70.", "70"),
        ("<answer>A</answer> No, the answer is B.", "B"),
        ("<answer>41</answer> No, the answer is infinite.", "infinite"),
        ("<answer>41</answer> <answer></answer>", None),
        ("<answer>41</answer> The answer is", None),
        ("<answer>x = 3\ny = 4</answer>", "x = 3\ny = 4"),
        ("The answer is 70. I hope the answer is clear.", "70"),
        ("The answer is 41. The answer is 70? The answer is unclear.", "unclear"),
        ("The answer is not 70.", "not 70"),
        ("The answer is right.", "right"),
        ("The answer is right triangle.", "right triangle"),
        ("Answer：70", "70"),
        ("答案是70。", "70"),
        ("最终答案：70", "70"),
        ("The answer is 70。", "70"),
        ("The answer is 70.\u200f", "70.\u200f"),
        ("The\u00a0answer\u00a0is\u00a070.", "70"),
        ("So it is 70.\nI hope this helps!", "70"),
        ("So it is 70.\nLet me know if you have questions.", "70"),
    ],
)
def test_tags_and_remarks(text, answer):
    """The last marker counts, unless it is followed by a remark about the answer. What contradicts it counts."""
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is C because A and B are too small.", "C"),
        ("The answer is C (because it fits).", "C"),
        ("The answer is C, since 7 is odd.", "C"),
        ("The answer is C—because it fits.", "C"),
        ("The answer is Tuesday, because 30 = 4*7 + 2.", "Tuesday"),
        ("The answer is yes, since 7 is prime.", "yes"),
        ("The answer is 70 (since 7*10 = 70).", "70"),
        ("The answer is 70; hence we are done.", "70"),
        ("C because A is too small", "C"),
        ("C, since A is too small", "C"),
        ("70, because 7*10 = 70", "70,"),
        ("B as well as C", None),
    ],
)
def test_reasons_are_cut_off(text, answer):
    """Whatever stands between the answer and its reason."""
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("gold", "answer", "is_right"),
    [
        ("C", r"\text{C because A is wrong}", True),
        ("C", "C, since it fits", True),
        ("yes", "Yes, because 7 is prime", True),
        (r"\text{Tuesday}", r"\text{Tuesday, because } 30=4\cdot7+2", True),
        ("42", "42 because 6*7 = 42", True),
        ("42", "41 because it is not 42", False),
        ("A", "A is wrong, so B", False),
        ("A", "A or B because both fit", False),
        ("A", "A is not correct", False),
        ("A", "A bird", False),
        ("B", "B is correct", True),
        ("B", "B but C fits too", False),
        ("7", r"7\ldots", False),
        ("7", r"7 \dots", False),
        ("0.5", r"0.5\ldots", True),
        (r"7\ldots", r"7\ldots", True),
        (r"1, 2, \ldots", r"1, 2, \ldots", True),
    ],
)
def test_words_before_a_reason_are_compared(gold, answer, is_right):
    """A reason changes no verdict; a denial or a second letter does."""
    found = grade_response(rf"\boxed{{{answer}}}", gold, is_truncated=False)
    assert isinstance(found, Graded) and (found.grade is Grade.CORRECT) == is_right


@pytest.mark.parametrize(
    "text", ["a square", "A square", "A is false", "B is not it", "A but also C", "C and D", "a b"]
)
def test_a_letter_that_may_be_a_word_names_no_choice(text):
    assert choice_letter(text, True) is None


def test_two_choices_that_are_the_same_are_graded_alike():
    """Published benchmarks have some; a letter of another choice stays wrong."""
    choices = ("687", " 687 ", "1,493")
    grades = [grade_response(rf"\boxed{{{x}}}", "A", is_truncated=False, choices=choices).grade for x in "ABC"]
    assert grades == [Grade.CORRECT, Grade.CORRECT, Grade.WRONG]


def test_remarks_without_end_take_linear_time():
    """Only the last few markers are looked at."""
    assert extract_answer("The answer is 70. " + "The answer is clear. " * 10_000) == "clear"


@pytest.mark.parametrize("quoted", ['"70"', "“70”", "„70“", "«70»", "``70''", '"70."', r'\text{"70"}'])
def test_quotation_marks_around_an_answer_are_none_of_it(quoted):
    """Wherever it is marked, and in the gold answer too."""
    for text in (f"The answer is {quoted}.", rf"\boxed{{{quoted}}}", f"Answer: {quoted}", f"#### {quoted}"):
        assert grade_response(text, "70", is_truncated=False).grade is Grade.CORRECT, text
        assert grade_response(text, "71", is_truncated=False).grade is Grade.WRONG, text
    assert grade_response(r"\boxed{70}", quoted, is_truncated=False).grade is Grade.CORRECT
