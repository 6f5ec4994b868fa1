"""Whatever is wrong with a model's folder is one line that names it: damaged weights, configs and tokenizers, one fault each."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from examined import PASSES_ALL, Ward, said
from safetensors.torch import load_file, save_file

from laconic.config.load import load_recipe
from laconic.config.policy import PolicyConfig
from laconic.config.solver import PromptConfig
from laconic.doctor import examination
from laconic.doctor.checks.model import check_vocabulary_size, check_weights
from laconic.doctor.checks.prompts import check_unknown_tokens
from laconic.errors import LaconicWarning, ModelError
from laconic.grading.grader import Grader
from laconic.models.loading import TINY_FOLDER, check_sums, load_model
from laconic.models.policy import load_policy
from laconic.models.weightless import load_weightless
from laconic.problems.load import load_problems
from laconic.rollouts.solver import Solver
from laconic.samplers.local import LocalSampler
from laconic.system.checksums import write_checksums

CONFIG = PolicyConfig(device="cpu")
PROBLEMS = load_problems("tiny:mix?count=2&split=train")


@pytest.fixture
def ward(tmp_path, monkeypatch):
    monkeypatch.setattr(examination, "outside_bytes", lambda recipe: 2**29)
    return Ward(tmp_path)


def resized(ward):
    weights = load_file(ward.model / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"] = torch.zeros(3, 5)
    save_file(weights, ward.model / "model.safetensors", metadata={"format": "pt"})


def overfull(ward):
    weights = load_file(ward.model / "model.safetensors")
    weights["model.layers.7.mlp.up_proj.weight"] = torch.zeros(96, 32)
    save_file(weights, ward.model / "model.safetensors", metadata={"format": "pt"})


def truncated(ward):
    path = ward.model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def write(file, text):
    return lambda ward: (ward.model / file).write_text(text, encoding="utf-8")


def change(file, **values):
    return lambda ward: ward.change(file, **values)


INDEX = json.dumps({"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}})
ROPE = {"rope_type": "spiral", "factor": 2.0, "rope_theta": 10_000.0}


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (resized, "1 weights have another shape than config.json says: .*up_proj.weight has .3, 5., expected .96, 32."),
        (truncated, "cannot be loaded: "),
        (write("model.safetensors.index.json", INDEX), "model-2.safetensors is named in .*, but is not there"),
        (write("model.safetensors.index.json", "{"), "model.safetensors.index.json cannot be read"),
        (write("model.safetensors.index.json", '{"weight_map": []}'), r"index.json: weight_map is \[\], expected an object"),
        (write("model.safetensors.index.json", '{"weight_map": null}'), "index.json: weight_map is None, expected an object"),
        (write("adapter_config.json", "{}"), r"holds an adapter of LoRA \(adapter_config.json\); merge it into its model"),
        (write("config.json", "{"), "cannot be loaded: "),
        (write("config.json", '{"model_type": "nope"}'), "cannot be loaded: .*nope"),
        (write("tokenizer.json", "{"), "cannot be loaded: "),
        (write("tokenizer.json", "{}"), "cannot be loaded: "),
        (write("tokenizer_config.json", "["), "cannot be loaded: "),
        (write("generation_config.json", "{"), "generation_config.json cannot be read"),
        (write("generation_config.json", "[]"), "generation_config.json cannot be read: expected a JSON object"),
        (change("config.json", rope_parameters=ROPE), "cannot be loaded: .*spiral"),
        (change("config.json", num_attention_heads=0), "cannot be loaded: "),
        (change("config.json", hidden_size="wide"), "cannot be loaded: "),
        (change("config.json", hidden_act="nope"), "cannot be loaded: .*nope"),
        (change("config.json", vocab_size=40), "weights have another shape"),
        (change("config.json", num_hidden_layers=2), "9 weights are missing"),
        (overfull, "1 weights are of no layer that config.json counts, the first is model.layers.7.mlp.up_proj.weight"),
    ],
)  # fmt: skip
def test_a_damaged_folder_is_one_line(ward, spoil, says):
    spoil(ward)
    with pytest.raises(ModelError, match=says) as caught:
        load_model(str(ward.model), CONFIG)
    assert str(ward.model) in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def check(ward, **prompt):
    """What the commands check before they sample."""
    lm = load_model(str(ward.model), CONFIG)
    with Grader() as grader:
        Solver(lm, LocalSampler(lm), grader, PromptConfig(**prompt)).longest_prompt(PROBLEMS)


REFUSES_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system') }}{% endif %}" + PASSES_ALL
ALTERNATES = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Must alternate') }}"
    "{% endif %}{% endfor %}" + PASSES_ALL
)
ONE_TURN = "{% if messages | length > 1 %}{{ raise_exception('One turn') }}{% endif %}" + PASSES_ALL
ROLE, MOVE = "prompt.system: the chat template refuses the role system: ", "put its text into prompt.instruction"
EXAMPLES = "prompt.instruction: the chat template refuses the worked examples before the question: "


@pytest.mark.parametrize(
    ("template", "prompt", "line"),
    [
        (REFUSES_SYSTEM, {"system": "add 3"}, f"{ROLE}No system; {MOVE}"),
        (ALTERNATES, {"system": "add 3"}, f"{ROLE}Must alternate; {MOVE}"),
        (ONE_TURN, {"instruction": "chain_of_draft"}, f"{EXAMPLES}One turn; choose an instruction without examples"),
        (
            "{{ nothing.at.all }}",
            {},
            "prompt: problem .* cannot be rendered: .*undefined.*; mend the model's chat template, .*",
        ),
    ],
)
def test_a_template_that_refuses_a_turn_is_the_same_line_from_a_command_and_from_doctor(ward, template, prompt, line):
    ward.template(template)
    with pytest.raises(ModelError, match=f"^{line}$"):
        check(ward, **prompt)
    missing = ward.examine(*(f"prompt.{key}='{value}'" for key, value in prompt.items())).missing["prompts"]
    told = f"{missing.where}: {missing.why}; {missing.remedy}"
    assert told.partition("problem ")[0] == line.partition("problem ")[0]
    if prompt:
        check(ward)


def test_an_added_token_without_a_row_harms_only_where_a_prompt_holds_it(ward):
    """The same words from a command and from doctor; as padding, which is never read, it does no harm."""
    tokenizer = load_model(str(ward.model), CONFIG).tokenizer
    tokenizer.add_special_tokens({"pad_token": "<|fill|>"})
    tokenizer.save_pretrained(ward.model)
    check(ward)
    assert load_model(str(ward.model), CONFIG).pad_id == 1
    gap = "the tokenizer knows 82 tokens, the embedding has 81"
    (line,) = said(check_vocabulary_size, ward.examine())
    assert line.startswith(f"warning: model: {gap}; ")
    ward.template(PASSES_ALL.replace("<|user|>", "<|user|><|fill|>"))
    (line,) = said(check_vocabulary_size, ward.examine())
    assert line.startswith(f"error: model: {gap}, and the prompt of problem ") and " holds '<|fill|>'; " in line
    with pytest.raises(ModelError, match=f"{gap}, and the prompt of problem .* holds '<.fill.>'; "):
        check(ward)


def test_a_tokenizer_that_pulls_numbers_apart_is_refused(ward):
    tree = json.loads((ward.model / "tokenizer.json").read_text(encoding="utf-8"))
    (ward.model / "tokenizer.json").write_text(json.dumps(tree | {"decoder": None}), encoding="utf-8")
    words = "the tokenizer gives the number 9876543210 back as '9 8 7 6 5 4 3 2 1 0', so that no answer could be right"
    with pytest.raises(ModelError, match=words):
        check(ward)
    assert f"error: model: {words}; mend the tokenizer's decoder" in said(check_unknown_tokens, ward.examine())


def test_doctor_says_of_an_index_what_a_command_says(ward):
    (ward.model / "model.safetensors.index.json").write_text("{", encoding="utf-8")
    (line,) = said(check_weights, ward.examine())
    assert line.startswith("error: ") and "model.safetensors.index.json cannot be read" in line


def test_a_model_without_template_and_padding_is_fine(ward):
    (ward.model / "chat_template.jinja").unlink()
    ward.change("tokenizer_config.json", pad_token=None)
    check(ward)


def test_a_folder_that_is_not_as_its_checksums_say_is_not_loaded(tmp_path: Path) -> None:
    """Two lines with the remedy; looked at once while the sums stay, and sums of other programs are nobody's promise."""
    folder = shutil.copytree(TINY_FOLDER, tmp_path / "model")
    write_checksums(folder)
    check_sums(str(folder))
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-5] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    check_sums(str(folder))
    os.utime(folder / "SHA256SUMS", ns=(1, 1))
    with pytest.raises(ModelError, match=r"model\.safetensors: is damaged .*\n.* remove SHA256SUMS"):
        load_model(str(folder), PolicyConfig())
    (folder / "SHA256SUMS").write_text("0  model.safetensors\n")
    check_sums(str(folder))


@pytest.mark.parametrize(
    ("file", "values", "says"),
    [
        ("generation_config.json", {"eos_token_id": "x"}, "eos_token_id is 'x', expected the id of a token, a list"),
        ("generation_config.json", {"eos_token_id": -1}, "eos_token_id is -1"),
        ("generation_config.json", {"eos_token_id": [1, -1]}, "eos_token_id is .1, -1."),
        ("generation_config.json", {"eos_token_id": 1.5}, "eos_token_id is 1.5"),
        ("generation_config.json", {"eos_token_id": True}, "eos_token_id is True"),
        ("generation_config.json", {"eos_token_id": 10**30}, "eos_token_id is 1000"),
        ("generation_config.json", {"temperature": float("nan")}, "generation_config.json cannot be read: not JSON"),
        (
            "generation_config.json",
            {"temperature": "x"},
            "generation_config.json: temperature is 'x', expected a number",
        ),
        ("generation_config.json", {"top_p": -1}, "generation_config.json: top_p is -1, expected a number from 0"),
        (
            "generation_config.json",
            {"pad_token_id": "x"},
            "generation_config.json: pad_token_id is 'x', expected the id",
        ),
        ("config.json", {"dtype": 5}, "dtype is 5, expected one of floating-point numbers"),
        ("config.json", {"dtype": "int8"}, "dtype is torch.int8, expected one of floating-point numbers"),
        ("config.json", {"sliding_window": 0}, "sliding_window is 0, expected a number from 1"),
        ("config.json", {"sliding_window": "x"}, "sliding_window is 'x', expected a number"),
        (
            "config.json",
            {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": "x"}},
            "TypeError: '<=' not supported",
        ),
        ("config.json", {"hidden_size": 2.5}, "Validation error for field 'hidden_size': .*expected int, got float"),
        ("config.json", {"max_position_embeddings": 0}, "max_position_embeddings is 0, expected a number from 1"),
        ("config.json", {"max_position_embeddings": 10**30}, "max_position_embeddings is 1,000"),
        ("config.json", {"vocab_size": -1}, "vocab_size is -1"),
        ("config.json", {"num_hidden_layers": 0}, "num_hidden_layers is 0, expected a number from 1 to 1,000"),
        ("config.json", {"num_key_value_heads": -4}, "num_key_value_heads is -4"),
        ("config.json", {"rms_norm_eps": float("nan")}, "rms_norm_eps is nan"),
        ("config.json", {"rms_norm_eps": -1e-6}, "rms_norm_eps is -1e-06, expected a number from 0 to 1"),
        (
            "config.json",
            {"rope_parameters": {"rope_type": "default", "rope_theta": 0.0}},
            "rope_parameters.rope_theta is 0.0, expected a number above 0",
        ),
        (
            "config.json",
            {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": float("inf")}},
            "rope_parameters.factor is inf",
        ),
    ],
)
def test_a_number_that_no_model_has_is_one_line_with_weights_and_without(ward, file, values, says):
    """In a command as in the checks that read no weights."""
    ward.change(file, **values)
    for load in (load_model, load_weightless):
        with pytest.raises(ModelError, match=says) as caught:
            load(str(ward.model), CONFIG)
        assert str(ward.model) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("ends", [None, 81, [99, 100]])
def test_a_model_whose_responses_cannot_end_is_a_warning(ward, ends):
    """No end token, or none that the embedding has a row for."""
    ward.change("tokenizer_config.json", eos_token=None)
    for file in ("config.json", "generation_config.json"):
        ward.change(file, eos_token_id=ends)
    with pytest.warns(LaconicWarning, match="no end token is stated: every response runs to its cap"):
        load_model(str(ward.model), CONFIG)


@pytest.mark.parametrize("ends", [{}, {"eos_token_id": 3}])
def test_a_model_with_settings_of_generation_that_transformers_finds_fault_with_is_saved(ward, tmp_path, ends):
    """Greedy decoding with a temperature, a sampling setting in config.json: both are common in folders on the hub. Without the
    tokenizer's end token among those of the generation config, it is added there."""
    ward.change("generation_config.json", do_sample=False, temperature=0.6, top_p=0.9, **ends)
    ward.change("config.json", max_length=50, repetition_penalty=1.1)
    load_policy(load_recipe(ward.recipe), load_model(str(ward.model), CONFIG)).save(tmp_path / "saved")
    saved = load_model(str(tmp_path / "saved"), CONFIG)
    assert saved.stop_ids == {1, *ends.values()}
    assert saved.model.generation_config.temperature == 0.6
