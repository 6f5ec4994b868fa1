"""Where the problems of a run came from, and that none of them was forgotten since.

1. `origin_of` names the three sources of a run. Problems that lie on this machine, in files or in the folder of a dataset, may
   have been made from stored traffic, by consent; those of generators and of the hub are not.
2. The run's own note says whether a request was forgotten since. Files are read again at the time of publishing: reading
   refuses problems whose requests were forgotten (`problems/forgotten.py`). They must also be those on which the run was
   trained, by the digest in its environment.json: from others it cannot be told whether a forgotten one was among them.
3. A run that started from another run, from its result or from one of its checkpoints, or learned from it as its teacher,
   inherits its problems, so that run is checked as well, also where its result was published before. Of any other local model it
   is not known on what it was trained, and the origin says so. Whether a model is local, the run's environment.json says; one
   with a relative path that leads nowhere from here is refused, since it may lie elsewhere.

Reading files again makes the three sets disjoint as training did, so the reported problems are read too: where they lie on the
hub this takes its cache or the network.
"""

from dataclasses import dataclass
from pathlib import Path

from laconic.bundled import BUNDLED
from laconic.config.recipe import Recipe
from laconic.errors import ProblemsError
from laconic.problems.forgotten import is_from_traffic
from laconic.problems.load import is_on_hub
from laconic.problems.made_from_traffic import published_run, refuse_made
from laconic.problems.sets import ProblemSets, load_problem_sets, statements_digest
from laconic.publishing.licence import HUB_NAME
from laconic.publishing.measured_run import recipe_of
from laconic.reporting.data import Record
from laconic.system.fields import Fields
from laconic.system.files import read_json

GENERATED = ("gym:", "tiny:", "seeker:", "words:")
TAUGHT = ("train", "watch")
"""The sets that shape a model: one teaches, the other may end a phase or choose its result."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What the run in the folder `run` was trained on: its source, the number of problems that came from stored traffic, the runs
    before it, and the local models of no known run that it started from or learned from."""

    run: Path
    source: str
    num_from_traffic: int
    earlier: tuple["Origin", ...] = ()
    unknown_models: tuple[str, ...] = ()

    @property
    def total_from_traffic(self) -> int:
        """Problems from traffic in this run and in those from whose results it started."""
        return self.num_from_traffic + sum(origin.total_from_traffic for origin in self.earlier)

    @property
    def all_runs(self) -> tuple[Path, ...]:
        """This run and those before it."""
        return (self.run, *(run for origin in self.earlier for run in origin.all_runs))

    @property
    def all_unknown_models(self) -> tuple[str, ...]:
        """The local models of no known run behind this run and those before it, each once."""
        inherited = (name for origin in self.earlier for name in origin.all_unknown_models)
        return tuple(dict.fromkeys((*self.unknown_models, *inherited)))


def origin_of(path: Path, recipe: Recipe, above: frozenset[Path] = frozenset()) -> Origin:
    """The origin of the run in the folder `path`; the runs `above`, which started from it, are no origins of it. Raises
    `ProblemsError` where a problem was forgotten, or where that is not known."""
    refuse_made(path)
    sources = {name: getattr(recipe.problems, name) for name in TAUGHT}
    lies_here = any(not source.startswith(GENERATED) and not is_on_hub(source) for source in sources.values())
    num_from_traffic = _checked(path, recipe) if lies_here else 0
    runs, unknown_models = _runs_before(path, recipe, above | {path.resolve()})
    earlier = tuple(origin_of(run, recipe_of(run), above | {path.resolve()}) for run in runs)
    return Origin(path, recipe.problems.train, num_from_traffic, earlier, unknown_models)


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


def _runs_before(path: Path, recipe: Recipe, above: frozenset[Path]) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The runs that the recipe of the run `path` starts from or learns from, and the local models that belong to none."""
    file = path / "environment.json"
    environment = read_json(file) if file.is_file() else {}
    named = [recipe.model, *(phase.algorithm.reference_model for phase in recipe.phases)]
    local = [model for model in named if model is not None and is_local_model(model, environment)]
    for model in local:
        _check_place(model, path)
    run_of = {model: _run_of(Path(model), above) for model in local}
    runs = dict.fromkeys(run for run in run_of.values() if run is not None)
    return tuple(runs), tuple(model for model, run in run_of.items() if run is None)


def _check_place(model: str, path: Path) -> None:
    """Raise `ProblemsError` where the relative path of a model of the run `path` leads nowhere from here."""
    if Path(model).is_absolute() or Path(model).exists():
        return
    from laconic.models.loading import MEMORY  # brings torch, which a push does not need otherwise

    if not model.startswith(MEMORY):
        raise ProblemsError(
            f"{model}: is not here, so whether what taught it was forgotten since is not known; publish {path} from the folder "
            "in which the run was trained"
        )


def is_local_model(model: str, environment: Record) -> bool:
    """Whether a model of a run is a path of the machine, which may lead nowhere by now, by what the run's environment.json says
    of the files that it read. Where that says nothing, as of an old run, what lies here decides."""
    if model in BUNDLED:
        return False
    inputs = Fields(environment, "environment.json").object("inputs")
    teachers = inputs.object("teachers")
    held = {*inputs.object("files").record, *(file for key in teachers.record for file in teachers.object(key).record)}
    if any(Path(file).is_relative_to(model) and file != model for file in held):
        return True
    if model.lower().endswith(".gguf") or ("/" in model and HUB_NAME.fullmatch(model) is None):
        return True
    return model not in held and Path(model).exists()


def _run_of(model: Path, above: frozenset[Path]) -> Path | None:
    """The run that made a model: the one of which its folder was published, or in whose folder it lies; None where there is none
    but those `above`."""
    published = published_run(model)
    runs = (*([] if published is None else [published]), *filter(_is_run, model.resolve().parents))
    return next((run for run in runs if run.resolve() not in above), None)


def _is_run(folder: Path) -> bool:
    """Whether a run lies here, which may have finished no phase."""
    marks = ("environment.json", "phases.json")
    return (folder / "config.json").is_file() and any((folder / mark).is_file() for mark in marks)
