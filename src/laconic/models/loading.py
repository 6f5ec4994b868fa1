"""A causal LM as backbone and head: load it, score tokens with it.

1. `CausalLM` holds a Hugging Face model as a backbone (token ids to hidden states) and a head (hidden states to logits), so
   that logits are only ever made where they are read. Loading checks that the two together give the model's own logits.
2. `load_model` takes a local folder, a hub name or "tiny"; safetensors only, and the tokenizer that tokenizer.json describes.
3. `score_tokens` turns hidden states into log-probabilities and entropies without ever holding logits of all tokens.

Weights that learn are float32; with `dtype = "bfloat16"` the arithmetic runs under autocast. Logits are always float32.

Legend: `B` rows, `L` tokens of prompt and response, `T` response tokens, `N` counted tokens, `D` hidden size, `V` vocabulary.
"""

import contextlib
import difflib
import hashlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from laconic.config.policy import PolicyConfig
from laconic.errors import ModelError
from laconic.models.onednn import fast_products
from laconic.rl.losses import entropy as entropy_of
from laconic.system.hub import ask_hub

EntropyKind = Literal["none", "measured", "learned"]
TINY = "tiny"
TINY_FOLDER = Path(__file__).parents[1] / "tiny" / "checkpoint"
LOGITS_PER_CHUNK = 2**25  # float32 logits held at once while scoring: 128 MiB
HEAD_TOLERANCE = 1e-3
FINGERPRINT_VALUES = 64  # of each weight
TOKENIZER_PROBE = "So x = -12.5, is it? Let's check: \\boxed{3/4} w1 w2 mod 7.\n\n\tYes,  12345."


class CausalLM:
    """A Hugging Face causal LM seen as backbone and head, with its tokenizer."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self.text_config = model.config.get_text_config()
        self.stored_dtype: torch.dtype = torch.float32
        self.autocast_dtype: torch.dtype | None = None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def context_length(self) -> int | None:
        """Most tokens of prompt and response together, where the model's config states it."""
        return getattr(self.text_config, "max_position_embeddings", None)

    @property
    def stop_ids(self) -> frozenset[int]:
        """End tokens: those of the generation config and the tokenizer's own."""
        stated = getattr(self.model.generation_config, "eos_token_id", None)
        stated = stated if isinstance(stated, list) else [stated]
        return frozenset(i for i in (*stated, self.tokenizer.eos_token_id) if i is not None)

    @property
    def pad_id(self) -> int:
        """The padding token, or any token: padding is never read."""
        return self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else min(self.stop_ids, default=0)

    @torch.no_grad()
    def fingerprint(self) -> str:
        """A hash over a few values of every weight: tells apart two models that go by one name."""
        digest = hashlib.blake2b(digest_size=8)
        for weight in self.model.parameters():
            flat = weight.reshape(-1)
            digest.update(flat[:: max(1, len(flat) // FINGERPRINT_VALUES)].float().cpu().numpy().tobytes())
        return digest.hexdigest()

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of a response, without special tokens."""
        return str(self.tokenizer.decode(list(token_ids), skip_special_tokens=True))

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The arithmetic this model was asked to run in."""
        if self.autocast_dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.autocast_dtype)

    def backbone(self, input_ids: Tensor, **kwargs: Any) -> Any:
        """The model without its head: [B, L] token ids to an output whose `last_hidden_state` is [B, L, D].

        Rows are padded on the right, so causal attention alone keeps padding out and no mask is needed.
        """
        with fast_products(self.device):
            return getattr(self.model, self.model.base_model_prefix)(input_ids=input_ids, **kwargs)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits [..., V] in float32 of hidden states [..., D], with the architecture's scaling and soft cap."""
        embeddings: nn.Module = self.model.get_output_embeddings()
        with fast_products(hidden.device):
            logits: Tensor = embeddings(hidden).float()
        if scale := getattr(self.text_config, "logit_scale", None):
            logits = logits * scale
        if scaling := getattr(self.text_config, "logits_scaling", None):
            logits = logits / scaling
        if cap := getattr(self.text_config, "final_logit_softcapping", None):
            logits = cap * torch.tanh(logits / cap)
        return logits

    @torch.no_grad()
    def check_head(self) -> None:
        """Raises `ModelError` where backbone and head together do not give the model's own logits."""
        ids = torch.arange(1, 9, device=self.device)[None] % self.text_config.vocab_size
        own = self.model(input_ids=ids).logits.float()  # a soft cap under autocast is too coarse to compare
        ours = self.head(self.backbone(ids).last_hidden_state)
        tolerance = HEAD_TOLERANCE if self.model.dtype == torch.float32 else 20 * HEAD_TOLERANCE
        if not torch.allclose(own, ours, atol=tolerance, rtol=tolerance):
            kind = type(self.model).__name__
            raise ModelError(f"{self.name}: {kind} makes its logits in a way this version does not know")


def resolve_model(name: str) -> str:
    """The folder or hub name that `name` stands for: "tiny" is the embedded reasoner. Raises `ModelError` for a folder that
    is there but holds no model."""
    if name == TINY:
        return str(TINY_FOLDER)
    folder = Path(name)
    looks_local = folder.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1
    if not looks_local:
        return name
    if not folder.is_dir():
        raise ModelError(f"{name}: no such folder; expected a local model folder, a hub name, or {TINY!r}{_near(name)}")
    if not (folder / "config.json").exists():
        raise ModelError(f"{name}: no config.json; expected a folder in Hugging Face format")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"{name}: no *.safetensors; expected weights in safetensors format")
    return name


def load_model(name: str, config: PolicyConfig, *, check: bool = True) -> CausalLM:
    """The model at `name` (local folder, hub name, or "tiny") with its tokenizer, ready for scoring and sampling.

    Raises `ModelError` with one line where it cannot be loaded.
    """
    source = resolve_model(name)
    options: dict[str, Any] = {"trust_remote_code": config.trust_remote_code} | hub_options(source)
    tokenizer = _read_tokenizer(name, source, options)
    try:
        with quiet():
            hub_config = AutoConfig.from_pretrained(source, **options)
            stored = getattr(hub_config.get_text_config(), "dtype", None) or torch.float32
            # soft-capped attention (Gemma 2) exists only in the eager implementation
            attention = "eager" if getattr(hub_config, "attn_logit_softcapping", None) else "sdpa"
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                source,
                dtype=_held_dtype(config, stored),
                use_safetensors=True,
                attn_implementation=attention,
                output_loading_info=True,
                **options,
            )
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        raise ModelError(f"{name}: cannot be loaded: {unread_reason(error, name, options)}") from None
    model, loading = loaded
    if missing := sorted(loading["missing_keys"]):  # transformers would fill them with random numbers
        raise ModelError(f"{name}: {len(missing)} weights are missing from *.safetensors, the first is {missing[0]}")
    placed = model.to(pick_device(config.device))
    causal_lm = CausalLM(placed.eval(), tokenizer, name)
    causal_lm.stored_dtype = stored
    causal_lm.autocast_dtype = torch.bfloat16 if _computes_in_bfloat16(config, stored) else None
    if check:
        causal_lm.check_head()
    return causal_lm


def load_tokenizer(name: str, config: PolicyConfig) -> Any:
    """The tokenizer of the model at `name`. Raises `ModelError` with one line where it cannot be loaded."""
    source = resolve_model(name)
    return _read_tokenizer(name, source, {"trust_remote_code": config.trust_remote_code} | hub_options(source))


def _read_tokenizer(name: str, source: str, options: Mapping[str, Any]) -> Any:
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        raise ModelError(f"{name}: cannot be loaded: {unread_reason(error, name, options)}") from None
    return _as_written(tokenizer, source)


def hub_options(source: str) -> dict[str, Any]:
    """One quick look at the hub before its library asks again and again: where it cannot be reached, only its cache is read.

    Raises `ModelError` where the hub knows no such model.
    """
    if Path(source).exists():
        return {}
    presence = ask_hub(source, "model")
    if presence == "absent":
        hint = _near(source) or "; is it spelled right?"
        raise ModelError(f"{source}: neither a local folder nor a model that the hub shows{hint}")
    return {"local_files_only": True} if presence == "out of reach" else {}


def unread_reason(error: Exception, name: str, options: Mapping[str, Any]) -> str:
    """Why a model's file cannot be read, in one line without a full stop; `options` are those of `hub_options`."""
    if isinstance(error, OSError) and "local_files_only" in options:
        return f"no local folder, not in the hub's cache, and the hub does not answer from here{_near(name)}"
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


def _near(name: str) -> str:
    """ "; near it: ..." with the bundled model and the model folders beside `name` that it may have meant, or nothing."""
    folder = Path(name).parent
    beside = [str(path.parent) for path in folder.glob("*/config.json")] if folder.is_dir() else []
    found = difflib.get_close_matches(name, [TINY, *sorted(beside)], n=3)
    return f"; near it: {', '.join(found)}" if found else ""


def _as_written(tokenizer: Any, source: str) -> Any:
    """The tokenizer that a local folder's tokenizer.json describes.

    For some architectures transformers builds a tokenizer of its own in its place, which cuts text otherwise; the file decides.
    """
    file = Path(source) / "tokenizer.json"
    if not file.exists():
        return tokenizer
    written = Tokenizer.from_file(str(file))
    loaded = tokenizer(TOKENIZER_PROBE, add_special_tokens=False).input_ids
    if loaded == written.encode(TOKENIZER_PROBE, add_special_tokens=False).ids:
        return tokenizer
    with quiet():
        return PreTrainedTokenizerFast.from_pretrained(source)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Loading without progress bars and advice meant for library authors."""
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


def _computes_in_bfloat16(config: PolicyConfig, stored: torch.dtype) -> bool:
    return config.dtype == "bfloat16" or (config.dtype == "auto" and stored == torch.bfloat16)


def _held_dtype(config: PolicyConfig, stored: torch.dtype) -> torch.dtype:
    """Weights that learn are float32; base weights that only carry adapters are held in the compute dtype."""
    return torch.bfloat16 if config.lora and _computes_in_bfloat16(config, stored) else torch.float32


def pick_device(name: str) -> torch.device:
    """The named device, or for "auto" a CUDA device where one is there, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def score_tokens(
    lm: CausalLM, hidden: Tensor, token_ids: Tensor, mask: Tensor, *, temperature: float, entropy: EntropyKind
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies (nats) of `token_ids` [B, T] given the hidden states [B, T, D] that predict them.

    Both [B, T] in float32, 0 outside `mask`; logits are divided by `temperature` first. `entropy` says whether entropies are
    left out (zeros), measured without a gradient, or learned from. Logits are made for counted tokens only,
    `LOGITS_PER_CHUNK` at a time, and made again in the backward pass where there is more than one chunk.
    """
    flat, ids = hidden[mask], token_ids[mask]
    rows = max(1, LOGITS_PER_CHUNK // lm.text_config.vocab_size)

    def score(h: Tensor, i: Tensor) -> tuple[Tensor, Tensor]:
        logits = lm.head(h) / temperature
        logprobs = logits.gather(-1, i[:, None])[:, 0] - logits.logsumexp(dim=-1)
        if entropy == "none":
            return logprobs, torch.zeros_like(logprobs)
        return logprobs, entropy_of(logits if entropy == "learned" else logits.detach())

    chunks = list(zip(flat.split(rows), ids.split(rows), strict=True))
    recompute = len(chunks) > 1 and torch.is_grad_enabled()
    scored = [checkpoint(score, h, i, use_reentrant=False) if recompute else score(h, i) for h, i in chunks]
    out = [torch.zeros(mask.shape, device=flat.device) for _ in range(2)]
    for target, pieces in zip(out, zip(*scored, strict=True), strict=True):
        target[mask] = torch.cat(pieces)
    return out[0], out[1]


def exact_kl(
    lm: CausalLM, reference: CausalLM, hidden: Tensor, ref_hidden: Tensor, mask: Tensor, *, temperature: float
) -> Tensor:
    """KL(pi || pi_ref) in nats over the whole vocabulary, of the next-token distributions that the states [B, T, D] and
    [B, T, D'] predict; [B, T] in float32, 0 outside `mask`. Chunked and recomputed as in `score_tokens`; the reference gets no
    gradient."""
    flat, ref_flat = hidden[mask], ref_hidden[mask]
    rows = max(1, LOGITS_PER_CHUNK // (2 * lm.text_config.vocab_size))

    def divergence(h: Tensor, r: Tensor) -> Tensor:
        ours = (lm.head(h) / temperature).log_softmax(dim=-1)
        theirs = (reference.head(r) / temperature).log_softmax(dim=-1)
        return (ours.exp() * (ours - theirs)).sum(dim=-1)

    chunks = list(zip(flat.split(rows), ref_flat.split(rows), strict=True))
    recompute = len(chunks) > 1 and torch.is_grad_enabled()
    found = [checkpoint(divergence, h, r, use_reentrant=False) if recompute else divergence(h, r) for h, r in chunks]
    out = torch.zeros(mask.shape, device=flat.device)
    out[mask] = torch.cat(found)
    return out
