"""Keeping thinking budgets: by the upstream itself, or by cutting the thought, writing its end, and asking for the answer.

vLLM and our own local server keep a budget themselves, and are told of it (`fields_for`). For any other upstream:

1. The first request asks for at most as many tokens as the budget has, so the upstream counts and stops by itself, and nothing is
   drawn in vain. A response that has ended by then is passed on as it is.
2. Where the text ends inside a thought, the words that end it are written after it, and a second request continues from there.
   Where the thought had ended and only the answer is unfinished, the second request continues the answer.
3. To the client it is one response: one stream, one count of tokens (prompt of the first request; drawn tokens of both, without
   the words written for the model), and `is_cut` beside the finish reason.

How a response is continued: a completion by its own text. A conversation is rendered here where the model's tokenizer is known,
and asked for as a completion too; otherwise the upstream continues the last message (`continue_final_message`, as vLLM and our
own server know it), which is tried once (`Cutter.continues`): many servers would silently begin anew.

What is left out: tools, schemas and log-probabilities, which do not survive being cut in two.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from laconic.config.policy import PolicyConfig
from laconic.config.serving import BudgetKeeper
from laconic.errors import LaconicError
from laconic.grading.thought import find_thought, mark_at_end
from laconic.prompts.forced_answers import closing_text, force_text
from laconic.prompts.templates import render_turns
from laconic.prompts.thinking import knows_thinking
from laconic.serving.budgets import ThinkingBudget
from laconic.serving.demands import RequestKind, asks_for_nothing
from laconic.serving.denials import Denial
from laconic.serving.events import completion_count, reasoning_count, token_count
from laconic.system.files import Json
from laconic.types import END_THINK, THINK

Ask = Callable[[str, Mapping[str, Any]], AsyncGenerator[list[Json], None]]
"""Posts a body to a path below /v1, such as `/completions`, and gives the objects of the reply, as lists of those that came
together: the events of a stream, or the one object of a whole reply. A failure is raised as the caller likes; it passes
through."""

PATHS: Mapping[RequestKind, str] = {"chat": "/chat/completions", "completions": "/completions"}

CAPS = ("max_tokens", "max_completion_tokens")
UNCUTTABLE = ("tools", "tool_choice", "response_format", "logprobs", "top_logprobs", "suffix", "echo", "logit_bias")
CHAT_ALONE = frozenset({"messages", "parallel_tool_calls", "reasoning_effort", "chat_template_kwargs", *CAPS})
REASONING = ("reasoning_content", "reasoning")
PROBE_TEXT = f"{THINK}one two three four five six seven eight"
MOST_CAP = 10**9
REFUSES_FIELDS = frozenset({400, 422})
"""Statuses by which an upstream says that it does not know how to continue a message."""
CONTINUED_TOKENS = 8
"""Any tokenizer makes at least so many tokens of the text that a second request must have continued."""


class UncutError(LaconicError):
    """A request whose thinking cannot be cut; the text says why, for the client."""


@dataclass(frozen=True, slots=True)
class ReplyPiece:
    """What one object of a reply adds: thinking and text, the finish reason where it ends, and token counts where it has them."""

    text: str = ""
    thinking: str = ""
    finish: str | None = None
    usage: Mapping[str, Any] | None = None

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> "ReplyPiece":
        """The piece in an object of either API, whole or of a stream."""
        usage = body.get("usage") if isinstance(body.get("usage"), dict) else None
        choices = body.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        said = choice.get("delta") or choice.get("message") or {"content": choice.get("text")}
        said = said if isinstance(said, dict) else {}
        thinking = next((said[key] for key in REASONING if isinstance(said.get(key), str) and said[key]), "")
        text, finish = said.get("content"), choice.get("finish_reason")
        return cls(text if isinstance(text, str) else "", thinking, finish if isinstance(finish, str) else None, usage)


@dataclass(slots=True)
class DrawnText:
    """What a request has brought so far. `mark` is the mark of thinking at which its prompt ended; `has_marks` says that the
    model marks its thinking, so that a text without any is none."""

    mark: str = ""
    has_marks: bool = False
    text: str = ""
    thinking: str = ""
    finish: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None

    def add(self, piece: ReplyPiece) -> None:
        """Take a piece up."""
        self.text, self.thinking = self.text + piece.text, self.thinking + piece.thinking
        self.finish = piece.finish or self.finish
        usage = piece.usage or {}
        self.prompt_tokens = token_count(usage.get("prompt_tokens"), self.prompt_tokens)
        self.completion_tokens = completion_count(usage, self.completion_tokens)
        self.reasoning_tokens = reasoning_count(usage, self.reasoning_tokens)

    @property
    def whole(self) -> str:
        """The whole text, thinking first."""
        if not self.thinking:
            return self.text
        return THINK + self.thinking + (END_THINK + self.text if self.text else "")

    @property
    def is_thinking(self) -> bool:
        """Whether it ends inside a thought. A text without marks is all thinking, unless the model would mark it."""
        thought = find_thought(self.mark + self.whole)
        return thought.is_open or (thought.end == 0 and not self.has_marks)


@dataclass(frozen=True, slots=True)
class CutPlan:
    """How a response is asked for and continued: the path, the fields that stay the same, and where its text begins."""

    path: str
    fields: Mapping[str, Any]
    prompt: str | None
    messages: tuple[Mapping[str, Any], ...] = ()

    def body(self, begun: str, cap: int | None, **changes: Any) -> dict[str, Any]:
        """The body that asks for at most `cap` tokens after the text `begun`."""
        caps: dict[str, int | None] = {} if cap is None else {"max_tokens": cap}
        if self.prompt is not None:
            caps = {"max_tokens": cap}  # null is "as many as there is room for"; without the field it would be 16
            return {**self.fields, "prompt": self.prompt + begun, **caps, **changes}
        turns: list[Mapping[str, Any]] = list(self.messages)
        if begun:
            turns += [{"role": "assistant", "content": begun}]
            changes |= {"continue_final_message": True, "add_generation_prompt": False}
        return {**self.fields, "messages": turns, **caps, **changes}


@dataclass(slots=True)
class Cutter:
    """Keeps the thinking of one upstream's responses within budgets. `kept_by` says who cuts: the upstream, or this class, for
    which `tokenizer` is that of its model, None where it is not known."""

    kept_by: BudgetKeeper = "gateway"
    tokenizer: Any = None
    _continues: bool | None = field(default=None)

    @classmethod
    def of(cls, kept_by: BudgetKeeper, model: str | None) -> "Cutter":
        """The cutter for an upstream; `model` is the name or folder of its model's tokenizer, which is read where it is
        needed."""
        if model is None or kept_by != "gateway":
            return cls(kept_by)
        from laconic.models.loading import load_tokenizer

        return cls(kept_by, load_tokenizer(model, PolicyConfig()))

    async def objects(
        self, ask: Ask, kind: RequestKind, fields: Mapping[str, Any], budget: ThinkingBudget, *, is_streamed: bool
    ) -> AsyncGenerator[list[Json], None]:
        """The objects of one reply to the request `fields` (without `stream`), whose thinking has at most `budget.tokens` tokens.

        Raises `UncutError` before anything is asked where the request cannot be cut.
        """
        stream = {"stream": True, "stream_options": {"include_usage": True}} if is_streamed else {}
        if self.kept_by != "gateway":
            asked = {**fields, **fields_for(self.kept_by, budget), **stream}
            async with aclosing(ask(PATHS[kind], asked)) as replies:
                async for found in replies:
                    yield found
            return
        (plan, mark), cap = self._plan(kind, fields), _cap_of(fields)
        if plan.prompt is None and not await self.continues(ask, fields):
            raise UncutError(
                "this model's thinking cannot be cut: its upstream does not continue a response, and its tokenizer is not known"
            )
        forced = budget.force_text or self._closing_text()
        has_marks = self.tokenizer is not None and knows_thinking(self.tokenizer)
        form = ReplyShape(kind, is_streamed)
        reply = _Reply(ask, plan, form, budget, forced, stream, cap, DrawnText(mark, has_marks))
        async with aclosing(reply.objects()) as objects:
            async for made in objects:
                yield [made]

    # --- before ------------------------------------------------------------------------------------------------------

    def _plan(self, kind: RequestKind, fields: Mapping[str, Any]) -> tuple[CutPlan, str]:
        """How to ask, and the mark of thinking at which the prompt ends. Raises `UncutError`."""
        if asked := [name for name in UNCUTTABLE if not asks_for_nothing(name, fields.get(name))]:
            raise UncutError(
                f"{asked[0]}: not together with a thinking budget, which this upstream cannot keep by itself"
            )
        fields = {key: value for key, value in fields.items() if key not in UNCUTTABLE}
        if kind == "completions":
            prompt = fields.get("prompt")
            if not isinstance(prompt, str):
                raise UncutError("prompt: expected one text, not token ids, with a thinking budget")
            rest = {key: value for key, value in fields.items() if key not in ("prompt", *CAPS)}
            return CutPlan("/completions", rest, prompt), mark_at_end(prompt)
        if self.tokenizer is None:
            rest = {key: value for key, value in fields.items() if key not in ("messages", *CAPS)}
            return CutPlan("/chat/completions", rest, None, tuple(fields["messages"])), ""
        if fields.get("chat_template_kwargs"):
            raise UncutError("chat_template_kwargs: not together with a thinking budget on this upstream")
        if any(turn.get("tool_calls") or turn["role"] == "tool" for turn in fields["messages"]):
            raise UncutError("messages: no calls of tools together with a thinking budget on this upstream")
        prompt = self._rendered(fields["messages"])
        rest = {key: value for key, value in fields.items() if key not in CHAT_ALONE}
        return CutPlan("/completions", rest, prompt), mark_at_end(prompt)

    def _rendered(self, messages: list[Mapping[str, Any]]) -> str:
        """The text of the prompt, without the beginning-of-text token that the upstream adds itself."""
        turns = [{"role": str(turn["role"]), "content": _text_of(turn.get("content"))} for turn in messages]
        if not getattr(self.tokenizer, "chat_template", None):
            return "\n".join(turn["content"] for turn in turns) + "\n"
        begin = getattr(self.tokenizer, "bos_token", None)
        adds_begin = begin and self.tokenizer.encode("1")[:1] == [self.tokenizer.bos_token_id]
        try:
            text = render_turns(self.tokenizer, turns)
        except LaconicError as error:
            raise UncutError(str(error)) from None
        return text.removeprefix(begin) if adds_begin and begin else text

    def _closing_text(self) -> str:
        if self.tokenizer is not None:
            return closing_text(self.tokenizer) or force_text(self.tokenizer)
        return f"\n{END_THINK}\n\n"

    async def continues(self, ask: Ask, fields: Mapping[str, Any]) -> bool:
        """Whether the upstream continues a message that was begun: its prompt must grow by the tokens of the beginning."""
        if self._continues is None:
            plan = CutPlan(
                "/chat/completions", {"model": fields.get("model")}, None, ({"role": "user", "content": "Count."},)
            )
            try:
                sizes = [await _prompt_tokens(ask, plan.path, plan.body(begun, 1)) for begun in ("", PROBE_TEXT)]
            except Denial as denial:
                if denial.status not in REFUSES_FIELDS:
                    raise
                sizes = [None]
            self._continues = None not in sizes and (sizes[1] or 0) - (sizes[0] or 0) >= CONTINUED_TOKENS
        return self._continues


async def _prompt_tokens(ask: Ask, path: str, body: Mapping[str, Any]) -> int | None:
    drawn = DrawnText()
    async with aclosing(ask(path, body)) as replies:
        async for found in replies:
            for said in found:
                drawn.add(ReplyPiece.read(said))
    return drawn.prompt_tokens


def _text_of(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")


def fields_for(kept_by: BudgetKeeper, budget: ThinkingBudget) -> Json:
    """The fields that tell an upstream of a budget. vLLM knows the words that end a thought from its start on."""
    told: Json = {"thinking_token_budget": budget.tokens}
    if kept_by == "laconic":
        own = {"thinking_end": budget.force_text, "thinking_answer_tokens": budget.answer_tokens}
        told |= {key: value for key, value in own.items() if value is not None}
    return told


def _cap_of(fields: Mapping[str, Any]) -> int | None:
    """The most tokens that a request asks for. Raises `UncutError` where that is no number that can be divided in two."""
    caps = {name: fields[name] for name in CAPS if fields.get(name) is not None}
    for name, cap in caps.items():
        if type(cap) is not int or not 0 < cap <= MOST_CAP:
            raise UncutError(f"{name}: expected a whole number above 0")
    return min(caps.values(), default=None)


# --- the reply -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Reply:
    """One response, drawn by one request or by two. `first` takes up what the first one brings, `second` the other."""

    ask: Ask
    plan: CutPlan
    form: "ReplyShape"
    budget: ThinkingBudget
    forced: str
    stream: Mapping[str, Any]
    cap: int | None
    first: DrawnText
    second: DrawnText = field(default_factory=DrawnText)
    is_cut: bool = False

    async def objects(self) -> AsyncGenerator[Json, None]:
        """The objects of the reply."""
        most = self.budget.tokens if self.cap is None else min(self.budget.tokens, self.cap)
        if most > 0:
            async with aclosing(self._drawn(self.first, self.plan.body("", most, **self.stream))) as objects:
                async for made in objects:
                    yield made
        room = None if self.cap is None else self.cap - most
        if room != 0 and (most == 0 or self.first.finish == "length"):
            self.is_cut = self.first.is_thinking or most == 0
            words = self._words() if self.is_cut else None
            async with aclosing(self._drawn(self.second, self._going_on(room), words)) as objects:
                async for made in objects:
                    yield made
        yield self.form.last(self._text(), self.first.thinking, self._ending(), self._usage())

    async def _drawn(
        self, drawn: DrawnText, body: Mapping[str, Any], words: ReplyPiece | None = None
    ) -> AsyncGenerator[Json, None]:
        """The objects of a request, after `words` that were written for the model. These wait for the upstream's first object: it
        has the head of the reply, and until then another upstream may be asked."""
        async with aclosing(self.ask(self.plan.path, body)) as replies:
            async for said in (said async for found in replies for said in found):
                if words is not None:
                    for made in self.form.passed(said, words):
                        yield made
                    words = None
                piece = ReplyPiece.read(said)
                if drawn is self.second:  # the thought has ended, whatever the upstream takes it for
                    piece = replace(piece, text=piece.thinking + piece.text, thinking="")
                drawn.add(piece)
                for made in self.form.passed(said, piece):
                    yield made

    def _going_on(self, room: int | None) -> dict[str, Any]:
        """The body of the second request, which may draw `room` tokens."""
        if not self.is_cut:
            return self.plan.body(self.first.whole, room, **self.stream)
        caps = [number for number in (room, self.budget.answer_tokens) if number is not None]
        greedy = {} if self.budget.answer_tokens is None else {"temperature": 0}
        return self.plan.body(self.first.whole + self.forced, min(caps, default=None), **greedy, **self.stream)

    def _words(self) -> ReplyPiece:
        """The words written for the model. Where thinking has a field of its own, the client sees what follows the mark."""
        return ReplyPiece(self.forced.rpartition(END_THINK)[2].lstrip() if self.first.thinking else self.forced)

    def _text(self) -> str:
        return self.first.text + (self._words().text if self.is_cut else "") + self.second.text

    def _ending(self) -> dict[str, Any]:
        return {"finish_reason": self.second.finish or self.first.finish, "is_cut": self.is_cut}

    def _usage(self) -> dict[str, Any] | None:
        """The counts of both requests; None where the upstream gives none."""
        asked = [drawn for drawn in (self.first, self.second) if drawn.finish is not None]
        drawn_tokens = [drawn.completion_tokens for drawn in asked]
        prompt = asked[0].prompt_tokens if asked else None
        if prompt is None or None in drawn_tokens:
            return None
        total = sum(number or 0 for number in drawn_tokens)
        thinking = (self.first.completion_tokens or 0) if self.is_cut else self.first.reasoning_tokens
        details = {} if thinking is None else {"completion_tokens_details": {"reasoning_tokens": thinking}}
        return {"prompt_tokens": prompt, "completion_tokens": total, "total_tokens": prompt + total, **details}


@dataclass(slots=True)
class ReplyShape:
    """The objects of a reply as the client's API has them; the head is that of the first object that the upstream sent."""

    kind: RequestKind
    is_streamed: bool
    head: dict[str, Any] = field(default_factory=dict)
    is_begun: bool = False

    def passed(self, said: Mapping[str, Any], piece: ReplyPiece) -> list[dict[str, Any]]:
        """The object that passes a piece on; none for a whole reply, or where there is nothing to pass on."""
        self.head = self.head or {key: said[key] for key in ("id", "created", "model") if key in said}
        if not self.is_streamed or not (piece.text or piece.thinking):
            return []
        return [self._object(piece.text, piece.thinking, {"finish_reason": None})]

    def last(
        self, text: str, thinking: str, ending: Mapping[str, Any], usage: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """The whole reply, or the end of a stream."""
        made = self._object(*(("", "") if self.is_streamed else (text, thinking)), ending)
        return made if usage is None else {**made, "usage": usage}

    def _object(self, text: str, thinking: str, ending: Mapping[str, Any]) -> dict[str, Any]:
        if self.kind == "completions":
            said: dict[str, Any] = {"text": thinking + text}
            kind = "text_completion"
        else:
            said = {"delta" if self.is_streamed else "message": self._message(text, thinking)}
            kind = "chat.completion.chunk" if self.is_streamed else "chat.completion"
        self.is_begun = True
        return {**self.head, "object": kind, "choices": [{"index": 0, **said, **ending}]}

    def _message(self, text: str, thinking: str) -> dict[str, Any]:
        role = {} if self.is_streamed and self.is_begun else {"role": "assistant"}
        content = {"content": text} if text or not self.is_streamed else {}
        return role | content | ({"reasoning_content": thinking} if thinking else {})
