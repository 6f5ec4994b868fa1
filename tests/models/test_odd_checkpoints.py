"""What real checkpoints and architectures bring that the usual ones do not: each is served rightly, or refused in one line."""

import json
import shutil
from pathlib import Path
from typing import Any

import oracles
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from laconic.config.policy import PolicyConfig
from laconic.config.solver import SamplerConfig
from laconic.errors import ModelError
from laconic.models import loading
from laconic.models.causal_lm import CausalLM
from laconic.models.config_numbers import check_numbers, context_of
from laconic.models.loading import load_model, load_tokenizer, pick_device
from laconic.samplers.local import LocalSampler
from laconic.samplers.protocol import Request
from laconic.types import Response

CONFIG = PolicyConfig(device="cpu")
COMMON = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
    "initializer_range": 0.2,
}


def saved(name: str, folder: Path, **own: Any) -> Path:
    """A small random model of a class of transformers, as a folder."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**(COMMON | own))
    model = getattr(transformers, f"{name}ForCausalLM", None) or getattr(transformers, f"{name}LMHeadModel")
    model(config).save_pretrained(folder)
    oracles.small_tokenizer().save_pretrained(folder)
    return folder


def change(folder: Path, **values: Any) -> None:
    """Change values of a folder's config.json."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def draw(lm: CausalLM, prompt: tuple[int, ...], num_tokens: int) -> list[Response]:
    return LocalSampler(lm).sample(
        [Request("a", prompt, 2)], SamplerConfig(max_tokens=num_tokens, batch_size=2), seed=0
    )[0]


def forward(lm: CausalLM, prompt: tuple[int, ...], response: Response) -> list[float]:
    ids = torch.tensor([[*prompt, *response.token_ids]])
    with torch.no_grad():
        logprobs = lm.model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return [float(value) for value in logprobs.gather(-1, ids[0, len(prompt) :, None])[:, 0]]


# --- rotations and windows -------------------------------------------------------------------------------------------


def long_rope(*, is_alike: bool = False) -> dict[str, Any]:
    """Rotations of 8 numbers a head that change after 32 positions, as Phi-3's do after 4,096; or do not, as MiniCPM's."""
    long = [1.0] * 4 if is_alike else [4.0, 8.0, 16.0, 32.0]
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": long, "rope_theta": 10_000.0}
    return {"rope_parameters": rope | {"original_max_position_embeddings": 32}, "original_max_position_embeddings": 32}


def test_rotations_that_change_with_the_length_end_the_context(tmp_path: Path) -> None:
    """Up to the original length a row scores the same beside any other; beyond it, it is refused."""
    lm = load_model(str(saved("Phi3", tmp_path, **long_rope())), CONFIG)
    assert lm.context_length == 32
    prompt = tuple(range(3, 23))
    for response in draw(lm, prompt, 12):
        assert list(response.logprobs) == pytest.approx(forward(lm, prompt, response), abs=1e-3)
    with pytest.raises(
        ModelError, match=r"exceed the context of .*, 32 tokens \(128 in its config, but past 32 LongRoPE "
    ):
        draw(lm, prompt, 13)


def test_rotations_that_never_change_do_not_limit_the_context() -> None:
    config = transformers.Phi3Config(**COMMON, **long_rope(is_alike=True))
    assert context_of(config) == 128
    assert context_of(transformers.LlamaConfig(**COMMON)) == 128
    assert (
        context_of(transformers.LlamaConfig(**COMMON, rope_parameters={"rope_type": "dynamic", "factor": 4.0})) == 128
    )


@pytest.mark.parametrize("name", ["Llama", "Mistral", "Qwen2"])
def test_a_window_in_the_config_is_the_layers_only_where_they_read_it(name: str, tmp_path: Path) -> None:
    """Llama's layers have none, Mistral's have it from the config, Qwen2's where use_sliding_window says so."""
    folder = saved(name, tmp_path)
    change(folder, sliding_window=8)
    lm, prompt = load_model(str(folder), CONFIG), tuple(range(3, 23))
    for response in draw(lm, prompt, 12):
        assert list(response.logprobs) == pytest.approx(forward(lm, prompt, response), abs=1e-3)


@pytest.mark.parametrize("window", [8, 80])
def test_the_check_before_sampling_is_long_enough_for_a_window(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that sees a window where the model has none is refused."""
    monkeypatch.setattr("laconic.samplers.decoders._window", lambda layer: window)
    with pytest.raises(ModelError, match="does not decode LlamaForCausalLM as its own forward pass does"):
        draw(oracles.small_lm("llama"), (3,), 2)


def test_a_window_of_0_is_none_where_none_is_used() -> None:
    """transformers writes it for Qwen2's mixtures of experts; Mistral's layers would look at nothing."""
    config = transformers.Qwen2MoeConfig(**COMMON, use_sliding_window=False)
    assert config.sliding_window == 0
    check_numbers(config)
    with pytest.raises(ValueError, match="sliding_window is 0, expected a number from 1 to"):
        check_numbers(transformers.MistralConfig(**COMMON, sliding_window=0))


# --- architectures ---------------------------------------------------------------------------------------------------

LATENT = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
MIXTURE = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "n_group": 1, "topk_group": 1}


@pytest.mark.parametrize(
    ("name", "own", "says"),
    [
        ("Falcon", {"multi_query": True, "alibi": False}, "FalconForCausalLM cannot be sampled here: TypeError: "),
        ("DeepseekV3", {**LATENT, **MIXTURE, "num_key_value_heads": 4}, "DeepseekV3ForCausalLM cannot be sampled here: "),
        ("Bloom", {"n_head": 4, "n_layer": 2}, "does not decode BloomForCausalLM as its own forward pass does"),
        ("XGLM", {"d_model": 32, "ffn_dim": 48, "num_layers": 2, "attention_heads": 4}, "does not decode XGLMForCausalLM"),
        ("GptOss", {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 8}, "does not know attention sinks"),
    ],
)  # fmt: skip
def test_what_the_local_sampler_cannot_decode_is_one_line(
    name: str, own: dict[str, Any], says: str, tmp_path: Path
) -> None:
    """Each can be loaded, those with an attention of their own alone too, and scores; sampling is refused."""
    if name == "GptOss":
        own = own | {"rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0}}
    lm = load_model(str(saved(name, tmp_path, **own)), CONFIG)
    with pytest.raises(ModelError, match=says) as caught:
        draw(lm, (3, 4, 5), 4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "own", "says"),
    [
        ("Llama", {"num_key_value_heads": 3}, "LlamaForCausalLM cannot be computed here: RuntimeError: "),
        ("Mixtral", {"num_local_experts": 2, "num_experts_per_tok": 4}, "MixtralForCausalLM cannot be computed here: "),
    ],
)
def test_a_config_that_the_models_code_cannot_compute_is_one_line(
    name: str, own: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=says):
        load_model(str(saved(name, tmp_path, **own)), CONFIG)


def test_a_backbone_that_lies_elsewhere_is_one_line() -> None:
    """Llama 4's text model names its backbone otherwise than it holds it."""
    lm = oracles.small_lm("llama")
    lm.model.base_model_prefix = "language_model"
    with pytest.raises(ModelError, match=r"LlamaForCausalLM cannot be computed here: AttributeError: .*language_model"):
        lm.check_head()


def test_memory_that_runs_out_is_no_fault_of_the_model() -> None:
    with pytest.raises(torch.OutOfMemoryError), oracles.small_lm("llama").failing_in_one_line("sampled"):
        raise torch.OutOfMemoryError("CUDA out of memory")


# --- files -----------------------------------------------------------------------------------------------------------


def test_the_masks_of_old_gpt2_checkpoints_are_no_weights(tmp_path: Path) -> None:
    folder = saved("GPT2", tmp_path, n_embd=32, n_layer=2, n_head=4, n_positions=128)
    file = folder / "model.safetensors"
    masks = {
        "transformer.h.0.attn.masked_bias": torch.tensor(-1e4),
        "transformer.h.0.attn.bias": torch.ones(1, 1, 8, 8),
    }
    save_file(load_file(file) | masks, file, metadata={"format": "pt"})
    load_model(str(folder), CONFIG)
    save_file(load_file(file) | {"transformer.h.7.mlp.c_fc.bias": torch.ones(128)}, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 weights are of no layer .* transformer.h.7.mlp.c_fc.bias"):
        load_model(str(folder), CONFIG)


def test_a_hub_name_is_tokenised_as_its_snapshot_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For Qwen2 transformers would build a tokenizer of its own. The cache alone is read: there is no hub in a test."""
    import huggingface_hub.constants
    from huggingface_hub.file_download import try_to_load_from_cache

    snapshot = tmp_path / "hub" / "models--org--qwen" / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(oracles.save_checkpoint("qwen2", tmp_path / "made"), snapshot)
    refs = tmp_path / "hub" / "models--org--qwen" / "refs"
    refs.mkdir()
    (refs / "main").write_text(snapshot.name)
    for constant in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.setattr(huggingface_hub.constants, constant, str(tmp_path / "hub"), raising=False)
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("laconic.system.hub.hub_answers", lambda: False)
    assert try_to_load_from_cache("org/qwen", "tokenizer.json", cache_dir=tmp_path / "hub") is not None
    by_name, by_folder = (load_tokenizer(name, CONFIG) for name in ("org/qwen", str(snapshot)))
    assert by_name("w0 w1", add_special_tokens=False).input_ids == [4, 5]
    assert by_name.get_vocab() == by_folder.get_vocab()


def test_a_numbered_device_is_the_one_that_kernels_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels and graphs that name no device run on the current one; the first is current from the beginning."""
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    assert loading.pick_device("cuda:1") == torch.device("cuda:1")
    pick_device("cuda")
    pick_device("cpu")
    with pytest.raises(ModelError, match="is not there"):
        pick_device("cuda:2")
    assert current == [torch.device("cuda:1")]
