"""Chat templates that do what no template should: each is one line that names the model, in time and in little memory."""

import os
import re
import signal
from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from laconic.config.solver import PromptConfig
from laconic.errors import ModelError
from laconic.prompts import templates
from laconic.prompts.instructions import render
from laconic.prompts.templates import TemplateError, own_system_text, render_turns
from laconic.rollouts.solver import Solver
from laconic.types import Problem

PATIENCE, SHORT = 60.0, 0.5
TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 1 + 1?"}]
SIMPLE = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }} {% endfor %}{% if add_generation_prompt %}[go]{% endif %}"
LATE = r"no end within 0\.5 seconds$"
NESTED = "{% for i in range(99999) %}{% for j in range(99999) %}{% for k in range(99999) %}" + "{% endfor %}" * 3

HOSTILE = {
    "{{ raise_exception('System role not supported') }}": r"System role not supported$",
    "{{ raise_exception('red \\x1b[31m\\ntwo lines') }}": r"red \\x1b\[31m two lines$",
    "{% for x in range(10**9) %}{% endfor %}": r"OverflowError",
    NESTED: LATE,
    "{% set n = namespace(i=0) %}{% for i in range(99999) %}{% for j in range(99999) %}{% set n.i = i %}"
    + "{% endfor %}" * 2: LATE,
    "{{ 10 ** (10 ** 9) }}": LATE,
    "{{ 'a' * 10**7 }}": r"it writes 10,000,000 characters for a conversation of 33$",
    "{{ 'a' * 10**9 }}": r"MemoryError: it may take 64 MiB$",
    "{{ 'a' * 10**12 }}": r"MemoryError",
    "{{ ('a' * 10**6) | replace('a', 'b' * 10**6) }}": r"MemoryError|OverflowError",
    "{{ 'x' | center(10**11) }}": r"MemoryError",
    "{% for m in messages %}{{ m['content'] * 10**6 }}{% endfor %}": r"it writes 23,000,000 characters",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}": r"RecursionError",
    "{% if messages %}": r"TemplateSyntaxError",
    "{{ messages | nothing }}": r"TemplateAssertionError|TemplateRuntimeError",
    "{% nothing %}": r"TemplateSyntaxError",
    "{{ messages[9]['content'].strip() }}": r"UndefinedError",
    "{{ messages.append(1) }}": r"SecurityError",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}": r"SecurityError|UndefinedError",
    "{{ 1 / 0 }}": r"ZeroDivisionError",
    "{% include '/etc/passwd' %}": r"TypeError",
    "{% extends 'base' %}": r"TypeError",
    "{{ '%s' | format }}": r"TypeError",
    "{{ messages[0].content + 1 }}": r"TypeError",
}


def tokenizer(template):
    """A tokenizer of bytes with this template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({token: i for i, token in enumerate(["<s>", "</s>", *alphabet])}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", name_or_path="some/model")
    made.chat_template = template
    return made


@pytest.fixture(autouse=True)
def little_memory(monkeypatch):
    """So that taking all of it takes no time; no child of another test is used, and none is left behind."""
    monkeypatch.setattr(templates, "MAX_TEMPLATE_BYTES", 64 << 20)
    for key in list(templates._CHILDREN):
        templates._drop(key)
    yield
    for key in list(templates._CHILDREN):
        templates._drop(key)


@pytest.mark.parametrize(("template", "says"), HOSTILE.items())
def test_a_template_that_renders_no_prompt_is_one_line(template, says):
    """It names the model, and what the template did."""
    limit = SHORT if says == LATE else PATIENCE
    with pytest.raises(ModelError) as caught:
        render_turns(tokenizer(template), TURNS, timeout_seconds=limit)
    line = str(caught.value)
    assert line.startswith("some/model: the chat template renders no prompt: ")
    assert line.isprintable() and re.search(says, line), line


@pytest.mark.parametrize("template", [5, {"tool_use": "{{ 1 }}"}, ["{{ 1 }}"]])
def test_what_is_no_template_is_one_line(template):
    """A number, named templates without a default, a list."""
    with pytest.raises(TemplateError, match="some/model: the chat template renders no prompt: "):
        render(tokenizer(template), Problem("1", "What is 1 + 1?", "2"))


def test_a_prompt_is_what_the_tokenizer_makes_of_it():
    """The same tokens as by the library alone, whatever is said, and with the special tokens that the tokenizer has now."""
    tok = tokenizer("{{ bos_token }}" + SIMPLE)
    for question in ("What is 1 + 1?", "Wieviel ist 1 + 1?\n\té \U0001f600 <s> {{ bos_token }}", "x" * 300_000):
        problem = Problem("1", question, "2")
        turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": question}]
        expected = tok.apply_chat_template(turns, add_generation_prompt=True, tokenize=True, return_dict=False)
        assert render(tok, problem, instruction="none", system="Be brief.") == expected
    tok.bos_token = "</s>"
    assert render_turns(tok, TURNS).startswith("</s>[system] Be brief.")
    tok.chat_template = SIMPLE
    assert render_turns(tok, TURNS, add_generation_prompt=False) == "[system] Be brief. [user] What is 1 + 1? "


def test_a_template_that_fails_at_some_text_fails_there_alone():
    """The conversations before and after it are rendered, even where a child had to be killed over it."""
    tok = tokenizer("{% if 'bomb' in messages[0]['content'] %}" + NESTED + "{% endif %}" + SIMPLE)

    def rendered(question):
        return render_turns(tok, [{"role": "user", "content": question}], timeout_seconds=SHORT)

    assert rendered("tea") == "[user] tea [go]"
    with pytest.raises(TemplateError, match=r"no end within 0\.5 seconds"):
        rendered("bomb")
    assert rendered("tea") == "[user] tea [go]"


def test_a_child_that_was_killed_is_replaced():
    """As where memory runs out: that is not the template's doing."""
    chatty = tokenizer(SIMPLE)
    expected = render_turns(chatty, TURNS)
    (child,) = templates._CHILDREN.values()
    os.kill(child._child._pid, signal.SIGKILL)
    assert render_turns(chatty, TURNS) == expected


def test_tokenizers_of_one_template_share_a_child_and_few_are_kept():
    """A tokenizer that is loaded twice costs one fork."""
    for _ in range(2):
        assert render_turns(tokenizer(SIMPLE), TURNS)
    assert len(templates._CHILDREN) == 1
    for number in range(2 * templates.KEPT_CHILDREN):
        assert render_turns(tokenizer(SIMPLE + str(number)), TURNS).endswith(f"[go]{number}")
    assert len(templates._CHILDREN) == templates.KEPT_CHILDREN


def test_a_thousand_prompts_take_no_fork_each(monkeypatch):
    """After the first one no child is started."""
    tok = tokenizer(SIMPLE)
    render_turns(tok, TURNS)
    monkeypatch.setattr(templates, "ForeignCode", None)
    for number in range(1000):
        assert f"What is {number}?" in render_turns(tok, [{"role": "user", "content": f"What is {number}?"}])


@pytest.mark.parametrize("turn", ["[{}]{}", "<|im_start|>{}\n{}<|im_end|>\n", "{}: {}\n\n"])
@pytest.mark.parametrize("own", ["You are Nobody, made by nobody.", "Think.\n\nThen answer.", ""])
def test_a_system_text_of_the_template_s_own_is_found(turn, own):
    """In templates of several kinds that write one where none is given; where none is written, or system texts are refused,
    there is none."""
    opening, closing = turn.format("{{ m['role'] }}", "{{ m['content'] }}"), turn.format("assistant", "")
    written = turn.format("system", own) if own else ""
    without = "{% if messages[0]['role'] != 'system' %}" + written + "{% endif %}"
    rest = "{% for m in messages %}" + opening + "{% endfor %}{% if add_generation_prompt %}" + closing + "{% endif %}"
    assert own_system_text(tokenizer(without + rest)) == (own or None)
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}"
    assert own_system_text(tokenizer(refusing + written + rest)) is None


UNFIT = {
    "fixed prompt": "renders problem a and another question to the same prompt",
    "{{ messages[0].content[:4] }}": "renders problem b and a to the same prompt",
    "{{ [1, 2, 3, 4, 5, 6, 7, 8, 9] | random }}{{ messages[0].content }}": "renders problem a to another prompt each time",
    "{{ strftime_now('%H:%M:%S') }}{{ messages[0].content }}": "writes the time of day into every prompt",
}


@pytest.mark.parametrize("template", UNFIT)
def test_a_template_that_drops_the_question_or_draws_the_prompt_is_refused(template):
    problems = [Problem("a", "What is 1 + 1?", "2"), Problem("b", "What is 2 + 2?", "4")]
    lm = SimpleNamespace(name="some/model", tokenizer=tokenizer(template), check_ids=lambda ids, whose: None)
    with pytest.raises(ModelError, match=f"some/model: the chat template {UNFIT[template]}; mend"):
        Solver(lm, None, None, PromptConfig()).longest_prompt(problems)


@pytest.mark.parametrize("template", [SIMPLE, "{{ strftime_now('%d %b %Y') }}{{ messages[0].content }}"])
def test_a_question_may_stand_twice_and_a_template_may_write_the_date(template):
    problems = [Problem(name, "What is 1 + 1?", "2") for name in "ab"]
    lm = SimpleNamespace(name="some/model", tokenizer=tokenizer(template), check_ids=lambda ids, whose: None)
    assert Solver(lm, None, None, PromptConfig()).longest_prompt(problems)[1] == "a"
