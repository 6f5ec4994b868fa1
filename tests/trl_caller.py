"""A trainer as TRL's reward functions see one: what they may read of it, and how it calls them. Not a test module.

`test_inside_trl.py` holds it against the trainers of TRL where these are installed.
"""

from collections import defaultdict
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from laconic.prompts.instructions import messages, plain_text
from laconic.types import Group

ROWS_WITH_A_PROMPT = ("prompt", "completion", "completion_ids")


class Caller:
    """Calls `reward_funcs` with rows as GRPOTrainer does. `arguments` are those of its config."""

    tools = rollout_func = environment_factories = None

    def __init__(self, tokenizer: Any, ends: Sequence[int], reward_funcs: Sequence[Any], **arguments: Any) -> None:
        known = {
            "max_completion_length": 96,
            "generation_kwargs": None,
            "mask_truncated_completions": False,
            "scale_rewards": "group",
        }
        self.args = SimpleNamespace(**(known | arguments))
        self.max_completion_length = self.args.max_completion_length
        self.processing_class, self.eos_token_ids, self.chat_template_kwargs = tokenizer, list(ends), {}
        self.num_generations, self.num_generations_eval = 4, 2
        self.model = SimpleNamespace(training=True)
        self.accelerator = SimpleNamespace(num_processes=1, process_index=0)
        self.callback_handler = SimpleNamespace(callbacks=[])
        self.state = SimpleNamespace(stateful_callbacks={})
        self.reward_funcs = list(reward_funcs)
        self.logged: dict[str, list[float]] = defaultdict(list)

    def _log_metric(self, name: str, value: float) -> None:
        self.logged[name].append(value)

    def arguments_for(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The arguments of a call with these rows of a data set, each with its `completion_ids`."""
        ids = [list(row["completion_ids"]) for row in rows]
        texts = [self.processing_class.decode(one, skip_special_tokens=True) for one in ids]
        is_chat = not isinstance(rows[0]["prompt"], str)
        return {
            "prompts": [row["prompt"] for row in rows],
            "completions": [[{"role": "assistant", "content": text}] if is_chat else text for text in texts],
            "completion_ids": ids,
            **{key: [row[key] for row in rows] for key in rows[0] if key not in ROWS_WITH_A_PROMPT},
            "trainer_state": self.state,
            "log_extra": lambda column, values: None,
            "log_metric": self._log_metric,
        }

    def call(self, rows: Sequence[dict[str, Any]]) -> list[list[float | None]]:
        """What each reward function returns."""
        arguments = self.arguments_for(rows)
        return [function(**arguments) for function in self.reward_funcs]


def rows_of(groups: Sequence[Group], tokenizer: Any, instruction: str) -> list[dict[str, Any]]:
    """A row for each rollout of these groups, as TRL repeats the rows of a data set."""
    is_chat = bool(getattr(tokenizer, "chat_template", None))
    return [
        {
            "prompt": messages(g.problem, instruction) if is_chat else plain_text(g.problem, instruction),
            "id": g.problem.id,
            "answer": g.problem.answer,
            "ref_mean_tokens": g.ref_mean_tokens,
            "ref_solve_rate": g.ref_solve_rate,
            "budget_tokens": g.budget_tokens,
            "completion_ids": rollout.response.token_ids,
        }
        for g in groups
        for rollout in g.rollouts
    ]
