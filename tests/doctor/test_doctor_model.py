"""Doctor on the model's files and prompts: every check once where it finds something, once where it does not."""

import json

import oracles
import pytest
from examined import PASSES_ALL, Ward, levels, reasons, said

from laconic.config.load import parse_recipe
from laconic.doctor import examination
from laconic.doctor.checks.model import check_end_tokens, check_layers, check_vocabulary_size, check_weights
from laconic.doctor.checks.prompts import (
    check_answer_form,
    check_beginning,
    check_context,
    check_instruction,
    check_system,
    check_template,
    check_turn,
    check_unknown_tokens,
)
from laconic.doctor.reading import read_model, read_tokenizer
from laconic.models.loading import load_model
from laconic.types import Grade

C, W, N, T = Grade.CORRECT, Grade.WRONG, Grade.NO_ANSWER, Grade.TRUNCATED


@pytest.fixture
def ward(tmp_path, monkeypatch):
    monkeypatch.setattr(examination, "outside_bytes", lambda recipe: 2**29)
    return Ward(tmp_path)


# --- the model -------------------------------------------------------------------------------------------------------


def test_doctor_examines_the_tokenizer_that_training_uses(tmp_path):
    """transformers reads another tokenizer beside a Qwen2 config than its tokenizer.json describes; training goes by the file."""
    folder = oracles.save_checkpoint("qwen2", tmp_path / "model")
    tree = {
        "name": "one",
        "model": str(folder),
        "problems": {"train": "tiny:mix?count=1", "watch": "tiny:mix?count=1&split=watch"},
        "phases": [{"name": "brevity", "steps": 1}],
    }
    recipe = parse_recipe(tree, "a test")
    tokenizer = read_tokenizer(recipe, read_model(recipe))
    assert (
        tokenizer("w0 w3 <eos>")["input_ids"]
        == load_model(str(folder), recipe.policy).tokenizer("w0 w3 <eos>")["input_ids"]
    )
    assert tokenizer.get_vocab() == oracles.small_tokenizer().get_vocab()


def test_layers_without_a_cache_are_an_error(ward):
    examined = ward.examine()
    assert levels(check_layers, examined) == ["fine"]
    examined.model.config.layer_types = ["full_attention", "linear_attention"]
    (line,) = said(check_layers, examined)
    assert line.startswith("error: model: LlamaForCausalLM has layers of kind linear_attention")


def test_a_shard_that_is_not_there_is_an_error(ward):
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (ward.model / "model.safetensors.index.json").write_text(json.dumps(index))
    (line,) = said(check_weights, ward.examine())
    assert line.startswith("error:") and "model-2.safetensors is named in" in line


def test_an_embedding_that_is_not_the_configs_is_an_error(ward):
    assert said(check_weights, ward.examine()) == [
        "fine: policy.dtype: weights are stored as float32, the recipe asks for float32"
    ]
    ward.change("config.json", vocab_size=100)
    (line,) = said(check_weights, ward.examine())
    assert line.startswith("error:") and "the embedding has 81 rows, the config's vocab_size is 100" in line


def test_weights_that_cannot_be_read_are_an_error(ward):
    (ward.model / "model.safetensors").write_bytes(b"no header")
    (line,) = said(check_weights, ward.examine())
    assert line.startswith("error:") and "weights cannot be read" in line and "\n" not in line


def test_more_tokens_than_the_embedding_has_rows_is_an_error(ward):
    assert levels(check_vocabulary_size, ward.examine()) == ["fine"]
    ward.change("config.json", vocab_size=40)
    (line,) = said(check_vocabulary_size, ward.examine())
    assert line.startswith("error: model: the tokenizer knows 81 tokens, the embedding has 40")


def test_end_tokens_that_close_a_turn_are_fine(ward):
    assert said(check_end_tokens, ward.examine()) == [
        "fine: generation_config.json: responses end at <|end|> and close a turn"
    ]


def test_a_turn_closed_by_a_token_that_ends_nothing_is_a_warning(ward):
    """The classic: the template closes with one token, the model's configs name another."""
    ward.template(PASSES_ALL.replace("<|end|>", "<|user|>"))
    (line,) = said(check_end_tokens, ward.examine())
    assert line.startswith("warning:") and "closes a turn with <|user|>, but responses end only at <|end|>" in line


def test_no_end_token_at_all_is_an_error(ward):
    ward.change("generation_config.json", eos_token_id=None)
    ward.change("tokenizer_config.json", eos_token=None)
    (line,) = said(check_end_tokens, ward.examine())
    assert line.startswith("error:") and "every response runs to its cap" in line


def test_an_end_token_outside_the_vocabulary_is_named(ward):
    """One of two is a warning: the tokenizer's own still ends responses."""
    ward.change("generation_config.json", eos_token_id=[1, 99])
    (line,) = said(check_end_tokens, ward.examine())
    assert line.startswith("warning:") and "end token 99 lies outside the vocabulary of 81" in line


def test_a_folder_without_weights_is_an_error_and_the_problems_are_still_checked(ward):
    (ward.model / "model.safetensors").unlink()
    examined = ward.examine()
    assert reasons(examined.missing, "model").startswith("error: model: ")
    assert "no *.safetensors" in reasons(examined.missing, "model")
    assert len(examined.sets["train"]) == 8


# --- the prompt ------------------------------------------------------------------------------------------------------


def test_a_tokenizer_without_a_template_is_a_warning(ward):
    assert said(check_template, ward.examine()) == [
        "fine: prompt: prompts are rendered by the chat template; it opens <think>, the response begins inside"
    ]
    (ward.model / "chat_template.jinja").unlink()
    assert levels(check_template, ward.examine()) == ["warning"]


def test_a_system_text_that_the_template_drops_is_a_warning(ward):
    """The embedded template knows no system turn; one that hands it on is fine, and no system text is nothing to check."""
    assert said(check_system, ward.examine()) == []
    assert levels(check_system, ward.examine("prompt.system='add 3'")) == ["warning"]
    ward.template(PASSES_ALL)
    assert levels(check_system, ward.examine("prompt.system='add 3'")) == ["fine"]


def test_a_template_that_refuses_the_role_system_is_an_error(ward):
    """As Gemma's does; without a system text the same template renders."""
    refuses = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    ward.template(refuses + PASSES_ALL)
    assert "prompts" not in ward.examine().missing
    reason = reasons(ward.examine("prompt.system='add 3'").missing, "prompts")
    assert reason == "error: prompt.system: the chat template refuses the role system: System role not supported"


def test_a_template_that_cannot_render_is_an_error(ward):
    ward.template("{{ raise_exception('no') }}")
    reason = reasons(ward.examine("prompt.system='add 3'").missing, "prompts")
    assert reason.startswith("error: prompt: problem ") and reason.endswith("cannot be rendered: no")


def test_a_beginning_token_written_twice_is_a_warning(ward):
    ward.template(PASSES_ALL)
    ward.change("tokenizer_config.json", bos_token="<|user|>")
    assert levels(check_beginning, ward.examine()) == ["fine"]
    ward.template("<|user|>" + PASSES_ALL)
    (line,) = said(check_beginning, ward.examine())
    assert line.startswith("warning: prompt: prompts begin with <|user|> 2 times")


def test_a_prompt_that_is_closed_already_is_an_error(ward):
    """A template that knows nothing of the generation prompt and closes the user's turn leaves nothing to answer."""
    assert levels(check_turn, ward.examine()) == ["fine"]
    ward.template("{% for m in messages %}<|user|>{{ m['content'] }}<|end|>\n{% endfor %}")
    (line,) = said(check_turn, ward.examine())
    assert line.startswith("error: prompt: the prompt ends with <|end|>")


def test_questions_in_an_unknown_script_are_a_warning(ward):
    assert levels(check_unknown_tokens, ward.examine()) == ["fine"]
    override = ward.problems("train", ("Ποιο", "3"), ("sum 1 2", "3"))
    (line,) = said(check_unknown_tokens, ward.examine(override))
    assert line.startswith(
        "warning: problems: the tokenizer cannot write 1 of the 10 longest questions whole: it lacks "
    )
    assert "tokens in problem train-0" in line


def test_an_instruction_that_is_dropped_is_a_warning_only_where_it_was_asked_for(ward):
    """The embedded reasoner's template drops the default, which nobody wrote down."""
    assert said(check_instruction, ward.examine()) == []
    assert levels(check_instruction, ward.examine("prompt.instruction='sum 3'")) == ["warning"]
    ward.template(PASSES_ALL)
    assert said(check_instruction, ward.examine("prompt.instruction='sum 3'")) == []


def test_a_prompt_that_asks_for_no_box_is_a_warning(ward):
    """No false alarm for a model whose template leaves the instruction out, and none where the prompt asks for a box."""
    assert said(check_answer_form, ward.examine())[0].startswith("fine: prompt.instruction: the chat template leaves")
    ward.template(PASSES_ALL)
    assert said(check_answer_form, ward.examine("prompt.instruction='sum 3'")) == [
        "warning: prompt.instruction: nothing in the prompt asks for a box or an answer marker, "
        "which the grader reads most surely; prompt.instruction=boxed"
    ]
    asks = said(check_answer_form, ward.examine(r"prompt.instruction='\boxed{3}'"))
    assert asks == ["fine: prompt.instruction: the prompt asks for \\boxed; it is never graded itself"]


def test_what_the_probe_shows_outranks_what_the_prompt_asks_for(ward):
    """12 of 16 finished responses with an answer are 75%, below 80%; none at all is an error; cut-off ones do not count, and
    few responses show neither."""
    assert levels(check_answer_form, ward.examine(probe=ward.probe([C, W, T, T]))) == ["fine"]
    few = said(check_answer_form, ward.examine(probe=ward.probe([*[C] * 6, N, N], [*[W] * 6, N, N, T])))
    assert few[0].startswith("warning: prompt.instruction: 75% of the probe's finished responses hold an answer")
    assert levels(check_answer_form, ward.examine(probe=ward.probe([*[N] * 16, T]))) == ["error"]
    for grades, finished in (([N, T], "1 response"), ([C, N, T, T], "2 responses")):
        one = said(check_answer_form, ward.examine(probe=ward.probe(grades)))[0]
        assert one.startswith("unknown: ") and f"but {finished} show too little, expected at least 16" in one
    assert levels(check_answer_form, ward.examine(probe=ward.probe([T, T]))) == ["unknown"]


def test_a_cap_beyond_the_context_is_an_error_that_names_problem_and_room(ward):
    examined = ward.examine("phases.first.sampler.max_tokens=2048")
    longest = max(examined.prompts, key=lambda prompt: len(prompt.ids))
    first, second = said(check_context, examined)
    assert first.startswith(
        "error: phases.first.sampler.max_tokens: 2,048 and the prompt of problem " + longest.problem.id
    )
    assert first.endswith(f"phases.first.sampler.max_tokens={2048 - len(longest.ids)}")
    assert second.startswith("fine: phases.second")


# --- the hub ---------------------------------------------------------------------------------------------------------


def test_a_hub_that_does_not_answer_is_unknown_and_a_file_that_is_broken_an_error(ward):
    examined = ward.examine("model='someone/reasoner'", "problems.report='hf:someone/problems:test'")
    assert reasons(examined.missing, "model").startswith("unknown: model: someone/reasoner: the hub does not answer")
    assert examined.missing["tokenizer"] == examined.missing["shape"] == examined.missing["model"]
    assert reasons(examined.missing, "problems.report").startswith("unknown: problems.report: hf:someone/problems:test")
    (ward.folder / "bad.jsonl").write_text("{\n")
    broken = ward.examine(f"problems.train='{ward.folder / 'bad.jsonl'}'")
    assert reasons(broken.missing, "problems.train").startswith("error: problems.train: ")
    assert "bad.jsonl, line 1" in reasons(broken.missing, "problems.train")
