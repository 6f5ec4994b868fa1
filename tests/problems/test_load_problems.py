"""Sources of problems: what is read is what was written, what is wrong is named, and sets never meet."""

import json
import sys
from pathlib import Path

import pytest

from laconic.errors import MissingExtraError, ProblemsError
from laconic.problems import generated
from laconic.problems.load import KINDS, load_problems, write_problems
from laconic.problems.sets import disjoint_sets
from laconic.splits import SPLITS, split_of
from laconic.types import Problem


def written(path: Path, *lines: object) -> str:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines), "utf-8")
    return str(path)


def test_a_file_is_read_in_its_order_and_unknown_keys_are_kept(tmp_path):
    """Numbers become strings as id and answer, choices a tuple, and level and subject go to meta."""
    source = written(
        tmp_path / "p.jsonl",
        {"id": 7, "problem": "1+1?", "answer": 2, "level": 3, "subject": "sums"},
        {"id": "b", "problem": "Which?", "answer": "B", "choices": ["x", "y"]},
    )
    first, second = load_problems(source)
    assert (first.id, first.question, first.answer, first.meta) == ("7", "1+1?", "2", {"level": 3, "subject": "sums"})
    assert (second.choices, second.meta, second.source) == (("x", "y"), {}, source)
    assert [problem.id for problem in load_problems(source, count=1)] == ["7"]


GOOD = {"id": "a", "problem": "q", "answer": "1"}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([GOOD, "{not json"], ["line 2", "JSON"]),
        ([GOOD, "[1]"], ["line 2", "object"]),
        ([{"id": "a", "problem": "q"}], ["line 1", "'answer'"]),
        ([{"problem": "q", "answer": "1"}], ["line 1", "'id'"]),
        ([GOOD | {"problem": 3}], ["line 1", "'problem'", "int"]),
        ([GOOD | {"answer": ["1"]}], ["line 1", "'answer'", "list"]),
        ([GOOD | {"answer": True}], ["line 1", "'answer'", "bool"]),
        ([GOOD | {"answer": "  "}], ["line 1", "'answer'", "empty"]),
        ([GOOD | {"choices": "AB"}], ["line 1", "'choices'", "list"]),
        ([GOOD, {"id": "b", "problem": "q", "answer": "1"}, GOOD], ["line 3", "'a'", "line 1"]),
        ([], ["no problems"]),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line_that_names_it(tmp_path, lines, said):
    """The error names the file, the line and what was expected."""
    source = written(tmp_path / "p.jsonl", *lines)
    with pytest.raises(ProblemsError) as caught:
        load_problems(source)
    text = str(caught.value)
    assert text.startswith(source) and "\n" not in text
    assert all(piece in text for piece in said), text


def test_a_missing_file_and_a_short_file_are_the_users_error(tmp_path):
    """Neither a missing file nor a count beyond the file passes silently."""
    with pytest.raises(ProblemsError, match=r"gone\.jsonl"):
        load_problems(str(tmp_path / "gone.jsonl"))
    source = written(tmp_path / "p.jsonl", GOOD)
    with pytest.raises(ProblemsError, match="2 problems asked for, but it holds 1"):
        load_problems(source, count=2)
    with pytest.raises(ProblemsError, match="from 1 to 10000000, got 0"):
        load_problems(source, count=0)


def test_a_source_of_no_kind_is_told_the_kinds():
    """The error lists the table of kinds."""
    with pytest.raises(ProblemsError) as caught:
        load_problems("math")
    assert all(kind.form in str(caught.value) for kind in KINDS)


def three_of_every_kind(folder, monkeypatch) -> list[str]:
    """One source of every kind in `KINDS`, each with at least three problems, in that order."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for package in ("datasets", "reasoning_gym"):
        pytest.importorskip(package)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("LACONIC_DATA", str(folder))
    rows = [{"id": str(i), "problem": f"{i} + 1?", "answer": str(i + 1)} for i in range(3)]
    (folder / "set").mkdir()
    for path in (folder / "gsm8k.jsonl", folder / "p.jsonl", folder / "set" / "train.jsonl"):
        written(path, *rows)
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "p.parquet")
    return [
        "gym:chain_sum",
        "tiny:mix",
        "seeker:mix",
        "words:mix",
        f"hf:{folder / 'set'}:train",
        f"{folder}/p.jsonl",
        f"{folder}/p.parquet",
        "gsm8k",
    ]


def test_every_kind_of_source_takes_a_count_and_refuses_what_it_does_not_know(tmp_path, monkeypatch):
    """`SOURCE?count=2` is the first two of `SOURCE`, whatever its kind, and so is `count=2` beside a source that allows three."""
    sources = three_of_every_kind(tmp_path, monkeypatch)
    assert [next(kind for kind in KINDS if kind.has_name(source)) for source in sources] == list(KINDS)
    for source in sources:
        three = load_problems(source, count=3)
        assert load_problems(f"{source}?count=2") == load_problems(f"{source}?count=3", count=2) == three[:2]
        with pytest.raises(ProblemsError, match="3 problems asked for, but its count is 2"):
            load_problems(f"{source}?count=2", count=3)
        for argument, said in {
            "colour=red": "unknown argument 'colour'; expected .*count",
            "count=0": "count must be a whole number of at least 1, got 0",
            "count=2.5": "got 2.5",
            "count": "'count' must be one arg=value",
            "": "'' must be one arg=value",
            "count=1&count=2": "each argument once",
        }.items():
            with pytest.raises(ProblemsError, match=said) as caught:
                load_problems(f"{source}?{argument}")
            assert str(caught.value).startswith(f"{source}?{argument}: ") and "\n" not in str(caught.value)


def test_a_count_beyond_the_file_is_refused_wherever_it_is_said(tmp_path):
    """In the address as beside it."""
    source = written(tmp_path / "p.jsonl", GOOD)
    with pytest.raises(ProblemsError, match="2 problems asked for, but it holds 1"):
        load_problems(f"{source}?count=2")


def test_a_file_whose_name_holds_a_question_mark_is_that_file(tmp_path):
    """With arguments of its own or none; one that does not exist is no source, and the message shows the whole text."""
    two = [GOOD, GOOD | {"id": "b"}]
    source = written(tmp_path / "why?.jsonl", *two)
    assert len(load_problems(source)) == 2
    assert [problem.source for problem in load_problems(f"{source}?count=1")] == [source]
    odd = written(tmp_path / "a?count=1.jsonl", *two)
    assert len(load_problems(odd)) == 2
    with pytest.raises(ProblemsError, match=r"gone\?count=1\.jsonl: no such source"):
        load_problems(str(tmp_path / "gone?count=1.jsonl"))


def test_problems_are_of_the_file_however_many_are_taken(tmp_path):
    """Evaluations of the same file are of one source."""
    source = written(tmp_path / "p.jsonl", GOOD)
    assert load_problems(f"{source}?count=1")[0].source == source


def test_written_problems_are_read_back_as_they_were(tmp_path):
    """Round trip, with Unicode, line breaks, choices and meta; a source of their own is not kept."""
    problems = [
        Problem("1", "Wie viel ist 1 + 1?\n∑ “x”", "B", choices=("½", "2"), meta={"level": 5, "tags": ["a"]}),
        Problem("2", "q", r"\frac{1}{2}", meta={"question": "kept"}),
    ]
    path = tmp_path / "new" / "p.jsonl"
    write_problems(path, problems)
    loaded = load_problems(str(path))
    assert [(p.id, p.question, p.answer, p.choices, p.meta) for p in loaded] == [
        (p.id, p.question, p.answer, p.choices, p.meta) for p in problems
    ]
    assert [entry.name for entry in path.parent.iterdir()] == ["p.jsonl"]


@pytest.mark.parametrize("answer", ["C", "7", "two", "?"])
def test_an_answer_that_names_no_choice_is_refused_with_file_and_line(tmp_path, answer):
    """With two choices only A and B can ever be graded correct; how the letter is written does not matter."""
    sound = [
        {"id": str(i), "problem": "q", "answer": a, "choices": ["7", "8"]} for i, a in enumerate(["A", "b", "(B)"])
    ]
    path = tmp_path / "p.jsonl"
    assert len(load_problems(written(path, *sound))) == 3
    written(path, *sound, {"id": "bad", "problem": "q", "answer": answer, "choices": ["7", "8"]})
    with pytest.raises(ProblemsError, match=r"p\.jsonl, line 4: 'answer' must be the letter of a choice, one of A, B"):
        load_problems(str(path))


def test_a_parquet_column_that_python_cannot_hold_is_named(tmp_path):
    """A time after the year 9999, and one in a zone that there is not."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    late = pyarrow.array([2**60], pyarrow.timestamp("us"))
    nowhere = pyarrow.array([0], pyarrow.timestamp("us", tz="Mars/Olympus"))
    for name, odd in (("when", late), ("where", nowhere)):
        table = pyarrow.table({"problem": ["1 + 1?"], "answer": ["2"], name: odd})
        parquet.write_table(table, tmp_path / "p.parquet")
        with pytest.raises(ProblemsError, match=rf"p\.parquet, column '{name}': cannot be read as parquet \(.+\)"):
            load_problems(str(tmp_path / "p.parquet"))


def test_parquet_and_hub_rows_without_an_id_are_numbered(tmp_path):
    """Both accept `question` for `problem`; a hub source may be a local folder."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = tmp_path / "set"
    folder.mkdir()
    table = pyarrow.table({"question": ["1+1?", "2+2?"], "answer": ["2", "4"], "level": [1, 2]})
    parquet.write_table(table, folder / "train.parquet")
    loaded = load_problems(str(folder / "train.parquet"))
    assert [(p.id, p.answer, p.meta) for p in loaded] == [("1", "2", {"level": 1}), ("2", "4", {"level": 2})]
    bad = tmp_path / "bad.parquet"
    bad.write_bytes(b"no parquet")
    with pytest.raises(ProblemsError, match="parquet"):
        load_problems(str(bad))


def test_a_hub_dataset_may_be_a_local_folder(tmp_path, monkeypatch):
    """`hf:FOLDER:SPLIT` reads without a network, and a dataset that is not there is the user's error."""
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "set"
    folder.mkdir()
    written(folder / "train.jsonl", {"problem": "1+1?", "answer": "2"}, {"problem": "2+2?", "answer": "4"})
    assert [p.answer for p in load_problems(f"hf:{folder}:train", count=1)] == ["2"]
    with pytest.raises(ProblemsError, match="cannot be loaded"):
        load_problems(f"hf:{tmp_path / 'nothing'}:train")
    with pytest.raises(ProblemsError, match="hf:NAME:SPLIT"):
        load_problems("hf:onlyname")


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ('{"id": "2", "question": "b?", "answer": "3"}', "column names don't match"),
        ('{"id": "2", "problem": "b?" "answer": "3"}', "JSON parse error"),
    ],
)
def test_a_hub_dataset_that_cannot_be_made_says_why(tmp_path, monkeypatch, second, said):
    """The library's own message is that an error occurred; the reason is in its cause, which may have several lines."""
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    written(tmp_path / "train-1.jsonl", {"id": "1", "problem": "a?", "answer": "2"})
    (tmp_path / "train-2.jsonl").write_text(second)
    with pytest.raises(ProblemsError, match=said) as caught:
        load_problems(f"hf:{tmp_path}:train")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("module", "source", "extra"),
    [
        ("pyarrow", "x.parquet", "data"),
        ("datasets", "hf:a:b", "data"),
        ("reasoning_gym", "gym:chain_sum", "gym"),
    ],
)
def test_a_missing_package_is_named_by_its_extra(monkeypatch, module, source, extra):
    """`None` in sys.modules makes the import fail as if the package were absent."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=f"the extra {extra}: pip install '"):
        load_problems(source)


# --- generated -------------------------------------------------------------------------------------------------------


@pytest.fixture
def gym():
    pytest.importorskip("reasoning_gym")
    return "gym:chain_sum?min_terms=3&max_terms=4"


def test_gym_problems_are_distinct_named_by_their_question_and_repeatable(gym):
    """The same source gives the same problems; a shorter count is the beginning of a longer one."""
    problems = load_problems(gym, count=40)
    assert len({p.question for p in problems}) == len({p.id for p in problems}) == 40
    assert problems == load_problems(gym, count=40)
    assert load_problems(gym, count=15) == problems[:15]
    assert all(p.id.startswith("gym:chain_sum/") and len(p.id) == len("gym:chain_sum/") + 12 for p in problems)


def test_a_task_that_does_not_end_is_one_line(gym, monkeypatch):
    """Counting the primes up to 10^12 takes a list of terabytes, and up to 2 * 10^7 more than half a second."""
    monkeypatch.setattr(generated, "GYM_SECONDS", 0.5)
    monkeypatch.setattr(generated, "GYM_BYTES", 256 << 20)
    for arguments, says in (
        ("count_primes?count=1&max_n=1000000000000", "MemoryError: it may take 256 MiB"),
        ("count_primes?count=1&max_n=20000000", "no end within 0.6 seconds"),
    ):
        with pytest.raises(ProblemsError, match=f"makes no problems of these arguments: {says}"):
            load_problems(f"gym:{arguments}")


def test_neighbouring_gym_seeds_share_nothing(gym):
    """reasoning-gym seeds item i with seed + i: its seeds 0 and 1 would share 199 of 200 problems."""
    zero, one = ({p.question for p in load_problems(gym, seed=seed, count=200)} for seed in (0, 1))
    assert len(zero & one) <= 2


@pytest.mark.parametrize(
    "source", ["gym:chain_sum?min_terms=3&max_terms=3&min_digits=1&max_digits=1", "tiny:chain_sum", "seeker:pair"]
)
def test_splits_never_meet_under_any_seed(source):
    """A question belongs to one split whatever the seed, in a task with only about 4,000 questions too."""
    if source.startswith("gym"):
        pytest.importorskip("reasoning_gym")
    joint = "&" if "?" in source else "?"
    sets = {
        split: {
            p.question for seed in (0, 1, 2) for p in load_problems(f"{source}{joint}split={split}&count=60", seed=seed)
        }
        for split in SPLITS
    }
    assert all(split_of(question) == split for split, questions in sets.items() for question in questions)
    assert not (sets["train"] & sets["report"] or sets["train"] & sets["watch"] or sets["watch"] & sets["report"])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("gym:chain_sums", ["no task", "chain_sum"]),
        ("gym:chain_sum?terms=3", ["'terms'", "min_terms", "count, seed, split"]),
        ("gym:chain_sum?min_terms", ["'min_terms'", "arg=value"]),
        ("gym:chain_sum?min_terms=2&min_terms=3", ["each argument once"]),
        ("gym:chain_sum?split=test", ["train, watch, report"]),
        ("gym:chain_sum?count=many", ["count", "many"]),
        ("gym:chain_sum?seed=-1", ["seed", "-1"]),
        ("gym:chain_sum?min_terms=9&max_terms=2", ["refuses", "max_terms"]),
        ("gym:chain_sum?size=3", ["'size'"]),
        ("gym:chain_sum?min_terms=true", ["min_terms must be a whole number", "True"]),
        ("gym:chain_sum?min_terms=2.5", ["min_terms must be a whole number", "2.5"]),
        ("gym:chain_sum?allow_negation=2", ["allow_negation must be true or false"]),
        ("gym:basic_arithmetic?operators=plus", ["operators is a list, which an address cannot give"]),
        ("tiny:nothing", ["nothing", "mix"]),
        ("seeker:nothing", ["nothing", "inverse", "mix"]),
        ("seeker:mix?solutions=long", ["plain", "trial_and_error", "long"]),
        ("tiny:chain_sum?levels=hard", ["levels", "hard"]),
        ("tiny:chain_sum?levels=1-9", ["1-9"]),
        ("tiny:chain_sum?levels=²", ["levels", "²"]),
        ("words:mix?levels=1-²", ["levels", "²"]),
        ("words:mix?levels=" + "9" * 40, ["levels"]),
        ("words:mix?lengths=nan", ["lengths", "nan"]),
        ("tiny:mix?seed=" + "9" * 40, ["seed", "9223372036854775807"]),
        ("tiny:mix?count=" + "9" * 40, ["count", "at most 10000000"]),
        ("tiny:mix?count=100000000", ["count", "at most 10000000"]),
        ("tiny:mix?count=" + "9" * 5000, ["count", "at least 1"]),
        ("tiny:chain_sum?size=3", ["'size'", "levels"]),
    ],
)
def test_what_is_wrong_with_a_generators_source_is_named(source, said):
    """One line with the source, what is wrong and what would be right."""
    if source.startswith("gym"):
        pytest.importorskip("reasoning_gym")
    with pytest.raises(ProblemsError) as caught:
        load_problems(source)
    assert all(piece in str(caught.value) for piece in [source, *said]), str(caught.value)


def test_a_task_with_too_few_questions_is_an_error_and_not_a_long_wait():
    """Sums of two single digits: 10 * 10 * 2 signs, far fewer than 5,000 distinct questions."""
    pytest.importorskip("reasoning_gym")
    with pytest.raises(ProblemsError, match="fewer than 400 distinct problems"):
        load_problems("gym:chain_sum?min_terms=2&max_terms=2&max_digits=1&count=400")


def test_the_query_bounds_a_generator_as_the_arguments_do():
    """`count` and `seed` in the source, and 100 problems where nobody says how many."""
    assert len(load_problems("tiny:chain_sum")) == 100
    assert load_problems("tiny:chain_sum?count=7&seed=3") == load_problems("tiny:chain_sum", count=7, seed=3)
    assert len(load_problems("tiny:chain_sum?count=7", count=5)) == 5
    with pytest.raises(ProblemsError, match="its count is 7"):
        load_problems("tiny:chain_sum?count=7", count=8)


def test_tiny_levels_bound_the_difficulty():
    """One level, or a range with both ends."""
    assert {p.meta["level"] for p in load_problems("tiny:mix?levels=3", count=20)} == {3}
    assert {p.meta["level"] for p in load_problems("tiny:mix?levels=1-2", count=60)} == {1, 2}


def test_a_question_that_only_asks_for_another_length_is_the_same_question():
    """Trained on with words about its length and reported without them, it would be reported as never seen."""
    plain, asked = (load_problems(f"words:mix?count=30{share}") for share in ("", "&lengths=1"))
    assert not {problem.question for problem in plain} & {problem.question for problem in asked}
    assert disjoint_sets(train=asked, report=plain).train == ()
