"""The seeker's problems, traces and tokenizer, and how it is trained."""

import random
import re
import statistics
import sys
from dataclasses import replace
from itertools import combinations, permutations, product
from pathlib import Path

import pytest
import torch

from laconic.errors import InputError
from laconic.seeker import anatomy, searches, traces
from laconic.seeker.build import SEARCHING, SEEKER_SETTINGS, draw_search_and_trace
from laconic.seeker.tokens import SIGNS, count_search_tokens, search_pieces
from laconic.splits import SPLITS, split_of
from laconic.tiny.build import BuildSettings, batches, draw_examples, make_tokenizer, train_reasoner
from laconic.tiny.tasks import finish

FAMILIES = list(searches.SEARCHES)
DOCS = Path(__file__).resolve().parents[2] / "docs"


def drawn(family, count, seed=0, levels=(1, 5)):
    rng = random.Random(seed)
    return [searches.draw_search(rng, family, levels) for _ in range(count)]


def numbers_of(question):
    return [int(word) for word in "".join(c if c.isdigit() else " " for c in question).split()]


def solutions(family, question, largest=99):
    """Every answer to a question, found by trying all, from the text of the question alone. No value of `signs` leaves 0 to
    `largest`, or any may where that is None."""
    numbers = numbers_of(question)
    if family == "inverse":
        a, b, modulus = numbers
        return [str(x) for x in range(1, modulus) if a * x % modulus == b]
    if family == "divisor":
        bound, number = numbers
        odd = range(3, bound, 2)
        return [str(p) for p in odd if number % p == 0 and all(p % d for d in range(3, p, 2))]
    if family == "pair":
        *terms, target = numbers
        return [f"{a},{b}" for a, b in combinations(terms, 2) if a + b == target]
    words = question.split()
    signs = [
        word
        for word in words[words.index("by" if words[-1] in SIGNS and "by" in words else "Reach") :]
        if word in SIGNS
    ]
    *terms, target = numbers if words[0] != "Reach" else [*numbers[1:], numbers[0]]
    found = []
    for row in product(signs, repeat=len(terms) - 1):
        values = [terms[0]]
        for sign, n in zip(row, terms[1:], strict=True):
            values.append({"plus": values[-1] + n, "minus": values[-1] - n, "times": values[-1] * n}[sign])
        if values[-1] == target and (largest is None or all(0 <= value <= largest for value in values)):
            found.append(",".join(row))
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_each_question_has_the_gold_answer_and_no_other(family):
    """Brute force over the text of the question finds exactly the answer."""
    for problem in searches.make_searches(family, count=60, seed=3):
        assert solutions(family, problem.question) == [problem.answer], problem.question


@pytest.mark.parametrize("family", FAMILIES)
def test_exactly_one_candidate_hits_and_every_working_comes_to_its_result(family):
    """The last number of a working is the result of its trial, or leaves 0 to 99 where the row is abandoned."""
    for search in drawn(family, 60):
        assert [trial.result for trial in search.trials].count(search.target) == 1
        assert (
            len({trial.text for trial in search.trials}) == len({t.answer for t in search.trials}) == len(search.trials)
        )
        for trial in search.trials:
            last = int(trial.working.rsplit("=", 1)[1])
            if trial.result in searches.ABANDONED:
                assert last < 0 if trial.result == searches.BELOW else last > searches.LARGEST_VALUE
            else:
                assert str(last) == trial.result


def test_the_examples_of_the_docs_have_one_answer_and_the_trials_that_the_code_writes():
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \| `([^`]+)`", (DOCS / "seeker.md").read_text(), re.MULTILINE)
    examples = {family: (question, trial) for family, question, trial in rows}
    assert list(examples) == FAMILIES
    assert all(len(solutions(family, question)) == 1 for family, (question, _) in examples.items())
    prime, number = (int(text) for text in (solutions("divisor", examples["divisor"][0])[0], "1261"))
    assert examples["divisor"] == (f"prime below 20 of {number}", searches._divisor_trial(number, prime).text)


def test_one_question_in_ten_of_signs_has_another_row_that_leaves_the_values():
    """As docs/seeker.md says; 0.1 has a standard error of 0.007 over 2,000."""
    found = [solutions("signs", search.question, None) for search in drawn("signs", 2000)]
    assert 0.07 < sum(len(rows) > 1 for rows in found) / len(found) < 0.13


def test_the_blind_bound_is_the_mean_over_where_the_answer_may_be_and_no_order_is_better():
    """Over all orders of three candidates of 4, 5 and 6 tokens: stop at the hit, and need no trial for the last one."""
    trials = tuple(searches.Trial(f"{'1,' * i}1:", str(i), "1", "") for i in range(3))
    costs = [count_search_tokens(trial.text) for trial in trials]
    search = searches.Search("inverse", 1, "", trials, "1")

    def expected(order):
        spent = [sum(costs[i] for i in order[: k + 1]) for k in range(3)]
        return (spent[0] + spent[1] + spent[1]) / 3  # the hit is first, second, or last and known by then

    best = min(map(expected, permutations(range(3))))
    assert costs == [4, 6, 8] and best == (4 + 10 + 10) / 3
    assert searches.blind_tokens(search) == pytest.approx(best + count_search_tokens(finish("1")))


def test_no_response_that_shows_its_answer_is_shorter_than_the_oracle():
    """A search that begins at the hit has the oracle's length; any other direct one is longer."""
    for family in FAMILIES:
        for search in drawn(family, 30, seed=1):
            texts = [
                traces.write_search(random.Random(i), search, traces.direct_manner(random.Random(i), search)).text
                for i in range(60)
            ]
            lengths = [count_search_tokens(text) for text in texts]
            assert min(lengths) >= searches.shortest_tokens(search) <= searches.blind_tokens(search)
            lucky = [n for n, text in zip(lengths, texts, strict=True) if text.startswith(search.hit.text)]
            assert set(lucky) <= {searches.shortest_tokens(search)}


def test_levels_are_graded():
    """Higher levels need longer blind searches."""
    for family in FAMILIES:
        means = [
            statistics.mean(map(searches.blind_tokens, drawn(family, 60, levels=(level, level))))
            for level in range(1, 6)
        ]
        assert means == sorted(means), family


def test_splits_share_no_problem_and_seeds_draw_others():
    """Every question belongs to its split; two seeds share few."""
    for split in SPLITS:
        one, other = (
            {p.question for p in searches.make_searches("mix", count=60, seed=seed, split=split)} for seed in (0, 1)
        )
        assert all(split_of(question) == split for question in one)
        assert len(one & other) < 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"family": "chain_sum", "count": 1}, "unknown family 'chain_sum': expected one of inverse"),
        ({"family": "mix", "count": 1, "split": "exam"}, "unknown split"),
        ({"family": "mix", "count": 1, "levels": (0, 9)}, "levels 0-9"),
        ({"family": "inverse", "count": 5_000, "levels": (1, 1)}, "fewer than"),
    ],
)
def test_what_cannot_be_made_is_said(arguments, message):
    """Unknown names and impossible counts are a ValueError that names them."""
    with pytest.raises(ValueError, match=message):
        searches.make_searches(**arguments)


def usual_traces(count, seed=0):
    """Traces as the training shows them where nothing is asked for."""
    rng = random.Random(seed)
    for _ in range(count):
        search = searches.draw_search(rng, "mix")
        manner, is_interrupted = traces.draw_manner(rng, search), rng.random() < traces.INTERRUPTED_SHARE
        yield search, traces.write_search(rng, search, manner, is_interrupted=is_interrupted)


def test_traces_hold_what_the_measurements_ask_for():
    """Right in 60 to 80%, found over a wide span of lengths, and searched in vain in many ways."""
    written = list(usual_traces(1500))
    right = [trace.is_right for _, trace in written]
    found = [anatomy.tokens_until_found(trace.text, search.hit.text) for search, trace in written]
    low, *_, high = statistics.quantiles([n for n in found if n is not None], n=10)
    assert 0.6 < statistics.mean(right) < 0.8
    assert high > 5 * low
    assert any(n is not None and not is_right for n, is_right in zip(found, right, strict=True))  # overlooked
    assert sum(traces.AGAIN in trace.text for _, trace in written) > 300
    assert sum("no;" in trace.text for _, trace in written) > 10


def test_a_right_answer_is_the_one_that_the_trace_boxes():
    """`is_right` says whether the boxed text is the hit's answer."""
    for search, trace in usual_traces(300, seed=1):
        assert trace.is_right == (f"\\boxed{{{search.hit.answer}}}" in trace.text)


def test_traces_obey_what_is_asked():
    """Brief ones check and redo nothing, those of N tokens never exceed N and mostly come close, double checks are two."""
    rng, deviations, kinds = random.Random(0), [], set()
    for _ in range(1500):
        search = searches.draw_search(rng, "mix")
        request, manner = traces.draw_request(rng, search)
        text, word = traces.write_search(rng, search, manner).text, request.split(" ")[0]
        kinds.add(word)
        if request == traces.BRIEFLY:
            assert "check" not in text and traces.AGAIN not in text
        elif word == traces.TAKE:
            budget = int(request.split(" ")[1])
            assert count_search_tokens(text) <= budget
            deviations.append(1 - count_search_tokens(text) / budget)
        elif request == traces.TWICE:
            assert anatomy.num_checks(text) % 2 == 0 or "no;" in text
    assert kinds == {"", "no", "take", "check"}
    assert statistics.median(deviations) < 0.2


def test_an_interrupted_trace_answers_with_what_it_has():
    """Cut after any token: the answer is the hit where one was written and noticed, and a candidate in any case."""
    search = drawn("pair", 1)[0]
    manner = traces.Manner(True, traces.NEVER, false_hit=0.0)
    lengths = set()
    for seed in range(60):
        text = traces.write_search(random.Random(seed), search, manner, is_interrupted=True).text
        thinking, _, answer = text.partition("</think>")
        lengths.add(count_search_tokens(thinking))
        assert answer[len("\\boxed{") :].partition("}")[0] in {trial.answer for trial in search.trials}
        assert search.hit.text not in thinking or search.hit.answer in answer
    assert len(lengths) > 10


def test_solutions_are_right_and_repeat():
    """Worked solutions of both manners end in the answer, the same for the same seed."""
    for manner in traces.SOLUTION_MANNERS:
        for search in drawn("mix", 20):
            text = traces.write_searched(0, search, manner)
            assert text.endswith(f"\\boxed{{{search.hit.answer}}}")
            assert text == traces.write_searched(0, search, manner)


def test_anatomy_finds_the_hit_and_counts_what_follows():
    """Only a whole trial counts: 112:22 is not 12:22, and a check is no trial."""
    text = "5:3;check:7*12=84-62=22no;12:22;wait,again:5:3;12:22;</think>\\boxed{12}<|end|>"
    # 4 tokens, 13 of the check, 4 of the hit; then 4 of "wait,again:" and 8
    assert anatomy.tokens_until_found(text, "12:22;") == 4 + 13 + 4
    assert anatomy.tokens_after_found(text, "12:22;") == 4 + 8
    assert anatomy.tokens_until_found(text, "2:22;") is None and anatomy.tokens_after_found(text, "2:22;") == 0


def test_the_tokenizer_cuts_as_the_table_says():
    """`tokenizer.json` and `search_pieces` agree, decoding gives a response back to the letter, and no word is unknown."""
    tokenizer, rng = make_tokenizer(SEARCHING), random.Random(0)
    for _ in range(150):
        asked, text = draw_search_and_trace(rng, False)
        assert tokenizer.tokenize(text) == search_pieces(text)
        assert tokenizer.decode(tokenizer(text).input_ids) == text
        assert tokenizer.unk_token_id not in tokenizer(text + asked).input_ids


@pytest.mark.parametrize(
    ("instruction", "kept"),
    [
        ("Please reason step by step, and put your final answer within \\boxed{}.", ""),
        ("Think step by step before answering, but be concise. Put your final answer within \\boxed{}.", " no check"),
        ("Answer in at most 100 tokens. Put your final answer within \\boxed{}.", " take 100"),
        ("Check twice.", " check twice"),
    ],
)
def test_the_chat_template_keeps_what_was_learnt(instruction, kept):
    """The question and, of the lines after it, the three requests."""
    message = [{"role": "user", "content": f"7*x=10 mod 12\n{instruction}"}]
    text = make_tokenizer(SEARCHING).apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    assert text == f"<|user|>7*x=10 mod 12{kept}<|assistant|><think>"


def test_examples_repeat_and_plain_ones_are_clean():
    """The same seed and chunk give the same examples; plain traces have no false hit, and nearly all are right."""
    assert draw_examples(0, 0, 40, is_plain=False, lesson=SEARCHING) == draw_examples(
        0, 0, 40, is_plain=False, lesson=SEARCHING
    )
    rng = random.Random(0)
    assert not any("no;" in draw_search_and_trace(rng, True)[1] for _ in range(100))
    plain = [traces.write_search(rng, s, traces.plain_manner(rng, s)).is_right for s in drawn("mix", 200)]
    assert statistics.mean(plain) > 0.9


def test_training_takes_the_lesson(monkeypatch):
    """Two steps from scratch: a model of the lesson's vocabulary, the same twice."""
    monkeypatch.setattr("laconic.tiny.build.CHUNK_TRACES", 64)
    settings = BuildSettings(SEARCHING, steps=2, layers=1, width=32, threads=1, batch_tokens=1024, attention="eager")
    one, two = train_reasoner(settings), train_reasoner(settings)
    assert one.config.vocab_size == len(SEARCHING.vocabulary)
    assert all(a.equal(b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_batches_have_few_shapes():
    """The processor's library prepares each shape anew: lengths are multiples of 16, and all batches but the last of a chunk are
    full."""
    shapes = [tuple(ids.shape) for ids, _ in batches(replace(SEEKER_SETTINGS, steps=60))]
    assert all(length % 16 == 0 and rows * length <= SEEKER_SETTINGS.batch_tokens for rows, length in shapes)
    full = [(rows, length) for rows, length in shapes if rows == SEEKER_SETTINGS.batch_tokens // length]
    assert len(full) >= len(shapes) - 3


def test_a_compiled_model_is_the_one_that_is_trained(monkeypatch):
    """`--compile` trains through the compiled model, whose shapes are dynamic, and nothing else changes."""
    called = []

    def compiled(model, *, dynamic):
        assert dynamic
        return lambda **inputs: called.append(1) or model(**inputs)

    monkeypatch.setattr("laconic.tiny.build.CHUNK_TRACES", 64)
    monkeypatch.setattr(torch, "compile", compiled)
    monkeypatch.setenv("CXX", sys.executable)  # any program that is there: nothing is compiled
    settings = BuildSettings(SEARCHING, steps=2, layers=1, width=32, threads=1, batch_tokens=1024, attention="eager")
    one, two = train_reasoner(settings), train_reasoner(replace(settings, is_compiled=True))
    assert len(called) == 2
    assert all(a.equal(b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_a_compiler_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match=r"no-such-compiler: not found; expected a C\+\+ compiler"):
        train_reasoner(BuildSettings(SEARCHING, steps=1, layers=1, width=32, is_compiled=True))


def test_an_older_torch_without_the_optimizer_is_named(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(InputError, match=r"has no Muon.*; expected torch 2\.9 or newer"):
        train_reasoner(BuildSettings(SEARCHING, steps=1, layers=1, width=32, muon_rate=0.02))
