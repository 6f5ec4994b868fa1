"""One process is a team of its own: it returns what it is given, and loads nothing that several need."""

import pytest
import torch
from house import imported_names, modules_on_disk, path_of
from test_house import eager_names

from laconic.errors import InputError
from laconic.parallel.joining import join_team
from laconic.parallel.processes import device_of
from laconic.parallel.team import ALONE

FOR_SEVERAL = ("laconic.parallel.processes", "laconic.parallel.spreading", "laconic.parallel.shards")
FOR_SEVERAL += ("laconic.parallel.endings", "laconic.parallel.heartbeats", "laconic.parallel.membership")
FOR_SEVERAL += ("laconic.models.sharded_policy", "torch.distributed")
LOADED_LATE = tuple(name.removeprefix("laconic.") for name in FOR_SEVERAL[:-1])


def belongs_to_several(name: str) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in FOR_SEVERAL)


def test_only_what_is_for_several_processes_loads_torch_distributed() -> None:
    """Every other module imports those late, inside a function, so that a run in one process never comes to it."""
    early = {
        module: [name for name in eager_names(path_of(module).read_text("utf-8")) if belongs_to_several(name)]
        for module in modules_on_disk()
        if module not in LOADED_LATE
    }
    assert {module: names for module, names in early.items() if names} == {}
    late = [
        module
        for module in modules_on_disk()
        if any(map(belongs_to_several, imported_names(path_of(module).read_text("utf-8"), module)))
    ]
    assert {"parallel.joining", "training.run", "training.checkpoint_files"} <= set(late)


def test_one_process_does_everything_itself() -> None:
    value = torch.ones(2)
    assert ALONE.share_out([1, 2, 3], lambda own: [item + 1 for item in own]) == [2, 3, 4]
    assert ALONE.sums(value) is value
    assert (ALONE.most(3), ALONE.agrees(False), ALONE.by_first(lambda: 7), ALONE.is_first) == (3, False, 7, True)
    assert list(ALONE.part([4, 4, 4])) == [0, 1, 2]
    assert ALONE.share("abc") == ["a", "b", "c"]


@pytest.mark.parametrize("size", [None, "1"])
def test_the_environment_says_whether_there_are_others(size: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if size is not None:
        monkeypatch.setenv("WORLD_SIZE", size)
    with join_team("cpu") as team:
        assert team is ALONE


@pytest.mark.parametrize("size", ["2", "two"])
def test_an_environment_that_names_others_and_no_place_is_refused(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", size)
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(InputError, match=f"WORLD_SIZE is '?{size}"):
        join_team("cpu")


@pytest.mark.parametrize(
    ("device", "num_gpus", "words"),
    [
        ("cuda:1", 2, "is one GPU for all processes"),
        ("cuda", 2, "process 3 of this machine finds 2 GPUs"),
        ("cuda", 0, "finds 0"),
    ],
)
def test_a_process_without_a_gpu_of_its_own_is_refused(device: str, num_gpus: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        device_of(device, 2, num_gpus)
    assert device_of("cpu", 2, num_gpus) == torch.device("cpu")
