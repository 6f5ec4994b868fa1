"""A causal LM, split into backbone and head, with its tokenizer.

`CausalLM` splits a Hugging Face model into a backbone (token ids to hidden states) and a head (hidden states to logits), so that
logits are computed only for the positions that need them. Loading checks that the two together give the model's own logits.

Weights that are trained are float32; with `dtype = "bfloat16"` the arithmetic runs under autocast. Maps that are not trained are
held in bfloat16 then (`hold_rounded`). Logits are always float32.

Legend: `B` rows, `L` tokens of prompt and response, `D` hidden size, `V` vocabulary.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from laconic.errors import LaconicError, ModelError
from laconic.models.config_numbers import context_of, context_words
from laconic.models.prefixes import PrefixTree, hidden_states, shares_correctly
from laconic.models.products.onednn import fast_products
from laconic.models.waiting import look_at_load
from laconic.prompts.endings import NO_END, closing_token, stated_ends, stop_ids
from laconic.prompts.thinking import decode_response

HEAD_TOLERANCE = 1e-3
CHECKED_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
FINGERPRINT_VALUES = 64  # of each weight
TOO_MANY_REMEDY = "the tokenizer belongs to another model, or tokens were added without resizing the embedding"


def too_many_tokens(num_tokens: int, num_rows: int) -> str:
    """What is wrong where a tokenizer knows tokens for which the embedding has no row.

    >>> too_many_tokens(82, 81)
    'the tokenizer knows 82 tokens, the embedding has 81'
    """
    return f"the tokenizer knows {num_tokens:,} tokens, the embedding has {num_rows:,}"


class CausalLM:
    """A Hugging Face causal LM, split into backbone and head, with its tokenizer. `name` is what errors and results call it.

    Raises `ModelError` where its end tokens are none.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self.text_config = model.config.get_text_config()
        self.stored_dtype: torch.dtype = torch.float32
        self.autocast_dtype: torch.dtype | None = None
        self._shares: bool | None = None  # whether it may share prefixes; unknown until first asked
        self._before_rounding: dict[str, Tensor] = {}  # the values of each weight that its fingerprint reads
        self.check_ends()

    def settle_dtype(self, stored: torch.dtype, computes_in_bfloat16: bool) -> None:
        """Set the dtype in which the weights are saved, and whether the arithmetic runs under bfloat16 autocast."""
        self.stored_dtype = stored
        self.autocast_dtype = torch.bfloat16 if computes_in_bfloat16 else None

    def hold_rounded(self) -> None:
        """Hold the linear maps of the layers in the dtype to which autocast rounds them at every use: half the memory, the same
        results to the bit. For a model that is not trained. Embedding, norms and head stay: they are read in full precision."""
        if self.autocast_dtype is None:
            return
        head = self.model.get_output_embeddings()
        values = {name: _some_values(p) for name, p in self.model.named_parameters() if not p.is_meta}
        self._before_rounding = values | self._before_rounding
        for module in self.model.modules():
            if type(module) is nn.Linear and module is not head:
                module.to(self.autocast_dtype)

    @property
    def computes_in(self) -> str:
        """The dtype of the arithmetic, "bfloat16" for example."""
        return str(self.autocast_dtype or self.model.dtype).removeprefix("torch.")

    @property
    def device(self) -> torch.device:
        """The device on which the weights are."""
        return next(self.model.parameters()).device

    @property
    def context_length(self) -> int | None:
        """The largest number of tokens of prompt and response together; None where the model's config does not state it."""
        return context_of(self.text_config)

    @property
    def context_words(self) -> str:
        """`context_length` in words, for messages."""
        return context_words(self.text_config)

    @property
    def stop_ids(self) -> frozenset[int]:
        """The ids of the end tokens: those of the generation config and of the tokenizer."""
        return stop_ids(self._stated_ends, self.tokenizer)

    def check_ends(self) -> None:
        """Raise `ModelError` where the configs state something else than tokens at which responses end."""
        try:
            _ = self._stated_ends
        except ValueError as error:
            raise ModelError(
                f"{self.name}: {error}; mend generation_config.json, or config.json if there is none"
            ) from None

    @property
    def _stated_ends(self) -> tuple[int, ...]:
        return stated_ends(getattr(self.model.generation_config, "eos_token_id", None))

    def closing_id(self) -> int:
        """The token that closes a text from which the model learns to end. Raises `ModelError` where no end token is known."""
        closing = closing_token(self._stated_ends, self.tokenizer, self.vocabulary_size)
        if closing is None:
            raise ModelError(f"{self.name}: {NO_END}; set eos_token_id in generation_config.json")
        return closing

    @property
    def is_quantized(self) -> bool:
        """Whether a library holds its weights in a form of its own and computes with it; a GGUF file's become plain numbers."""
        return getattr(self.model.config, "quantization_config", None) is not None

    @property
    def vocabulary_size(self) -> int:
        """The number of tokens that the embedding has a row for."""
        return int(self.text_config.vocab_size)

    def check_ids(self, token_ids: Sequence[int], whose: str) -> None:
        """Raise `ModelError` where a token has no row in the embedding; `whose` names the text in the error."""
        highest = max(token_ids, default=0)
        if highest >= self.vocabulary_size:
            gap = too_many_tokens(len(self.tokenizer), self.vocabulary_size)
            name = self.tokenizer.convert_ids_to_tokens(highest)
            raise ModelError(f"{self.name}: {gap}, and {whose} holds {name!r}; {TOO_MANY_REMEDY}")

    @property
    def pad_id(self) -> int:
        """The id of the padding token, or of any other token where there is none, since padding is never read."""
        known = (self.tokenizer.pad_token_id, *sorted(self.stop_ids))
        return next((token for token in known if token is not None and token < self.vocabulary_size), 0)

    @torch.no_grad()
    def fingerprint(self) -> str:
        """A hash of a few values of every weight, by which two models of the same name can be distinguished. It is the same
        whether weights are held rounded or not."""
        digest = hashlib.blake2b(digest_size=8)
        for name, weight in self.model.named_parameters():
            values, exact = _some_values(weight), self._before_rounding.get(name)
            is_rounding = exact is not None and torch.equal(exact.to(weight.dtype).float(), values)
            digest.update((exact if exact is not None and is_rounding else values).numpy().tobytes())
        return digest.hexdigest()

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of a response, without special tokens but for the marks around thinking."""
        return decode_response(self.tokenizer, token_ids)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The context of this model's arithmetic: bfloat16 autocast where `settle_dtype` set it, else none."""
        if self.autocast_dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.autocast_dtype)

    def backbone(self, input_ids: Tensor, **kwargs: Any) -> Any:
        """The model without its head: [B, L] token ids to an output whose `last_hidden_state` is [B, L, D].

        Rows are padded on the right. With causal attention no token attends to the padding after it, so no mask is needed.
        """
        look_at_load()
        with self._products():
            return self._body(input_ids=input_ids, **kwargs)

    def _products(self) -> contextlib.AbstractContextManager[Any]:
        """The context of linear maps. Those of quantized weights are their library's."""
        return contextlib.nullcontext() if self.is_quantized else fast_products(self.device)

    @property
    def sharing_width(self) -> int | None:
        """The hidden size, by which it is decided whether rows share their prefixes; None where this model may not, as it is."""
        if self.model.training:
            return None
        if self._shares is None:
            with self.autocast():
                self._shares = shares_correctly(self._body, self.device)
        return int(self.text_config.hidden_size) if self._shares else None

    @property
    def _body(self) -> Any:
        return getattr(self.model, self.model.base_model_prefix)

    def node_states(self, tree: PrefixTree) -> Tensor:
        """The hidden states [N, D] of the nodes of `tree`."""
        look_at_load()
        with self._products():
            return hidden_states(self._body, tree)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits [..., V] in float32 from hidden states [..., D], with the architecture's scaling and soft cap."""
        embeddings: nn.Module = self.model.get_output_embeddings()
        with self._products():
            logits: Tensor = embeddings(hidden)
        return self.scaled(logits.float())

    def scaled(self, logits: Tensor) -> Tensor:
        """The products of hidden states and the head's weights, [..., V], with the architecture's scaling and soft cap."""
        if scale := getattr(self.text_config, "logit_scale", None):
            logits = logits * scale
        if scaling := getattr(self.text_config, "logits_scaling", None):
            logits = logits / scaling
        if cap := getattr(self.text_config, "final_logit_softcapping", None):
            logits = cap * torch.tanh(logits / cap)
        return logits

    @property
    def plain_head(self) -> nn.Parameter | None:
        """The output map's weight [V, D] where logits are its product with the states and nothing else; None elsewhere."""
        head: Any = self.model.get_output_embeddings()
        settings = ("logit_scale", "logits_scaling", "final_logit_softcapping")
        is_plain = type(head) is nn.Linear and head.bias is None
        return head.weight if is_plain and not any(getattr(self.text_config, name, None) for name in settings) else None

    @torch.no_grad()
    def check_weights(self) -> None:
        """Raise `ModelError` where a weight is NaN or infinite; it names the first. Those that a library has quantized have no
        such values, or keep them to themselves."""
        for name, weight in self.model.named_parameters():
            if self.is_quantized and (type(weight) is not nn.Parameter or weight.dtype not in CHECKED_DTYPES):
                continue
            if weight.is_floating_point() and weight.numel() and not torch.stack(weight.aminmax()).isfinite().all():
                raise ModelError(f"{self.name}: the weight {name} holds NaN or infinite numbers; expected finite ones")

    @torch.no_grad()
    def check_head(self) -> None:
        """Raise `ModelError` where backbone and head together do not give the model's own logits, or its code fails."""
        ids = torch.arange(1, 9, device=self.device)[None] % self.text_config.vocab_size
        with self.failing_in_one_line("computed"):
            # without autocast, under which a soft cap is too inexact
            expected = self.model(input_ids=ids).logits.float()
            logits = self.head(self.backbone(ids).last_hidden_state)
        tolerance = HEAD_TOLERANCE if self.model.dtype == torch.float32 else 20 * HEAD_TOLERANCE
        if not torch.allclose(expected, logits, atol=tolerance, rtol=tolerance):
            kind = type(self.model).__name__
            raise ModelError(f"{self.name}: {kind} makes its logits in a way this version does not know")

    @contextlib.contextmanager
    def failing_in_one_line(self, done: str) -> Iterator[None]:
        """Inside, an error that the model's own code raises becomes a `ModelError` that names its class, what cannot be `done`
        and the cause. Memory that runs out, and a process that breaks off, stay what they are."""
        try:
            yield
        except Exception as error:  # of any kind: a config may state what the code does not reckon with
            from laconic.parallel.endings import beginning_of, breaks_off, runs_out_of_memory

            if isinstance(error, LaconicError) or runs_out_of_memory(error) or breaks_off(error):
                raise
            kind, cause = type(self.model).__name__, f"{type(error).__name__}: {beginning_of(error)}"
            raise ModelError(f"{self.name}: {kind} cannot be {done} here: {cause}") from None


def _some_values(weight: Tensor) -> Tensor:
    """The few numbers of a weight that a fingerprint reads, in float32 on the CPU, as a copy."""
    flat = _unpacked(weight.detach()).reshape(-1)
    return flat[:: max(1, len(flat) // FINGERPRINT_VALUES)].to(device="cpu", dtype=torch.float32, copy=True)


def _unpacked(weight: Tensor) -> Tensor:
    """The numbers that a weight stands for: torchao keeps them as tensors of its own, which cannot be reshaped."""
    is_packed = type(weight).__module__.partition(".")[0] == "torchao"
    return weight.dequantize() if is_packed else weight
