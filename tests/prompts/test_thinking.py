"""Thinking tokens by every kind of mark, special or not, opened by the prompt or not; and how a response ends."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from laconic.grading.thought import MARKS, ThinkingMarks, after_thought, find_thought
from laconic.prompts.endings import closing_token, template_end
from laconic.prompts.forced_answers import closing_text, force_text, forced_ids
from laconic.prompts.thinking import decode_response, marks_of, prompt_mark, thinking_tokens
from laconic.types import FinishReason, Response

GENERATION = "{% if add_generation_prompt %}<|assistant|>{% endif %}"
TURNS = "{% for m in messages %}<|user|>{{ m['content'] }}<|end|>{% endfor %}" + GENERATION


def byte_tokenizer(*special, template=None, added=(), eos="<|end|>"):
    """Bytes, and tokens of their own: `special` ones are left out by decoding, `added` ones are not."""
    names = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", *special]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({token: i for i, token in enumerate([*names, *alphabet])}, []))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokens = {"pad_token": "<|pad|>"} | ({"eos_token": eos} if eos else {})
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, extra_special_tokens=names, **tokens)
    tokenizer.add_tokens(list(added))
    tokenizer.chat_template = template
    return tokenizer


def pieces_of(marks):
    """The special tokens of which a pair consists, as their vocabularies have them."""
    if "<|channel|>" in marks.opens:
        return ("<|channel|>", "<|message|>", "<|start|>")
    if marks.opens.endswith(">thought"):  # Gemma's: a token, then a word
        return (marks.opens.removesuffix("thought"), marks.closes)
    return (marks.opens, marks.closes)


def template_of(marks):
    """A chat template that names the marks, where the vocabulary alone does not tell them."""
    return f"{{# {marks.opens} #}}{TURNS}" if marks.is_unused else None


def response(tokenizer, text, finish=FinishReason.STOP):
    ids = tuple(tokenizer.encode(text, add_special_tokens=False))
    return Response(ids, (0.0,) * len(ids), decode_response(tokenizer, ids), finish)


@pytest.mark.parametrize("marks", MARKS)
@pytest.mark.parametrize("kind", ["special", "added", "bytes"])
def test_thinking_is_counted_up_to_the_mark_that_closes_it(marks, kind):
    """Whether the marks are tokens that decoding leaves out, tokens that it keeps, or no tokens at all."""
    pieces, template = pieces_of(marks), template_of(marks)
    tokenizer = {
        "special": lambda: byte_tokenizer(*pieces, template=template),
        "added": lambda: byte_tokenizer(added=pieces, template=template),
        "bytes": byte_tokenizer,
    }[kind]()
    thought, answer = f"{marks.opens}2+2{marks.closes}", "so 4<|end|>"
    count = len(tokenizer.encode(thought, add_special_tokens=False))
    said = response(tokenizer, thought + answer)
    assert said.text == f"{thought}so 4"
    assert thinking_tokens(said, tokenizer) == count
    rest = response(tokenizer, f"2+2{marks.closes}{answer}")
    mark = prompt_mark(tokenizer.encode(f"<|user|>2+2?<|assistant|>{marks.opens}\n"), tokenizer)
    assert mark == marks.opens
    assert thinking_tokens(rest, tokenizer, mark) == len(
        tokenizer.encode(f"2+2{marks.closes}", add_special_tokens=False)
    )
    for unfinished in (FinishReason.STOP, FinishReason.LENGTH):
        open_end = response(tokenizer, r"Try \boxed{7}. Wait,", unfinished)
        assert thinking_tokens(open_end, tokenizer, mark) == open_end.num_tokens
    closed = prompt_mark(tokenizer.encode(f"<|assistant|>{marks.opens}{marks.closes}\n\n"), tokenizer)
    assert thinking_tokens(response(tokenizer, "4"), tokenizer, closed) == 0
    assert (marks_of(tokenizer) is not None) is (kind != "bytes")


@pytest.mark.parametrize("marks", MARKS)
def test_a_forced_answer_ends_the_thinking_with_the_models_own_mark(marks):
    tokenizer = byte_tokenizer(*pieces_of(marks), "<|end|>", template=template_of(marks))
    thought = find_thought(marks.opens + force_text(tokenizer))
    assert thought.closes == marks.closes and not thought.is_open
    assert tokenizer.decode(forced_ids(tokenizer)) == force_text(tokenizer)
    ended = find_thought(marks.opens + "so" + str(closing_text(tokenizer)))
    assert ended.closes == marks.closes and not ended.is_open and closing_text(tokenizer).endswith("\n\n")


@pytest.mark.parametrize("kind", ["special", "added"])
def test_spare_tokens_of_a_vocabulary_are_no_marks_but_are_read_in_a_text(kind):
    """Every Gemma has `<unused94>` and `<unused95>`; of all of them MedGemma alone thinks in them."""
    spare = [f"<unused{i}>" for i in range(99)]
    tokenizer = byte_tokenizer(*spare, template=TURNS) if kind == "special" else byte_tokenizer(added=spare)
    assert marks_of(tokenizer) is None
    assert closing_text(tokenizer) is None and force_text(tokenizer) == "\n\nThe final answer is \\boxed{"
    for finish in (FinishReason.STOP, FinishReason.LENGTH):
        assert thinking_tokens(response(tokenizer, "so 4", finish), tokenizer) is None
    thought = "<unused94>thought\n2+2<unused95>"
    count = len(tokenizer.encode(thought, add_special_tokens=False))
    assert thinking_tokens(response(tokenizer, f"{thought}so 4"), tokenizer) == count


def test_a_text_that_stops_inside_gemma_4s_thought_has_no_answer():
    """Its marks are special tokens, which decoding leaves out elsewhere."""
    tokenizer = byte_tokenizer("<|channel>", "<channel|>", "<unused94>", "<unused95>")
    assert marks_of(tokenizer) == ThinkingMarks("<|channel>thought", "<channel|>")
    assert after_thought(response(tokenizer, "<|channel>thought\nTry \\boxed{7}? No, it").text) is None
    ended = response(tokenizer, "<|channel>thought\nTry \\boxed{7}? No<channel|>\\boxed{8}<|end|>")
    assert after_thought(ended.text) == r"\boxed{8}"


def test_without_marks_an_answer_is_forced_by_a_sentence_and_no_thought_is_closed():
    tokenizer = byte_tokenizer("<|end|>")
    assert (force_text(tokenizer), closing_text(tokenizer)) == ("\n\nThe final answer is \\boxed{", None)


def test_an_ordinary_text_is_decoded_without_special_tokens():
    tokenizer = byte_tokenizer("<|extra|>")
    assert response(tokenizer, "4<|extra|>!<|end|>").text == "4!"


@pytest.mark.parametrize(
    ("template", "eos", "stated", "closing"),
    [
        (TURNS, "<|end|>", (1,), "<|end|>"),
        (TURNS, "<|pad|>", (1,), "<|end|>"),  # the tokenizer's own end token is another
        (TURNS, None, (1,), "<|end|>"),
        (TURNS, "<|end|>", (), "<|end|>"),
        (TURNS, "<|pad|>", (3,), "<|assistant|>"),  # nothing stops at the template's: the first that the configs state
        (TURNS, "<|pad|>", (3, 0), "<|pad|>"),
        (None, "<|pad|>", (), "<|pad|>"),
        (TURNS, "<|end|>", (9_999,), "<|end|>"),  # outside of the embedding
        (TURNS, None, (), None),
        (TURNS, None, (9_999,), None),
    ],
)
def test_a_text_is_closed_by_the_templates_token_where_a_response_stops_at_it(template, eos, stated, closing):
    tokenizer = byte_tokenizer(template=template, eos=eos)
    found = closing_token(stated, tokenizer, len(tokenizer))
    assert (None if found is None else tokenizer.convert_ids_to_tokens(found)) == closing
    assert template_end(tokenizer) == (None if template is None else 1)
