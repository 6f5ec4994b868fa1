"""A GGUF file is a model: it is read, trained and saved as an ordinary folder; whatever is wrong with one is one line."""

import importlib.util
import random
import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf_files import END, START, SYSTEM, small_llama, write_gguf
from small import small_recipe
from transformers import AutoModelForCausalLM, AutoTokenizer

from laconic.config.policy import PolicyConfig
from laconic.doctor.checks.model import check_weights
from laconic.doctor.checks.prompts import check_system
from laconic.doctor.examination import examine
from laconic.doctor.memory_model import count_weights
from laconic.doctor.memory_needs import find_shape, longest_prompts
from laconic.errors import InputError, ModelError, RunError
from laconic.models import loading
from laconic.models.gguf import model_file
from laconic.models.gguf.header import read_header
from laconic.models.loading import load_model, load_tokenizer, resolve_model
from laconic.models.policy import Policy
from laconic.models.weightless import load_weightless
from laconic.problems.load import load_problems
from laconic.system.checksums import file_digest
from laconic.system.progress import Reporter
from laconic.training.phase import PhaseRun
from laconic.training.run import start

CONFIG = PolicyConfig(device="cpu")
NO_WORDS = {"instruction": "none"}
PROMPT = [{"role": "user", "content": "What is 1 + 2?\n\n1. Think"}]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A file with matrices in Q8_0, beside which an adapter and a tokenizer lie that are not its own."""
    folder = tmp_path_factory.mktemp("gguf")
    for name in ("adapter_config.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        (folder / name).write_text("{} not of this model")
    return write_gguf(folder / "small.Q8_0.gguf", small_llama(), quantized="Q8_0")


@pytest.fixture(scope="module")
def saved(written, tmp_path_factory):
    """The folder that training would save of it."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    Policy(load_model(str(written), CONFIG), CONFIG, seed=0).save(folder)
    return folder


def logits_of(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits


@pytest.mark.parametrize("quantized", ["F32", "Q8_0", "Q4_1"])
def test_the_weights_are_those_of_the_file(quantized, tmp_path):
    """The logits are those of the model whose matrices were rounded to the file's format."""
    model, ids = small_llama(), list(range(3, 40))
    read = load_model(str(write_gguf(tmp_path / "m.gguf", model, quantized=quantized)), CONFIG)
    assert torch.equal(logits_of(read.model, ids), logits_of(rounded(model, quantized), ids))
    assert read.model.dtype == read.stored_dtype == torch.float32


def rounded(model, quantized):
    """`model` with its matrices in the format `quantized` and back."""
    kind = gguf.GGMLQuantizationType[quantized]
    for weight in (p for p in model.parameters() if p.ndim > 1):
        weight.data = torch.tensor(gguf.dequantize(gguf.quantize(weight.detach().numpy(), kind), kind))
    model.tie_weights()
    return model


def test_the_saved_folder_is_the_same_model(written, saved):
    """Plain transformers loads it: the same logits, prompt and greedy text, and the same ends."""
    read = load_model(str(written), CONFIG)
    tokenizer = AutoTokenizer.from_pretrained(saved)
    own = AutoModelForCausalLM.from_pretrained(saved)
    ids = tokenizer.apply_chat_template(PROMPT, add_generation_prompt=True)["input_ids"]
    assert ids == read.tokenizer.apply_chat_template(PROMPT, add_generation_prompt=True)["input_ids"]
    assert torch.equal(logits_of(own, ids), logits_of(read.model, ids))
    texts = [
        tokens.decode(model.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)[0])
        for model, tokens in ((own, tokenizer), (read.model, read.tokenizer))
    ]
    assert texts[0] == texts[1] and SYSTEM in texts[0]
    assert own.generation_config.eos_token_id == END and load_model(str(saved), CONFIG).stop_ids == {END}


def test_digits_are_cut_off_as_the_model_learned_them(written):
    """`smollm` cuts every digit off first, so that the empty line before a number is one token, and "12" is two."""
    tokenizer = load_tokenizer(str(written), CONFIG)
    words = tokenizer.convert_ids_to_tokens(tokenizer("a\n\n12  3 the", add_special_tokens=False).input_ids)
    assert words == ["a", "ĊĊ", "1", "2", "ĠĠ", "3", "Ġth", "e"]
    assert tokenizer.bos_token_id == START and tokenizer.eos_token_id == tokenizer.pad_token_id == END


def test_the_end_of_a_turn_ends_a_response(tmp_path):
    """A file that names the end of a turn beside that of a text has both, here 2 and 0; they are saved."""
    file = write_gguf(tmp_path / "m.gguf", small_llama(), fields={"tokenizer.ggml.eot_token_id": 0})
    lm = load_model(str(file), CONFIG)
    assert lm.stop_ids == {END, 0}
    Policy(lm, CONFIG, seed=0).save(tmp_path / "saved")
    assert load_model(str(tmp_path / "saved"), CONFIG).stop_ids == {END, 0}
    assert load_weightless(str(file), CONFIG).stop_ids == {END, 0}


def test_doctor_knows_the_file_without_its_weights(written, monkeypatch):
    """Shape, weights, prompts and dtype are read from the header; nothing is dequantized."""
    monkeypatch.setattr(model_file, "gguf_weights", lambda *_: pytest.fail("weights were read"))
    recipe = small_recipe(written)
    examined = examine(recipe)
    assert not {"model", "tokenizer", "prompts", "shape"} & set(examined.missing)
    (finding,) = check_weights(examined)
    assert finding.level == "fine" and "stored as Q8_0 and dequantized to float32" in finding.what
    (finding,) = check_system(examined)
    assert f"its own into every prompt ({len(SYSTEM)} tokens)" in finding.what and SYSTEM in finding.what
    shape = find_shape(recipe)
    assert shape.context_length == 256 and shape.config.stored_bytes == 4
    assert count_weights(shape.config, recipe.policy).total == sum(
        p.numel() for p in small_llama().parameters() if p.ndim > 1
    )
    assert longest_prompts(recipe, {"train": load_problems("tiny:mix?count=2&split=train")})["boxed"] > 100


def test_doctor_warns_of_bfloat16_on_a_processor_without_it(written, monkeypatch):
    monkeypatch.setattr(loading, "multiplies_bfloat16", lambda: False)
    recipe = small_recipe(written, policy={"dtype": "bfloat16", "device": "cpu"})
    assert [finding.level for finding in check_weights(examine(recipe))] == ["fine", "warning"]


def test_a_run_begins_from_a_file_and_is_resumed(written, tmp_path, monkeypatch):
    """Stopped after its first step and resumed, it ends with the weights of a run that was not, in an ordinary folder. It is not
    resumed with another file of that name, by the digest that it recorded."""
    file = shutil.copy(written, tmp_path / "m.gguf")
    phases = [{"name": "only", "steps": 2, "end": {"guard_drop": None}}]
    recipe = small_recipe(file, phases=phases, checkpoints={"every": 1, "keep": 1}, watch={"every": 2}, prompt=NO_WORDS)
    whole = begun(recipe, tmp_path / "whole").train()
    with monkeypatch.context() as patched:
        take_step = PhaseRun.take_step
        patched.setattr(PhaseRun, "take_step", lambda run: take_step(run) if run.step == 0 else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            begun(recipe, tmp_path / "torn").train()
    trainer = begun(recipe, tmp_path / "torn", resume=True)
    assert trainer.run.directory.environment()["inputs"]["files"] == {str(file): file_digest(Path(file))}
    resumed = trainer.train()
    assert (resumed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    write_gguf(file, small_llama(seed=1))
    with pytest.raises(RunError, match=r"model.*not as it was when the run began"):
        begun(recipe, tmp_path / "torn", resume=True)


def begun(recipe, out, *, resume=False):
    return start(recipe, out, resume=resume, reporter=Reporter(is_silent=True))


# --- what is wrong with a file ---------------------------------------------------------------------------------------


def cut(share):
    return lambda file: file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])


def holding(content):
    return lambda file: file.write_bytes(content)


def rewritten(**options):
    return lambda file: write_gguf(file, small_llama(), **options)


def other_architecture(name):
    """The same length, so that no length in the header changes."""
    return lambda file: file.write_bytes(file.read_bytes().replace(b"llama", name))


BIAS = {"blk.0.attn_q.bias": np.ones(32, dtype=np.float32)}
FREQUENCIES = {"rope_freqs.weight": np.ones(4, dtype=np.float32)}


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (holding(b""), "is empty; fetch the file again"),
        (holding(b"PK\x03\x04 a zip"), r"is no GGUF file: it begins with b'PK"),
        (holding(b"version https://git-lfs.github.com/spec/v1\noid"), "is a pointer of Git LFS"),
        (holding(b"GGUF\x01\0\0\0" + bytes(99)), "is GGUF of version 1; expected version 2 or 3"),
        (holding(b"GGUF\0\0\0\x03" + bytes(99)), "its bytes are in big-endian order"),
        (holding(b"GGUF\x03\0\0\0" + b"\xff" * 99), "is cut off or damaged in its header"),
        (cut(0.05), "is cut off or damaged in its header; fetch the file again"),
        (cut(0.9), r"is incomplete: [\d,]+ bytes of [\d,]+; fetch the file again"),
        (rewritten(fields={"split.count": 3}), "is part 1 of 3 of a split model; join them"),
        (rewritten(fields={"general.type": "mmproj"}), "holds 'mmproj' by its general.type; expected a language model"),
        (rewritten(fields={"llama.attention.head_count": 0}), r"states 0 attention heads \(head_count\)"),
        (rewritten(fields={"llama.attention.head_count_kv": 3}), r"and 3 of keys and values .*expected a multiple"),
        (rewritten(fields={"tokenizer.ggml.eos_token_id": 99_999}), "eos_token_id is 99999, of .* tokens"),
        (rewritten(fields={"tokenizer.ggml.eot_token_id": 4_000_000_000}), "eot_token_id is 4000000000, of"),
        (rewritten(extra=FREQUENCIES), "scales its rotary frequencies .*use the model's Hugging Face folder"),
        (rewritten(extra=BIAS), r"holds .* weights, of which transformers reads .*use its folder instead"),
        (other_architecture(b"bertX"), "cannot be loaded: .*architecture bertX is not supported"),
    ],
)
def test_a_fault_is_one_line(spoil, says, written, tmp_path):
    file = shutil.copy(written, tmp_path / "m.gguf")
    spoil(file)
    with pytest.raises(ModelError, match=says) as error:
        load_model(str(file), CONFIG)
    assert str(error.value).startswith(f"{file}: ") and "\n" not in str(error.value)


def test_any_damage_of_the_header_is_one_line_or_none(written, tmp_path):
    """Bytes of the header at random places become random ones, 300 times over; most are seen in the header."""
    content, rng, refused = written.read_bytes(), random.Random(0), 0
    for number in range(300):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(2_000)] = rng.randrange(256)
        file = tmp_path / f"{number}.gguf"
        file.write_bytes(damaged)
        try:
            resolve_model(str(file))
        except InputError as error:
            assert str(error).startswith(f"{file}: ") and "\n" not in str(error)
            refused += 1
        file.unlink()
    assert refused > 30


def test_doctor_says_the_same(written, tmp_path):
    file = shutil.copy(written, tmp_path / "m.gguf")
    cut(0.9)(file)
    missing = examine(small_recipe(file)).missing
    assert missing["model"].level == "error" and "is incomplete" in missing["model"].why


def test_a_file_of_another_name(written, tmp_path):
    """A GGUF file that is not named as one, one that is not there, and a part by its name."""
    part = shutil.copy(written, tmp_path / "m-00002-of-00003.gguf")
    for file, says in (
        (shutil.copy(written, tmp_path / "m.bin"), "is a GGUF file by its first bytes; its name must end in .gguf"),
        (tmp_path / "m-00002-of-00004.gguf", "no such file; .*near it: .*m-00002-of-00003.gguf"),
        (part, "is part 2 of 3 of a split model"),
    ):
        with pytest.raises(ModelError, match=says):
            resolve_model(str(file))


def test_a_folder_of_files_is_not_one_of_them(tmp_path):
    """The folder alone does not say which; a name with spaces and marks is a name."""
    for name in ("a b.gguf", "c#d.gguf"):
        write_gguf(tmp_path / name, small_llama())
        assert load_model(str(tmp_path / name), CONFIG).name == str(tmp_path / name)
    with pytest.raises(ModelError, match=r"no config.json; .*a GGUF file is named itself: \S*a b.gguf or \S*c#d.gguf"):
        resolve_model(str(tmp_path))


def test_without_the_package_the_extra_is_named(written, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(model_file, "find_spec", lambda name: None if name == "gguf" else found(name))
    with pytest.raises(InputError, match=r"pip install 'gguf>="):
        load_model(str(written), CONFIG)
    assert "pip install 'gguf>=" in examine(small_recipe(written)).missing["model"].why


def test_the_header_counts_every_weight(written):
    header = read_header(written)
    assert sum(tensor.num_values for tensor in header.tensors) == small_llama().num_parameters()
    assert header.fields["llama.block_count"] == 2 and header.fields["tokenizer.ggml.merges"] == 4
