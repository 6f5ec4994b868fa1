"""Starting the engine that draws a served model's responses, on this machine, and ending it with the gateway.

1. Without a wish, a small model on a machine without a GPU gets our own local server: it starts in seconds and needs nothing
   further. Any other model gets vLLM where its program is found, else `transformers serve` where that can run, else the local
   server. `Engine.why` says in a sentence what was chosen.
2. An engine is a child with a port of this machine only. It is ready when it answers /health; one that ends before, or takes
   longer than it may, is a `RunFailed` that quotes the last line of its output that names an error.
3. When the context ends, the child and all that it started end too; on Linux even where this process is killed.

Who keeps a thinking budget: the local server always; vLLM where the model's prompts open its thinking by <think>, which is a
token as </think> is (`--reasoning-parser`, and `--reasoning-config` for the words that end a thought; vLLM has one such text for
all requests); `transformers serve` never. For the others there is `cutting.py`.
"""

import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import laconic
from laconic.bundled import BUNDLED
from laconic.config.defaults import SERVER_SECONDS
from laconic.config.serving import BudgetKeeper
from laconic.errors import InputError, RunFailed
from laconic.grading.thought import MARKS
from laconic.parallel.launching import free_port
from laconic.samplers.vllm.starting import CPU_PREFILL_TOKENS, SERVER_MODULE, OwnServer
from laconic.serving.budgets import ThinkingBudget

EngineKind = Literal["vllm", "transformers", "local"]
ENGINES: tuple[EngineKind, ...] = ("vllm", "transformers", "local")
SMALL_BYTES = 2**30
"""Weights up to this size are small."""
BETWEEN_LOOKS_SECONDS, ANSWER_SECONDS = 0.2, 5.0
GPU_FILES = ("/dev/nvidiactl", "/dev/kfd")
WEIGHTS = ("*.safetensors", "*.gguf")
SERVE_PACKAGES = ("fastapi", "uvicorn", "openai", "pydantic")
"""What `transformers serve` needs beside transformers."""


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that runs. `url` ends in /v1, and `model` is what requests must call the model. `tokenizer` is what counts
    thinking, None where the engine's own counts are right. `budgets` says who cuts thinking, and `why` in one sentence why it was
    chosen. `failure` says how it ended, None while it lives."""

    kind: EngineKind
    url: str
    model: str
    tokenizer: str | None
    budgets: BudgetKeeper
    why: str
    failure: Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """An engine and the reason for it. `program` is what starts it where that is not found by its name."""

    kind: EngineKind
    why: str
    program: str = ""


# --- choosing --------------------------------------------------------------------------------------------------------


def choose_engine(model: str, wish: str | None, *, has_gpu: bool | None = None) -> EngineChoice:
    """The engine for a model. A wish is one of `ENGINES`, or the path of a `vllm`, or of a Python that has it, in another
    environment. Raises `InputError` where it is none of them, or not installed."""
    if wish is not None:
        return _wished(wish)
    size, is_gpu = weight_bytes_of(model), any(map(os.path.exists, GPU_FILES)) if has_gpu is None else has_gpu
    if size is not None and size <= SMALL_BYTES and not is_gpu:
        return EngineChoice("local", f"the local server draws {model}, a model of {size / 2**20:.0f} MiB on a CPU")
    place = "a GPU" if is_gpu else "a CPU"
    if vllm_program():
        return EngineChoice("vllm", f"vLLM draws {model}: it is installed, and the model is for {place}, or not small")
    if _can_serve_transformers() and not model.endswith(".gguf"):
        return EngineChoice("transformers", f"transformers serve draws {model}: vLLM is not installed")
    return EngineChoice("local", f"the local server draws {model}: neither vLLM nor transformers serve is installed")


def _wished(wish: str) -> EngineChoice:
    if wish not in ENGINES:
        if Path(wish).name.startswith(("python", "vllm")) and (program := shutil.which(wish)):
            return EngineChoice("vllm", f"vLLM of {program} draws, as --engine says", program)
        raise InputError(
            f"--engine {wish}: expected one of {', '.join(ENGINES)}, or the path of a program vllm or python"
        )
    if wish == "vllm" and not vllm_program():
        raise InputError("--engine vllm: there is no program vllm on the path or beside this Python; pip install vllm")
    if wish == "transformers" and not _can_serve_transformers():
        raise InputError("--engine transformers: needs its server:  pip install 'transformers[serving]'")
    return EngineChoice(wish, f"{wish} draws, as --engine says")


def program_of(name: str) -> str | None:
    """The path of a program: one on the path, or beside this Python."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


def vllm_program() -> str | None:
    """The path of `vllm`, or of this Python where it has the package and no such program."""
    return program_of("vllm") or (sys.executable if find_spec("vllm") else None)


def _can_serve_transformers() -> bool:
    return program_of("transformers") is not None and all(find_spec(name) for name in SERVE_PACKAGES)


def weight_bytes_of(model: str) -> int | None:
    """The size of a model's weights; None for one that is not in a folder here."""
    folder = BUNDLED.get(model, Path(model))
    if folder.is_file():
        return folder.stat().st_size
    sizes = [path.stat().st_size for pattern in WEIGHTS for path in folder.glob(pattern)] if folder.is_dir() else []
    return sum(sizes) or None


# --- starting --------------------------------------------------------------------------------------------------------


@contextmanager
def engine_started(
    model: str,
    choice: EngineChoice,
    log: Path,
    *,
    budget: ThinkingBudget | None = None,
    seconds: float = SERVER_SECONDS,
    command: Sequence[str] | None = None,
) -> Iterator[Engine]:
    """The engine, once it answers; it ends with the context. Its output goes to the file `log`.

    `budget` is the one that most requests will have, whose text an engine may have to know at its start. `command` replaces the
    program, for tests. Raises `RunFailed` where it ends before it answers, or does not answer within `seconds`.
    """
    port = free_port()
    source = str(BUNDLED[model]) if model in BUNDLED and choice.kind != "local" else model
    plan = _PLANS[choice.kind](choice, source, model, port, budget)
    child = OwnServer([*command, str(port)] if command else plan.command, log, is_on_cpu=not _has_gpu())
    child.environment |= plan.environment

    def failure() -> str | None:
        code = child.exit_code
        return None if code is None else f"{choice.kind} ended (exit code {code}): {child.last_words()}; see {log}"

    try:
        child.begin()
        _wait_until_ready(f"http://127.0.0.1:{port}/health", choice.kind, failure, seconds, log)
        yield Engine(
            choice.kind,
            f"http://127.0.0.1:{port}/v1",
            plan.served_as,
            None if choice.kind == "local" else model,
            plan.budgets,
            choice.why,
            failure,
        )
    finally:
        child.end()


def _wait_until_ready(
    address: str, kind: EngineKind, failure: Callable[[], str | None], seconds: float, log: Path
) -> None:
    deadline = time.monotonic() + seconds
    while not _is_healthy(address):
        if said := failure():
            raise RunFailed(said)
        if time.monotonic() >= deadline:
            raise RunFailed(f"{kind} does not answer after {seconds:g} s; see {log}")
        time.sleep(BETWEEN_LOOKS_SECONDS)


def _is_healthy(address: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=ANSWER_SECONDS) as reply:
            return int(reply.status) == 200
    except (urllib.error.URLError, OSError, ValueError):
        return False


def _has_gpu() -> bool:
    return any(map(os.path.exists, GPU_FILES))


# --- the three engines -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """A command, the name by which it serves the model, and who keeps budgets on it."""

    command: Sequence[str]
    served_as: str
    budgets: BudgetKeeper
    environment: Mapping[str, str]


def plan_local(choice: EngineChoice, source: str, name: str, port: int, budget: ThinkingBudget | None) -> EnginePlan:
    """Our own server."""
    command = [sys.executable, "-m", "laconic.serving.local_server", source, "--port", str(port), "--name", name]
    here = str(Path(laconic.__file__).parents[1])
    paths = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    return EnginePlan(command, name, "laconic", {"PYTHONPATH": paths})


def plan_transformers(
    choice: EngineChoice, source: str, name: str, port: int, budget: ThinkingBudget | None
) -> EnginePlan:
    """`transformers serve`, which calls the model by its folder or hub name."""
    program = program_of("transformers") or "transformers"
    command = [program, "serve", source, "--host", "127.0.0.1", "--port", str(port), "--continuous-batching"]
    return EnginePlan(command, source, "gateway", {})


def plan_vllm(choice: EngineChoice, source: str, name: str, port: int, budget: ThinkingBudget | None) -> EnginePlan:
    """vLLM. On a CPU prompts are not cut into chunks: there version 0.32 dies of a request that has a seed and is cut."""
    own = ["--served-model-name", name, "--host", "127.0.0.1", "--port", str(port), "--disable-uvicorn-access-log"]
    if not _has_gpu():
        own += ["--no-enable-chunked-prefill", "--max-num-batched-tokens", str(CPU_PREFILL_TOKENS)]
    thinks = opens_thinking(Path(source))
    if thinks:
        own += ["--reasoning-parser", "deepseek_r1"]
        if budget is not None and budget.force_text:
            own += ["--reasoning-config", json.dumps({"reasoning_end_str": budget.force_text})]
    program = choice.program or vllm_program() or "vllm"
    is_python = Path(program).name.startswith("python")
    begin = [program, "-m", SERVER_MODULE, "--model", source] if is_python else [program, "serve", source]
    return EnginePlan([*begin, *own], name, "vllm" if thinks else "gateway", {})


_PLANS: Mapping[EngineKind, Callable[[EngineChoice, str, str, int, ThinkingBudget | None], EnginePlan]] = {
    "local": plan_local,
    "transformers": plan_transformers,
    "vllm": plan_vllm,
}


def opens_thinking(folder: Path) -> bool:
    """Whether the prompts of a model in a folder end with <think>, which is one token as </think> is; false for one that is not
    here. vLLM's parser takes a text without </think> for an unfinished thought, so a model that may answer without a thought (a
    plain instruct model of a family that thinks, or one that opens its thoughts itself) gets none."""
    from laconic.config.policy import PolicyConfig
    from laconic.models.loading import load_tokenizer
    from laconic.prompts.instructions import conversation_ids
    from laconic.prompts.thinking import prompt_mark

    if not folder.is_dir():
        return False
    try:
        tokenizer = load_tokenizer(str(folder), PolicyConfig())
        prompt = conversation_ids(tokenizer, [{"role": "user", "content": "1 + 1"}])
    except InputError:  # vLLM will say itself what is wrong with the folder
        return False
    is_open = prompt_mark(prompt, tokenizer) == MARKS[0].opens
    return is_open and {MARKS[0].opens, MARKS[0].closes} <= tokenizer.get_vocab().keys()
