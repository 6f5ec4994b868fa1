"""Broken files and options: problems, model folders, numbers on the command line.

Every way to break an input says whether what is left can still be used. What cannot must be refused in two lines.
"""

import gzip
import json
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tortures.case import Case
from tortures.outcome import run, trouble
from tortures.runs import save_model

ROWS = [{"id": f"p{n}", "question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(6)]
NESTED = "[" * 100_000 + "]" * 100_000
CHEAP = ("--samples", "1", "--max-tokens", "4")


def cases(place: Path, seed: int, count: int) -> Iterator[Case]:
    """`count` broken inputs; the ways take turns, in an order that the seed draws."""
    model, rng = save_model(place / "model"), random.Random(f"{seed} inputs")
    (place / "good.jsonl").write_text(_lines(), encoding="utf-8")
    ways: list[tuple[str, Callable[[Path, Path, random.Random], tuple[list[str], bool]]]] = [
        *((f"problems: {name}", _problems(name)) for name in (*LINES, *FILES)),
        *((f"model: {name}", _model(name)) for name in MODELS),
        *((f"option: {' '.join(options)}", _option(options, usable)) for options, usable in OPTIONS),
        *((f"address: {address}", _address(address, usable)) for address, usable in ADDRESSES.items()),
        *((f"hand-over: {' '.join(words)}", _handed_over(words, usable)) for words, usable in HAND_OVERS),
    ]
    order: list[int] = []
    for number in range(count):
        order = order or rng.sample(range(len(ways)), len(ways))
        name, make = ways[order.pop()]
        folder = place / f"input-{number}"
        folder.mkdir()
        arguments, is_usable = make(folder, model, random.Random(f"{seed} inputs {number}"))
        yield Case(f"{name}, seed {seed}, number {number}", trouble(run(arguments, folder), must_refuse=not is_usable))
        shutil.rmtree(folder)


# --- files of problems -----------------------------------------------------------------------------------------------


def _row(**changes: object) -> str:
    return json.dumps({key: value for key, value in (ROWS[0] | changes).items() if value is not ...})


def _lines(**changes: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in ROWS) + (_row(**{"id": "q"} | changes) + "\n" if changes else "")


LINES: Mapping[str, tuple[str, bool]] = {
    "a line that was cut off": ('{"id": "q", "question": "What', False),
    "a line that is no JSON": ("question: 5", False),
    "a line that is a list": ("[1, 2]", False),
    "no question": (_row(id="q", question=...), False),
    "no answer": (_row(id="q", answer=...), False),
    "an empty question": (_row(id="q", question=""), False),
    "a question of spaces": (_row(id="q", question="  \n"), False),
    "an answer that is null": (_row(id="q", answer=None), False),
    "an answer that is NaN": ('{"id": "q", "question": "x?", "answer": NaN}', False),
    "an answer that is Infinity": ('{"id": "q", "question": "x?", "answer": Infinity}', False),
    "an answer too large for a number": ('{"id": "q", "question": "x?", "answer": 1e400}', False),
    "an answer that is a table": (_row(id="q", answer={"a": 1}), False),
    "a question that is a number": (_row(id="q", question=5), False),
    "an id twice": (_row(id="p1"), False),
    "half a surrogate": ('{"id": "q", "question": "\\ud800?", "answer": "1"}', False),
    "half a surrogate in the id": ('{"id": "\\udfff", "question": "x?", "answer": "1"}', False),
    "a key twice": ('{"id": "q", "question": "x?", "answer": "1", "answer": "2"}', False),
    "nested a hundred thousand deep": (f'{{"id": "q", "question": "x?", "answer": {NESTED}}}', False),
    "a question of five million characters": (_row(id="q", question="x" * 5_000_000), True),
    "a blank line": ("", True),
    "escapes of a terminal": (_row(id="q", question="\x1b[31mWhat is 1 + 1?\x07"), True),
}
"""A line that follows six good ones, and whether the file is still usable."""

FILES: Mapping[str, tuple[str, bytes | None, bool]] = {
    "an empty file": ("a.jsonl", b"", False),
    "a file of spaces": ("a.jsonl", b" \n\t\n", False),
    "bytes that are no text": ("a.jsonl", bytes(range(256)) * 9, False),
    "text in another encoding": ("a.jsonl", _row(question="caf").replace("caf", "caf\xe9").encode("latin-1"), False),
    "a compressed file": ("a.jsonl", gzip.compress(_lines().encode()), False),
    "null bytes": ("a.jsonl", _lines().encode("utf-16"), False),
    "a mark of the byte order": ("a.jsonl", b"\xef\xbb\xbf" + _lines().encode(), True),
    "lines that end as on Windows": ("a.jsonl", _lines().replace("\n", "\r\n").encode(), True),
    "a folder": ("a.jsonl", None, False),
    "another ending": ("a.docx", _lines().encode(), False),
    "a table without its columns": ("a.csv", b"a,b\n1,2\n", False),
    "a table with a row too long": ("a.csv", b"question,answer\nx?,1\ny?,2,3,4\n", False),
    "a table with a quote that never ends": ("a.csv", b'question,answer\n"x?,1\n', False),
    "a parquet file that is none": ("a.parquet", b"PAR1 no", False),
    "an empty parquet file": ("a.parquet", b"", False),
}


def _problems(name: str) -> Callable[[Path, Path, random.Random], tuple[list[str], bool]]:
    def make(folder: Path, model: Path, rng: random.Random) -> tuple[list[str], bool]:
        if name in LINES:
            line, is_usable = LINES[name]
            file = folder / "a.jsonl"
            file.write_text(_lines() + line + "\n", encoding="utf-8")
        else:
            file_name, content, is_usable = FILES[name]
            file = folder / file_name
            file.mkdir() if content is None else file.write_bytes(content)
        command = rng.choice((["evaluate", *CHEAP], ["probe", *CHEAP]))
        return [command[0], str(model), str(file), *command[1:]], is_usable

    return make


# --- model folders ---------------------------------------------------------------------------------------------------


def _config(**changes: object) -> Callable[[Path], None]:
    return lambda folder: _edit(folder / "config.json", changes)


def _ends(stated: object) -> Callable[[Path], None]:
    return lambda folder: _edit(folder / "generation_config.json", {"eos_token_id": stated})


def _edit(file: Path, changes: Mapping[str, object]) -> None:
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | dict(changes)), encoding="utf-8")


def _replaced(name: str, content: bytes | None) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / name
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_bytes(content)

    return change


def _cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _template(text: str) -> Callable[[Path], None]:
    return _replaced("chat_template.jinja", text.encode())


MODELS: Mapping[str, Callable[[Path], None]] = {
    "no config": _replaced("config.json", None),
    "a config that is no JSON": _replaced("config.json", b"{,"),
    "a config that is a list": _replaced("config.json", b"[]"),
    "an empty config": _replaced("config.json", b"{}"),
    "an unknown architecture": _config(model_type="nope", architectures=["Nope"]),
    "less than no layers": _config(num_hidden_layers=-1),
    "no positions": _config(max_position_embeddings=0),
    "an epsilon below 0": _config(rms_norm_eps=-1.0),
    "a rotary base of 0": _config(rope_parameters={"rope_type": "default", "rope_theta": 0.0}),
    "another width": _config(hidden_size=64),
    "heads that do not divide": _config(num_attention_heads=5),
    "a width that is text": _config(hidden_size="wide"),
    "no weights": _replaced("model.safetensors", None),
    "empty weights": _replaced("model.safetensors", b""),
    "weights that are no weights": _replaced("model.safetensors", b"\xff" * 4096),
    "half of the weights": _cut,
    "no tokenizer": _replaced("tokenizer.json", None),
    "a tokenizer that is no JSON": _replaced("tokenizer.json", b"{"),
    "an empty tokenizer": _replaced("tokenizer.json", b"{}"),
    "a template that does not parse": _template("{{ messages"),
    "a template that raises": _template("{{ raise_exception('no') }}"),
    "a template without end": _template(
        "{% for a in range(10**9) %}{% for b in range(10**9) %}x{% endfor %}{% endfor %}"
    ),
    "a template of a gigabyte": _template("{{ 'a' * 10**9 }}"),
    "a template that says nothing": _template("{# nothing #}"),
    "settings of generation that are no JSON": _replaced("generation_config.json", b"{"),
    "an end token that is text": _ends("<|end|>"),
    "an end token below 0": _ends([1, -1]),
}


def _model(name: str) -> Callable[[Path, Path, random.Random], tuple[list[str], bool]]:
    def make(folder: Path, model: Path, rng: random.Random) -> tuple[list[str], bool]:
        shutil.copytree(model, folder / "broken")
        MODELS[name](folder / "broken")
        command = rng.choice(("evaluate", "probe"))
        return [command, "broken", str(folder.parent / "good.jsonl"), *CHEAP], False

    return make


# --- options ---------------------------------------------------------------------------------------------------------

OPTIONS: tuple[tuple[tuple[str, ...], bool], ...] = (
    (("--temperature", "nan"), False),
    (("--temperature", "inf"), False),
    (("--temperature", "-1"), False),
    (("--temperature", "warm"), False),
    (("--top-p", "0"), False),
    (("--top-p", "nan"), False),
    (("--min-p", "2"), False),
    (("--min-p", "nan"), False),
    (("--samples", "0"), False),
    (("--samples", "2.5"), False),
    (("--max-tokens", "0"), False),
    (("--max-tokens", "1000000"), False),
    (("--budgets", "x"), False),
    (("--budgets", "0"), False),
    (("--budgets", "1000000"), False),
    (("--batch-size", "0"), False),
    (("--seed", "one"), False),
    (("--dtype", "int3"), False),
    (("--prompt", ""), True),
    (("--prompt", "tale:" + "9" * 40), False),
    (("--prompt", "token_limit:" + "9" * 5000), False),
    (("--seed", "9" * 40), False),
    (("--seed", "1", "--seed", "2"), True),
    (("--top-p", "0.5", "--temperature", "0"), True),
    (("--out", "good.jsonl"), False),
    (("--nope",), False),
)


def _option(options: tuple[str, ...], is_usable: bool) -> Callable[[Path, Path, random.Random], tuple[list[str], bool]]:
    def make(folder: Path, model: Path, _rng: random.Random) -> tuple[list[str], bool]:
        shutil.copy(folder.parent / "good.jsonl", folder)
        return ["evaluate", str(model), "good.jsonl", *CHEAP, *options], is_usable

    return make


# --- generators, exports, processes, trackers ------------------------------------------------------------------------

ADDRESSES: Mapping[str, bool] = {
    "words:": False,
    "words:mix,ages": False,
    "words:sums?count=0": False,
    "words:sums?count=1000000000": False,
    "words:sums?count=2&count=3": False,
    "words:sums?lengths=2": False,
    "words:sums?solutions=loud": False,
    "words:sums?levels=3-1": False,
    "words:sums?split=dev": False,
    "words:sums?seed=1.5": False,
    "words:largest?levels=1&count=90000": False,
    "words:mix?count=2&lengths=1&split=report": True,
    "tiny:mix?count=2&nope=1": False,
}
"""An address of a generator, and whether it can be used."""

HAND_OVERS: tuple[tuple[tuple[str, ...], bool], ...] = (
    (("export", "verl", "nope"), False),
    (("export", "verl", "dler", "--phase", "nope"), False),
    (("export", "verl", "two_phase"), False),
    (("export", "verl", "dler", "--out", "good.jsonl"), False),
    (("export", "lm-eval", "good.jsonl", "--temperature", "nan"), False),
    (("export", "lm-eval", "good.jsonl", "--samples", "1000000000000"), False),
    (("export", "lm-eval", "good.jsonl", "--prompt", "chain_of_draft"), False),
    (("export", "lm-eval", "good.jsonl", "--prompt", "nope"), False),
    (("export", "lm-eval", "good.jsonl", "--temperature", "0", "--samples", "8"), True),
    (("export", "inspect", "nowhere"), False),
    (("export", "inspect", "nowhere", "--out", "good.jsonl"), False),
    (("track", "nowhere", "--to", "tensorboard"), False),
    (("track", ".", "--to", "nope"), False),
    (("train", "two_phase", "--dry-run", "--track", "nope"), False),
    (("train", "two_phase", "--dry-run", "--processes", "2"), False),
    (("train", "two_phase", "--dry-run", "--gpu", "nope"), False),
    (("train", "two_phase", "--dry-run", "--gpus", "2"), False),
    (("train", "two_phase", "--dry-run", "--gpu", "h200", "--gpus", "1000000"), False),
    (("evaluate", "tiny", "good.jsonl", "--processes", "0"), False),
    (("evaluate", "tiny", "good.jsonl", "--processes", "1000000000"), False),
    (("sweep", "good.jsonl", "--processes", "2"), False),
)
"""A command that hands something over to other programs or to more processes, and whether it can be done."""


def _address(address: str, is_usable: bool) -> Callable[[Path, Path, random.Random], tuple[list[str], bool]]:
    return lambda folder, model, rng: (["evaluate", str(model), address, *CHEAP], is_usable)


def _handed_over(
    words: tuple[str, ...], is_usable: bool
) -> Callable[[Path, Path, random.Random], tuple[list[str], bool]]:
    def make(folder: Path, _model: Path, _rng: random.Random) -> tuple[list[str], bool]:
        shutil.copy(folder.parent / "good.jsonl", folder)
        return list(words), is_usable

    return make
