"""The program `publish`: everything that is published of a run, in one folder.

    README.md            the model card              *.safetensors, ...   the model, with the run's SHA256SUMS
    .eval_results/       figures for the hub         laconic/recipe.json  the recipe

1. The run is read and refused where it is unfinished or unmeasured; then the origin of its problems is checked, and the licence
   settled. Nothing has been written until then.
2. The folder appears as a whole, or not at all, and can be pushed as it is (`push.py`). It needs no network, unless the check of
   the origin reads files again while another set of the run is a dataset of the hub (`origin.py`).
3. Beside it lies NAME.origin.json, which is not published: it says from which run the folder was made, so that pushing can check
   once more that nothing was forgotten meanwhile. Forgetting names the folder where a run behind it was made from traffic.

Texts of responses and problems are left out: a model's card needs none, and some may belong to users. So are the folders of the
machine on which it was trained (`places.py`).
"""

import shutil
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from laconic.config.load import with_defaults
from laconic.config.recipe import Recipe
from laconic.errors import InputError
from laconic.problems.made_from_traffic import note_copy, origin_file
from laconic.publishing.card import RECIPE_FILE, Publisher, write_card
from laconic.publishing.hub_results import RESULTS_FOLDER, result_files
from laconic.publishing.licence import HUB_NAME, hub_name, settle_licence
from laconic.publishing.measured_run import read_measured_run
from laconic.publishing.origin import origin_of
from laconic.publishing.places import public_tree
from laconic.system.files import (
    check_new_folder,
    read_json,
    whole_folder,
    write_json_atomically,
    write_text_atomically,
)


@dataclass(frozen=True, slots=True)
class PublishRequest:
    """What a person says of a model that is published; `licence` is None where it is known, `base` where the recipe names it."""

    name: str
    contact: str
    licence: str | None = None
    licence_name: str | None = None
    base: str | None = None


def write_published(path: Path, out: Path, request: PublishRequest, today: date) -> Path:
    """Write the folder `out` of the run in the folder `path`, and return it.

    Raises an `InputError`, one line, where the run is not finished or not measured, a problem was forgotten, the licence is not
    known, or `out` stands already.
    """
    _check_request(request)
    check_new_folder(out, "--out")
    run = read_measured_run(path)
    licence = settle_licence(request.base or run.recipe.model, request.licence, request.licence_name)
    origin = origin_of(path, run.recipe)
    publisher = Publisher(request.name, licence, request.contact, request.base)
    tree = public_tree(read_json(path / "config.json"))
    run = replace(run, recipe=Recipe.model_validate(with_defaults(tree)))
    card = write_card(run, publisher, origin, today)
    note_copy(out, [*origin.all_runs, *map(Path, origin.all_unknown_models)])  # no note in it, which would be pushed
    with whole_folder(out) as folder:
        shutil.copytree(run.model, folder, dirs_exist_ok=True)
        write_text_atomically(folder / "README.md", card)
        (folder / RECIPE_FILE).parent.mkdir()
        write_json_atomically(folder / RECIPE_FILE, tree)
        for name, text in result_files(run).items():
            (folder / RESULTS_FOLDER).mkdir(exist_ok=True)
            write_text_atomically(folder / RESULTS_FOLDER / name, text)
    write_json_atomically(origin_file(out), {"run": str(path.resolve()), "name": request.name})
    return out


def _check_request(request: PublishRequest) -> None:
    if not request.contact.strip() or not request.contact.isprintable():
        raise InputError(
            "--contact: expected whom people ask about the model, in one line: a name, an address or a page"
        )
    if not HUB_NAME.fullmatch(request.name):
        raise InputError(f"--name {request.name}: expected ORG/NAME as on the hub, such as my-org/short-reasoner")
    if request.base is not None and (hub_name(request.base) is None or Path(request.base).exists()):
        raise InputError(f"--base-model {request.base}: expected the base's name on the hub, such as Qwen/Qwen3-0.6B")
