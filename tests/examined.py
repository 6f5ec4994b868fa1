"""Recipes with something wrong, examined: what the tests of doctor's checks share. Not a test module."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from small import save_small_model, write_small_recipe

from laconic.config.load import load_recipe
from laconic.doctor.examination import Examined, examine
from laconic.doctor.findings import Finding
from laconic.selection.probe import write_probe
from laconic.statistics.solve_rate import problem_stats
from laconic.types import Grade, Problem

PASSES_ALL = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}<|assistant|>{{ m['content'] }}<|end|>"
    "{% else %}<|user|>{{ m['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""A chat template that hands every turn on as it is."""


class Ward:
    """A folder with a small model and its recipe, to be made ill; `examine` says what doctor sees."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.model = folder, save_small_model(folder / "model")
        self.recipe = write_small_recipe(folder / "small.toml", self.model)

    def examine(self, *overrides: str, probe: Path | None = None) -> Examined:
        """What is read for the recipe with `overrides`."""
        return examine(load_recipe(self.recipe, overrides), probe)

    def template(self, text: str) -> None:
        """Give the tokenizer another chat template."""
        (self.model / "chat_template.jinja").write_text(text, encoding="utf-8")

    def change(self, file: str, **values: Any) -> None:
        """Change keys of one of the model's JSON files; None drops a key."""
        path = self.model / file
        tree = json.loads(path.read_text(encoding="utf-8")) | values
        path.write_text(json.dumps({k: v for k, v in tree.items() if v is not None}), encoding="utf-8")

    def problems(self, name: str, *problems: tuple[Any, ...]) -> str:
        """A file of (question, answer[, choices]); returns the override that makes it one of the recipe's sets."""
        path = self.folder / f"{name}.jsonl"
        lines = [
            {"id": f"{name}-{i}", "problem": question, "answer": answer, "choices": list(*choices)}
            for i, (question, answer, *choices) in enumerate(problems)
        ]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return f"problems.{name}='{path}'"

    def probe(self, *grades: Sequence[Grade], tokens: int = 10, ids: Sequence[str] = (), **settings: Any) -> Path:
        """A probe with one problem for each sequence of grades, all responses `tokens` long; `settings` lie beside it."""
        names = ids or [f"p{i}" for i in range(len(grades))]
        problems = [Problem(name, "What is 1 + 1?", "2") for name in names]
        stats = [problem_stats(n, seen, [tokens] * len(seen)) for n, seen in zip(names, grades, strict=True)]
        write_probe(self.folder / "probe.jsonl", problems, stats)
        if settings:
            (self.folder / "probe.settings.json").write_text(json.dumps(settings), encoding="utf-8")
        return self.folder / "probe.jsonl"


def said(check: Callable[[Examined], Iterator[Finding]], examined: Examined) -> list[str]:
    """The check's findings as "level: where: what; remedy"."""
    return [f"{finding.level}: {finding}" for finding in check(examined)]


def levels(check: Callable[[Examined], Iterator[Finding]], examined: Examined) -> list[str]:
    """The check's levels."""
    return [finding.level for finding in check(examined)]


def reasons(missing: Mapping[str, Any], name: str) -> str:
    """Level and reason of something that is missing."""
    return f"{missing[name].level}: {missing[name].where}: {missing[name].why}"
