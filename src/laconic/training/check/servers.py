"""The vLLM servers that phases name: whether an address is one, and whether anybody answers there now.

Training asks the same before it makes the run's folder, and refuses. A plan may be made on another machine, or before the server
is started, so here what may change until then is a warning.
"""

from collections.abc import Iterator, Sequence

from laconic.config.sense.complaints import Complaint
from laconic.errors import ModelError
from laconic.samplers.endpoints import is_endpoint
from laconic.training.check.phases import ResolvedPhase


def complaints_about_servers(phases: Sequence[ResolvedPhase]) -> Iterator[Complaint]:
    """Servers that training would refuse as things are, each once. Raises `ModelError` where none can have that address."""
    names = {phase.config.sampler.server: phase for phase in reversed(phases) if phase.config.sampler.engine == "vllm"}
    for name, phase in reversed(names.items()):
        if why := _why_not(name):
            yield Complaint("warning", f"phases.{phase.name}.sampler.server", f"{why}; training would refuse it")


def _why_not(name: str) -> str:
    """Why training cannot draw from the server as things are; empty where it can, as far as the server says."""
    from laconic.samplers.vllm.server import HEALTH_SECONDS, ServerGone, VllmServer
    from laconic.samplers.vllm.starting import command_words, executable_of

    if not is_endpoint(name):
        command_words(name)
        try:
            executable_of(name)
        except ModelError as error:
            return str(error).removeprefix("sampler.server: ")
        return ""
    server = VllmServer(name, HEALTH_SECONDS)
    try:
        server.facts()
    except ServerGone as error:
        return f"does not answer now ({error})"
    except ModelError as error:
        return str(error)
    return ""
