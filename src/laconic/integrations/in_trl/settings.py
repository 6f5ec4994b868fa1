"""What a trainer of TRL is set to, as far as a reward of ours depends on it, and what in it our rewards cannot serve.

1. A reward function gets no trainer. It gets `log_metric`, a method of the trainer, and the trainer is what that is bound to.
2. `read_trainer` reads the trainer: tokenizer, end tokens, cap, group size, processes. A response has no finish reason in TRL, so
   every end token counts: those of the generation config, of the tokenizer, and of `generation_kwargs`.
3. `REFUSED_ARGUMENTS` and `REFUSED_TRAINERS` are the settings under which something else would be paid than what was asked for.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from laconic.errors import InputError
from laconic.prompts.endings import stated_ends, stop_ids

OTHER_CAPS = ("max_new_tokens", "max_length", "max_tokens")
TEXT_STOPS = ("stop", "stop_strings")
OWN_ARGUMENTS = frozenset({"trainer_state", "log_extra", "log_metric", "environments"})
"""What TRL gives a reward function beside the columns of the data set."""


@dataclass(frozen=True, slots=True)
class TrainerSettings:
    """What a reward needs to know of the trainer that calls it.

    `stop_ids` end a response, `max_tokens` is its cap, `group_size` the number of responses to a prompt, in evaluation too. Of
    `num_processes` this is number `rank`. `template_options` are the trainer's `chat_template_kwargs`.
    """

    tokenizer: Any
    stop_ids: frozenset[int]
    max_tokens: int
    group_size: int
    is_training: bool
    num_processes: int
    rank: int
    template_options: Mapping[str, Any]


def trainer_behind(arguments: Mapping[str, Any]) -> Any:
    """The trainer that calls a reward function with these arguments. Raises `InputError` where none of TRL's does."""
    trainer = getattr(arguments.get("log_metric"), "__self__", None)
    if not hasattr(trainer, "num_generations"):
        raise InputError(
            "reward: expected to be called by a GRPOTrainer or RLOOTrainer of trl 1.16 or newer; they pass log_metric, by which "
            "the tokenizer, the cap and the group size are found"
        )
    return trainer


def read_trainer(trainer: Any) -> TrainerSettings:
    """What the trainer is set to now: while it trains, or while it evaluates."""
    is_training = bool(trainer.model.training)
    return TrainerSettings(
        tokenizer=tokenizer_of(trainer.processing_class),
        stop_ids=_stop_ids(trainer),
        max_tokens=trainer.max_completion_length,
        group_size=trainer.num_generations if is_training else trainer.num_generations_eval,
        is_training=is_training,
        num_processes=trainer.accelerator.num_processes,
        rank=trainer.accelerator.process_index,
        template_options=trainer.chat_template_kwargs,
    )


def tokenizer_of(processing_class: Any) -> Any:
    """The tokenizer, or that of a processor of texts and images."""
    return getattr(processing_class, "tokenizer", processing_class)


def _stop_ids(trainer: Any) -> frozenset[int]:
    asked = trainer.args.generation_kwargs or {}
    stated = (trainer.eos_token_ids, asked.get("eos_token_id"), asked.get("stop_token_ids"))
    return stop_ids([end for ends in stated for end in stated_ends(ends)], tokenizer_of(trainer.processing_class))


# --- what cannot be served -------------------------------------------------------------------------------------------


def _keys(args: Any, names: Iterable[str]) -> str:
    return " ".join(name for name in names if name in (args.generation_kwargs or {}))


ArgumentRefusal = tuple[Callable[[Any], Any], str]
"""Whether a trainer's arguments cannot be served, and the sentence that says so, with what was found in `{found}`."""

REFUSED_ARGUMENTS: tuple[ArgumentRefusal, ...] = (
    (
        lambda args: getattr(args, "remove_unused_columns", False),
        "remove_unused_columns: would take the gold answers and all else that rewards read from the data set; expected False",
    ),
    (
        lambda args: args.max_completion_length is None,
        "max_completion_length: rewards compare lengths with the cap of a response; expected a number of tokens, got None",
    ),
    (
        lambda args: _keys(args, OTHER_CAPS),
        "generation_kwargs.{found}: rewards read the cap of a response from max_completion_length; set that instead",
    ),
    (
        lambda args: _keys(args, TEXT_STOPS),
        "generation_kwargs.{found}: a response that a text stops looks truncated, since it has no end token; expected "
        "stop_token_ids, or none",
    ),
)
REFUSED_TRAINERS: tuple[ArgumentRefusal, ...] = (
    (
        lambda trainer: getattr(trainer, "tools", None),
        "tools: rewards count and grade what the model wrote after one prompt, and the results of tools are not its own; "
        "expected none",
    ),
    (
        lambda trainer: getattr(trainer, "environment_factories", None),
        "environment_factory: rewards count and grade what the model wrote after one prompt; expected none",
    ),
    (
        lambda trainer: getattr(trainer, "rollout_func", None),
        "rollout_func: what it returns may hold tokens that the model did not write; expected none",
    ),
)


def check_arguments(args: Any) -> None:
    """Raise `InputError` for a trainer's arguments (`GRPOConfig`, `RLOOConfig`) that cannot be served."""
    _refuse(args, REFUSED_ARGUMENTS)


def check_trainer(trainer: Any) -> None:
    """Raise `InputError` where a reward of ours cannot serve the trainer."""
    check_arguments(trainer.args)
    _refuse(trainer, REFUSED_TRAINERS)


def check_columns(names: Iterable[str]) -> None:
    """Raise `InputError` where the data set lacks the gold answers."""
    known = [name for name in names if name not in OWN_ARGUMENTS]
    if "answer" not in known:
        raise InputError(
            f"data set: no column 'answer', which holds the gold answer alone; it has {', '.join(known) or 'none'}. Rename the "
            "column that does, or make the data set with laconic.integrations.trl.dataset"
        )


def _refuse(held: Any, refusals: Iterable[ArgumentRefusal]) -> None:
    for is_refused, text in refusals:
        if found := is_refused(held):
            raise InputError(text.format(found=found))
