"""A small server in this process that plays vLLM and draws for real, with a tiny model that reads weights as it is told.

A trainer gets what its own sampler would have drawn, since the random numbers go by the seeds that are sent. A `fault` may answer
in the server's place.
"""

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import torch
from fake_endpoint import QuietServer
from safetensors.torch import load_file

from laconic.config.policy import PolicyConfig
from laconic.config.solver import SamplerConfig
from laconic.models.causal_lm import CausalLM
from laconic.models.loading import load_model
from laconic.samplers.drawing import draw_tokens, uniforms
from laconic.samplers.vllm.server import INITIAL_VERSION
from laconic.samplers.vllm.starting import OWN_MODE

Fault = Callable[[str, Any], tuple[int, Any] | None]
"""What to answer to a path and a body instead; a status of 0 hangs up."""


@torch.inference_mode()
def drawn(lm: CausalLM, body: dict[str, Any]) -> tuple[list[int], list[float]]:
    """Ids and log-probabilities of the response to a request, one plain forward pass per token. Its random numbers are those of
    the local sampler's row with the same seed."""
    decoding = SamplerConfig(temperature=body["temperature"], top_p=body["top_p"], min_p=body["min_p"])
    ids, logprobs = list(body["prompt"]), []
    for step in range(body["max_tokens"]):
        logits = lm.head(lm.backbone(torch.tensor([ids])).last_hidden_state[:, -1])
        number = uniforms(torch.tensor([body["seed"]]), torch.tensor([step]))
        token, logprob = draw_tokens(logits, number, decoding)
        ids.append(int(token))
        logprobs.append(float(logprob))
        if ids[-1] in body["stop_token_ids"]:
            break
    return ids[len(body["prompt"]) :], logprobs


@torch.inference_mode()
def scored(lm: CausalLM, ids: list[int]) -> list[Any]:
    """vLLM's `prompt_logprobs`: nothing for the first token, and one log-probability by the id of every other."""
    logprobs = lm.head(lm.backbone(torch.tensor([ids])).last_hidden_state[0]).log_softmax(-1)
    return [
        None,
        *({str(token): {"logprob": float(row[token])}} for row, token in zip(logprobs, ids[1:], strict=False)),
    ]


@dataclass
class FakeVllm:
    """A server of the model in `folder`."""

    folder: Path
    model_config: dict[str, Any] = field(default_factory=dict)
    transfer: dict[str, Any] | None = None
    fault: Fault = lambda path, body: None

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.asked: list[tuple[str, Any]] = []
        self.reloads: list[str] = []
        self.begin_again()
        self.server = QuietServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def begin_again(self) -> None:
        """What a new process would begin with."""
        self.lm = load_model(str(self.folder), PolicyConfig(device="cpu"))
        self.version = INITIAL_VERSION

    def close(self) -> None:
        """Stop serving."""
        self.server.shutdown()
        self.server.server_close()

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        """The reply to one request."""
        self.asked.append((path, body))
        if (answer := self.fault(path, body)) is not None:
            return answer
        found = {
            "/health": lambda: {},
            "/v1/models": lambda: {"data": [{"id": "m", "root": str(self.folder)}]},
            "/server_info?config_format=json": self._info,
            "/tokenize": lambda: {"tokens": self.lm.tokenizer.encode(body["prompt"], add_special_tokens=False)},
            "/weight_info": lambda: {"weight_version": self.version},
            "/update_weight_version": lambda: self._set_version(body["new_version"]),
            "/weight_checker": lambda: {"checksums": self._checksums()},
            "/collective_rpc": lambda: self._reload(body),
            "/reset_prefix_cache": lambda: {"success": True},
            "/get_world_size": lambda: {"world_size": 2},
            "/v1/completions": lambda: self._complete(body),
        }.get(path)
        return (404, {"detail": "Not Found"}) if found is None else (200, found())

    def _info(self) -> Any:
        model = {
            "model": str(self.folder),
            "max_model_len": 512,
            "dtype": "torch.float32",
            "quantization": None,
            "logprobs_mode": OWN_MODE,
        }
        return {"vllm_config": {"model_config": model | self.model_config, "weight_transfer_config": self.transfer}}

    def _set_version(self, version: str) -> Any:
        self.version = version
        return {"success": True}

    def _reload(self, body: Any) -> Any:
        assert body["method"] == "reload_weights"
        self.reloads.append(body["kwargs"]["weights_path"])
        self.lm.model.load_state_dict(load_file(Path(self.reloads[-1]) / "model.safetensors"), strict=False)
        return {"results": [None]}

    def _checksums(self) -> dict[str, str]:
        """Of linear layers it is that of nothing, as on a CPU, where vLLM packs them."""
        return {
            f"dp0:pp0:pcp0:tp0:{name}": hashlib.sha256(
                b"" if "proj" in name else weight.detach().numpy().tobytes()
            ).hexdigest()
            for name, weight in self.lm.model.named_parameters()
        }

    def _complete(self, body: Any) -> Any:
        if "prompt_logprobs" in body:
            return {"choices": [{"prompt_logprobs": scored(self.lm, body["prompt"])}]}
        assert body["ignore_eos"] and body["return_token_ids"] and body["logprobs"] == 0
        ids, logprobs = drawn(self.lm, body)
        reason = "stop" if ids[-1] in body["stop_token_ids"] else "length"
        choice = {"finish_reason": reason, "token_ids": ids, "logprobs": {"token_logprobs": logprobs}}
        return {"choices": [choice]}

    def _handler(vllm: "FakeVllm") -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_GET(self) -> None:
                self.give(None)

            def do_POST(self) -> None:
                self.give(json.loads(self.rfile.read(int(self.headers["content-length"]))))

            def give(self, body: Any) -> None:
                with contextlib.nullcontext() if self.path == "/health" else vllm.lock:
                    status, content = vllm.answer(self.path, body)
                if status == 0:
                    self.close_connection = True
                    return
                text = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
