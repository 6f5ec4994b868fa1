"""Sends a folder that `publish` wrote to the hub, as one commit.

1. The folder must be whole: a card whose metadata the hub's library reads, and a model whose files are as they were written.
2. The origin of the run's problems is checked once more, for a request may have been forgotten since the folder was written.
3. The repository is made where there is none, private unless it was asked to be public. Login is that of the hub's own
   `hf auth login`, or HF_TOKEN.
"""

from pathlib import Path

from laconic.errors import InputError, RunFailed
from laconic.problems.made_from_traffic import origin_file
from laconic.publishing.licence import HUB_NAME
from laconic.publishing.measured_run import recipe_of
from laconic.publishing.origin import origin_of
from laconic.system.checksums import damage_in
from laconic.system.fields import Fields
from laconic.system.files import read_json
from laconic.system.hub import hub_answers


def push_folder(folder: Path, name: str | None, *, public: bool) -> str:
    """Send the folder to the repository that it was written for, and return the page of its commit.

    Raises `InputError` where that is not `name`, the folder is not whole or the hub takes no login, and `RunFailed` where the hub
    does not answer.
    """
    wanted = _checked(folder, name)
    if not hub_answers():
        raise RunFailed(
            f"the hub does not answer, or HF_HUB_OFFLINE is set; once it does:  laconic publish --push {folder}"
        )
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    hub = HfApi()
    try:
        hub.create_repo(wanted, repo_type="model", private=not public, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=wanted, folder_path=folder, commit_message="Publish a model trained with Laconic"
        )
    except LocalTokenNotFoundError:
        raise InputError("the hub needs a login: run  hf auth login, or set HF_TOKEN") from None
    except HfHubHTTPError as error:
        raise _refused(wanted, error.response.status_code, str(error)) from None
    return str(commit.commit_url)


def _refused(name: str, status: int, said: str) -> Exception:
    line = " ".join(said.split())
    if status in (401, 403):
        who = "log in with  hf auth login  as one who may write there"
        return InputError(f"{name}: the hub takes no such upload ({status}); {who}")
    return RunFailed(f"{name}: the hub answered {status}: {line:.200}")


def _checked(folder: Path, name: str | None) -> str:
    """The repository's name, after the checks of the folder."""
    card = folder / "README.md"
    if not card.is_file() or not (folder / "config.json").is_file():
        raise InputError(f"--push {folder}: expected a folder that  laconic publish RUN  has written")
    if damage := damage_in(folder):
        raise InputError(f"{damage}; publish the run again to another --out")
    _check_card(card)
    file = origin_file(folder)
    if not file.is_file():
        raise InputError(
            f"{file}: is missing, so nothing says of which run this is; publish the run again, or put it back"
        )
    origin = Fields(read_json(file), str(file))
    run = Path(origin.text("run"))
    origin_of(run, recipe_of(run))
    written_for = origin.text("name")
    if name not in (None, written_for):
        raise InputError(
            f"--name {name}: the card in {folder} loads {written_for}; publish the run again under the new name, to another --out"
        )
    if not HUB_NAME.fullmatch(written_for):
        raise InputError(f"{file}: name is {written_for}, expected ORG/NAME as on the hub")
    return written_for


def _check_card(card: Path) -> None:
    from huggingface_hub import ModelCard

    try:
        licence = ModelCard.load(card).data.to_dict().get("license")
    except Exception as error:  # whoever edits a card may write anything
        raise InputError(f"{card}: its metadata cannot be read ({' '.join(str(error).split()):.160})") from None
    if not licence:
        raise InputError(f"{card}: its metadata states no license")
