"""From a name to a model that is ready: tokenizer, dtype, device.

1. `load_model` takes a local folder, a hub name, a GGUF file (`gguf/`), or the name of a bundled model (`bundled`); a folder's
   weights must be in safetensors. All code that needs a tokenizer gets it from `load_tokenizer`: the one that the model's
   tokenizer.json describes. All that needs a config gets it from `read_config`.
2. `open_model` also takes a model that is in memory; `copy_model` copies one for training, so that the caller's is not changed.
3. Where the hub does not answer, only its cache is read. A model that cannot be loaded raises a `ModelError` of one line.
4. `computes_in_bfloat16` decides the dtype of the arithmetic, `pick_device` the device.
"""

import contextlib
import copy
import difflib
import functools
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from laconic.bundled import BUNDLED
from laconic.config.policy import PolicyConfig
from laconic.errors import InputError, LaconicWarning, ModelError
from laconic.models.causal_lm import CausalLM
from laconic.models.config_numbers import check_generation, check_numbers
from laconic.models.gguf.header import MAGIC
from laconic.models.gguf.model_file import SUFFIX, check_gguf, gguf_config, gguf_tokenizer, gguf_weights, is_gguf
from laconic.models.stored_dtype import SHARD_INDEX, stored_dtype
from laconic.prompts.endings import NO_END
from laconic.system.checksums import CHECKSUMS_FILE, damage_in, has_checksums
from laconic.system.files import read_json
from laconic.system.hub import ask_hub, cached_file
from laconic.system.processor import multiplies_bfloat16
from laconic.system.text import brief

TINY = "tiny"
TINY_FOLDER = BUNDLED[TINY]
OR_BUNDLED = " or ".join(map(repr, BUNDLED))
MEMORY = "memory:"
"""In recipes and results, the name of a model that was passed in memory begins with this."""

ModelSource = str | Path | CausalLM | tuple[PreTrainedModel, PreTrainedTokenizerBase]
"""The argument of functions that need a model: a folder, a hub name, a GGUF file, a bundled model's name, or a model in
memory with its tokenizer."""

ENDS_FILE = "generation_config.json"
TOKENIZER_FILE = "tokenizer.json"
ADAPTER_FILE = "adapter_config.json"
TOO_LONG = "sequence-length-is-longer-than-the-specified-maximum"
MOST_REASON = 300  # characters of an error's text
MOST_NAMED = 3  # of GGUF files that an error names

LAYER = re.compile(r"(^|\.)(layers|h|blocks)\.\d+\.")
"""What the names of a layer's weights have in common."""

OLD_MASK = re.compile(r"\.(attn|attention)\.(masked_)?bias$")
"""The causal mask, which older versions of transformers saved with each layer of GPT-2 and its like: no weight."""

SLOW_BFLOAT16 = (
    "dtype bfloat16: this processor has no instructions for it and computes several times slower than in float32"
)
TOKENIZER_PROBE = "So x = -12.5, is it? Let's check: \\boxed{3/4} w1 w2 mod 7.\n\n\tYes,  12345."


def resolve_model(name: str) -> str:
    """The folder, GGUF file or hub name that `name` means; the name of a bundled model means its folder.

    Raises `ModelError` for a folder or file that is missing or holds no model.
    """
    if name in BUNDLED:
        return str(BUNDLED[name])
    if name.startswith(MEMORY):
        raise ModelError(f"{name}: was handed over in memory and lies in no file; hand the same model over again")
    folder = Path(name)
    looks_local = folder.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1
    if is_gguf(name):
        check_gguf(folder)
        return name
    if not looks_local and folder.suffix.lower() != SUFFIX:
        return name
    if not folder.is_dir():
        raise ModelError(f"{name}: {_no_folder(folder)}")
    if (folder / ADAPTER_FILE).exists():  # transformers would lay it over the weights, and save nothing else
        raise ModelError(
            f"{name}: holds an adapter of LoRA ({ADAPTER_FILE}); merge it into its model, or take that file away"
        )
    if not (folder / "config.json").exists():
        raise ModelError(f"{name}: no config.json; expected a folder in Hugging Face format{_gguf_inside(folder)}")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"{name}: no *.safetensors; expected weights in safetensors format{_gguf_inside(folder)}")
    return name


def _gguf_inside(folder: Path) -> str:
    """Which GGUF files of a folder may have been meant, if there are any: a file is named itself, not its folder."""
    found = [str(path) for path in sorted(folder.glob(f"*{SUFFIX}"))[:MOST_NAMED]]
    return f"; a GGUF file is named itself: {' or '.join(found)}" if found else ""


def _no_folder(path: Path) -> str:
    """What is wrong with a path that is no folder."""
    if path.is_file() and _begins_with(path, MAGIC):
        return f"is a GGUF file by its first bytes; its name must end in {SUFFIX}"
    kind = "file" if path.suffix.lower() == SUFFIX else "folder"
    return f"no such {kind}; expected a local model folder, a GGUF file, a hub name, {OR_BUNDLED}{_near(str(path))}"


def _begins_with(path: Path, beginning: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(beginning)) == beginning


def load_model(name: str, config: PolicyConfig, *, is_trained: bool = True, check: bool = True) -> CausalLM:
    """The model at `name` (local folder, hub name, GGUF file, or bundled) with its tokenizer, ready for scoring and sampling. One
    that is not trained is held rounded, and is so before it reaches its device.

    Raises `ModelError` with one line where it cannot be loaded.
    """
    source, device = resolve_model(name), pick_device(config.device)
    check_files(name, Path(source))
    check_sums(source)
    options: dict[str, Any] = {"trust_remote_code": config.trust_remote_code} | hub_options(source)
    tokenizer = _read_tokenizer(name, source, options)
    try:
        with quiet():
            hub_config = read_config(source, options)
            stored = stored_dtype(source, hub_config)
            wishes: dict[str, Any] = {
                "dtype": _held_dtype(config, stored),
                "ignore_mismatched_sizes": True,  # they are refused below, in one line
                "attn_implementation": _attention_of(hub_config),
                "output_loading_info": True,
            }
            if is_gguf(source):
                loaded: Any = gguf_weights(Path(source), hub_config, wishes)
            else:
                loaded = AutoModelForCausalLM.from_pretrained(source, use_safetensors=True, **wishes, **options)
    except (Exception, SystemExit) as error:  # broken files raise errors of many kinds, and a model's own code any
        raise ModelError(f"{name}: cannot be loaded: {unread_reason(error, name, options)}") from None
    model, loading = loaded
    _refuse_adapter(model, name)  # of a model on the hub
    if mismatched := sorted(loading["mismatched_keys"]):
        weight, found, expected = mismatched[0]
        raise ModelError(
            f"{name}: {len(mismatched)} weights have another shape than config.json says: {weight} has {list(found)}, "
            f"expected {list(expected)}"
        )
    uncounted = sorted(key for key in loading["unexpected_keys"] if LAYER.search(key) and not OLD_MASK.search(key))
    if uncounted:  # transformers would drop them
        raise ModelError(
            f"{name}: {len(uncounted)} weights are of no layer that config.json counts, the first is {uncounted[0]}"
        )
    if missing := sorted(loading["missing_keys"]):  # transformers would fill them with random numbers
        raise ModelError(f"{name}: {len(missing)} weights are missing from *.safetensors, the first is {missing[0]}")
    stored = stored_dtype(source, hub_config)  # of a model on the hub the headers are here only now
    causal_lm = CausalLM(_trainable(model.eval()), tokenizer, name)
    causal_lm.settle_dtype(stored, computes_in_bfloat16(config, stored == torch.bfloat16))
    _warn_if_slow(config)
    _warn_if_endless(causal_lm)
    is_rounded = not is_trained and causal_lm.autocast_dtype is not None and not causal_lm.is_quantized
    if not is_rounded:
        model.to(device)
    if check:
        causal_lm.check_weights()
        causal_lm.check_head()  # in float32
    if is_rounded:
        causal_lm.hold_rounded()
        model.to(device)
    return causal_lm


def _attention_of(hub_config: Any) -> str:
    """The implementation of attention: PyTorch's, but for soft-capped attention (Gemma 2) and for classes that know only their
    own. Whether the local sampler can decode those, it finds out itself."""
    has_own_alone = getattr(MODEL_FOR_CAUSAL_LM_MAPPING.get(type(hub_config), None), "_supports_sdpa", True) is False
    return "eager" if has_own_alone or getattr(hub_config, "attn_logit_softcapping", None) else "sdpa"


def _trainable(model: Any) -> Any:
    """`model`, changed in two ways.

    1. Its embedding no longer keeps the gradient of its padding token at 0. That token may be the end token, which every prompt
       holds; padding itself is never read, so that it has no gradient in any case.
    2. Its config no longer has settings of generation, as older folders have them there: transformers would not save them. Where
       there is no generation config, it has made one of them.
    """
    model.get_input_embeddings().padding_idx = None
    # this decides what `save_pretrained` refuses
    misplaced: dict[str, Any] = getattr(model.config, "_get_generation_parameters", dict)()
    for key in misplaced:
        delattr(model.config, key)
    return model


def _warn_if_slow(config: PolicyConfig) -> None:
    if config.dtype == "bfloat16" and is_slow_in_bfloat16(config.device):
        warnings.warn(f"{SLOW_BFLOAT16}; float32 is faster", LaconicWarning, stacklevel=2)


def _warn_if_endless(lm: CausalLM) -> None:
    if not any(end < lm.vocabulary_size for end in lm.stop_ids):
        warnings.warn(f"{lm.name}: {NO_END}; set eos_token_id in {ENDS_FILE}", LaconicWarning, stacklevel=3)


def check_files(name: str, folder: Path) -> None:
    """Raise `ModelError` where files of a model's folder cannot be read, or its weights' index names some that are not there.

    transformers takes a generation config that it cannot read for one that is not there.
    """
    try:
        check_generation(_read_json(name, folder / ENDS_FILE))
    except ValueError as error:
        raise ModelError(f"{name}: {ENDS_FILE}: {error}") from None
    files = _read_json(name, folder / SHARD_INDEX).get("weight_map", {})
    if not isinstance(files, dict):
        raise ModelError(
            f"{name}: {SHARD_INDEX}: weight_map is {brief(files)}, expected an object; fetch the model again"
        )
    if lost := sorted(file for file in {str(file) for file in files.values()} if not (folder / file).exists()):
        others = f" (nor are {len(lost) - 1} others)" if len(lost) > 1 else ""
        raise ModelError(
            f"{name}: {lost[0]} is named in {SHARD_INDEX}, but is not there{others}; fetch the model again"
        )


def check_sums(source: str) -> None:
    """Raise `ModelError` where a model's folder has checksums of ours, and its files are not as they were written. A folder is
    read once in a process, while its checksums stay as they are."""
    sums = Path(source) / CHECKSUMS_FILE
    if sums.is_file():
        _check_sums(sums, sums.stat().st_mtime_ns)


@functools.lru_cache
def _check_sums(sums: Path, _written_at: int) -> None:
    if has_checksums(sums.parent) and (damage := damage_in(sums.parent)):
        remedy = f"put back a copy of it, or train again; where you changed it yourself, remove {CHECKSUMS_FILE}"
        raise ModelError(f"{damage}\n{remedy}")


def _read_json(name: str, file: Path) -> dict[str, Any]:
    """The object in a JSON file, empty where there is no file."""
    try:
        return read_json(file) if file.is_file() else {}
    except InputError as error:
        reason = str(error).removeprefix(f"{file}: ")
        raise ModelError(f"{name}: {file.name} cannot be read: {reason}") from None


# --- models in memory ------------------------------------------------------------------------------------------------


def open_model(source: ModelSource, config: PolicyConfig, *, is_trained: bool = True) -> CausalLM:
    """The model that `source` is or names; `is_trained` as for `load_model`. A model in memory keeps its device and dtype, and is
    not copied.

    Raises `ModelError` where `source` is not a model.
    """
    if isinstance(source, CausalLM):
        return source
    if isinstance(source, str | Path):
        return load_model(str(source), config, is_trained=is_trained)
    return _wrapped(source)


def _wrapped(pair: object) -> CausalLM:
    if not (isinstance(pair, tuple) and len(pair) == 2):
        raise ModelError(f"expected a name, a folder or a pair (model, tokenizer), got {type(pair).__name__}")
    model, tokenizer = pair
    if not isinstance(model, PreTrainedModel) or not isinstance(tokenizer, PreTrainedTokenizerBase):
        kinds = f"{type(model).__name__}, {type(tokenizer).__name__}"
        raise ModelError(f"expected a pair of a transformers PreTrainedModel and its tokenizer, got ({kinds})")
    _refuse_adapter(model, type(model).__name__)
    lm = CausalLM(model, tokenizer, model.config.name_or_path or type(model).__name__)
    lm.stored_dtype = model.dtype
    was_training = model.training
    model.eval()  # with dropout the check of the head would fail
    try:
        lm.check_weights()
        lm.check_head()
    finally:
        model.train(was_training)
    return lm


def _refuse_adapter(model: Any, name: str) -> None:
    if getattr(model, "_hf_peft_config_loaded", False):
        raise ModelError(f"{name}: has an adapter of LoRA on it; merge it into the weights first")


def memory_name(lm: CausalLM) -> str:
    """How a run names a model that was passed in memory: by its name and a hash of its weights."""
    return f"{MEMORY}{lm.name.removeprefix(MEMORY)}#{lm.fingerprint()}"


def copy_model(lm: CausalLM, config: PolicyConfig, name: str, *, is_trained: bool = True) -> CausalLM:
    """A copy of a model in memory, called `name`, in the dtype and on the device that `config` says; `lm` is not changed.
    `is_trained` as for `load_model`."""
    model: Any = copy.deepcopy(lm.model)  # transformers types `to` for devices it does not name
    model = model.to(pick_device(config.device)).eval().requires_grad_(True)
    model.zero_grad(set_to_none=True)
    held = _held_dtype(config, lm.stored_dtype)
    kept = kept_in_float32(model, held)
    for key, parameter in model.named_parameters():  # buffers keep their dtype, as they do where a model is loaded
        parameter.data = parameter.data.to(torch.float32 if any(part in key for part in kept) else held)
    copied = CausalLM(_trainable(model), lm.tokenizer, name)
    copied.settle_dtype(lm.stored_dtype, computes_in_bfloat16(config, lm.stored_dtype == torch.bfloat16))
    if not is_trained:
        copied.hold_rounded()
    return copied


# --- tokenizer, dtype, device ----------------------------------------------------------------------------------------


def read_config(source: str, options: Mapping[str, Any]) -> Any:
    """The config of the model at `source`, as `resolve_model` gives it; `options` are those of transformers' `from_pretrained`.

    For a broken file, the library raises errors of many kinds; `ValueError` for a number that no model has.
    """
    if is_gguf(source):
        found = gguf_config(Path(source))
    else:
        try:
            found = AutoConfig.from_pretrained(source, **options)
        except (
            TypeError,
            AttributeError,
            LookupError,
        ) as error:  # a value of another kind than the library reckons with
            raise ValueError(f"config.json: {type(error).__name__}: {error}") from None
    check_numbers(found)
    return found


def load_tokenizer(name: str, config: PolicyConfig) -> Any:
    """The tokenizer of the model at `name`. Raises `ModelError` with one line where it cannot be loaded."""
    source = resolve_model(name)
    return _read_tokenizer(name, source, {"trust_remote_code": config.trust_remote_code} | hub_options(source))


def _read_tokenizer(name: str, source: str, options: Mapping[str, Any]) -> Any:
    try:
        with quiet():
            if is_gguf(source):
                return gguf_tokenizer(Path(source))
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
        tokenizer = _as_written(tokenizer, source)
        tokenizer.deprecation_warnings[TOO_LONG] = True  # whether a prompt fits is said by `Solver.check_length`
        return tokenizer
    except (Exception, SystemExit) as error:  # for a broken file, the library raises errors of many kinds
        raise ModelError(f"{name}: cannot be loaded: {unread_reason(error, name, options)}") from None


def hub_options(source: str) -> dict[str, Any]:
    """Options for transformers' `from_pretrained`: where one quick request does not reach the hub, only its cache is read.

    Raises `ModelError` where the hub knows no such model.
    """
    if Path(source).exists():
        return {}
    presence = ask_hub(source, "model")
    if presence == "absent":
        hint = _near(source) or "; is it spelled right?"
        raise ModelError(f"{source}: neither a local folder nor a model that the hub shows{hint}")
    return {"local_files_only": True} if presence == "out of reach" else {}


def unread_reason(error: Exception | SystemExit, name: str, options: Mapping[str, Any]) -> str:
    """Why a model's file cannot be read, in one line without a full stop; `options` are those of `hub_options`."""
    if isinstance(error, OSError) and "local_files_only" in options:
        return f"no local folder, not in the hub's cache, and the hub does not answer from here{_near(name)}"
    if isinstance(error, SystemExit):
        return f"its code calls sys.exit({error.code!r})"
    first, *others = [text.strip() for text in str(error).strip().splitlines()] or [""]
    line = (f"{first} {others[0]}" if others and first.endswith(":") else first).rstrip(".:")
    kind = type(error).__name__
    says_little = not line or isinstance(error, LookupError | TypeError | AttributeError)
    return f"{kind}: {line}"[:MOST_REASON] if says_little else line[:MOST_REASON]


def _near(name: str) -> str:
    """ "; near it: ..." with the bundled models and the models beside `name` that it may have meant, or nothing."""
    folder = Path(name).parent
    beside = [str(path.parent) for path in folder.glob("*/config.json")] if folder.is_dir() else []
    beside += [str(path) for path in folder.glob(f"*{SUFFIX}")] if folder.is_dir() else []
    matches = difflib.get_close_matches(name, [*BUNDLED, *sorted(beside)], n=3)
    return f"; near it: {', '.join(matches)}" if matches else ""


def _as_written(tokenizer: Any, source: str) -> Any:
    """The tokenizer that the tokenizer.json of a local folder, or of a hub's model in the cache, describes.

    For some architectures transformers builds a tokenizer of its own in its place, which cuts text otherwise; the file decides.
    """
    file = Path(source) / TOKENIZER_FILE if Path(source).exists() else cached_file(source, TOKENIZER_FILE)
    if file is None or not file.exists():
        return tokenizer
    written = Tokenizer.from_file(str(file))
    loaded = tokenizer(TOKENIZER_PROBE, add_special_tokens=False).input_ids
    if loaded == written.encode(TOKENIZER_PROBE, add_special_tokens=False).ids:
        return tokenizer
    with quiet():
        return PreTrainedTokenizerFast.from_pretrained(file.parent)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """A context in which transformers shows no progress bars and no warnings."""
    from transformers.utils import logging as hf_logging

    hf_logging.disable_progress_bar()
    level = hf_logging.get_verbosity()
    hf_logging.set_verbosity(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            hf_logging.set_verbosity(level)


def computes_in_bfloat16(config: PolicyConfig, is_stored_in_bfloat16: bool) -> bool:
    """Whether arithmetic runs in bfloat16: `config.dtype` says so, or is "auto" and the checkpoint is stored in it. With "auto"
    a processor without instructions for it computes in float32, which is several times faster there."""
    if config.dtype == "auto":
        return is_stored_in_bfloat16 and not is_slow_in_bfloat16(config.device)
    return config.dtype == "bfloat16"


def is_slow_in_bfloat16(device: str) -> bool:
    """Whether the device of that name is a processor that would make up products in bfloat16 from other instructions."""
    return named_device(device).type == "cpu" and not multiplies_bfloat16()


def _held_dtype(config: PolicyConfig, stored: torch.dtype) -> torch.dtype:
    """The dtype of the weights in memory: float32 where they are trained; base weights under adapters have the compute dtype."""
    is_bfloat16 = config.lora and computes_in_bfloat16(config, stored == torch.bfloat16)
    return torch.bfloat16 if is_bfloat16 else torch.float32


def kept_in_float32(model: PreTrainedModel, dtype: torch.dtype) -> tuple[str, ...]:
    """Parts of the names of weights that transformers holds in float32 beside others in `dtype`, such as the biases by which
    routers choose experts: in bfloat16 they would choose others."""
    names = [*(getattr(model, "_keep_in_fp32_modules_strict", None) or ())]
    names += (getattr(model, "_keep_in_fp32_modules", None) or ()) if dtype == torch.float16 else ()
    return tuple(names)


def pick_device(name: str) -> torch.device:
    """The device that a model is loaded on: that of `named_device`. Where it is a CUDA device with a number, it becomes the one
    on which kernels and graphs run that name none. Raises `ModelError` for one that is not there.
    """
    device = named_device(name)
    count = 1 if device.type == "cpu" else getattr(torch, device.type).device_count()
    if (device.index or 0) >= count:
        raise ModelError(f"policy.device: {name!r} is not there: {count} {device.type.upper()} devices are visible")
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    return device


def named_device(name: str) -> torch.device:
    """The device of that name, which need not be there; for "auto" a CUDA device where there is one, else the CPU.

    Raises `ModelError` for any other name, also where torch knows it: nothing can be computed on "meta".
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|mps|(cuda|xpu)(:[0-9]{1,2})?", name):
        raise ModelError(f'policy.device: {name!r} is no device; expected "auto", "cpu", "cuda" or "cuda:N"')
    return torch.device(name)
