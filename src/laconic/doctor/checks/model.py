"""Do the model's files fit one another, and this package? Configs and file headers are read, never weights.

1. Layers: the local sampler has a cache for every kind of layer, and LoRA adapts layers that are there.
2. Weights: every shard that the index names exists, and the embedding has as many rows as the config says.
3. Vocabulary: no token of the tokenizer is outside the embedding.
4. End tokens: there is one, it is inside the vocabulary, and the token that closes a turn of the chat template is among them.
5. Numbers: the dtype of the files compared with the one in which the model is trained.
6. Teachers: the conditions that training checks before it begins: each can be read, and differs from the student.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from laconic.doctor.examination import Examined
from laconic.doctor.findings import Finding, Level, found_in
from laconic.doctor.reading import ModelFiles
from laconic.errors import InputError, ModelError
from laconic.models.causal_lm import TOO_MANY_REMEDY, too_many_tokens
from laconic.models.gguf.model_file import embedding_rows, gguf_formats, is_gguf
from laconic.models.loading import SLOW_BFLOAT16, check_files, is_slow_in_bfloat16
from laconic.models.lora.targets import check_targets
from laconic.models.stored_dtype import stored_dtype
from laconic.models.teachers import check_teacher
from laconic.models.weightless import bare_model
from laconic.prompts.endings import NO_END, template_end
from laconic.samplers.local import KNOWN_LAYERS
from laconic.system.text import counted
from laconic.training.check.model import complaints_about_adapters

EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight")


def check_layers(examined: Examined) -> Iterator[Finding]:
    """Is it a decoder whose layers the local sampler knows?"""
    model = _model(examined)
    kind = ", ".join(getattr(model.config, "architectures", None) or [model.config.model_type])
    if getattr(model.config, "is_encoder_decoder", False):
        yield Finding("error", f"{kind} is an encoder with a decoder", "model", "expected a causal language model")
    elif unknown := set(getattr(model.text, "layer_types", None) or ()) - KNOWN_LAYERS:
        layers = ", ".join(sorted(unknown))
        yield Finding(
            "error",
            f"{kind} has layers of kind {layers}, which the local sampler has no cache for",
            "model",
            "choose a model without them",
        )
    else:
        yield Finding("fine", f"{kind}: its layers are known", "model")
        yield from _adapted_layers(examined)


def _adapted_layers(examined: Examined) -> Iterator[Finding]:
    """With LoRA, does every target name a layer? A model without weights is made for it."""
    lora, model = examined.recipe.policy.lora, _model(examined)
    if lora is None:
        return
    try:
        bare = bare_model(model.config)
        check_targets(bare, lora.targets, examined.recipe.model)
        yield from map(found_in, complaints_about_adapters(examined.recipe, bare))
    except ModelError as error:
        where, _, what = str(error).partition(": ")
        yield Finding("error", what, where, "name layers that are there")
    except (ValueError, LookupError, ImportError) as error:
        yield Finding("unknown", f"not checked: LoRA targets: {type(error).__name__}", "policy.lora.targets")


# --- weights ---------------------------------------------------------------------------------------------------------


def check_weights(examined: Examined) -> Iterator[Finding]:
    """Are all files of weights there, and do their headers agree with the config?"""
    model = _model(examined)
    if model.place is None:
        yield Finding("unknown", "not checked: weights: they are on the hub and were not fetched", "model")
        return
    if is_gguf(model.place):
        yield from _quantized(examined, model.place)
        return
    try:
        check_files(str(model.place), model.place)
    except ModelError as error:
        _, _, what = str(error).partition(": ")
        what, _, remedy = what.partition("; ")
        yield Finding("error", what, str(model.place), remedy)
        return
    try:
        rows = _embedding_rows(model.place)
    except (SafetensorError, OSError) as error:
        yield Finding("error", f"weights cannot be read: {error}", str(model.place), "fetch the model again")
        return
    if rows is not None and rows != model.text.vocab_size:
        what = f"the embedding has {rows:,} rows, the config's vocab_size is {model.text.vocab_size:,}"
        yield Finding("error", what, str(model.place), "mend vocab_size in config.json")
    else:
        yield from _numbers(examined, stored_dtype(str(model.place), model.config))


def _quantized(examined: Examined, file: Path) -> Iterator[Finding]:
    """A GGUF file, whose header was checked where the model was read: its weights are dequantized before anything is computed."""
    rows, words, kept = embedding_rows(file), _model(examined).text.vocab_size, _model(examined).config.dtype
    if rows is not None and rows != words:
        what = f"the embedding has {rows:,} rows, the file's fields state {words:,} tokens"
        yield Finding("error", what, str(file), "choose another file of this model")
        return
    what = (
        f"weights are stored as {', '.join(gguf_formats(file))} and dequantized to {str(kept).removeprefix('torch.')}"
    )
    yield Finding("fine", f"{what}, in which the trained model is saved", "model")
    if examined.recipe.policy.dtype == "bfloat16" and is_slow_in_bfloat16(examined.recipe.policy.device):
        yield Finding("warning", SLOW_BFLOAT16, "policy.dtype", "policy.dtype=float32")


def _embedding_rows(folder: Path) -> int | None:
    """Rows of the input embedding, from the headers; None if no tensor has the name of one."""
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  (not a mapping)
                if name.endswith(EMBEDDINGS):
                    return int(tensors.get_slice(name).get_shape()[0])
    return None


def _numbers(examined: Examined, stored: torch.dtype) -> Iterator[Finding]:
    """Compares the dtype of the files with the one in the recipe; weights that learn are float32 in any case."""
    asked_dtype, device = examined.recipe.policy.dtype, examined.recipe.policy.device
    what = f"weights are stored as {str(stored).removeprefix('torch.')}, the recipe asks for {asked_dtype}"
    if stored == torch.float16:
        yield Finding(
            "warning",
            f"{what}: float16 weights were made for a narrower range than bfloat16's",
            "policy.dtype",
            "expected a checkpoint in bfloat16 or float32; compare a probe at policy.dtype=float32",
        )
    elif asked_dtype == "bfloat16" and is_slow_in_bfloat16(device):
        yield Finding("warning", SLOW_BFLOAT16, "policy.dtype", "policy.dtype=float32")
    elif stored == torch.bfloat16 and asked_dtype == "float32" and device != "cpu" and torch.cuda.is_available():
        yield Finding(
            "warning",
            f"{what}: arithmetic on this GPU would be several times slower than needed",
            "policy.dtype",
            "policy.dtype=bfloat16",
        )
    else:
        yield Finding("fine", what, "policy.dtype")


# --- tokens ----------------------------------------------------------------------------------------------------------


def check_vocabulary_size(examined: Examined) -> Iterator[Finding]:
    """Does every token of the tokenizer have a row in the embedding? Tokens without one do no harm where no prompt holds them."""
    size, rows = len(examined.tokenizer), _model(examined).text.vocab_size
    if size <= rows:
        yield Finding("fine", f"{counted(size, 'token')} in the tokenizer, {rows:,} in the embedding", "model")
        return
    hit = next((prompt for prompt in examined.prompts or () if max(prompt.ids) >= rows), None)
    gap = too_many_tokens(size, rows)
    if hit is not None:
        name = examined.tokenizer.convert_ids_to_tokens(max(hit.ids))
        what = f"{gap}, and the prompt of problem {hit.problem.id} holds {name!r}"
        yield Finding("error", what, "model", TOO_MANY_REMEDY)
    else:
        level: Level = "error" if examined.prompts is None else "warning"
        yield Finding(level, gap, "model", TOO_MANY_REMEDY)


def check_end_tokens(examined: Examined) -> Iterator[Finding]:
    """Can a response end? Only an end token ends it before the cap."""
    rows, ends = _model(examined).text.vocab_size, examined.stop_ids
    where, tokens = "generation_config.json", _names(examined.tokenizer, ends)
    if not ends:
        yield Finding("error", NO_END, where, "set eos_token_id")
    elif outside := sorted(end for end in ends if end >= rows):
        what = f"end token {outside[0]} lies outside the vocabulary of {rows:,}"
        level: Level = "error" if len(outside) == len(ends) else "warning"
        yield Finding(level, what, where, "mend eos_token_id")
    else:
        yield from _turn_end(examined, tokens)


def _turn_end(examined: Examined, tokens: str) -> Iterator[Finding]:
    """If the token with which a model closes its turn is not an end token, the model goes on writing to the cap."""
    closing = template_end(examined.tokenizer)
    if closing is not None and closing not in examined.stop_ids:
        name = examined.tokenizer.convert_ids_to_tokens(closing)
        what = f"the chat template closes a turn with {name}, but responses end only at {tokens}"
        remedy = f"add {closing} to eos_token_id there, unless this is a base model that never learnt {name}"
        yield Finding("warning", what, "generation_config.json", remedy)
        return
    pad = examined.tokenizer.pad_token_id
    shared = "; it is the padding token too, which is never read" if pad in examined.stop_ids else ""
    closes = " and close a turn" if closing is not None else ""
    yield Finding("fine", f"responses end at {tokens}{closes}{shared}", "generation_config.json")


# --- teachers ----------------------------------------------------------------------------------------------------------


def check_teachers(examined: Examined) -> Iterator[Finding]:
    """Can each phase's teacher or separate reference be read, and does it differ from the student?"""
    recipe, problem = examined.recipe, next(iter(examined.trainable), None)
    for phase in recipe.phases:
        teacher = phase.algorithm.reference_model or phase.algorithm.reference_instruction
        if teacher is None:
            continue
        where = f"phases.{phase.name}.algorithm"
        try:
            check_teacher(
                phase, examined.tokenizer, problem, student=recipe.model, policy=recipe.policy, prompt=recipe.prompt
            )
        except InputError as error:
            field, _, what = str(error).partition(": ")
            yield Finding("error", what, field, "make the teacher first, or name another")
        else:
            is_shown = problem is not None or phase.algorithm.reference_model is not None
            what = f"{teacher!r} can teach" if is_shown else "no problem is at hand to show what the teacher is told"
            yield Finding("fine" if is_shown else "unknown", what, where)


# --- shared ------------------------------------------------------------------------------------------------------------


def _names(tokenizer: Any, tokens: frozenset[int]) -> str:
    known = (tokenizer.convert_ids_to_tokens(token) for token in sorted(tokens) if token < len(tokenizer))
    return ", ".join(str(name) for name in known)


def _model(examined: Examined) -> ModelFiles:
    assert examined.model is not None, "the table says that these checks need the model"
    return examined.model
