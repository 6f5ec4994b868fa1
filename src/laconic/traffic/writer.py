"""The thread that writes, off the way of requests.

1. `put` lays a record into a queue and returns at once. Where the queue is full, since the database is away, the record is
   dropped and counted: requests go on.
2. The thread takes everything that waits, redacts the texts, and writes it as one batch. A text that cannot be redacted is not
   written; its figures are.
3. A batch that the database does not take is tried again after a pause. Since a record is written once however often it is sent
   (`store.py`), nothing is doubled. A record that can never be written is dropped and counted, alone; where its text is what
   the database does not take, its figures are written.
4. `settled` lets a request wait until its record is written, so that a gateway that is killed has lost none of those that it
   answered. It waits `SETTLE_SECONDS` at most, and not at all while the database is away, or takes a batch and says nothing.
5. Once an hour texts and figures whose time is over are deleted.

What a text said stands in no message: the database's errors are counted, and the first of a kind is said by its class alone.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError, StatementError

from laconic.config.defaults import FIGURE_DAYS, TEXT_DAYS
from laconic.traffic.conversations import messages_of, to_prompt
from laconic.traffic.redaction import Redact, redact
from laconic.traffic.store import StoredRequest, TrafficStore

MOST_WAITING, MOST_IN_BATCH = 10_000, 500
SETTLE_SECONDS = 0.05
STUCK_SECONDS = 2.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0
PRUNE_SECONDS = 3600.0
CLOSE_SECONDS = 5.0


@dataclass(slots=True)
class WriterCounts:
    """How many records were written and dropped, how many texts the redaction withheld, and how often a batch was refused."""

    written: int = 0
    dropped: int = 0
    withheld_texts: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class _Waiting:
    kept: StoredRequest
    on_written: Callable[[], None] | None = None


class TrafficWriter:
    """A queue before a store, and the thread that empties it; `say` gets one line where the store fails and where it is back."""

    def __init__(
        self,
        store: TrafficStore,
        redacts: Redact = redact,
        *,
        text_days: float = TEXT_DAYS,
        figure_days: float = FIGURE_DAYS,
        most_waiting: int = MOST_WAITING,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.store, self.redacts, self.say = store, redacts, say
        self.text_days, self.figure_days = text_days, figure_days
        self.counts = WriterCounts()
        self._is_well = True
        self._begun: float | None = None
        self._queue: queue.Queue[_Waiting | None] = queue.Queue(most_waiting)
        self._is_closing = threading.Event()
        self._pruned_at = -PRUNE_SECONDS
        self._thread = threading.Thread(target=self._run, name="traffic-writer", daemon=True)

    @property
    def is_well(self) -> bool:
        """Whether the database took the last batch, and has not been silent for `STUCK_SECONDS` on the one that it is given."""
        begun = self._begun
        return self._is_well and (begun is None or time.monotonic() - begun < STUCK_SECONDS)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, kept: StoredRequest, on_written: Callable[[], None] | None = None) -> None:
        """Let a record be written soon; `on_written` is then called, in the thread."""
        try:
            self._queue.put_nowait(_Waiting(kept, on_written))
        except queue.Full:
            self.counts.dropped += 1

    async def settled(self, kept: StoredRequest) -> None:
        """Put a record, and wait a moment until it is written. Never raises for what the store does."""
        if not self.is_well:
            self.put(kept)
            return
        loop = asyncio.get_running_loop()
        written = asyncio.Event()
        self.put(kept, lambda: _wake(loop, written))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(written.wait(), SETTLE_SECONDS)

    def close(self) -> None:
        """Write what waits, for `CLOSE_SECONDS` at most, and end the thread."""
        self._is_closing.set()
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        self._thread.join(CLOSE_SECONDS)

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._prune()
            batch, is_last = self._take()
            if batch:
                self._write([replace(item, kept=self._redacted(item.kept)) for item in batch])
            if is_last:
                return

    def _take(self) -> tuple[list[_Waiting], bool]:
        """Everything that waits, at least one record; and whether the writer is being closed."""
        batch: list[_Waiting] = []
        try:
            item = self._queue.get(timeout=PRUNE_SECONDS)
            while item is not None:
                batch.append(item)
                if len(batch) == MOST_IN_BATCH:
                    return batch, False
                item = self._queue.get_nowait()
        except queue.Empty:
            return batch, self._is_closing.is_set()
        return batch, True

    def _redacted(self, kept: StoredRequest) -> StoredRequest:
        """The record with its text redacted, or without it where it cannot be."""
        if kept.text is None:
            return kept
        messages, response = messages_of(kept.text.prompt), self.redacted(kept.text.response)
        said = [self.redacted(message["content"]) for message in messages]
        contents = [content for content in said if content is not None]
        if response is None or len(contents) < len(said):
            self.counts.withheld_texts += 1
            return replace(kept, text=None)
        told = [{**message, "content": content} for message, content in zip(messages, contents, strict=True)]
        return replace(kept, text=replace(kept.text, prompt=to_prompt(told), response=response))

    def redacted(self, words: str) -> str | None:
        """The words as they may be kept; None where they may not, since their redaction failed."""
        try:
            return self.redacts(words)
        except Exception:  # whatever a redaction does, a text that it did not finish is not kept
            return None

    def _write(self, batch: Sequence[_Waiting]) -> None:
        """Write a batch, however often it takes; a record that can never be written is left out."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            self._begun = time.monotonic()
            try:
                self.store.write([item.kept for item in batch])
            except Exception as error:  # whatever it is, the thread goes on: nobody else writes
                self._begun = None
                self._note_failure(error)
                if _is_about_values(error):
                    self._write_parts(batch)
                    return
                if self._is_closing.wait(pause) and pause > FIRST_PAUSE_SECONDS:
                    self.counts.dropped += len(batch)
                    return
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            else:
                self._begun = None
                self._note_success(batch)
                return

    def _write_parts(self, batch: Sequence[_Waiting]) -> None:
        """Write what can be written of a batch that holds a value which the database never takes: the other records, and of a
        record with a text its figures."""
        for item in batch:
            if len(batch) > 1:
                self._write([item])
            elif item.kept.text is not None:
                self.counts.withheld_texts += 1
                self._write([replace(item, kept=replace(item.kept, text=None))])
            else:
                self.counts.dropped += 1

    def _note_failure(self, error: Exception) -> None:
        self.counts.failures += 1
        if self._is_well:
            self._is_well = False
            self.say(f"the store of traffic fails ({type(error).__name__}); requests go on, and their records wait")

    def _note_success(self, batch: Sequence[_Waiting]) -> None:
        if not self._is_well:
            self._is_well = True
            self.say("the store of traffic is back")
        self.counts.written += len(batch)
        for item in batch:
            if item.on_written is not None:
                item.on_written()

    def _prune(self) -> None:
        if time.monotonic() - self._pruned_at < PRUNE_SECONDS:
            return
        self._pruned_at = time.monotonic()
        try:
            self.store.prune(self.text_days, self.figure_days)
        except SQLAlchemyError as error:
            self._note_failure(error)
        except Exception as error:  # the list of forgotten requests cannot be written
            self.say(f"the store of traffic was not tidied ({type(error).__name__}); it is tried again in an hour")


def _is_about_values(error: Exception) -> bool:
    """Whether the same record would be refused for ever."""
    is_statement = isinstance(error, StatementError) and type(error) is StatementError
    return is_statement or isinstance(error, DataError | IntegrityError) or not isinstance(error, SQLAlchemyError)


def _wake(loop: asyncio.AbstractEventLoop, written: asyncio.Event) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
        loop.call_soon_threadsafe(written.set)
