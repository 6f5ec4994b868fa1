"""What real models bring that small ones do not: vocabularies of 49 and 152 thousand words, and a padding token that ends
responses."""

import json

import oracles
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from laconic.config.policy import PolicyConfig
from laconic.config.solver import SamplerConfig
from laconic.models import loading
from laconic.models.causal_lm import CausalLM
from laconic.models.loading import load_model
from laconic.models.policy import Policy
from laconic.samplers.local import LocalSampler
from laconic.samplers.protocol import Request
from laconic.training.batching import collate, micro_batches

PROMPTS = [(5, 6, 7), (8, 9, 10, 11, 12)]


def wide_model(vocabulary):
    """A random Llama of one layer, with as many words as SmolLM2 or Qwen2.5."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        initializer_range=0.3,
        tie_word_embeddings=True,
    )
    return CausalLM(LlamaForCausalLM(config).eval(), oracles.small_tokenizer(), "wide")


@pytest.mark.parametrize("vocabulary", [49_152, 151_936])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_log_probabilities_hold_over_large_vocabularies(vocabulary, temperature):
    """What the sampler reports is what a full forward pass gives in float64, within 1e-4, and so is what an update scores."""
    lm = wide_model(vocabulary)
    decoding = SamplerConfig(temperature=temperature, max_tokens=24, batch_size=4)
    requests = [Request(str(i), prompt, 2) for i, prompt in enumerate(PROMPTS)]
    drawn = LocalSampler(lm).sample(requests, decoding, seed=0)
    exact = CausalLM(wide_model(vocabulary).model.double(), lm.tokenizer, "exact")
    for prompt, row in zip(PROMPTS, drawn, strict=True):
        for response in row:
            ids = torch.tensor([[*prompt, *response.token_ids]])
            with torch.no_grad():
                logits = exact.model(ids).logits[0, len(prompt) - 1 : -1] / temperature
            chosen = logits.log_softmax(-1).gather(-1, ids[0, len(prompt) :, None])[:, 0].float()
            assert torch.allclose(torch.tensor(response.logprobs), chosen, atol=1e-4, rtol=0)
            assert torch.allclose(scored(lm, prompt, response, temperature), chosen, atol=1e-4, rtol=0)


def scored(lm, prompt, response, temperature):
    length = len(response.token_ids)
    predictors = torch.arange(length)[None] + len(prompt) - 1
    inputs, answers = torch.tensor([[*prompt, *response.token_ids]]), torch.tensor([response.token_ids])
    policy = Policy(lm, PolicyConfig(device="cpu"), seed=0)
    with torch.no_grad():
        found, _ = policy.logprobs(
            inputs, predictors, answers, torch.ones(1, length, dtype=torch.bool), temperature=temperature
        )
    return found[0]


# --- padding ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def padded(tmp_path):
    """The same weights saved with another padding token in config and tokenizer."""

    def load(pad):
        folder = oracles.save_checkpoint("llama", tmp_path / str(pad))
        config = json.loads((folder / "config.json").read_text()) | {"pad_token_id": pad}
        (folder / "config.json").write_text(json.dumps(config))
        lm = load_model(str(folder), PolicyConfig(device="cpu"))
        lm.tokenizer.pad_token = None if pad is None else lm.tokenizer.convert_ids_to_tokens(pad)
        return lm

    return load


def figures(lm):
    """Everything that padding could change: what is drawn, which tokens count, what they score, and every weight's gradient."""
    requests = [Request(str(i), (*prompt, oracles.EOS_ID, 3), 4) for i, prompt in enumerate(PROMPTS)]
    drawn = LocalSampler(lm).sample(requests, SamplerConfig(temperature=2.0, max_tokens=16, batch_size=8), seed=1)
    groups = [
        oracles.make_group(request.prompt_ids, [(response.token_ids, 0.0, "wrong") for response in row])
        for request, row in zip(requests, drawn, strict=True)
    ]
    batch = collate(groups, truncated="penalise")
    policy = Policy(lm, PolicyConfig(device="cpu"), seed=0)
    total = torch.zeros(())
    for micro in micro_batches(batch, range(8), 64, lm.device):
        logprobs, _ = policy.logprobs(
            micro.input_ids, micro.predictors, micro.response_ids, micro.mask, temperature=1.0
        )
        total = total + (logprobs * micro.mask).sum()
    torch.autograd.backward(total)
    gradients = {name: p.grad for name, p in lm.model.named_parameters()}
    return [r.token_ids for row in drawn for r in row], batch.response_mask, total.detach(), gradients


def test_no_token_is_masked_or_counted_by_the_padding_token(padded):
    """Whether padding is a token of its own, the end token, any other or none: the same responses, counts and gradients. The end
    token is in the prompts and at the end of responses; transformers keeps the gradient of a padding token's embedding at 0."""
    expected = figures(padded(oracles.PAD_ID))
    lengths = expected[1].sum(dim=1).tolist()
    assert lengths == [len(ids) for ids in expected[0]] and min(lengths) < 16 <= max(lengths)
    assert expected[3]["model.embed_tokens.weight"][oracles.EOS_ID].abs().max() > 0
    for pad in (oracles.EOS_ID, 7, None):
        found = figures(padded(pad))
        assert found[0] == expected[0] and torch.equal(found[1], expected[1]) and torch.equal(found[2], expected[2])
        assert all(torch.equal(found[3][name], gradient) for name, gradient in expected[3].items())


# --- bfloat16 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("multiplies", [True, False])
def test_auto_computes_in_bfloat16_where_the_processor_does(multiplies, tmp_path, monkeypatch):
    """A checkpoint in bfloat16 is computed in float32 on a processor without instructions for bfloat16; it is saved as it was."""
    monkeypatch.setattr(loading, "multiplies_bfloat16", lambda: multiplies)
    folder = str(oracles.save_checkpoint("llama", tmp_path, dtype="bfloat16"))
    lm = load_model(folder, PolicyConfig(device="cpu", dtype="auto"))
    assert (lm.autocast_dtype, lm.stored_dtype) == (torch.bfloat16 if multiplies else None, torch.bfloat16)


def test_bfloat16_that_is_asked_for_on_a_slow_processor_is_warned_of(tmp_path, monkeypatch):
    folder = str(oracles.save_checkpoint("llama", tmp_path))
    monkeypatch.setattr(loading, "multiplies_bfloat16", lambda: False)
    with pytest.warns(match="no instructions for it"):
        lm = load_model(folder, PolicyConfig(device="cpu", dtype="bfloat16"))
    assert lm.autocast_dtype == torch.bfloat16
