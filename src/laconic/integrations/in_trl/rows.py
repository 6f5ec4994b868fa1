"""Problems as a data set of TRL, whose prompts TRL renders to the token ids to which our solver renders them.

1. A tokenizer with a chat template gets the turns, one without gets the plain text: TRL renders both itself.
2. Every prompt is rendered both ways when the data set is made, and one that differs is an error: a prompt that training does not
   show as evaluation does is a mistake that no log shows.
3. What a reward needs of a problem stands in columns. A column that no row has a value for is left out.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from laconic.config.phase import BudgetConfig
from laconic.config.policy import PolicyConfig
from laconic.errors import InputError, MissingExtraError, ModelError
from laconic.models.loading import load_tokenizer
from laconic.problems.forgotten import refuse_forgotten
from laconic.problems.load import load_problems
from laconic.prompts.instructions import messages, plain_text, render, resolve_instruction
from laconic.rollouts.sources import draw_budget
from laconic.selection.probe import read_probe
from laconic.statistics.solve_rate import ProblemStats
from laconic.system.text import brief
from laconic.types import Problem

TrlPrompt = str | list[dict[str, str]]
"""A prompt as TRL takes it: a text, or the turns of a conversation."""


def make_rows(
    source: str | Path | Sequence[Problem],
    tokenizer: Any,
    instruction: str,
    system: str | None,
    probe: str | Path | Sequence[ProblemStats] | None,
    budget: BudgetConfig | None,
    *,
    count: int | None,
    seed: int,
) -> Any:
    """The data set that `laconic.integrations.trl.dataset` describes."""
    try:
        from datasets import Dataset
    except ImportError:
        raise MissingExtraError("a data set for TRL", "trl") from None
    problems = _problems(source, count, seed)
    if isinstance(tokenizer, str | Path):
        tokenizer = load_tokenizer(str(tokenizer), PolicyConfig())
    stats = {stat.problem_id: stat for stat in _stats(probe)}
    if probe is not None and not any(problem.id in stats for problem in problems):
        raise InputError(f"probe: measures none of these problems, the first of which is {brief(problems[0].id)}")
    budgets = {p.id: draw_budget(budget, seed, 0, p.id) for p in problems if budget}
    texts = {p.id: f"{budget.prompt}:{budgets[p.id]}" if budget else instruction for p in problems}
    rows = [
        {
            "prompt": checked_prompt(tokenizer, problem, texts[problem.id], system),
            **_facts(problem, stats.get(problem.id), budgets.get(problem.id)),
        }
        for problem in problems
    ]
    known = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    return Dataset.from_list([{name: row[name] for name in known} for row in rows])


def _problems(source: str | Path | Sequence[Problem], count: int | None, seed: int) -> list[Problem]:
    if isinstance(source, str | Path):
        return load_problems(str(source), seed=seed, count=count)
    given = source if hasattr(source, "__len__") else []
    problems = [problem for problem in given if isinstance(problem, Problem)]
    if not problems or len(problems) < len(given):
        raise InputError("problems: expected an address, or a list of at least one Problem")
    if count is not None and not 1 <= count <= len(problems):
        raise InputError(f"count: expected 1 to {len(problems)}, the number of problems in the list, got {count}")
    refuse_forgotten(problems, "problems")
    return problems[:count]


def _stats(probe: str | Path | Sequence[ProblemStats] | None) -> Sequence[ProblemStats]:
    return read_probe(Path(probe))[1] if isinstance(probe, str | Path) else probe or ()


def checked_prompt(tokenizer: Any, problem: Problem, instruction: str, system: str | None) -> TrlPrompt:
    """The problem's prompt for TRL. Raises `ModelError` where TRL would render it to other ids than our solver does."""
    text = resolve_instruction(instruction)
    is_chat = bool(getattr(tokenizer, "chat_template", None))
    prompt: TrlPrompt = messages(problem, text, system) if is_chat else plain_text(problem, text, system)
    ours, theirs = render(tokenizer, problem, instruction=text, system=system), prompt_ids(tokenizer, prompt)
    if ours != theirs:
        raise ModelError(
            f"{getattr(tokenizer, 'name_or_path', '') or 'tokenizer'}: TRL renders the prompt of problem {problem.id} to "
            f"{len(theirs)} tokens, and our solver to {len(ours)} others; expected a tokenizer that adds nothing to them"
        )
    return prompt


def prompt_ids(tokenizer: Any, prompt: TrlPrompt, **template_options: Any) -> list[int]:
    """The token ids to which TRL's trainers render a prompt; `template_options` are their `chat_template_kwargs`."""
    if isinstance(prompt, str):
        return list(tokenizer(text=prompt)["input_ids"])
    rendered: Mapping[str, Any] = tokenizer.apply_chat_template(
        conversation=prompt, add_generation_prompt=True, tokenize=True, return_dict=True, **template_options
    )
    return list(rendered["input_ids"])


def _facts(problem: Problem, stats: ProblemStats | None, budget_tokens: int | None) -> dict[str, Any]:
    """The columns of a problem besides its prompt; None where nothing is known."""
    tolerance = problem.meta.get("tolerance")
    granted = tolerance if isinstance(tolerance, list | tuple | None) else [tolerance]
    return {
        "id": problem.id,
        "answer": problem.answer,
        "choices": list(problem.choices) or None,
        "tolerance": None if granted is None else [str(limit) for limit in granted],
        "ref_mean_tokens": stats.mean_tokens if stats else None,
        "ref_solve_rate": stats.solve_rate if stats and stats.attempts else None,
        "budget_tokens": budget_tokens,
    }
