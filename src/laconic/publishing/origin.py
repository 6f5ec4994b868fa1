"""Where the problems of a run came from, and that none of them was forgotten since.

1. `origin_of` names the three sources of a run. Problems that lie on this machine, in files or in the folder of a dataset, may
   have been made from stored traffic, by consent; those of generators and of the hub are not.
2. Files are read again at the time of publishing: reading refuses problems whose requests were forgotten
   (`problems/forgotten.py`). They must also be those on which the run was trained, by the digest in its environment.json: from
   others it cannot be told whether a forgotten one was among them.
3. A run that started from the result of another run, or learned from it as its teacher, inherits its problems, so that run is
   checked as well, also where its result was published before.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from laconic.config.recipe import Recipe
from laconic.errors import ProblemsError
from laconic.problems.forgotten import is_from_traffic
from laconic.problems.load import is_on_hub
from laconic.problems.sets import ProblemSets, load_problem_sets, statements_digest
from laconic.publishing.measured_run import recipe_of
from laconic.system.fields import Fields
from laconic.system.files import read_json

GENERATED = ("gym:", "tiny:", "seeker:", "words:")
ORIGIN_SUFFIX = ".origin.json"
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
    lies_here = any(not source.startswith(GENERATED) and not is_on_hub(source) for source in sources.values())
    num_from_traffic = _checked(path, recipe) if lies_here else 0
    return Origin(recipe.problems.train, num_from_traffic, lies_here, tuple(_earlier(recipe)))


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
    return sum(map(is_from_traffic, (*sets.train, *sets.watch)))


def _earlier(recipe: Recipe) -> Iterator[Origin]:
    """The origin of each run whose result the recipe starts from or learns from."""
    models = [recipe.model, *(phase.algorithm.reference_model for phase in recipe.phases)]
    runs = dict.fromkeys(run for model in models if model is not None and (run := _run_of(Path(model))) is not None)
    yield from (origin_of(run, recipe_of(run)) for run in runs)


def _run_of(model: Path) -> Path | None:
    """The run of which a folder is the result, or was published; None where it is neither."""
    if not model.is_dir():
        return None
    file = origin_file(model)
    if file.is_file():
        return Path(Fields(read_json(file), str(file)).text("run"))
    run = model.resolve().parent
    return run if all((run / name).is_file() for name in ("config.json", "phases.json")) else None


def origin_file(out: Path) -> Path:
    """Where it stands from which run a published folder was made."""
    place = out.resolve()
    return place.with_name(f"{place.name}{ORIGIN_SUFFIX}")
