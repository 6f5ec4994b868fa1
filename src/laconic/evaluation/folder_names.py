"""How folders name what was evaluated: `greedy`, `t0.6`, `gsm8k-be_concise-greedy`."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from laconic.problems.address import name_of


def source_name(source: str) -> str:
    """How a folder names a source of problems.

    >>> source_name("gym:chain_sum?max_terms=4"), source_name("data/math500.jsonl"), source_name("gsm8k?count=50")
    ('gym-chain_sum', 'math500', 'gsm8k')
    """
    stem = name_of(source)
    return Path(stem).stem if stem.endswith((".jsonl", ".parquet")) else stem.replace(":", "-").replace("/", "-")


def temperature_tag(temperature: float) -> str:
    """How a folder names a temperature.

    >>> temperature_tag(0.0), temperature_tag(0.6)
    ('greedy', 't0.6')
    """
    return "greedy" if temperature == 0 else f"t{temperature:g}"


def prompt_tag(prompt: str) -> str:
    """How a folder names a prompt: its name, or the first words of its text. A text with letters that are not ASCII ends in the
    beginning of its hash, since these letters are left out.

    >>> prompt_tag("token_limit:100"), prompt_tag("Be brief. Then stop, please, at once.")
    ('token_limit-100', 'be-brief-then-stop')
    >>> prompt_tag("请简短"), prompt_tag("Sé breve.")
    ('17fa8f', 's-breve-6e1c4a')
    """
    words = re.sub(r"[^A-Za-z0-9_]+", " ", prompt).lower().split()[:4]
    is_ascii = not re.search(r"[^\W\x00-\x7f]", prompt)
    return "-".join(words if is_ascii else [*words, hashlib.blake2b(prompt.encode(), digest_size=3).hexdigest()])


def evaluation_folder(
    benchmark: str, prompt: str, temperature: float, prompts: Sequence[str], temperatures: Sequence[float]
) -> str:
    """The folder of one evaluation. Prompt and temperature are part of the name if several of them are evaluated.

    >>> evaluation_folder("gsm8k", "boxed", 0.0, ["boxed"], [0.0, 1.0])
    'gsm8k-greedy'
    """
    parts = [benchmark]
    parts += [prompt_tag(prompt)] if len(prompts) > 1 else []
    parts += [temperature_tag(temperature)] if len(temperatures) > 1 else []
    return "-".join(parts)


def problems_digest(problems: Iterable[tuple[str, str, str, Sequence[str]]]) -> str:
    """How settings.json names the problems, each given as (id, question, gold answer, choices): a hash of all, in order."""
    digest = hashlib.blake2b(digest_size=8)
    for *texts, choices in problems:
        digest.update(json.dumps([*texts, list(choices)]).encode() + b"\n")
    return digest.hexdigest()
