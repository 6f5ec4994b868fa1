"""The thread that draws: it takes jobs from a queue whenever there is room, and steps while there are rows.

A request that comes while others are drawn joins them at the next step. One whose client has left leaves at the next step. Where
drawing itself fails, every job that was taken is told so, and so is every later one: the server is then no longer healthy.
"""

import queue
import threading
from collections import deque

import torch

from laconic.models.causal_lm import CausalLM
from laconic.samplers.decoders import weight_bytes
from laconic.samplers.local import LANE_BYTES
from laconic.serving.local_server.jobs import Job, News
from laconic.serving.local_server.live_rows import LiveRows
from laconic.system.threads import allowed_cores


class DrawingThread:
    """Draws jobs of one model, in a thread of its own, in `num_slots` rows at once."""

    def __init__(self, lm: CausalLM, num_slots: int, max_positions: int) -> None:
        self.lm, self.num_slots, self.max_positions = lm, num_slots, max_positions
        self.arriving: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.waiting: deque[Job] = deque()
        self.entering: list[Job] = []
        self.live: LiveRows | None = None
        self.failure = ""
        self.thread = threading.Thread(target=self._run, name="drawing", daemon=True)

    def start(self) -> None:
        """Begin to draw."""
        self.thread.start()

    def submit(self, job: Job) -> None:
        """Draw a job as soon as there is room. What becomes of it is told to the job."""
        self.arriving.put(job)
        if self.failure:  # the thread may have ended before it saw the job
            job.tell(News(failure=self.failure))

    def close(self) -> None:
        """End the thread; jobs that are being drawn are told so."""
        self.arriving.put(None)
        self.thread.join()

    def _run(self) -> None:
        try:
            self.live = LiveRows(self.lm, self.num_slots, self.max_positions)
            with self.live.decoder.arithmetic():
                while self._admit(self.live):
                    self.live.step()
            self._fail("the server is being closed")
        except Exception as error:  # whatever it is, clients must not wait for ever
            self._fail(f"drawing failed: {type(error).__name__}: {error}")

    def _admit(self, live: LiveRows) -> bool:
        """Let jobs in, waiting for one where none is being drawn. False where the thread is to end."""
        while True:
            while not self.arriving.empty() or not (live.rows or self.waiting):
                job = self.arriving.get()
                if job is None:
                    return False
                self.waiting.append(job)
            live.leave()
            admitted = [self.waiting.popleft() for _ in range(min(live.num_free, len(self.waiting)))]
            self.entering = [job for job in admitted if not job.left.is_set()]
            if self.entering:
                live.enter(self.entering)
            self.entering = []
            if live.rows:
                return True

    def _fail(self, why: str) -> None:
        self.failure = why
        taken = [row.job for row in self.live.rows] if self.live else []
        while not self.arriving.empty():
            if job := self.arriving.get():
                taken.append(job)
        for job in (*taken, *self.entering, *self.waiting):
            job.tell(News(failure=why))


def leave_a_core(lm: CausalLM) -> None:
    """Let one thread less than there are cores draw a small model on a CPU: HTTP, chat templates and a gateway work meanwhile,
    and threads that share an operation of microseconds would wait for the one whose core is busy."""
    if lm.device.type == "cpu" and weight_bytes(lm) <= LANE_BYTES:
        torch.set_num_threads(max(1, min(torch.get_num_threads(), len(allowed_cores()) - 1)))
