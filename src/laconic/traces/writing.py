r"""How a task becomes a trace: a thought between `<think>` marks, then the answer in a box.

1. Three verbosities. `terse` states the steps bare; `plain` writes a sentence for each; `verbose` restates the task, says what
   each step is for, checks steps by their inverse, takes second ways, and goes over everything again.
2. A verbose writer sometimes slips. A slip is always noticed and mended at once: "7 + 8 = 16. Wait, 7 + 8 is 15, not 16."
3. `mixed` draws a verbosity by `MIXTURE`: mostly verbose, so that there is waste to remove, with enough terse traces that
   post-training finds them.

Every trace is right: unlike the embedded reasoner's, whose phase 1 must have something to mend, those of a pretrained model are
wrong often enough by themselves.
"""

from random import Random

from laconic.traces.steps import Reasoning, Step
from laconic.types import END_THINK, THINK

VERBOSITIES = ("terse", "plain", "verbose")
MIXTURE = {"terse": 0.15, "plain": 0.25, "verbose": 0.6}
SLIP_RATE, CHECK_RATE, DETOUR_RATE, PROOF_RATE, AGAIN_RATE = 0.06, 0.4, 0.3, 0.5, 0.45
"""How likely a verbose writer slips, checks and takes a second way at a step; and proves the answer and goes over it again."""

_OPENINGS = (
    "Okay, let me see.",
    "Let me think about this.",
    "Alright, let me work this out.",
    "Hmm, let me think step by step.",
    "Okay, step by step.",
)
_ORDER = (
    ("First,", "Then", "After that,", "Next,"),
    ("So first,", "Now", "And now", "Then"),
    ("To begin,", "Next,", "Then", "Now"),
)
_CHECKS = ("Let me check: {}, so that is right.", "Check: {}. Good.", "To be sure: {}. Yes, that fits.")
_DETOURS = ("Another way: {}. The same.", "I can also do it like this: {}. It agrees.", "Or in parts: {}. Yes.")
_NOTICED = ("Wait, {}.", "No, wait. {}.", "Hold on, {}.")
_AGAIN = ("Let me go over it again: {}. Yes, it is {}.", "Let me double-check everything: {}. So {} again.")
_SECOND_LOOKS = tuple(text.partition("{")[0] for text in (*_CHECKS, *_DETOURS, *_AGAIN))


def verbosity_of(rng: Random, style: str) -> str:
    """The verbosity of one trace: `style` itself, or drawn by `MIXTURE` where it is `mixed`."""
    return rng.choices(list(MIXTURE), list(MIXTURE.values()))[0] if style == "mixed" else style


def write(rng: Random, task: Reasoning, verbosity: str) -> str:
    """A whole response to the task's question, the thought first, in a verbosity of `VERBOSITIES`."""
    thought = {"terse": _terse, "plain": _plain, "verbose": _verbose}[verbosity](rng, task)
    said = f"\\boxed{{{task.answer}}}"
    return f"{THINK}\n{thought}\n{END_THINK}\n{said if verbosity == 'terse' else f'The answer is {said}.'}"


def looks_twice(trace: str) -> bool:
    """Whether a trace holds a check, a second way, or a repetition.

    >>> looks_twice("First, 2 + 3 = 5. Check: 5 - 3 = 2. Good."), looks_twice("First, 2 + 3 = 5.")
    (True, False)
    """
    return any(text in trace for text in _SECOND_LOOKS)


def _terse(_rng: Random, task: Reasoning) -> str:
    return ", ".join(step.bare for step in task.steps)


def _plain(rng: Random, task: Reasoning) -> str:
    order = rng.choice(_ORDER)
    listed = [f"{_word(order, i)} {rng.choice(step.wordings)}." for i, step in enumerate(task.steps)]
    return " ".join([*listed, f"So {task.closing}."])


def _verbose(rng: Random, task: Reasoning) -> str:
    out = [rng.choice(_OPENINGS), rng.choice(("I need to {}.", "I have to {}.", "The task is to {}.")).format(task.aim)]
    order = rng.choice(_ORDER)
    for i, step in enumerate(task.steps):
        out += _worked(rng, step, _word(order, i))
    if task.proof and rng.random() < PROOF_RATE:
        out.append(rng.choice(_CHECKS).format(task.proof))
    if rng.random() < AGAIN_RATE:
        out.append(rng.choice(_AGAIN).format(", ".join(step.bare for step in task.steps), task.answer))
    return " ".join([*out, f"So {task.closing}."])


def _worked(rng: Random, step: Step, word: str) -> list[str]:
    lead = f"{word} {step.lead}: " if step.lead else f"{word} "
    if step.slip and rng.random() < SLIP_RATE:
        return [f"{lead}{step.slip}.", rng.choice(_NOTICED).format(step.mended)]
    out = [f"{lead}{rng.choice(step.wordings)}."]
    if step.check and rng.random() < CHECK_RATE:
        out.append(rng.choice(_CHECKS).format(step.check))
    elif step.detour and rng.random() < DETOUR_RATE:
        out.append(rng.choice(_DETOURS).format(step.detour))
    return out


def _word(order: tuple[str, ...], index: int) -> str:
    """The word that a step begins with: the first one's, and then the others in turn."""
    return order[index] if index < len(order) else order[1 + (index - 1) % (len(order) - 1)]
