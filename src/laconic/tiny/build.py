"""Trains an embedded reasoner from scratch: `python -m laconic.tiny build --out DIR`, and `laconic.seeker` likewise.

1. A `Lesson` is what differs between the reasoners: vocabulary, chat template, and how a question and a response are drawn.
2. The tokenizer is the lesson's vocabulary, written as a standard `tokenizer.json`, with a chat template that opens the
   thinking and reads the question from the first line of the user's turn (what follows it, such as "put your answer within
   \\boxed{}", is meant for larger models).
3. The model is a Llama with tied embeddings, of 0.65M parameters for `tiny`.
4. The training is supervised. Traces are drawn on the fly and sorted by length in chunks, which are cut into batches of about
   `batch_tokens` tokens. The loss counts response tokens only. Only questions of the `train` split are drawn, so that the
   questions of the other splits are new to the model. The first part of the steps shows plain chains without slips, so that the
   arithmetic itself is learnt; the rest shows the full mixture of styles.
5. Every draw comes from a named stream, so the same seed, step count and thread count give the same weights.

Left out: evaluation while training. `python -m laconic.tiny measure` prints what the finished model shows.
"""

import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from laconic.errors import InputError
from laconic.rng import seed_of, stream
from laconic.splits import split_of
from laconic.tiny.tasks import draw_chain
from laconic.tiny.tokens import (
    ASSISTANT,
    END,
    PAD,
    PIECE_PATTERN,
    UNK,
    USER,
    VOCABULARY,
    pieces,
)
from laconic.tiny.traces import draw_style, plain_style, write_trace
from laconic.types import END_THINK, THINK

CHUNK_TRACES = 2048
IGNORED = -100

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{% set lines = message['content'].split('\\n') %}<|user|>{{ lines[0] }}"
    "{% for line in lines[1:] if ' tokens' in line %}"
    "{% for word in line.replace('.', ' ').replace(',', ' ').split() if word.isdigit() %} take {{ word }}{% endfor %}"
    "{% endfor %}"
    "{% elif message['role'] == 'assistant' %}<|assistant|>{{ message['content'] }}<|end|>{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|><think>{% endif %}"
)
"""The question is the first line of the user's turn. Of the other lines only a number of tokens is kept, as `take 57`, because
the embedded reasoner has no words for anything else. It has num_tokens no budget in its training."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a reasoner learns. `name` begins the names of its random streams, `pattern` says what is one token.

    `draw` gives what the user writes, with a question of the `train` split, and the response to it; a plain response without
    slips if its second argument is true.
    """

    name: str
    vocabulary: tuple[str, ...]
    pattern: str
    chat_template: str
    draw: Callable[[Random, bool], tuple[str, str]]


def draw_chain_and_trace(rng: Random, is_plain: bool) -> tuple[str, str]:
    """A question of the `train` split and a trace of its chain."""
    while split_of((chain := draw_chain(rng, "mix")).question) != "train":
        pass
    response, _ = write_trace(rng, chain, plain_style(rng) if is_plain else draw_style(rng))
    return chain.question, response


CHAINS = Lesson("tiny", VOCABULARY, PIECE_PATTERN, CHAT_TEMPLATE, draw_chain_and_trace)
"""The lesson of `tiny`."""


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """How a checkpoint is trained; the defaults are those of `tiny`.

    Rows are padded to a multiple of `length_multiple`, so that batches have few shapes: each shape is prepared anew. Above 1 the
    longest row comes first, which fills every batch but a chunk's last; at 1 batches are those that `tiny` was trained on.
    """

    lesson: Lesson = CHAINS
    steps: int = 5200
    plain_frac: float = 0.45
    learning_rate: float = 3e-3
    warmup_steps: int = 150
    weight_decay: float = 0.05
    seed: int = 0
    threads: int = 2
    layers: int = 3
    width: int = 128
    batch_tokens: int = 8_192
    attention: str = "sdpa"
    muon_rate: float | None = None
    is_compiled: bool = False
    length_multiple: int = 1


def make_tokenizer(lesson: Lesson = CHAINS) -> PreTrainedTokenizerFast:
    """The tokenizer of a lesson's vocabulary in Hugging Face form."""
    vocabulary = {piece: index for index, piece in enumerate(lesson.vocabulary)}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token=UNK))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\s+"), "removed"), pre_tokenizers.Split(Regex(lesson.pattern), "isolated")]
    )
    core.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token=UNK,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT],
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )
    tokenizer.chat_template = lesson.chat_template
    return tokenizer


def make_model(settings: BuildSettings) -> LlamaForCausalLM:
    """A freshly initialised Llama; the initialisation depends on the seed alone."""
    vocabulary = settings.lesson.vocabulary
    torch.manual_seed(seed_of(settings.seed, f"{settings.lesson.name}/init"))
    pad, end = vocabulary.index(PAD), vocabulary.index(END)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=settings.width,
        intermediate_size=3 * settings.width,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.width // 32,
        num_key_value_heads=settings.width // 32,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=pad,
        initializer_range=1 / math.sqrt(settings.width) / 2,
    )
    model = LlamaForCausalLM(config)
    model.set_attn_implementation(settings.attention)
    generation = {"do_sample": True, "temperature": 1.0, "eos_token_id": end, "pad_token_id": pad}
    model.generation_config = GenerationConfig.from_dict(generation)
    return model


def draw_examples(
    seed: int, chunk: int, count: int, *, is_plain: bool, lesson: Lesson = CHAINS
) -> list[tuple[list[int], int]]:
    """`count` examples as (token ids, number of prompt tokens), questions from the `train` split only."""
    index = {piece: i for i, piece in enumerate(lesson.vocabulary)}
    unk, rng = index[UNK], stream(seed, f"{lesson.name}/traces", chunk)
    examples: list[tuple[list[int], int]] = []
    for _ in range(count):
        asked, response = lesson.draw(rng, is_plain)
        prompt = [index.get(p, unk) for p in pieces(f"{USER}{asked}{ASSISTANT}{THINK}", lesson.pattern)]
        examples.append((prompt + [index[p] for p in pieces(response, lesson.pattern)], len(prompt)))
    return examples


def batches(settings: BuildSettings) -> Iterator[tuple[Tensor, Tensor]]:
    """`settings.steps` pairs of input ids and labels [B, T], of about `settings.batch_tokens` tokens; rows of similar length."""
    num_batches, chunk, seed, lesson = 0, 0, settings.seed, settings.lesson
    while num_batches < settings.steps:
        is_plain = num_batches < settings.plain_frac * settings.steps
        examples = draw_examples(seed, chunk, CHUNK_TRACES, is_plain=is_plain, lesson=lesson)
        multiple = settings.length_multiple
        examples.sort(key=lambda example: len(example[0]), reverse=multiple > 1)
        rows: list[list[tuple[list[int], int]]] = [[]]
        for example in examples:
            if (len(rows[-1]) + 1) * _longest([*rows[-1][:1], example], multiple) > settings.batch_tokens:
                rows.append([])
            rows[-1].append(example)
        stream(seed, f"{lesson.name}/order", chunk).shuffle(rows)
        yield from (_pad(row, lesson.vocabulary.index(PAD), multiple) for row in rows)
        num_batches, chunk = num_batches + len(rows), chunk + 1


def _longest(rows: list[tuple[list[int], int]], multiple: int) -> int:
    """The length of the longest row, rounded up to a multiple."""
    return -(-max(len(ids) for ids, _ in rows) // multiple) * multiple


def _pad(rows: list[tuple[list[int], int]], pad: int, multiple: int) -> tuple[Tensor, Tensor]:
    longest = _longest(rows, multiple)
    ids = torch.tensor([row + [pad] * (longest - len(row)) for row, _ in rows])
    labels = [[IGNORED] * p + row[p:] + [IGNORED] * (longest - len(row)) for row, p in rows]
    return ids, torch.tensor(labels)


def learning_rate_at(step: int, settings: BuildSettings) -> float:
    """Linear warm-up, then a cosine to zero."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def make_optimizers(model: LlamaForCausalLM, settings: BuildSettings) -> list[tuple[torch.optim.Optimizer, float]]:
    """The optimizers with their peak learning rates: AdamW, and Muon for the layers' matrices if `muon_rate` is given.

    Muon (Jordan et al. 2024) is in torch from 2.9 on; raises `InputError` where it is not.
    """
    has_muon = settings.muon_rate is not None
    if has_muon and not hasattr(torch.optim, "Muon"):
        raise InputError(
            f"torch {torch.__version__} has no Muon, with which this model is trained; expected torch 2.9 or newer"
        )
    matrices = [p for p in model.model.layers.parameters() if p.ndim > 1] if has_muon else []
    taken = set(map(id, matrices))
    decayed = [p for p in model.parameters() if p.ndim > 1 and id(p) not in taken]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)
    if settings.muon_rate is None:
        return [(adam, settings.learning_rate)]
    muon = torch.optim.Muon(matrices, lr=settings.muon_rate, weight_decay=settings.weight_decay)
    return [(adam, settings.learning_rate), (muon, settings.muon_rate)]


def _compiled(model: LlamaForCausalLM) -> Callable[..., Any]:
    """The model's forward pass, compiled when it is first run. Raises `InputError` if there is no C++ compiler."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        raise InputError(f"{compiler}: not found; expected a C++ compiler (set CXX), or train without --compile")
    return torch.compile(model, dynamic=True)


def train_reasoner(settings: BuildSettings) -> LlamaForCausalLM:
    """The trained model. Prints a line every 100 steps."""
    torch.set_num_threads(min(settings.threads, torch.get_num_threads()))  # fewer where OMP_NUM_THREADS says so
    model = make_model(settings)
    optimizers = make_optimizers(model, settings)
    forward = _compiled(model) if settings.is_compiled else model
    start_seconds, num_tokens = time.monotonic(), 0
    for step, (ids, labels) in zip(range(settings.steps), batches(settings), strict=False):
        for optimizer, rate in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(step, replace(settings, learning_rate=rate))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = forward(input_ids=ids).logits
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED
        )
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, _ in optimizers:
            optimizer.step()
        model.zero_grad(set_to_none=True)
        num_tokens += ids.numel()
        if (step + 1) % 100 == 0:
            speed = num_tokens / (time.monotonic() - start_seconds)
            print(f"step {step + 1}/{settings.steps}  loss {loss.item():.4f}  {speed:,.0f} tokens/s", flush=True)
    return model


def build(out: Path, settings: BuildSettings) -> Path:
    """Train and save: `config.json`, `model.safetensors`, `tokenizer.json`, chat template and generation config in `out`."""
    model, tokenizer = train_reasoner(settings), make_tokenizer(settings.lesson)
    assert tokenizer.convert_tokens_to_ids(END_THINK) == settings.lesson.vocabulary.index(END_THINK)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out
