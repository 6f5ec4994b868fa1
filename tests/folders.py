"""Evaluation folders for tests: what `laconic evaluate` leaves behind, from a few (grade, tokens) pairs a problem."""

import json
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Run:
    """What an evaluation folder shall hold: for each problem its (grade, tokens) a sample."""

    problems: dict[str, list[tuple[str, int]]]
    summary: dict = field(default_factory=dict)
    gold: str = "7"

    def write(self, folder: Path) -> Path:
        """Write samples.jsonl and summary.json."""
        folder.mkdir(parents=True, exist_ok=True)
        lines = [
            {"problem_id": name, "sample": index, "grade": grade, "num_tokens": tokens}
            | {"finish_reason": "length" if grade == "truncated" else "stop"}
            | {"question": f"{name}?", "gold": self.gold, "text": "…"}
            for name, samples in self.problems.items()
            for index, (grade, tokens) in enumerate(samples)
        ]
        num_samples = len(next(iter(self.problems.values())))
        summary = {"benchmark": "report", "model": "tiny", "num_problems": len(self.problems), "seed": 0}
        summary |= {"num_samples": num_samples, "temperature": 0.6, "top_p": 1.0, "min_p": 0.0, "max_tokens": 64}
        (folder / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / "summary.json").write_text(json.dumps(summary | self.summary))
        return folder


def longer(problems: dict, factor: int) -> dict:
    """The same grades, every response `factor` times as long."""
    return {name: [(grade, factor * tokens) for grade, tokens in samples] for name, samples in problems.items()}


def prompt(name: str) -> dict:
    """A summary's prompt of that name."""
    return {"prompt": {"name": name, "instruction": "…", "system": None}}


BASE = {"a": [("correct", 20), ("wrong", 40)], "b": [("wrong", 100), ("truncated", 40)]}
SHORT = {"a": [("correct", 10), ("correct", 20)], "b": [("wrong", 50), ("correct", 10)]}
# base: accuracy 1/2 and 0, tokens 30 and 70; short: accuracy 1 and 1/2, tokens 15 and 30
