"""What the vLLM sampler claims: the server draws with the policy's weights or not at all, what it draws is what the local sampler
draws, and every way in which a server can be the wrong one is one line.

A small server in this process plays vLLM and draws for real (`fake_vllm.py`). The real one is asked by `benchmarks/vllm_loop.py`.
"""

import re
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from fake_vllm import FakeVllm
from safetensors.torch import load_file
from small import save_small_model

from laconic.config.policy import LoraConfig, PolicyConfig
from laconic.config.solver import SamplerConfig
from laconic.errors import Diverged, EngineLost, LaconicWarning, ModelError, RunFailed, Terminated
from laconic.models.loading import load_model
from laconic.models.policy import Policy
from laconic.rng import seed_of
from laconic.samplers.local import LocalSampler
from laconic.samplers.protocol import Request
from laconic.samplers.vllm import sampler as sampler_module
from laconic.samplers.vllm import server as server_module
from laconic.samplers.vllm.engines import Engines
from laconic.samplers.vllm.handover import FolderTransfer, NcclTransfer, weights_digest
from laconic.samplers.vllm.sampler import VllmSampler
from laconic.samplers.vllm.server import VllmServer
from laconic.samplers.vllm.starting import OwnServer, executable_of, serve_command
from laconic.samplers.vllm.wire import completion_of, drawn_response
from laconic.types import FinishReason

DECODING = SamplerConfig(max_tokens=8, batch_size=3)
REQUESTS = [Request("a", (3, 4, 5), 2), Request("b", (6, 7), 1, first_sample=4)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture
def vllm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeVllm]:
    monkeypatch.setattr(sampler_module, "LOOK_SECONDS", 0.01)
    server = FakeVllm(folder)
    yield server
    server.close()


def policy_of(folder: Path, lora: bool = False) -> Policy:
    config = PolicyConfig(device="cpu", lora=LoraConfig(rank=2) if lora else None)
    return Policy(load_model(str(folder), config), config, seed=0)


def opened(vllm: FakeVllm, out: Path, policy: Policy | None = None, seconds: float = 0.2) -> VllmSampler:
    policy = policy or policy_of(vllm.folder)
    return VllmSampler(policy, VllmServer(vllm.url), out / "handover", seconds=seconds, remedy="Go on.")


def move(policy: Policy, amount: float = 0.05) -> None:
    """An update of every trained weight."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.policy_parameters().values():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=amount)


def ids(rows: Any) -> list[list[tuple[int, ...]]]:
    return [[response.token_ids for response in row] for row in rows]


# --- what is drawn ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [False, True])
def test_the_server_draws_what_the_local_sampler_draws_after_every_update(
    vllm: FakeVllm, tmp_path: Path, lora: bool
) -> None:
    """Same ids and log-probabilities, before and after an update, with LoRA merged; unchanged weights are not sent twice."""
    policy = policy_of(vllm.folder, lora)
    far, near = opened(vllm, tmp_path, policy), LocalSampler(policy.lm)
    seen: list[tuple[int, int]] = []
    for updates in range(2):
        for again in range(2):
            rows = far.sample(REQUESTS, DECODING, seed=again, on_progress=lambda *done: seen.append(done))
            expected = near.sample(REQUESTS, DECODING, seed=again)
            assert ids(rows) == ids(expected)
            for row, other in zip(rows, expected, strict=True):
                for a, b in zip(row, other, strict=True):
                    assert (a.text, a.finish_reason) == (b.text, b.finish_reason)
                    assert a.logprobs == pytest.approx(b.logprobs, abs=1e-5)
        assert far.handover.num_done == len(vllm.reloads) == updates + 1
        move(policy)
    assert sum(done for done, _ in seen) == 3 * 4
    assert len(set(vllm.reloads)) == 2, "a folder is used once"
    assert isinstance(far.handover.transfer, FolderTransfer)
    assert [path.name for path in far.handover.transfer.folder.iterdir()] == [Path(vllm.reloads[-1]).name]
    far.close()
    assert not (tmp_path / "handover").exists()


def test_a_request_states_seed_stops_and_every_setting() -> None:
    """Nothing is left to the model's generation config, and the seed is the local sampler's row key."""
    decoding = SamplerConfig(temperature=0.5, top_p=0.9, min_p=0.1, max_tokens=7)
    body = completion_of("m", REQUESTS[1], 4, decoding, {9, 2}, seed=5)
    assert body["prompt"] == [6, 7] and body["seed"] == seed_of(5, "sample", "b", 4)
    assert body["stop_token_ids"] == [2, 9] and body["ignore_eos"] is True
    settings = ("temperature", "top_p", "min_p", "max_tokens", "top_k", "repetition_penalty", "presence_penalty")
    assert [body[key] for key in settings] == [0.5, 0.9, 0.1, 7, 0, 1.0, 0.0]


def answer(token_ids: Any, logprobs: Any) -> Any:
    return {"choices": [{"token_ids": token_ids, "logprobs": {"token_logprobs": logprobs}, "finish_reason": "length"}]}


def test_a_response_has_ended_where_its_last_token_is_an_end_token() -> None:
    """At the cap too, as the local sampler has it."""
    for token, reason in ((9, FinishReason.STOP), (8, FinishReason.LENGTH)):
        response = drawn_response("s", answer([1, token], [-0.5, 1e-7]), 2, {9}, str)
        assert (
            response.finish_reason is reason and response.logprobs == (-0.5, 0.0) and response.text == str((1, token))
        )


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ({"choices": []}, "expected the token_ids and logprobs"),
        (answer(None, []), "expected the token_ids and logprobs"),
        (answer([10**12], [-0.1]), "expected the token_ids and logprobs"),
        (answer([-1], [-0.1]), "expected the token_ids and logprobs"),
        (answer([9], [-(10**400)]), "expected the token_ids and logprobs"),
        (answer([9], [3.0]), "expected the token_ids and logprobs"),
        (answer([9], [True]), "expected the token_ids and logprobs"),
        (answer([1, 2], [-0.1]), "2 token_ids came with 1 log-probabilities"),
        (answer([1], [-0.1]), "ends neither at an end token nor at the cap, 2"),
        (answer([9, 1], [-0.1, -0.1]), "ends neither at an end token"),
    ],
)
def test_a_reply_that_is_not_what_was_asked_for_is_one_line(reply: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        drawn_response("s", reply, 2, {9}, str)


def test_a_log_probability_that_is_none_means_divergence() -> None:
    """vLLM writes -9999 for NaN."""
    with pytest.raises(Diverged, match="not finite"):
        drawn_response("s", answer([9], [-9999.0]), 2, {9}, str)


# --- a server that dies ----------------------------------------------------------------------------------------------


def test_a_server_that_starts_again_gets_the_weights_again_and_the_call_is_drawn_again(
    vllm: FakeVllm, tmp_path: Path
) -> None:
    """It loses the weights at the third request for a response and goes on answering from its old ones. Nothing of it is kept."""
    policy = policy_of(vllm.folder)
    far = opened(vllm, tmp_path, policy)
    far.sample(REQUESTS, DECODING, seed=0)
    move(policy)
    number = 0

    def restart(path: str, body: Any) -> None:
        nonlocal number
        number += path == "/v1/completions"
        if number == 3:
            number += 1
            vllm.begin_again()

    vllm.fault = restart
    with pytest.warns(LaconicWarning, match="was started again while it was asked; waiting for the server"):
        rows = far.sample(REQUESTS, DECODING, seed=7)
    assert ids(rows) == ids(LocalSampler(policy.lm).sample(REQUESTS, DECODING, seed=7))
    assert far.handover.num_done == 3 and far.num_redrawn == 1


@pytest.mark.parametrize("fault", [(0, None), (500, {"error": {"message": "EngineCore died"}})])
def test_a_connection_that_breaks_voids_the_call(vllm: FakeVllm, tmp_path: Path, fault: tuple[int, Any]) -> None:
    """What had come is taken off the count, and the whole call is drawn again: four responses in the end, as asked for."""
    far = opened(vllm, tmp_path)
    far.sample(REQUESTS, DECODING, seed=0)
    breaks = iter([None, fault])
    vllm.fault = lambda path, body: next(breaks, None) if path == "/v1/completions" else None
    seen: list[tuple[int, int]] = []
    with pytest.warns(LaconicWarning, match="waiting for the server"):
        rows = far.sample(REQUESTS, DECODING, seed=1, on_progress=lambda *done: seen.append(done))
    assert ids(rows) == ids(LocalSampler(far.policy.lm).sample(REQUESTS, DECODING, seed=1))
    assert sum(done for done, _ in seen) == 3
    assert sum(tokens for _, tokens in seen) == sum(response.num_tokens for row in rows for response in row)


@pytest.mark.parametrize("door", ["/v1/completions", "/weight_info"])
def test_a_server_that_hangs_is_noticed(
    vllm: FakeVllm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: str
) -> None:
    """It breaks no connection, and says nothing more until it goes on."""
    far = opened(vllm, tmp_path, seconds=30.0)
    expected = far.sample(REQUESTS, DECODING, seed=0)
    monkeypatch.setattr(server_module, "WATCH_SECONDS", 0.2)
    hangs_until = 0.0

    def hang(path: str, body: Any) -> None:
        nonlocal hangs_until
        if path == door and not hangs_until:
            hangs_until = time.monotonic() + 1.0
        if path in (door, "/health"):
            time.sleep(max(0.0, hangs_until - time.monotonic()))

    vllm.fault = hang
    with pytest.warns(LaconicWarning, match=r"/health: ReadTimeout .*; waiting for the server"):
        rows = far.sample(REQUESTS, DECODING, seed=0)
    assert ids(rows) == ids(expected)


def test_what_a_server_drew_before_it_lost_the_weights_is_not_counted_twice(vllm: FakeVllm, tmp_path: Path) -> None:
    """All three responses had come when it was found that they are of other weights."""
    far = opened(vllm, tmp_path)
    far.sample(REQUESTS, DECODING, seed=0)
    number, seen = 0, []

    def restart(path: str, body: Any) -> None:
        nonlocal number
        number += path == "/weight_info"
        if number == 2:
            number += 1
            vllm.begin_again()

    vllm.fault = restart
    with pytest.warns(LaconicWarning, match="was started again"):
        rows = far.sample(REQUESTS, DECODING, seed=0, on_progress=lambda *done: seen.append(done))
    assert sum(done for done, _ in seen) == 3 and min(done for done, _ in seen) == -3
    assert sum(tokens for _, tokens in seen) == sum(response.num_tokens for row in rows for response in row)


@pytest.mark.parametrize("when", ["between calls", "in a call"])
def test_a_server_that_is_started_again_otherwise_is_refused(vllm: FakeVllm, tmp_path: Path, when: str) -> None:
    """Its log-probabilities would be of another kind from then on, and nobody would see it."""
    far = opened(vllm, tmp_path)
    far.sample(REQUESTS, DECODING, seed=0)
    vllm.model_config = {"logprobs_mode": "raw_logprobs"}
    if when == "between calls":
        vllm.begin_again()
    else:
        breaks = iter([(0, None)])
        vllm.fault = lambda path, body: next(breaks, None) if path == "/v1/completions" else None
    with warnings.catch_warnings(), pytest.raises(ModelError, match="reports raw_logprobs; start the server with"):
        warnings.simplefilter("ignore", LaconicWarning)
        far.sample(REQUESTS, DECODING, seed=0)


def test_a_server_that_comes_back_in_another_precision_is_given_it(vllm: FakeVllm, tmp_path: Path) -> None:
    """Weights that did not move have other checksums then, and none is taken for a fault."""
    far = opened(vllm, tmp_path)
    far.sample(REQUESTS, DECODING, seed=0)
    vllm.model_config = {"dtype": "torch.bfloat16"}
    vllm.begin_again()
    far.sample(REQUESTS, DECODING, seed=0)
    newest = load_file(Path(vllm.reloads[-1]) / "model.safetensors")
    assert {weight.dtype for weight in newest.values()} == {torch.bfloat16} and len(vllm.reloads) == 2


def test_a_signal_ends_a_call_as_the_signal_that_it_is(vllm: FakeVllm, tmp_path: Path) -> None:
    """It may come while a reply is read, inside a group of tasks, and is no failure of the server."""

    def interrupted(responses: int, tokens: int) -> None:
        raise Terminated("ended by Ctrl-C", 130)

    with pytest.raises(Terminated, match="ended by Ctrl-C"):
        opened(vllm, tmp_path).sample(REQUESTS, DECODING, seed=0, on_progress=interrupted)


def test_a_server_that_stays_away_is_waited_for_and_then_one_line_says_how_to_go_on(
    vllm: FakeVllm, tmp_path: Path
) -> None:
    far = opened(vllm, tmp_path, seconds=0.05)
    vllm.fault = lambda path, body: (0, None)
    with (
        pytest.warns(LaconicWarning),
        pytest.raises(EngineLost, match=r"^http://127.*did not answer for 0\.05 s\. Go on\.$"),
    ):
        far.sample(REQUESTS, DECODING, seed=0)


def test_a_server_that_fails_whenever_it_draws_is_given_up(vllm: FakeVllm, tmp_path: Path) -> None:
    far = opened(vllm, tmp_path)
    vllm.fault = lambda path, body: (500, {"error": "boom"}) if path == "/v1/completions" else None
    with warnings.catch_warnings(), pytest.raises(EngineLost, match=r"500 boom; 5 tries in a row failed\. Go on\."):
        warnings.simplefilter("ignore", LaconicWarning)
        far.sample(REQUESTS, DECODING, seed=0)


def test_another_program_that_gives_the_server_weights_is_found(vllm: FakeVllm, tmp_path: Path) -> None:
    far = opened(vllm, tmp_path)
    far.sample(REQUESTS, DECODING, seed=0)
    vllm.version = "laconic-another"
    with pytest.raises(RunFailed, match=r"another program gave the server its weights \(laconic-another\)"):
        far.sample(REQUESTS, DECODING, seed=0)


# --- a server that is the wrong one ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"logprobs_mode": "raw_logprobs"},
            "reports raw_logprobs; start the server with --logprobs-mode processed_logprobs",
        ),
        ({"quantization": "fp8"}, "holds weights quantized by fp8"),
        ({"max_model_len": 10}, "max_tokens 8 exceed what .* takes, 10 tokens; start it with a larger --max-model-len"),
    ],
)
def test_settings_that_the_trainer_cannot_use_are_one_line(
    vllm: FakeVllm, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    vllm.model_config = changes
    with pytest.raises(ModelError, match=said) as caught:
        opened(vllm, tmp_path).sample(REQUESTS, DECODING, seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "answered", "said"),
    [
        ("/tokenize", (200, {"tokens": [1, 2]}), r"whose tokenizer is not that of .*: it makes \[1, 2\] of"),
        (
            "/server_info?config_format=json",
            (404, {"detail": "Not Found"}),
            "404 Not Found; .*VLLM_SERVER_DEV_MODE=1 vllm serve",
        ),
        ("/server_info?config_format=json", (200, {}), "is no vLLM server that this version knows"),
    ],
)
def test_another_server_is_one_line(
    vllm: FakeVllm, tmp_path: Path, path: str, answered: tuple[int, Any], said: str
) -> None:
    vllm.fault = lambda asked, body: answered if asked == path else None
    with pytest.raises(ModelError, match=said):
        opened(vllm, tmp_path)


def test_no_server_at_all_is_one_line(tmp_path: Path, folder: Path) -> None:
    """Port 9 of this machine answers nobody."""
    with (
        pytest.warns(LaconicWarning, match=r"127\.0\.0\.1:9: no vLLM server yet; waiting for it up to 0\.01 s"),
        pytest.raises(
            EngineLost, match=r"^http://127\.0\.0\.1:9: no vLLM server; it did not answer for 0\.01 s\. Go on\.$"
        ),
    ):
        VllmSampler(policy_of(folder), VllmServer("http://127.0.0.1:9"), tmp_path, seconds=0.01, remedy="Go on.")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/tokenize", "expected the tokens of a text, got {}"),
        ("/weight_checker", "expected the checksums of weights, got {}"),
        ("/weight_info", "expected a weight_version, got {}"),
    ],
)
def test_a_door_that_says_something_else_is_one_line(vllm: FakeVllm, tmp_path: Path, path: str, said: str) -> None:
    vllm.fault = lambda asked, body: (200, {}) if asked == path else None
    with pytest.raises(ModelError, match=said):
        opened(vllm, tmp_path).sample(REQUESTS, DECODING, seed=0)


def test_what_is_no_vllm_server_is_not_waited_for(vllm: FakeVllm, tmp_path: Path) -> None:
    """It answers, and would answer the same for ten minutes."""
    vllm.fault = lambda asked, body: (404, {"detail": "Not Found"})
    with pytest.raises(
        ModelError, match=r"/health: 404 Not Found; the server must be started as  VLLM_SERVER_DEV_MODE=1"
    ):
        opened(vllm, tmp_path, seconds=600.0)


def test_a_server_that_fails_while_it_is_asked_what_it_is(vllm: FakeVllm, tmp_path: Path) -> None:
    vllm.fault = lambda asked, body: (500, {"error": "boom"}) if asked.startswith("/server_info") else None
    with pytest.raises(EngineLost, match=r"server_info.*: 500 boom\. Go on\."):
        opened(vllm, tmp_path)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1/v1#small", r"expected the address of the server alone, http://127\.0\.0\.1:1/v1$"),
        ("http://user:secret@h:1", "an address goes into reports"),
        ("http://", "expected an endpoint"),
    ],
)
def test_an_address_that_is_none_is_named(url: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        VllmServer(url)


def test_a_prompt_that_fills_the_context_with_its_response_is_scored_too(vllm: FakeVllm, tmp_path: Path) -> None:
    """A server that scores draws one token more, for which there must be room."""
    policy = policy_of(vllm.folder)
    (found,) = LocalSampler(policy.lm).sample(REQUESTS[:1], DECODING.model_copy(update={"temperature": 0.0}), seed=0)
    vllm.model_config = {"max_model_len": 3 + DECODING.max_tokens}
    far = opened(vllm, tmp_path, policy)
    far.sample(REQUESTS, DECODING, seed=0)
    scored = [body for path, body in vllm.asked if path == "/v1/completions" and "prompt_logprobs" in body]
    whole = 3 + found[0].num_tokens
    assert [len(body["prompt"]) for body in scored] == [min(whole, 3 + DECODING.max_tokens - 1)]


@pytest.mark.parametrize(
    ("lora", "amount", "said"),
    [
        (False, 0.05, r"model\..*: the server says that it took the new weights, but its checksum is the old one"),
        (True, 0.3, r"its scores are .* nats per token from the trainer's: it did not take the weights"),
        (True, 1e-4, "its scores are those of the weights of before: it did not take the new ones"),
    ],
)
def test_weights_that_do_not_arrive_are_found(
    vllm: FakeVllm, tmp_path: Path, lora: bool, amount: float, said: str
) -> None:
    """A server that says yes and changes nothing: by greedy decoding at first, by the checksum later, and by its scores where
    LoRA changed nothing that the checksum covers."""
    policy = policy_of(vllm.folder, lora)
    far = opened(vllm, tmp_path, policy)
    move(policy, 0.05)
    far.sample(REQUESTS, DECODING, seed=0)
    move(policy, amount)
    vllm.fault = lambda path, body: (200, {"results": [None]}) if path == "/collective_rpc" else None
    with pytest.raises(ModelError, match=said):
        far.sample(REQUESTS, DECODING, seed=0)


def test_a_server_of_other_weights_is_found_at_once(vllm: FakeVllm, tmp_path: Path) -> None:
    policy = policy_of(vllm.folder)
    move(policy)
    vllm.fault = lambda path, body: (200, {"results": [None]}) if path == "/collective_rpc" else None
    with pytest.raises(
        ModelError, match=r"it chooses \d+ where the model prefers \d+ by .* nats: it serves another model"
    ):
        opened(vllm, tmp_path, policy).sample(REQUESTS, DECODING, seed=0)


def test_a_tie_may_fall_otherwise_and_nothing_else_may(vllm: FakeVllm, tmp_path: Path) -> None:
    """Two rows of the embedding are equal, and so are the logits of their tokens: either may be chosen. A third may not."""
    policy = policy_of(vllm.folder)
    head = policy.lm.model.get_output_embeddings().weight
    far = opened(vllm, tmp_path, policy)
    far.handover.update()
    best = far.proof.local.sample(REQUESTS[:1], DECODING.model_copy(update={"temperature": 0.0}), seed=0)[0][
        0
    ].token_ids
    twin, third = [token for token in (20, 21, 22) if token != best[0]][:2]
    with torch.no_grad():
        head[twin] = head[best[0]]
    far.proof.check_choices(REQUESTS[0], best, (twin,))
    with pytest.raises(ModelError, match=f"it chooses {third}"):
        far.proof.check_choices(REQUESTS[0], best, (third,))


# --- weights ---------------------------------------------------------------------------------------------------------


def test_the_digest_sees_the_last_bit_of_any_weight() -> None:
    weights = [torch.zeros(3), torch.ones(2, 2, dtype=torch.bfloat16)]
    before = weights_digest(weights)
    assert weights_digest([weight.clone() for weight in weights]) == before
    for weight in weights:
        changed = [w.clone() for w in weights]
        place = next(i for i, w in enumerate(weights) if w is weight)
        changed[place].view(-1)[-1] = torch.nextafter(weight.view(-1)[-1], torch.tensor(9.0, dtype=weight.dtype))
        assert weights_digest(changed) != before


def test_a_tied_head_goes_along_in_a_file_of_its_own(vllm: FakeVllm, tmp_path: Path) -> None:
    """vLLM on a CPU packs the head, and keeps the old one where a reload brings none."""
    policy = policy_of(vllm.folder)
    far = opened(vllm, tmp_path, policy)
    far.sample(REQUESTS, DECODING, seed=0)
    twins = load_file(Path(vllm.reloads[-1]) / "model-twins.safetensors")
    assert list(twins) == ["lm_head.weight"]
    assert torch.equal(twins["lm_head.weight"], policy.lm.model.get_input_embeddings().weight)


def test_a_server_that_cannot_read_the_weights_says_where_they_are(vllm: FakeVllm, tmp_path: Path) -> None:
    """As one on another machine, without the run's folder. Nothing is left of the try."""
    vllm.fault = lambda path, body: (400, {"error": "no such folder"}) if path == "/collective_rpc" else None
    far = opened(vllm, tmp_path)
    with pytest.raises(
        ModelError, match=r"no such folder \(it was told to read .*/000001-\w+, which it must see too\)"
    ):
        far.sample(REQUESTS, DECODING, seed=0)
    assert list((tmp_path / "handover").iterdir()) == []


def test_a_full_disk_is_one_line(vllm: FakeVllm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = policy_of(vllm.folder)

    def full(folder: Path, **_: Any) -> None:
        folder.mkdir(parents=True)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(policy.lm.model, "save_pretrained", full)
    with pytest.raises(RunFailed, match=r"the weights for the server cannot be written \(No space left on device\)"):
        opened(vllm, tmp_path, policy).sample(REQUESTS, DECODING, seed=0)
    assert list((tmp_path / "handover").iterdir()) == []


def test_weights_go_from_gpu_to_gpu_by_the_engine_of_vllm(
    vllm: FakeVllm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM's own classes, played here: one group of the trainer and the server's two workers, joined once, and the newest plain
    model as the source of every transfer."""
    calls: list[Any] = []

    class Engine:
        source: Any = None

        def send_weights(self) -> None:
            calls.append(("send", self.source))

        def shutdown(self) -> None:
            calls.append("shutdown")

    def joined(place: Any, *, client: Any, source: Any) -> Engine:
        calls.append(("join", place, client))
        return Engine()

    names: dict[str, dict[str, Any]] = {
        "base": {"ModuleSource": lambda module: ("source", module)},
        "clients": {"HTTPVLLMWeightSyncClient": lambda url, timeout: (url, timeout)},
        "factory": {"WeightTransferTrainerFactory": type("Factory", (), {"trainer_init": staticmethod(joined)})},
        "nccl_engine": {"NCCLTrainerInitInfo": lambda **place: place},
    }
    for name in ("vllm", "vllm.distributed", "vllm.distributed.weight_transfer"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    for name, members in names.items():
        module = ModuleType(f"vllm.distributed.weight_transfer.{name}")
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    transfer = NcclTransfer(VllmServer(vllm.url, 30.0), "10.0.0.1", 30.0)
    model = policy_of(vllm.folder).lm.model
    transfer.send(model, {}, "x")
    transfer.send(model, {}, "y")
    transfer.close()
    transfer.forget()
    transfer.send(model, {}, "z")
    (_, place, client), *rest = calls
    assert (place["master_address"], place["world_size"], place["rank"]) == ("10.0.0.1", 3, 0)
    assert client == (vllm.url, 30.0)
    sent = ("send", ("source", model))
    assert [*rest[:3], rest[3][0], rest[4]] == [sent, sent, "shutdown", "join", sent], (
        "after the server's death it joins anew"
    )


def test_a_server_that_waits_for_nccl_is_refused_where_there_is_no_gpu(vllm: FakeVllm, tmp_path: Path) -> None:
    vllm.transfer = {"backend": "nccl"}
    with pytest.raises(ModelError, match="was started to receive weights by 'nccl'"):
        opened(vllm, tmp_path)


# --- a server of the run's own ---------------------------------------------------------------------------------------


def test_the_command_of_a_server_says_what_the_trainer_needs_and_what_a_person_adds_comes_last() -> None:
    words = serve_command(
        ["vllm", "--enforce-eager"], Path("m"), 81, context=99, rows=7, dtype="float32", is_on_cpu=False
    )
    assert words[:3] == ["vllm", "serve", "m"] and words[-1] == "--enforce-eager"
    assert words[-2] == "--disable-uvicorn-access-log", "a line for every response would fill the disk"
    pairs = dict(zip(words[3:-2:2], words[4:-2:2], strict=True))
    assert (pairs["--max-model-len"], pairs["--max-num-seqs"], pairs["--port"]) == ("99", "7", "81")
    by_python = serve_command(
        ["/venv/bin/python3", "-x"], Path("m"), 81, context=99, rows=7, dtype="float32", is_on_cpu=False
    )
    assert by_python[1:5] == ["-m", "vllm.entrypoints.openai.api_server", "--model", "m"] and by_python[-1] == "-x"
    assert pairs["--logprobs-mode"] == "processed_logprobs" and pairs["--host"] == "127.0.0.1"


def test_a_program_that_is_not_there_is_named() -> None:
    assert executable_of("sh -x")[1:] == ["-x"]
    for command, said in (
        ("no-such-vllm --x", "there is no program"),
        (" ", "no program"),
        ("vllm 'x", "is no command"),
    ):
        with pytest.raises(ModelError, match=said):
            executable_of(command)
    with pytest.raises(ModelError, match="is no command: No closing quotation"):
        executable_of("vllm --x 'y")


def test_a_server_that_dies_at_its_start_is_quoted_and_one_that_lives_is_ended(tmp_path: Path, folder: Path) -> None:
    """The last line of its output; a run does not try again what has never worked."""
    program = tmp_path / "vllm"
    program.write_text("#!/bin/sh\necho no memory >&2\nexit 3\n")
    program.chmod(0o700)
    engines = Engines(policy_of(folder), tmp_path / "run")
    decoding = DECODING.model_copy(update={"engine": "vllm", "server": str(program), "server_seconds": 30.0})
    engines.connect([decoding])
    with pytest.raises(ModelError, match=r"vLLM ended with code 3 \(.*vllm\.log: no memory\)"):
        engines.sample(REQUESTS, decoding, seed=0)
    engines.close()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["vllm.log"], "no weights are left"


def test_a_server_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    """Also where it has died and left a process behind, before another takes its place."""
    log = tmp_path / "log"
    own = OwnServer(["/bin/sh", "-c", "sleep 60 & echo $!; wait"], log, is_on_cpu=True)
    for ends in (own.begin, own.end):
        own.begin()
        while not (said := log.read_text()[own.log_start :].strip()):
            time.sleep(0.01)
        if ends == own.begin:
            assert own.process is not None
            own.process.kill()
            own.process.wait()
        ends()
        while is_running(int(said)):
            time.sleep(0.01)
        own.end()


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_the_last_words_are_the_error_of_this_start(tmp_path: Path) -> None:
    """What came after it, such as warnings at the end of Python, and errors of a server before it, say nothing."""
    own = OwnServer(["vllm"], tmp_path / "log", is_on_cpu=True)
    assert own.last_words() == "no output"
    own.log.write_text("ValueError: of before\n")
    own.log_start = own.log.stat().st_size
    with own.log.open("a") as log:
        log.write("(EngineCore pid=7) ERROR 11-29 [core.py:9] OSError: no config\n")
        log.write(
            "RuntimeError: Engine core initialization failed. See root cause above.\n  warnings.warn('leaked')\n\n"
        )
    assert own.last_words() == "OSError: no config"
    own.log_start = own.log.stat().st_size - len("  warnings.warn('leaked')\n\n")
    assert own.last_words() == "warnings.warn('leaked')"


def test_a_server_does_not_take_itself_for_a_process_of_the_trainer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch reads these, and would wait for the others."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE", "LACONIC_LAUNCHER"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("RANKING", "1")
    held = OwnServer(["vllm"], tmp_path / "log", is_on_cpu=True).environment
    assert not {name for name in held if re.search("RANK$|WORLD_SIZE|MASTER|ELASTIC|LACONIC_LAUNCHER", name)}
    assert held["RANKING"] == "1" and held["VLLM_SERVER_DEV_MODE"] == "1"


def test_one_server_of_the_runs_own_at_a_time(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two phases that name different commands: the first server is ended before the second begins, since it may hold a GPU."""
    said: list[str] = []

    class Opened:
        own = object()

        def __init__(self, name: str) -> None:
            self.name = name
            said.append(f"begins {name}")

        def close(self) -> None:
            said.append(f"ends {self.name}")

    engines = Engines(policy_of(folder), tmp_path)
    monkeypatch.setattr(engines, "_open", lambda decoding: Opened(decoding.server))
    for name in ("a", "a", "b"):
        engines.vllm(DECODING.model_copy(update={"server": name}))
    assert said == ["begins a", "ends a", "begins b"]
