"""Turns problems and a sampler into groups: it renders the prompts, samples responses and grades them.

1. `Solver.attempt` renders each problem, draws responses and grades them. If the number of responses or the instruction differs
   from problem to problem, an `Assignment` per problem says which.
2. Probes, watches and evaluations need no more than this. Training also pays the groups their rewards (`paying.py`).
3. `grade_drawn` is the grading alone, for responses that another program drew (`integrations/`).
4. Where several processes work together, each attempts its share of the problems, and all get all groups.

The grader gets the text of the response and never the prompt. Only where the prompt ends with a mark of thinking does that mark
go before the text, since the response goes on inside the thought.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from laconic.config.solver import PromptConfig, SamplerConfig
from laconic.errors import ModelError
from laconic.grading.grader import AnyGrader
from laconic.grading.rules import Graded
from laconic.parallel.team import ALONE, Dealt, Result, Team
from laconic.prompts.instructions import messages, render, resolve_instruction
from laconic.prompts.refusals import lost_digits, why_unrendered
from laconic.prompts.thinking import prompt_mark, thinking_tokens
from laconic.samplers.protocol import Request, Sampler
from laconic.types import Group, Problem, Progress, Response, Rollout


class Model(Protocol):
    """What a solver knows of the model behind its sampler. `tokenizer` is None where an endpoint renders prompts itself."""

    @property
    def name(self) -> str:
        """The name under which reports show the model."""
        ...

    @property
    def tokenizer(self) -> Any:
        """A Hugging Face tokenizer, or None."""
        ...

    @property
    def context_length(self) -> int | None:
        """The largest number of tokens that prompt and response may have together; None if unknown."""
        ...

    @property
    def context_words(self) -> str:
        """`context_length` in words, for messages."""
        ...

    def fingerprint(self) -> str:
        """A text that differs between two models of the same name, as far as the difference can be known."""
        ...

    def check_ids(self, token_ids: Sequence[int], whose: str) -> None:
        """Raise `ModelError` where the model lacks one of the tokens of a prompt; `whose` names the text in the error."""
        ...


@dataclass(frozen=True, slots=True)
class Assignment:
    """A problem to attempt `num_samples` times. Samples are numbered from `first_sample`; `instruction` replaces the solver's."""

    problem: Problem
    num_samples: int
    first_sample: int = 0
    instruction: str | None = None


@dataclass(frozen=True, slots=True)
class Drawn:
    """The responses to the prompt of a problem, whatever drew them. Samples are numbered from `first_sample`."""

    problem: Problem
    prompt_ids: tuple[int, ...]
    responses: tuple[Response, ...]
    first_sample: int = 0


RENDERED_AGAIN = 3
OTHER_QUESTION = "Which is the third planet from the sun?"
CLOCK = re.compile(r"strftime_now\([^)]*%-?[HIMSfpcXTRrs]")


@dataclass(frozen=True, slots=True)
class Solver:
    """Everything that turns problems into graded attempts. `team` holds the processes among which problems are shared out."""

    lm: Model
    sampler: Sampler
    grader: AnyGrader
    prompt: PromptConfig
    team: Team = ALONE

    def attempt(
        self,
        problems: Sequence[Problem],
        num_samples: int,
        decoding: SamplerConfig,
        *,
        seed: int,
        on_progress: Progress | None = None,
    ) -> list[Group]:
        """`num_samples` graded attempts at each problem, rewards still 0."""
        return self.attempt_each(
            [Assignment(p, num_samples) for p in problems], decoding, seed=seed, on_progress=on_progress
        )

    def attempt_each(
        self,
        assignments: Sequence[Assignment],
        decoding: SamplerConfig,
        *,
        seed: int,
        on_progress: Progress | None = None,
    ) -> list[Group]:
        """One group of graded attempts for each assignment, in order; rewards still 0."""
        own: list[Group] = []

        def attempt(assigned: Sequence[Assignment]) -> list[Group]:
            own.extend(self._attempt(assigned, decoding, seed, on_progress))
            return own

        groups = self.share_out(assignments, decoding, attempt)
        if on_progress is not None and self.team.size > 1:
            _count_others(groups, own, on_progress)
        return groups

    def share_out(
        self, items: Sequence[Dealt], decoding: SamplerConfig, draw: Callable[[Sequence[Dealt]], Sequence[Result]]
    ) -> list[Result]:
        """What `draw` makes of all `items`, which the team shares out. Where a server draws, the first process does it all: that
        one has handed the weights over, and the server is no faster for several that ask."""
        if decoding.engine != "vllm":
            return self.team.share_out(items, draw)
        (drawn,) = self.team.share_out([items], lambda own: [draw(everything) for everything in own])
        return list(drawn)

    def _attempt(
        self, assignments: Sequence[Assignment], decoding: SamplerConfig, seed: int, on_progress: Progress | None
    ) -> list[Group]:
        """The groups of this process's assignments."""
        requests = [self.request(entry) for entry in assignments]
        responses = self.sampler.sample(requests, decoding, seed=seed, on_progress=on_progress)
        drawn = [
            Drawn(entry.problem, request.prompt_ids, tuple(row), entry.first_sample)
            for entry, request, row in zip(assignments, requests, responses, strict=True)
        ]
        return grade_drawn(drawn, self.lm.tokenizer, self.grader)

    def request(self, assignment: Assignment) -> Request:
        """The request to the sampler: token ids if there is a tokenizer, otherwise the turns of the conversation.

        Raises `ModelError` where the chat template refuses the turns, or the model lacks one of the tokens.
        """
        problem, system = assignment.problem, self.prompt.system
        instruction = resolve_instruction(assignment.instruction or self.prompt.instruction)
        ids: tuple[int, ...] = ()
        turns: tuple[Mapping[str, str], ...] = ()
        if self.lm.tokenizer is None:
            turns = tuple(messages(problem, instruction, system))
        else:
            ids = self._rendered(problem, instruction)
            self.lm.check_ids(ids, f"the prompt of problem {problem.id}")
        return Request(problem.id, ids, assignment.num_samples, assignment.first_sample, turns)

    def _rendered(self, problem: Problem, instruction: str) -> tuple[int, ...]:
        tokenizer, system = self.lm.tokenizer, self.prompt.system
        try:
            return tuple(render(tokenizer, problem, instruction=instruction, system=system))
        except Exception as error:  # a chat template may raise any error
            raise ModelError(str(why_unrendered(tokenizer, problem, instruction, system, error))) from None

    def longest_prompt(self, problems: Sequence[Problem]) -> tuple[int, str]:
        """Length in tokens of the longest prompt, and the id of its problem; 0 if the endpoint renders the prompts.

        Raises `ModelError` where the tokenizer cannot write numbers, a prompt cannot be rendered, or the chat template drops the
        question or draws the prompt at random.
        """
        if self.lm.tokenizer is not None and (fault := lost_digits(self.lm.tokenizer)):
            raise ModelError(f"{self.lm.name}: {fault}, so that no answer could be right")
        prompts = [self.request(Assignment(problem, 1)).prompt_ids for problem in problems]
        if getattr(self.lm.tokenizer, "chat_template", None):
            self._check_template(problems, prompts)
        return max(
            zip(map(len, prompts), (problem.id for problem in problems), strict=True), key=lambda length: length[0]
        )

    def _check_template(self, problems: Sequence[Problem], prompts: Sequence[tuple[int, ...]]) -> None:
        """Raise `ModelError` where the chat template writes one prompt for two questions, or two for one."""
        remedy = "mend the model's chat template, or take another model"
        if CLOCK.search(str(self.lm.tokenizer.chat_template)):
            raise ModelError(f"{self.lm.name}: the chat template writes the time of day into every prompt; {remedy}")
        for _ in range(RENDERED_AGAIN):
            if self.request(Assignment(problems[0], 1)).prompt_ids != prompts[0]:
                raise ModelError(
                    f"{self.lm.name}: the chat template renders problem {problems[0].id} to another prompt each time; {remedy}"
                )
        other = replace(problems[0], id="another question", question=OTHER_QUESTION)
        first: dict[tuple[int, ...], Problem] = {self.request(Assignment(other, 1)).prompt_ids: other}
        for problem, prompt in zip(problems, prompts, strict=True):
            held = first.setdefault(prompt, problem)
            if _words(held.question) != _words(problem.question):
                raise ModelError(
                    f"{self.lm.name}: the chat template renders problem {problem.id} and {held.id} to the same prompt; {remedy}"
                )

    def check_length(self, longest: int, problem_id: str, max_tokens: int, field: str) -> None:
        """Raises `ModelError` if a prompt of `longest` tokens and the cap `max_tokens` together exceed the model's context."""
        limit = self.lm.context_length
        if limit is not None and longest + max_tokens > limit:
            raise ModelError(
                f"{field}: {max_tokens} and the prompt of problem {problem_id} ({longest} tokens) exceed the context "
                f"of {self.lm.name}, {self.lm.context_words}"
            )


def grade_drawn(drawn: Sequence[Drawn], tokenizer: Any, grader: AnyGrader) -> list[Group]:
    """The groups of graded attempts, in order; rewards still 0. `tokenizer` is that of the model, None behind an endpoint."""
    marks = [prompt_mark(entry.prompt_ids, tokenizer) for entry in drawn]
    rows = list(zip(drawn, marks, strict=True))
    graded = iter(
        grader.grade_many(
            [
                ("" if r.is_withheld else mark + r.text, entry.problem, r.is_truncated)
                for entry, mark in rows
                for r in entry.responses
            ]
        )
    )
    return [
        Group(
            entry.problem,
            entry.prompt_ids,
            tuple(
                graded_rollout(with_thinking(r, tokenizer, mark), next(graded), entry.first_sample + i)
                for i, r in enumerate(entry.responses)
            ),
        )
        for entry, mark in rows
    ]


def _count_others(groups: Sequence[Group], own: Sequence[Group], on_progress: Progress) -> None:
    """Tell the progress of what other processes have drawn, as soon as it is known."""
    responses, tokens = [
        sum(map(of, groups)) - sum(map(of, own)) for of in (lambda g: len(g.rollouts), lambda g: sum(g.lengths))
    ]
    if responses:
        on_progress(responses, tokens)


def _words(text: str) -> list[str]:
    """The words of a text as a tokenizer may see them: some drop white space and case."""
    return text.casefold().split()


def with_thinking(response: Response, tokenizer: Any, mark: str) -> Response:
    """The response with the number of its tokens that are thinking; `mark` is the mark at which its prompt ended."""
    return replace(response, thinking_tokens=thinking_tokens(response, tokenizer, mark))


def graded_rollout(response: Response, graded: Graded, sample: int) -> Rollout:
    """The rollout made of a response and its grade; its reward is still 0."""
    return Rollout(response, graded.grade, sample, answer=graded.answer)
