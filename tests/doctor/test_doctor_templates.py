"""Doctor on the shapes that chat templates have in the field: what each is told, and no false alarm for the rest.

The templates are written here after the forms their models are documented to use; the tokenizer reads bytes.
"""

import pytest
from examined import Ward
from oracles import small_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import GenerationConfig, PreTrainedTokenizerFast

from laconic.doctor import examination
from laconic.doctor.memory_needs import longest_prompt
from laconic.doctor.run import find
from laconic.errors import ModelError

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HEADERS = (
    "{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}<|head|>{{ m['role'] }}<|body|>\n\n{{ m['content'] }}"
    "<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|head|>assistant<|body|>\n\n{% endif %}"
)
NO_SYSTEM = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ m['role'] }}\n{{ m['content'] }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
BRACKETS = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token }}[INST] {{ m['content'] }} [/INST]"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] }} {{ eos_token }}{% endif %}{% endfor %}"
)
CHATML_TOKENS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
HEADER_TOKENS = ("<|begin|>", "<|head|>", "<|body|>", "<|eot_id|>")
TURN_TOKENS = ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>")


@pytest.fixture
def ward(tmp_path, monkeypatch):
    monkeypatch.setattr(examination, "outside_bytes", lambda recipe: 2**29)
    return Ward(tmp_path)


def dress(ward, template, special, ends, *, bos=None, eos):
    """Give the ward's folder a model with this template; `ends` are what its generation config ends at."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({token: i for i, token in enumerate([*special, *alphabet])}, []))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    if bos:
        pairs = [(bos, special.index(bos))]
        core.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=pairs)
    tokens = {"eos_token": eos} | ({"bos_token": bos} if bos else {})
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, extra_special_tokens=list(special), **tokens)
    tokenizer.chat_template = template
    model = small_model("llama")
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.generation_config = GenerationConfig(eos_token_id=[special.index(end) for end in ends])
    model.save_pretrained(ward.model)
    tokenizer.save_pretrained(ward.model)


def troubles(ward, *overrides):
    """What is worse than fine about prompts and end tokens."""
    wheres = ("prompt", "prompt.system", "prompt.instruction", "generation_config.json", "model")
    found = find(ward.examine(*overrides))
    return [f"{f.level}: {f.what}" for f in found if f.where in wheres and f.level != "fine"]


@pytest.mark.parametrize(
    ("template", "special", "ends", "bos", "eos"),
    [
        (CHATML, CHATML_TOKENS, ["<|im_end|>", "<|endoftext|>"], None, "<|im_end|>"),
        (HEADERS, HEADER_TOKENS, ["<|eot_id|>"], "<|begin|>", "<|eot_id|>"),
        (NO_SYSTEM, TURN_TOKENS, ["<eos>", "<end_of_turn>"], "<bos>", "<eos>"),
        (BRACKETS, ("<s>", "</s>"), ["</s>"], "<s>", "</s>"),
    ],
)
def test_templates_that_fit_their_model_raise_no_alarm(ward, template, special, ends, bos, eos):
    dress(ward, template, special, ends, bos=bos, eos=eos)
    assert troubles(ward) == []


def test_a_base_models_end_token_under_a_chat_template_is_a_warning(ward):
    dress(ward, CHATML, CHATML_TOKENS, ["<|endoftext|>"], eos="<|endoftext|>")
    assert troubles(ward) == [
        "warning: the chat template closes a turn with <|im_end|>, but responses end only at <|endoftext|>"
    ]


def test_a_refused_system_text_is_one_error_and_memory_is_still_predicted(ward):
    """It names what was not checked; the dry run, which cannot go on without the prompt, says it in one line."""
    dress(ward, NO_SYSTEM, TURN_TOKENS, ["<end_of_turn>"], bos="<bos>", eos="<eos>")
    (trouble,) = troubles(ward, "prompt.system='Be brief.'")
    assert trouble.startswith(
        "error: the chat template refuses the role system: System role not supported; not checked: "
    )
    examined = ward.examine("prompt.system='Be brief.'")
    assert examined.needs(examined.recipe, examined.phases)[0].basis.endswith(
        "prompts of up to 512 tokens (assumed: problems or tokenizer are not at hand)"
    )
    with pytest.raises(ModelError, match="prompts cannot be rendered: System role not supported"):
        longest_prompt(examined.recipe, examined.sources)


def test_a_system_text_without_a_place_is_a_warning(ward):
    dress(ward, BRACKETS, ("<s>", "</s>"), ["</s>"], bos="<s>", eos="</s>")
    assert troubles(ward, "prompt.system='Be brief.'") == ["warning: the chat template leaves the system's text out"]


def test_a_template_that_forgets_the_beginning_token_is_a_warning(ward):
    dress(ward, CHATML, ("<s>", *CHATML_TOKENS), ["<|im_end|>"], bos="<s>", eos="<|im_end|>")
    assert troubles(ward) == ["warning: the tokenizer begins texts with <s>, the chat template does not"]
