"""What a GGUF file states of its architecture is what the loaded model computes, or the file is refused by the field's name."""

import pytest
import torch
from gguf_files import WORDS, small_llama, write_gguf, write_header
from transformers import AutoConfig

from laconic.config.policy import PolicyConfig
from laconic.errors import ModelError
from laconic.models.gguf.header import read_header
from laconic.models.gguf.model_file import check_gguf, gguf_config
from laconic.models.loading import load_model
from laconic.models.weightless import read_bare_model

CONFIG = PolicyConfig(device="cpu")
SIZES = {
    "block_count": 6,
    "context_length": 4096,
    "embedding_length": 64,
    "feed_forward_length": 64,
    "attention.head_count": 2,
    "attention.head_count_kv": 1,
}
EPSILON = {"attention.layer_norm_rms_epsilon": 1e-6}
LINEAR = {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}
YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 64}
BASE = {"rope_theta": 10_000.0}


def config_of(tmp_path, architecture, **fields):
    file = write_header(tmp_path / f"{architecture}.gguf", architecture, SIZES | EPSILON | fields)
    check_gguf(file)
    return gguf_config(file)


@pytest.mark.parametrize(
    ("fields", "rope"),
    [
        (LINEAR, {"rope_type": "linear", "factor": 4.0}),
        ({"rope.scaling.factor": 4.0}, {"rope_type": "linear", "factor": 4.0}),
        ({"rope.scale_linear": 4.0}, {"rope_type": "linear", "factor": 4.0}),
        (YARN, {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}),
        (
            YARN | {"rope.scaling.yarn_beta_fast": 16.0},
            {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 16.0},
        ),
        (LINEAR | {"rope.scaling.type": "none"}, {"rope_type": "default"}),
    ],
)
def test_a_scaled_rotary_embedding_is_the_models_own(fields, rope, tmp_path):
    """The logits at 200 positions are those of the model that was trained with that scaling, to the bit."""
    model = small_llama(rope_parameters=BASE | rope)
    file = write_gguf(tmp_path / "m.gguf", model, fields={f"llama.{name}": value for name, value in fields.items()})
    ids = torch.arange(200)[None] % len(WORDS)
    with torch.no_grad():
        assert torch.equal(load_model(str(file), CONFIG).model(ids).logits, model(ids).logits)


def test_what_the_fields_say_stands_in_the_config(tmp_path):
    """Heads of 16 numbers, of which 12 are rotated; a window; experts of 48; an epsilon that transformers looks for elsewhere."""
    heads = {"attention.key_length": 16, "attention.value_length": 16}
    assert config_of(tmp_path, "qwen3", **heads).head_dim == 16
    phi = config_of(tmp_path, "phi3", **{"attention.sliding_window": 2047, "rope.dimension_count": 24})
    assert (phi.sliding_window, phi.rope_parameters["partial_rotary_factor"]) == (2047, 0.75)
    experts = {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 48}
    assert config_of(tmp_path, "qwen3moe", **heads, **experts).moe_intermediate_size == 48
    norm = {"attention.layer_norm_epsilon": 1e-3, "rope.dimension_count": 8, "rope.freq_base": 5e5}
    other = config_of(
        tmp_path, "stablelm", **norm | {"attention.layer_norm_rms_epsilon": 0.0}, use_parallel_residual=True
    )
    assert other.layer_norm_eps == pytest.approx(1e-3) and other.rope_parameters["rope_theta"] == 5e5


def test_layers_with_a_window_have_a_base_of_their_own(tmp_path):
    """Gemma 3 scales only the layers that see everything, and divides the queries by the size of its heads."""
    fields = {"rope.freq_base": 1e6, "rope.freq_base_swa": 2e4, "attention.sliding_window": 512} | LINEAR
    config = config_of(tmp_path, "gemma3", **fields, **{"attention.key_length": 16, "attention.value_length": 16})
    assert config.rope_parameters == {
        "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 4.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 2e4},
    }
    assert (config.sliding_window, config.query_pre_attn_scalar) == (512, 16)
    assert config_of(tmp_path, "gemma3", **{"block_count": 62, "attention.key_length": 16}).query_pre_attn_scalar == 32


def test_a_window_that_no_field_states_is_none(tmp_path):
    """transformers gives a file that is called Mistral the window of 4,096 of its class."""
    file = write_gguf(tmp_path / "m.gguf", small_llama(), fields={"general.name": "mistral"})
    assert gguf_config(file).model_type == "mistral" and gguf_config(file).sliding_window is None


@pytest.mark.parametrize(
    ("architecture", "fields", "says"),
    [
        ("llama", {"attention.sliding_window": 512}, "llama.attention.sliding_window = 512"),
        ("qwen3", {"attention.sliding_window": 512}, "qwen3.attention.sliding_window = 512"),
        ("llama", {"expert_count": 8}, "llama.expert_count = 8"),
        ("llama", {"rope.scaling.type": "longrope"}, "llama.rope.scaling.type = 'longrope'"),
        ("llama", {"rope.dimension_count": 16, "attention.key_length": 32}, "llama.rope.dimension_count = 16"),
        ("llama", YARN | {"rope.scaling.attn_factor": 1.5}, "llama.rope.scaling.attn_factor = 1.5"),
        ("llama", YARN | {"rope.scaling.yarn_ext_factor": 0.0}, "llama.rope.scaling.yarn_ext_factor = 0"),
        ("llama", {"attention.value_length": 8}, "llama.attention.value_length = 8"),
        ("llama", {"logit_scale": 0.25}, "llama.logit_scale = 0.25"),
        ("llama", {"attention.causal": False}, "llama.attention.causal = False"),
        ("llama", {"of_tomorrow": 1}, "llama.of_tomorrow = 1"),
        (
            "qwen3moe",
            {"expert_feed_forward_length": [64] * 5 + [32]},
            "qwen3moe.expert_feed_forward_length = a list of 6",
        ),
        ("gemma2", {"attention.sliding_window_pattern": 3}, "gemma2.attention.sliding_window_pattern = 3"),
    ],
)
def test_what_cannot_be_set_is_refused_by_its_name(architecture, fields, says, tmp_path):
    file = write_header(tmp_path / "m.gguf", architecture, SIZES | EPSILON | fields)
    for read in (lambda: load_model(str(file), CONFIG), lambda: read_bare_model(str(file), CONFIG)):
        with pytest.raises(ModelError) as error:
            read()
        assert f"states {says}, which transformers does not read from GGUF" in str(error.value)
        assert "use the model's Hugging Face folder" in str(error.value) and "\n" not in str(error.value)


def test_fields_that_change_nothing_are_passed_over(tmp_path):
    """Layers of the same size one by one, factors of 1, a description."""
    fields = {
        "attention.key_length": [32] * 6,
        "logit_scale": 1.0,
        "attention.clamp_kqv": 0.0,
        "expert_count": 0,
        "tensor_data_layout": "Meta AI original pth",
        "rope.scaling.finetuned": True,
        "vocab_size": len(WORDS),
    }
    config = config_of(tmp_path, "llama", **fields)
    assert (config.head_dim, config.vocab_size, config.rope_parameters["rope_type"]) == (32, len(WORDS), "default")
    assert read_header(tmp_path / "llama.gguf").fields["llama.attention.key_length"].values == (32,) * 6


def test_a_file_that_transformers_reads_rightly_keeps_its_config(tmp_path):
    file = write_gguf(tmp_path / "m.gguf", small_llama(), fields={"llama.rope.dimension_count": 8})
    config, own = gguf_config(file), AutoConfig.from_pretrained(str(file), gguf_file=file.name)
    own.dtype = config.dtype
    assert config.to_dict() == own.to_dict()
