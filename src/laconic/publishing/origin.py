"""Where the problems of a run came from, and that none of them was forgotten since.

1. `origin_of` names the three sources of a run. Problems that lie in files may have been made from stored traffic, by consent;
   those of generators and benchmarks never are.
2. Files are read again at the time of publishing: reading refuses problems whose requests were forgotten
   (`problems/forgotten.py`). They must also be those on which the run was trained, by the digest in its environment.json: from
   others it cannot be told whether a forgotten one was among them.
3. A run that started from the result of another run inherits its problems, so that run is checked as well.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from laconic.config.recipe import Recipe
from laconic.errors import ProblemsError
from laconic.problems.address import name_of
from laconic.problems.forgotten import REQUEST_KEY
from laconic.problems.sets import ProblemSets, load_problem_sets, statements_digest
from laconic.publishing.measured_run import recipe_of
from laconic.system.fields import Fields
from laconic.system.files import read_json

FILE_ENDINGS = (".jsonl", ".parquet")
TAUGHT = ("train", "watch")
"""The sets that shape a model: one teaches, the other may end a phase or choose its result."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a run was trained on: its source, the number of problems that came from stored traffic, and the runs before it."""

    source: str
    num_from_traffic: int
    is_checked: bool
    earlier: tuple["Origin", ...] = ()

    @property
    def total_from_traffic(self) -> int:
        """Problems from traffic in this run and in those from whose results it started."""
        return self.num_from_traffic + sum(origin.total_from_traffic for origin in self.earlier)


def origin_of(path: Path, recipe: Recipe) -> Origin:
    """The origin of the run in the folder `path`. Raises `ProblemsError` where a problem was forgotten, or where that is not
    known."""
    sources = {name: getattr(recipe.problems, name) for name in TAUGHT}
    lies_in_files = any(name_of(source).endswith(FILE_ENDINGS) for source in sources.values())
    num_from_traffic = _checked(path, recipe) if lies_in_files else 0
    return Origin(recipe.problems.train, num_from_traffic, lies_in_files, tuple(_earlier(recipe)))


def _checked(path: Path, recipe: Recipe) -> int:
    """How many problems came from traffic, after the check of all."""
    sets = load_problem_sets(recipe)
    environment = Fields(read_json(path / "environment.json"), str(path / "environment.json"))
    digests = environment.object("inputs").object("problems")
    for name in TAUGHT:
        if digests.maybe(name, digests.text) != statements_digest(getattr(sets, name)):
            source = getattr(recipe.problems, name)
            raise ProblemsError(
                f"{source}: holds other problems than those of the run {path}, so whether a forgotten one was among them is "
                "not known; put the file back as it was, or train again"
            )
    return _num_from_traffic(sets)


def _num_from_traffic(sets: ProblemSets) -> int:
    return sum(REQUEST_KEY in problem.meta for problem in (*sets.train, *sets.watch))


def _earlier(recipe: Recipe) -> Iterator[Origin]:
    """The origin of the run whose result the recipe starts from, if it does."""
    folder = Path(recipe.model)
    if folder.is_dir() and all((folder.parent / name).is_file() for name in ("config.json", "phases.json")):
        yield origin_of(folder.parent, recipe_of(folder.parent))
