"""In which dtype a model is stored, whatever its config states: what "auto" computes in, what is saved, what doctor predicts."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from small import save_small_model, small_recipe
from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer

from laconic.config.policy import PolicyConfig
from laconic.doctor.memory_needs import computes_in, find_shape
from laconic.models import loading
from laconic.models.loading import load_model, read_config
from laconic.models.policy import Policy
from laconic.models.stored_dtype import SHARD_INDEX, stored_dtype

CONFIG = PolicyConfig(device="cpu")
AUTO = PolicyConfig(device="cpu", dtype="auto")


@pytest.fixture
def folder(tmp_path):
    """A small model whose weights are stored in bfloat16, and whose config states float32."""
    folder = tmp_path / "model"
    save_small_model(folder)
    rewrite(folder, lambda name, weight: weight.bfloat16())
    return folder


def rewrite(folder, changed):
    file = folder / "model.safetensors"
    held = {name: changed(name, weight) for name, weight in load_file(file).items()}
    save_file(held, file, metadata={"format": "pt"})


def state(folder, **changes):
    file = folder / "config.json"
    config = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def found_in(folder):
    return stored_dtype(str(folder), read_config(str(folder), {}))


def test_the_headers_decide_and_not_the_config(folder):
    assert read_config(str(folder), {}).dtype == torch.float32 and found_in(folder) == torch.bfloat16
    lm = load_model(str(folder), CONFIG)
    assert lm.stored_dtype == torch.bfloat16 and lm.model.dtype == torch.float32


def test_most_weights_decide(folder):
    """Norms in float32 among maps in bfloat16 are few; all but one matrix in float32 are most."""
    rewrite(folder, lambda name, weight: weight.float() if weight.ndim == 1 else weight)
    assert found_in(folder) == torch.bfloat16
    rewrite(folder, lambda name, weight: weight if "layers.0.self_attn.q_proj" in name else weight.float())
    assert found_in(folder) == torch.float32


def test_the_shards_of_the_index_are_read_and_no_other_file(folder):
    """The moments of an optimizer lie beside a checkpoint's weights, in float32."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, held in parts.items():
        save_file({name: weights[name] for name in held}, folder / file, metadata={"format": "pt"})
    save_file({f"moment.{name}": weights[name].float() for name in names}, folder / "trainer.safetensors")
    index = {"metadata": {}, "weight_map": {name: file for file, held in parts.items() for name in held}}
    (folder / SHARD_INDEX).write_text(json.dumps(index))
    assert found_in(folder) == torch.bfloat16
    assert load_model(str(folder), CONFIG).stored_dtype == torch.bfloat16


@pytest.mark.parametrize("content", [b"", b"no header", b"\xff" * 64, (2).to_bytes(8, "little") + b"[]"])
def test_without_a_header_the_config_is_believed(content, folder):
    """That of the text model first, then the one around it, then float32; a broken file is for the loader to refuse."""
    (folder / "model.safetensors").write_bytes(content)
    assert found_in(folder) == torch.float32
    state(folder, dtype="bfloat16")
    assert found_in(folder) == torch.bfloat16
    state(folder, dtype=None, torch_dtype=None)
    assert found_in(folder) == torch.float32


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("asked", ["auto", "float32", "bfloat16"])
def test_doctor_predicts_the_dtype_that_is_computed_in(asked, stored, folder, monkeypatch):
    """Float16 takes two bytes as bfloat16 does, and "auto" computes in float32 with it."""
    monkeypatch.setattr(loading, "is_slow_in_bfloat16", lambda device: False)
    rewrite(folder, lambda name, weight: weight.to(stored))
    policy = PolicyConfig(device="cpu", dtype=asked)
    computed = load_model(str(folder), policy).autocast_dtype or torch.float32
    assert computes_in(policy, find_shape(small_recipe(folder)).config) == computed


# --- a text model inside another -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    """Gemma 3 with eyes, stored in bfloat16, whose config states it only at the top, as google/gemma-3-4b-it does."""
    folder = tmp_path_factory.mktemp("seeing")
    sizes = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    save_small_model(folder)
    words = len(AutoTokenizer.from_pretrained(folder))
    text = sizes | {"num_hidden_layers": 2, "num_key_value_heads": 1, "head_dim": 16, "vocab_size": words}
    eyes = sizes | {"num_hidden_layers": 3, "image_size": 28, "patch_size": 14, "model_type": "siglip_vision_model"}
    tokens = {"boi_token_index": 1, "eoi_token_index": 2, "image_token_index": 3, "mm_tokens_per_image": 4}
    config = AutoConfig.for_model("gemma3", text_config=text, vision_config=eyes, **tokens)
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    stated = json.loads((folder / "config.json").read_text())
    for part in ("text_config", "vision_config"):
        stated[part].pop("dtype", None)
    state(folder, **stated | {"torch_dtype": "bfloat16", "dtype": None})
    return folder


def test_a_dtype_that_only_the_top_states(seeing, tmp_path, monkeypatch):
    """Saved as it was stored, computed in it where a machine can, and found without the weights as well."""
    assert read_config(str(seeing), {}).get_text_config().dtype is None
    monkeypatch.setattr(loading, "is_slow_in_bfloat16", lambda device: False)
    lm = load_model(str(seeing), AUTO)
    assert (lm.stored_dtype, lm.autocast_dtype) == (torch.bfloat16, torch.bfloat16)
    Policy(lm, AUTO, seed=0).save(tmp_path / "saved")
    sizes = [(place / "model.safetensors").stat().st_size for place in (seeing, tmp_path / "saved")]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.05)
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["dtype"] == "bfloat16"
    shape = find_shape(small_recipe(seeing))
    assert shape.config.stored_bytes == 2 and computes_in(AUTO, shape.config) == torch.bfloat16
    (seeing / "model.safetensors").rename(tmp_path / "away")
    (seeing / "other.safetensors").write_bytes(b"")
    try:
        assert stored_dtype(str(seeing), read_config(str(seeing), {})) == torch.bfloat16
    finally:
        (tmp_path / "away").rename(seeing / "model.safetensors")
        (seeing / "other.safetensors").unlink()


def test_only_the_text_model_computes(seeing):
    """Its two layers hold maps of 2 x 32 x 32 and 2 x 32 x 16 numbers, and three of 32 x 64, which is the shape of a dense
    decoder; the three layers that see are weights beside them."""
    shape, lm = find_shape(small_recipe(seeing)), load_model(str(seeing), CONFIG)
    assert shape.config.layer_weights is None and shape.config.active_weights is None
    text = sum(weight.numel() for weight in lm.model.get_decoder().parameters())
    assert shape.other_weights == lm.model.num_parameters() - text > 0
