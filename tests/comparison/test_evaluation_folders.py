"""Reading evaluation folders: all of them are found, the unfinished and the malformed are refused by file and line."""

import json
import tracemalloc

import pytest
from folders import BASE, SHORT, Run

from laconic.comparison.folders import Decoding, read_evaluation
from laconic.comparison.places import find_evaluations
from laconic.errors import InputError, LaconicWarning
from laconic.types import Grade


@pytest.mark.parametrize("place", ["", "report", "eval/report"])
def test_evaluations_are_found_in_all_three_places(tmp_path, place):
    """The folder itself, a folder inside, or inside eval/."""
    folder = Run(BASE).write(tmp_path / "run" / place)
    assert find_evaluations(tmp_path / "run") == [folder]


def test_a_run_without_evaluations_is_refused(tmp_path):
    """An empty folder, a missing one, an empty eval/."""
    (tmp_path / "run" / "eval").mkdir(parents=True)
    for path in (tmp_path / "run", tmp_path / "none"):
        with pytest.raises(InputError, match="no evaluation here"):
            find_evaluations(path)


@pytest.mark.parametrize("left", ["samples.jsonl", "settings.json"])
@pytest.mark.parametrize("place", ["", "eval/report"])
def test_an_unfinished_evaluation_is_found_and_refused(tmp_path, left, place):
    """Samples without a summary, or settings without either, beside a finished one or alone."""
    folder = tmp_path / "run" / place
    folder.mkdir(parents=True)
    (folder / left).write_text("{}\n")
    (found,) = find_evaluations(tmp_path / "run")
    with pytest.raises(InputError, match=r"not finished, there is no summary.json; run its evaluation again to resume"):
        read_evaluation(found)


def test_samples_become_one_row_a_problem(tmp_path):
    """Accuracy 1/2 and 0, mean tokens 30 and 70; pooled over problems wrong answers have (40 + 100) / 2 tokens."""
    evaluation = read_evaluation(Run(BASE).write(tmp_path))
    assert evaluation.problems.problem_ids == ("a", "b")
    assert evaluation.problems.accuracy.tolist() == [0.5, 0.0]
    assert evaluation.problems.mean_tokens.tolist() == [30.0, 70.0]
    assert evaluation.identities == (("a", "a?", "7"), ("b", "b?", "7"))
    assert (evaluation.tokens_by_grade[Grade.CORRECT], evaluation.tokens_by_grade[Grade.WRONG]) == (20.0, 70.0)


def test_older_and_newer_samples_read_alike(tmp_path):
    """Answers, thinking tokens and what else a later version writes are passed over."""
    old = Run(BASE).write(tmp_path / "old")
    new = Run(BASE, {"grader": "math-verify 0.8", "bleu": None}).write(tmp_path / "new")
    lines = [json.loads(line) for line in (new / "samples.jsonl").read_text().splitlines()]
    newer = "".join(json.dumps(line | {"answer": None, "thinking_tokens": 3}) + "\n" for line in lines)
    (new / "samples.jsonl").write_text(newer)
    first, second = read_evaluation(old), read_evaluation(new)
    assert first.identities == second.identities
    assert first.problems.mean_tokens.tolist() == second.problems.mean_tokens.tolist()
    assert (first.grader, second.grader) == (None, "math-verify 0.8")


def test_what_nobody_reads_of_an_evaluation_is_said_once_for_each_file(tmp_path):
    """A mistyped figure would otherwise be missing without a word; one that this version writes is not complained of."""
    ours = {"grader": "math-verify 0.8", "oracle_tokens": 3.5, "bleu": None, "prompt": {"name": "x", "system": None}}
    folder = Run(BASE, {**ours, "acuracy": {"mean": 0.5}}).write(tmp_path)
    lines = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    (folder / "samples.jsonl").write_text("".join(json.dumps(line | {"logprob": -1.0}) + "\n" for line in lines))
    with pytest.warns(LaconicWarning) as caught:
        read_evaluation(folder)
    assert [str(warning.message) for warning in caught] == [
        f"{folder / 'summary.json'}: nothing reads 'acuracy'; mistyped, or written by another version",
        f"{folder / 'samples.jsonl'}, line 1: nothing reads 'logprob'; mistyped, or written by another version",
    ]


def test_greedy_decoding_looks_at_neither_top_p_nor_min_p(tmp_path):
    """At temperature 0 they read as off; above it they count, and null or nothing is unknown."""
    greedy = read_evaluation(Run(BASE, {"temperature": 0, "top_p": 0.9, "min_p": None}).write(tmp_path / "greedy"))
    assert greedy.decoding == Decoding(0.0, 1.0, 0.0, 64)
    sampled = read_evaluation(Run(BASE, {"top_p": 0.9, "min_p": None}).write(tmp_path / "sampled"))
    assert sampled.decoding == Decoding(0.6, 0.9, None, 64)
    assert sampled.decoding.words() == "T=0.6, top-p 0.9, min-p unknown, cap 64"


def test_the_same_responses_are_known_again_in_any_order(tmp_path):
    """One word, one length, or a missing text makes the difference; the order of lines does not."""
    plain = read_evaluation(Run(BASE).write(tmp_path / "plain"))
    turned = read_evaluation(Run(dict(reversed(BASE.items()))).write(tmp_path / "turned"))
    longer_by_one = BASE | {"a": [("correct", 21), ("wrong", 40)]}
    assert plain.digest == turned.digest
    assert plain.digest != read_evaluation(Run(longer_by_one).write(tmp_path / "longer")).digest
    lines = (tmp_path / "plain" / "samples.jsonl").read_text().splitlines()
    for text, rest in (("other", lines[1:]), (None, lines[1:])):
        row = json.loads(lines[0]) | {"text": text}
        first = json.dumps({key: value for key, value in row.items() if value is not None})
        (tmp_path / "turned" / "samples.jsonl").write_text("\n".join([first, *rest]) + "\n")
        digest = read_evaluation(tmp_path / "turned").digest
        assert digest != plain.digest
        assert (digest is None) == (text is None)


def test_texts_are_not_held(tmp_path):
    """A file of 4 MB of text is read in well under 1 MB."""
    folder = Run({f"p{i}": [("correct", 10)] for i in range(400)}).write(tmp_path)
    lines = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    (folder / "samples.jsonl").write_text("".join(json.dumps(x | {"text": "word " * 2000}) + "\n" for x in lines))
    del lines
    tracemalloc.start()
    read_evaluation(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 800_000


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"grade": "right"}, "line 2: grade is 'right', expected one of correct, wrong"),
        ({"num_tokens": "9"}, "line 2: num_tokens is '9'"),
        ({"num_tokens": -1}, "line 2: num_tokens is -1"),
        ({"num_tokens": True}, "line 2: num_tokens is True"),
        ({"problem_id": None}, "line 2: problem_id is None"),
        ({"sample": 0}, "line 2: sample 0 of problem 'a' occurs twice"),
        ({"problem_id": "b", "question": "b?"}, "line 4: sample 1 of problem 'b' occurs twice"),
        ({"problem_id": "c"}, "holds 3 problems, summary.json says 2"),
        ({"question": "else?"}, "line 2: one problem id stands for two questions"),
    ],
)
def test_malformed_samples_are_named_by_file_and_line(tmp_path, change, says):
    """Line 2 of samples.jsonl is sample 1 of problem a."""
    file = Run(BASE).write(tmp_path) / "samples.jsonl"
    lines = file.read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | change)
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=says) as error:
        read_evaluation(tmp_path)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"problem_id": "a"}\n', "samples.jsonl, line 1: sample is missing"),
        ('{"problem_id": "a', "samples.jsonl, line 1: not JSON"),
        ("", "holds 0 problems"),
    ],
)
def test_samples_that_are_not_whole_are_named(tmp_path, text, says):
    """A line without a key, a cut line, no line at all."""
    folder = Run(SHORT).write(tmp_path)
    (folder / "samples.jsonl").write_text(text)
    with pytest.raises(InputError, match=says):
        read_evaluation(folder)


@pytest.mark.parametrize(
    ("summary", "says"),
    [
        ('{"benchmark": "report"}', r"summary.json: model is missing"),
        ("[]", r"summary.json: expected a JSON object, found list"),
    ],
)
def test_a_malformed_summary_is_named(tmp_path, summary, says):
    """A missing key; not an object."""
    folder = Run(SHORT).write(tmp_path)
    (folder / "summary.json").write_text(summary)
    with pytest.raises(InputError, match=says):
        read_evaluation(folder)


@pytest.mark.parametrize(
    ("summary", "says"),
    [
        ({"temperature": "hot"}, "temperature is 'hot', expected a number"),
        ({"top_p": True}, "top_p is True, expected a number"),
        ({"max_tokens": None}, "max_tokens is missing"),
        ({"accuracy": None}, "accuracy is None, expected a mean with its interval; remove the file"),
        ({"tokens": None}, "tokens is None, expected a mean"),
    ],
)
def test_a_decoding_that_is_no_number_is_named(tmp_path, summary, says):
    """In summary.json."""
    with pytest.raises(InputError, match=says):
        read_evaluation(Run(SHORT, summary).write(tmp_path))
