"""A penalty on hesitating words: the distribution that is drawn from, and what an endpoint is told."""

import pytest
import torch
from fake_endpoint import Endpoint

from laconic.config.solver import PenalizedSampler, SamplerConfig
from laconic.notebook.solvers import load_model
from laconic.prompts.hesitations import hesitation_tokens
from laconic.samplers.drawing import draw_tokens, uniforms
from laconic.samplers.endpoints import parse_endpoint
from laconic.samplers.local import LocalSampler
from laconic.samplers.protocol import Request
from laconic.samplers.wire import body_of


def lowered(*tokens: int, penalty: float = 2.0, **settings: float) -> PenalizedSampler:
    return PenalizedSampler(penalty=penalty, words=("wait",), tokens=tokens, **settings)


def test_tokens_are_drawn_from_the_lowered_logits() -> None:
    """z = [0, 1, 2] with 2 off the last is [0, 1, 0]: p = [1, e, 1] / (e + 2)."""
    logits = torch.tensor([[0.0, 1.0, 2.0]]).expand(4000, 3)
    numbers = uniforms(torch.arange(4000), torch.zeros(1, dtype=torch.long)).float()
    tokens, logprobs = draw_tokens(logits, numbers, lowered(2))
    expected = torch.tensor([1.0, torch.e, 1.0]) / (torch.e + 2)
    assert torch.allclose(logprobs, expected.log()[tokens], atol=1e-6)
    assert torch.allclose(torch.bincount(tokens, minlength=3) / 4000, expected, atol=0.03)
    greedy, greedy_logprobs = draw_tokens(logits[:1], numbers[:1], lowered(2, temperature=0.0))
    assert greedy.tolist() == [1] and greedy_logprobs.item() == pytest.approx(expected[1].log().item(), abs=1e-6)
    assert logits[0].tolist() == [0.0, 1.0, 2.0]  # what came in is as it was


def test_the_bundled_model_hesitates_no_more() -> None:
    """A penalty of 100 leaves no "wait" in any response, and its log-probabilities are those of what it was drawn from."""
    lm = load_model("tiny")
    ((wait,),) = hesitation_tokens(lm.tokenizer, ["wait"]).values()
    prompt = tuple(
        lm.tokenizer("<|user|> Compute 3 + 4 * 2 <|assistant|> <think>", add_special_tokens=False)["input_ids"]
    )
    sampler, settings = LocalSampler(lm), {"max_tokens": 60, "batch_size": 8}
    (plain,) = sampler.sample([Request("a", prompt, 8)], SamplerConfig(**settings), seed=0)
    (calm,) = sampler.sample([Request("a", prompt, 8)], lowered(wait, penalty=100.0, **settings), seed=0)
    assert any(wait in response.token_ids for response in plain)
    assert not any(wait in response.token_ids for response in calm)
    ids = torch.tensor([[*prompt, *calm[0].token_ids]])
    with torch.inference_mode():
        logits = lm.model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float()
        logits[:, wait] -= 100.0
    expected = logits.log_softmax(-1).gather(-1, ids[0, len(prompt) :, None])[:, 0]
    assert torch.allclose(torch.tensor(calm[0].logprobs), expected, atol=1e-4)


def test_an_endpoint_is_told_as_a_bias() -> None:
    address, request = (
        parse_endpoint("http://127.0.0.1:9/v1#m"),
        Request("a", (), 1, messages=({"role": "user", "content": "?"},)),
    )
    body = body_of(address, request, 0, lowered(5, 7), seed=0, cap_field="max_tokens")
    assert body["logit_bias"] == {"5": -2.0, "7": -2.0}
    assert "logit_bias" not in body_of(address, request, 0, SamplerConfig(), seed=0, cap_field="max_tokens")


def test_the_command_records_the_penalty_and_refuses_what_it_cannot_do(laconic, tmp_path) -> None:
    run = ("evaluate", "tiny", "tiny:mix?count=2&split=report", "--samples", 1, "--max-tokens", 24, "--out", "calm")
    code, _, err = laconic(*run, "--penalty", 3, "--penalize", "wait")
    assert code == 0, err
    stored = (tmp_path / "calm" / "eval" / "tiny-mix" / "summary.json").read_text()
    assert '"penalty": "3 on wait"' in stored
    assert (
        laconic(*run, "--penalize", "wait")[2].strip() == "laconic: --penalize wait: is read only with --penalty NUMBER"
    )
    code, _, err = laconic(*run[:-1], "both", "--penalty", 3)
    assert code == 0 and "--penalty: alternatively is no token of this model's tokenizer, and is left alone" in err
    assert '"penalty": "3 on wait"' in (tmp_path / "both" / "eval" / "tiny-mix" / "summary.json").read_text()
    assert laconic(*run, "--penalty", 0)[0] == 2
    endpoint = Endpoint()
    try:
        _, _, err = laconic("evaluate", f"{endpoint.url}#m", *run[2:], "--penalty", 3)
    finally:
        endpoint.close()
    assert (
        "--penalty: which tokens a word is, only the model's tokenizer knows; expected http" in err
        and err.count("\n") == 1
    )
