"""The engine that a phase asks for: `sampler.engine` of its recipe, looked up at every call.

1. Each server is opened once. One with an address is asked before the run's folder is touched, so that a wrong address leaves no
   run. One that the run starts gets its model from that folder, and is started when a phase first draws; where another phase
   names another command, the one before is ended first, since it holds most of a GPU.
2. Weights on their way lie in `handover/` in the run's folder, those for each server in a folder of its own.
3. Of several processes the first alone draws from a server (`rollouts/solver.py`), and so opens it.

A run without vLLM imports none of the modules beside this one.
"""

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from laconic.config.resumption import resume_command
from laconic.config.solver import SamplerConfig
from laconic.models.policy import Policy
from laconic.parallel.place import read_place
from laconic.samplers.endpoints import is_endpoint
from laconic.samplers.local import LocalSampler
from laconic.samplers.protocol import Request
from laconic.types import Progress, Response

if TYPE_CHECKING:
    from laconic.samplers.vllm.sampler import VllmSampler
    from laconic.samplers.vllm.server import VllmServer
    from laconic.samplers.vllm.starting import OwnServer

HANDOVER_FOLDER, LOG = "handover", "vllm.log"
SHORT_CONTEXT = 4096


class Engines:
    """The local sampler, and a vLLM sampler for each server that the recipe names."""

    def __init__(self, policy: Policy, out: Path) -> None:
        self.policy, self.out, self.place = policy, out, read_place()
        self.local = LocalSampler(policy.lm)
        self.opened: dict[str, VllmSampler] = {}
        self.num_opened = 0

    def sample(
        self, requests: Sequence[Request], decoding: SamplerConfig, *, seed: int, on_progress: Progress | None = None
    ) -> list[list[Response]]:
        """The responses to each request, drawn by the engine that `decoding` names."""
        engine = self.vllm(decoding) if decoding.engine == "vllm" else self.local
        return engine.sample(requests, decoding, seed=seed, on_progress=on_progress)

    def connect(self, decodings: Sequence[SamplerConfig]) -> None:
        """Ask every server that has an address, and look for the program of every other. Raises `ModelError` where one is not
        fit, and `EngineLost` where one does not answer."""
        for decoding in decodings:
            if decoding.engine != "vllm":
                continue
            if is_endpoint(decoding.server):
                self.vllm(decoding)
            else:
                from laconic.samplers.vllm.starting import executable_of

                executable_of(decoding.server)

    def vllm(self, decoding: SamplerConfig) -> "VllmSampler":
        """The sampler of the server that `decoding` names. The first call waits for the server, or starts it."""
        if decoding.server not in self.opened:
            self._end_own()
            if self.num_opened == 0:
                self._sweep()
            self.opened[decoding.server] = self._open(decoding)
            self.num_opened += 1
        return self.opened[decoding.server]

    def make_room(self) -> None:
        """Give back memory before an update."""
        self.local.make_room()

    def figures(self) -> dict[str, float]:
        """The step's `sampler/*` metrics about servers: seconds of hand-overs, and how often a call was drawn again."""
        seconds = sum(engine.handover.seconds for engine in self.opened.values())
        redrawn = sum(engine.num_redrawn for engine in self.opened.values())
        for engine in self.opened.values():
            engine.handover.seconds, engine.num_redrawn = 0.0, 0
        return {"sampler/handover_seconds": seconds, "sampler/redrawn": redrawn} if self.opened else {}

    def close(self) -> None:
        """End what was started, and remove weights on their way, also those that a killed run has left."""
        opened, self.opened = self.opened, {}
        with contextlib.ExitStack() as ends:
            if self.place is None or self.place.rank == 0:
                ends.callback(self._sweep)
            for engine in opened.values():
                ends.callback(engine.close)

    def _sweep(self) -> None:
        """Remove weights on their way."""
        shutil.rmtree(self.out / HANDOVER_FOLDER, ignore_errors=True)

    def _end_own(self) -> None:
        """End the server that the run started, if there is one."""
        for name, engine in list(self.opened.items()):
            if engine.own is not None:
                self.opened.pop(name).close()

    def _open(self, decoding: SamplerConfig) -> "VllmSampler":
        from laconic.samplers.vllm.sampler import VllmSampler
        from laconic.samplers.vllm.server import VllmServer

        command = resume_command(self.out)
        again = f"Go on with:  {self.place.again(command) if self.place else command}"
        folder, seconds = self.out / HANDOVER_FOLDER / f"server-{self.num_opened}", decoding.server_seconds
        if is_endpoint(decoding.server):
            server = VllmServer(decoding.server)
            return VllmSampler(self.policy, server, folder, seconds=seconds, remedy=f"Start the server. {again}")
        own, server = self._started(decoding, folder / "model")
        try:
            return VllmSampler(self.policy, server, folder, seconds=seconds, remedy=again, own=own)
        except BaseException:
            own.end()
            raise

    def _started(self, decoding: SamplerConfig, model: Path) -> "tuple[OwnServer, VllmServer]":
        """A server of the policy as it is now, saved to the folder `model`."""
        from laconic.parallel.launching import free_port
        from laconic.samplers.vllm.handover import written_whole
        from laconic.samplers.vllm.server import VllmServer
        from laconic.samplers.vllm.starting import OwnServer, executable_of, serve_command

        words, port = executable_of(decoding.server), free_port()
        with written_whole(model):
            self.policy.save(model)
        context = self.policy.lm.context_length or SHORT_CONTEXT + decoding.max_tokens
        lm = self.policy.lm
        dtype = "float32" if lm.autocast_dtype is None and str(lm.model.dtype) == "torch.float32" else "bfloat16"
        is_on_cpu = lm.device.type == "cpu"
        command = serve_command(
            words, model, port, context=context, rows=decoding.batch_size, dtype=dtype, is_on_cpu=is_on_cpu
        )
        own = OwnServer(command, self.out / LOG, is_on_cpu=is_on_cpu)
        own.begin()
        return own, VllmServer(f"http://127.0.0.1:{port}")
