"""The table that grows: gpu.json holds what is known of every section, gpu.md shows it. Both are written anew after each row."""

import json
from dataclasses import asdict, dataclass, field
from math import isnan
from pathlib import Path
from typing import Any

from gpus.rows import LIMITS, Row

from laconic.system.files import write_json_atomically, write_text_atomically

COLUMNS = ("what", "measured", "floor, peak or bound", "ratio", "verdict", "note")
DONE, CUT, FAILED = "done", "cut off", "failed"


@dataclass(slots=True)
class Section:
    """What is known of one section: how it ended, its rows, and where and when they were measured."""

    status: str = CUT
    seconds: float = 0.0
    rows: list[Row] = field(default_factory=list)
    about: dict[str, str] = field(default_factory=dict)
    remark: str = ""

    @property
    def is_sound(self) -> bool:
        """Whether it was measured to its end and no row failed."""
        return self.status == DONE and not any(row.is_met is False for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """As stored."""
        return asdict(self) | {"rows": [row.to_json() for row in self.rows]}


class Table:
    """All sections, by name, in the folder where they are written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sections: dict[str, Section] = {}
        file = folder / "gpu.json"
        if file.exists():
            for name, held in json.loads(file.read_text(encoding="utf-8")).items():
                self.sections[name] = Section(**held | {"rows": [Row.from_json(row) for row in held["rows"]]})

    def is_done(self, name: str) -> bool:
        """Whether the section need not be measured again."""
        return name in self.sections and self.sections[name].status == DONE

    def limits(self) -> dict[str, float]:
        """The measured limits, by name."""
        section = self.sections.get(LIMITS, Section())
        return {row.what: row.measured * 1e9 for row in section.rows if not isnan(row.measured)}

    def write(self) -> None:
        """Both files, each whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json_atomically(
            self.folder / "gpu.json", {name: section.to_json() for name, section in self.sections.items()}
        )
        write_text_atomically(self.folder / "gpu.md", self.render())

    def render(self) -> str:
        """Markdown: a heading with a line about the measurement and one table for each section."""
        parts = ["# On one GPU"]
        for name, section in self.sections.items():
            about = ", ".join(f"{key} {value}" for key, value in section.about.items())
            remark = f" {section.remark}" if section.remark else ""
            parts.append(f"## {name}\n\n{section.status} after {section.seconds:.0f} s; {about}.{remark}")
            lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS)), *(_line(row.cells()) for row in section.rows)]
            parts.append("\n".join(lines))
        return "\n\n".join(parts) + "\n"


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"
