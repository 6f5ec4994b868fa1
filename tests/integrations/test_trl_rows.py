"""Data sets for TRL: prompts that TRL renders as our solver does, and a column for all that rewards need."""

import sys
from pathlib import Path
from typing import Any

import pytest

import laconic
from laconic.config.policy import PolicyConfig
from laconic.errors import InputError, MissingExtraError, ModelError
from laconic.integrations.in_trl.rows import prompt_ids
from laconic.integrations.trl import dataset
from laconic.models.loading import load_tokenizer
from laconic.prompts.instructions import render
from laconic.selection.program import choose_problems
from laconic.statistics.solve_rate import problem_stats
from laconic.types import Grade, Problem

pytest.importorskip("datasets", reason="the extra `data` is not installed")

ADDRESS = "tiny:mix?count=4&split=train"
TURNS = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
TEMPLATE = TURNS + "{% if add_generation_prompt %}<|assistant|>{% endif %}"


@pytest.fixture
def tokenizer() -> Any:
    return load_tokenizer("tiny", PolicyConfig())


@pytest.mark.parametrize("template", [None, TEMPLATE])
def test_trl_renders_the_prompts_as_our_solver_does(template: str | None, tokenizer: Any) -> None:
    """Turns where there is a chat template, a text where there is none; the instruction and the system's turn go with them."""
    tokenizer.chat_template = template
    rows = dataset(ADDRESS, tokenizer, prompt="be_concise", system="Be of good cheer.")
    problems = laconic.load_problems(ADDRESS)
    assert all(isinstance(row["prompt"], list if template else str) for row in rows)
    assert [prompt_ids(tokenizer, row["prompt"]) for row in rows] == [
        render(tokenizer, problem, instruction="be_concise", system="Be of good cheer.") for problem in problems
    ]
    assert rows["id"] == [p.id for p in problems] and rows["answer"] == [p.answer for p in problems]
    assert set(rows.column_names) == {"prompt", "id", "answer"}


def test_a_tokenizer_that_adds_to_a_prompt_is_refused(tokenizer: Any) -> None:
    """The end token that some tokenizers add to a text would follow the prompt in training alone."""
    tokenizer.chat_template = None

    def closing(*texts: str, text: str = "") -> dict[str, list[int]]:
        return {"input_ids": [*tokenizer.encode(text), tokenizer.eos_token_id]}

    class Closing:
        chat_template, eos_token_id, name_or_path = None, tokenizer.eos_token_id, "closing"
        encode, __call__ = staticmethod(tokenizer.encode), staticmethod(closing)

    with pytest.raises(
        ModelError, match=r"closing: TRL renders the prompt of problem \S+ to \d+ tokens, and our solver"
    ):
        dataset(ADDRESS, Closing())


def test_the_file_of_select_with_its_probe_and_budgets(tokenizer: Any, tmp_path: Path) -> None:
    """References by id; a budget stands in the prompt and in its column, is the same each time, and lies within its ends."""
    problems = laconic.load_problems(ADDRESS)
    stats = [problem_stats(p.id, [Grade.CORRECT, Grade.WRONG], [40 + n, 60]) for n, p in enumerate(problems)]
    choose_problems(problems, stats, {}, "all", {}, count=3, seed=0).write(tmp_path / "train.jsonl")
    make = {"probe": stats, "budget": {"low": 30, "high": 60}}
    rows = dataset(tmp_path / "train.jsonl", "tiny", **make)
    by_id = {stat.problem_id: stat for stat in stats}
    assert len(rows) == 3
    assert rows["ref_mean_tokens"] == [by_id[name].mean_tokens for name in rows["id"]]
    assert rows["ref_solve_rate"] == [0.5] * 3
    assert all(f"maximum {row['budget_tokens']} tokens" in str(row["prompt"]) for row in rows)
    assert all(30 <= budget <= 60 for budget in rows["budget_tokens"])
    assert dataset(tmp_path / "train.jsonl", tokenizer, **make)["budget_tokens"] == rows["budget_tokens"]


def test_choices_and_tolerances_stand_in_columns_where_a_problem_has_them(tokenizer: Any) -> None:
    problems = [
        Problem("a", "2 + 2?", "B", choices=("3", "4")),
        Problem("b", "pi?", "3.14", meta={"tolerance": 0.01}),
        Problem("c", "1, 2?", "1, 2", meta={"tolerance": [0.1, "0.2"]}),
    ]
    rows = dataset(problems, tokenizer)
    assert rows["choices"] == [["3", "4"], None, None]
    assert rows["tolerance"] == [None, ["0.01"], ["0.1", "0.2"]]


def test_what_is_no_problem_is_refused(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="prompt 'be_concize': no such name"):
        dataset(ADDRESS, tokenizer, prompt="be_concize")
    with pytest.raises(InputError, match="problems: expected an address, or a list of at least one Problem"):
        dataset([{"id": "a"}], tokenizer)  # type: ignore[list-item]  # the mistake
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match="the extra trl: pip install 'trl"):
        dataset(ADDRESS, tokenizer)
