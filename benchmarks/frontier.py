"""docs/frontier.md and its picture, from the results of a sweep. `python benchmarks/frontier.py runs/frontier`.

The sweep writes the tables (`laconic sweep benchmarks/frontier.toml --out runs/frontier`); what is said of them stands in
`benchmarks/frontier_words.md`. Nothing is copied by hand.
"""

import argparse
import datetime
import json
import re
import shutil
from pathlib import Path

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"


def main() -> None:
    """Write the page and the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweep", type=Path)
    out = parser.parse_args().sweep
    table = (out / "table.md").read_text(encoding="utf-8")
    table = re.sub(r"^# .*\n", "", table, count=1)
    environment = json.loads(next(iter(sorted(out.glob("*/seed-*/environment.json")))).read_text())
    words = (HERE / "frontier_words.md").read_text(encoding="utf-8")
    where = (
        f"`laconic sweep benchmarks/frontier.toml --out runs/frontier`, {environment['device']}, two cores, one thread a run, "
        f"{datetime.date.today()}."
    )
    page = words.replace("WHERE", where).replace("TABLES", table.strip().replace("\n## ", "\n### "))
    (DOCS / "frontier.md").write_text(page + "\n", encoding="utf-8")
    shutil.copyfile(out / "frontier.svg", DOCS / "frontier.svg")


if __name__ == "__main__":
    main()
