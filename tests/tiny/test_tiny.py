"""The embedded reasoner's problems, traces and tokenizer. What the bundled checkpoint shows is in test_checkpoint.py."""

import random
import statistics
from itertools import pairwise

import pytest
import torch

from laconic.splits import SPLITS, split_of
from laconic.tiny import anatomy, build, tasks, tokens, traces
from laconic.tiny.build import BuildSettings, batches, draw_examples, learning_rate_at, make_tokenizer, train_reasoner

FAMILIES = list(tasks.FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_bare_chain_ends_in_the_answer_of_the_problem(family):
    """Three ways to the answer agree: the states, the last number of the bare chain, and the problem's gold answer."""
    for problem in tasks.make_problems(family, count=30, seed=3):
        rng = random.Random(problem.id)
        chain = tasks.draw_chain(rng, family)
        last_step = tasks.bare_chain(chain).rstrip(";").split(";")[-1]
        expected = max(map(int, last_step.replace(">", "<").split("<"))) if family == "largest" else None
        expected = int(last_step.replace(":", "=").split("=")[-1]) if expected is None else expected
        assert tasks.states(chain)[-1] == expected == traces.right_answer(chain)


def test_gold_answers_are_right_by_an_independent_reading_of_the_question():
    """12 + 7 - 30 is evaluated by Python, the largest of a list by max, a count by counting, residues step by step."""
    for problem in tasks.make_problems("mix", count=200, seed=1):
        numbers = [int(piece) for piece in "".join(c if c.isdigit() else " " for c in problem.question).split()]
        family = problem.meta["family"]
        if family == "largest":
            assert int(problem.answer) == max(numbers)
        elif family == "count":
            assert int(problem.answer) == numbers[1:].count(numbers[0])
        elif family == "chain_sum":
            expression = "".join(
                c for c in problem.question.partition(":")[2] or problem.question if c in "0123456789+-"
            )
            assert int(problem.answer) == eval(expression)
        else:
            state, modulus = numbers[0], numbers[-1]
            signs = [word for word in problem.question.split() if word in ("plus", "times")]
            for sign, n in zip(signs, numbers[1:-1], strict=True):
                state = (state + n if sign == "plus" else state * n) % modulus
            assert int(problem.answer) == state


def test_no_trace_is_shorter_than_the_oracle_when_it_is_right_and_plain():
    """The oracle is the bare chain: a plain trace has its length exactly, and checks or repetition only add to it."""
    rng = random.Random(0)
    for _ in range(200):
        chain = tasks.draw_chain(rng, "mix")
        plain, is_right = traces.write_trace(rng, chain, traces.Style(0.0, 0.0, 0.0, 0.0))
        checked, _ = traces.write_trace(rng, chain, traces.Style(0.0, 1.0, 1.0, 0.0))
        assert is_right
        assert tokens.count_tokens(plain) == tasks.oracle_tokens(chain) < tokens.count_tokens(checked)


def test_levels_are_graded():
    """Higher levels have longer shortest chains, on average."""
    for family in FAMILIES:
        rng = random.Random(0)
        means = [
            statistics.mean(tasks.oracle_tokens(tasks.draw_chain(rng, family, (level, level))) for _ in range(100))
            for level in tasks.CHAIN_LEVELS
        ]
        assert all(low < high for low, high in pairwise(means)), family


def test_splits_and_seeds_share_no_problem():
    """Train, watch and report problems never meet, and neighbouring seeds draw different ones."""
    questions = {
        (split, seed): {
            p.question for p in tasks.make_problems("mix", count=150, seed=seed, split=split, levels=(3, 5))
        }
        for split in SPLITS
        for seed in (0, 1)
    }
    for (split_a, seed_a), a in questions.items():
        assert all(split_of(question) == split_a for question in a)
        for (split_b, seed_b), b in questions.items():
            if split_a != split_b:
                assert not a & b
            elif seed_a != seed_b:
                assert len(a & b) < 15


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"family": "poetry", "count": 1}, "unknown family"),
        ({"family": "mix", "count": 1, "split": "exam"}, "unknown split"),
        ({"family": "mix", "count": 1, "levels": (0, 9)}, "levels 0-9"),
        ({"family": "modular", "count": 5_000, "levels": (1, 1)}, "fewer than"),
    ],
)
def test_what_cannot_be_made_is_said(arguments, message):
    """Unknown names and impossible counts are a ValueError that names them."""
    with pytest.raises(ValueError, match=message):
        tasks.make_problems(**arguments)


def test_traces_show_every_verbosity_and_mended_slips():
    """Among many traces are bare steps, detail, checks, redone chains, noticed slips, and wrong answers."""
    rng = random.Random(0)
    written = [traces.write_trace(rng, tasks.draw_chain(rng, "mix"), traces.draw_style(rng)) for _ in range(2000)]
    texts = [text for text, _ in written]
    assert sum("check" in text for text in texts) > 800
    assert sum(traces.AGAIN in text for text in texts) > 800
    assert sum("no;wait," in text for text in texts) > 100
    assert sum("check" not in text and "wait" not in text for text in texts) > 50
    assert 0.55 < statistics.mean(is_right for _, is_right in written) < 0.8


def test_hesitant_writers_are_longer_and_more_often_wrong():
    """Hesitancy raises slips and repetition together: so within a problem correct traces are shorter than wrong ones."""
    rng = random.Random(0)
    outcomes = {}
    for hesitancy, redo in ((0.4, 0.58), (2.0, 0.9)):
        style = traces.Style(0.2, 0.6, redo, hesitancy)
        drawn = [traces.write_trace(rng, tasks.draw_chain(rng, "mix"), style) for _ in range(1000)]
        right = statistics.mean(is_right for _, is_right in drawn)
        outcomes[hesitancy] = right, statistics.mean(tokens.count_tokens(text) for text, _ in drawn)
    assert outcomes[0.4][0] > outcomes[2.0][0] + 0.1
    assert outcomes[0.4][1] < outcomes[2.0][1] - 10


def test_anatomy_adds_up_and_knows_the_parts():
    """The five parts sum to the number of tokens; a plain trace has nothing redundant, a repeated one has."""
    rng = random.Random(0)
    for _ in range(300):
        text, _ = traces.write_trace(rng, tasks.draw_chain(rng, "mix"), traces.draw_style(rng))
        assert anatomy.dissect(text).total == tokens.count_tokens(text)
    assert anatomy.dissect("1+2=3;</think>\\boxed{3}<|end|>").redundant == 0
    # again: 3 + 6 tokens of the chain and 3 of "wait,again:" after the first 6
    repeated = anatomy.dissect("1+2=3;wait,again:1+2=3;</think>\\boxed{3}<|end|>")
    assert (repeated.steps, repeated.repeats, repeated.answer) == (6, 10, 5)
    assert anatomy.dissect("1+2").total == tokens.count_tokens("1+2")


def test_the_tokenizer_cuts_as_the_table_says():
    """`tokenizer.json` and `tokens.pieces` agree, and decoding gives a response back to the letter."""
    tokenizer = make_tokenizer()
    rng = random.Random(0)
    for _ in range(100):
        chain = tasks.draw_chain(rng, "mix")
        text, _ = traces.write_trace(rng, chain, traces.draw_style(rng))
        assert tokenizer.tokenize(text) == tokens.pieces(text)
        assert tokenizer.decode(tokenizer(text).input_ids) == text
        assert tokenizer.unk_token_id not in tokenizer(text + chain.question).input_ids


def test_the_chat_template_reads_the_first_line():
    """Instructions after the question are for larger models: the prompt holds the question alone and opens the thinking."""
    tokenizer = make_tokenizer()
    message = [{"role": "user", "content": "Compute 1 + 2\nput your answer within \\boxed{}"}]
    text = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    assert text == "<|user|>Compute 1 + 2<|assistant|><think>"


def test_training_examples_come_from_the_train_split_and_repeat():
    """The same seed and chunk give the same examples, another chunk others; batches keep to their budget."""
    assert draw_examples(0, 0, 50, is_plain=False) == draw_examples(0, 0, 50, is_plain=False)
    assert draw_examples(0, 0, 50, is_plain=False) != draw_examples(0, 1, 50, is_plain=False)
    settings = BuildSettings(steps=3, plain_frac=0.0)
    for ids, labels in [batch for batch, _ in zip(batches(settings), range(3), strict=False)]:
        assert ids.shape == labels.shape and ids.numel() <= 8192
        assert (labels[:, 0] == -100).all() and (labels != -100).any(dim=1).all()


def test_the_learning_rate_warms_up_and_ends_near_zero():
    """Linear to the peak, cosine to zero."""
    settings = BuildSettings(steps=1000, warmup_steps=100, learning_rate=1.0)
    rates = [learning_rate_at(step, settings) for step in range(1000)]
    assert rates[49] == pytest.approx(0.5) and max(rates) == pytest.approx(1.0) and rates[-1] < 1e-4


def test_building_twice_gives_the_same_weights(monkeypatch):
    """Three steps of few traces from scratch, twice: equal to the bit; another seed differs."""
    monkeypatch.setattr(build, "CHUNK_TRACES", 64)
    one, two, other = (
        train_reasoner(BuildSettings(steps=3, threads=1, seed=seed, batch_tokens=1024)).state_dict()
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
