"""The place of a process, read from its environment."""

import pytest

from laconic.errors import InputError
from laconic.parallel.place import RankPlace, read_place, speaks_for_machine

TORCHRUN = {
    "WORLD_SIZE": "4",
    "RANK": "3",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "node-a",
    "MASTER_PORT": "29500",
    "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
}


def test_what_torchrun_sets_is_a_place():
    place = read_place(TORCHRUN)
    assert place == RankPlace(3, 4, 1, 2, "node-a", 29500, is_elastic=True, has_agent_store=True)
    assert place.again("laconic train x") == "torchrun ... --nproc-per-node 2 -m laconic train x"


def test_torchrun_counts_how_often_it_has_started_all_again():
    assert [read_place(TORCHRUN | more).attempt for more in ({}, {"TORCHELASTIC_RESTART_COUNT": "2"})] == [0, 2]


@pytest.mark.parametrize(
    "environment", [{}, {"WORLD_SIZE": ""}, {"RANK": "1"}, TORCHRUN | {"WORLD_SIZE": "1", "RANK": "0"}]
)
def test_one_process_has_no_place(environment):
    """A rank without a size is of some other program; a size of 1 is one process, however it was started."""
    assert read_place(environment) is None


def test_a_process_without_a_local_rank_is_alone_on_its_machine():
    bare = {name: TORCHRUN[name] for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT")}
    place = read_place(bare)
    assert place is not None and (place.local_rank, place.local_size, place.parent) == (0, 1, None)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"MASTER_PORT": ""}, "WORLD_SIZE is 4 in the environment, but MASTER_PORT is not there"),
        ({"RANK": ""}, "but RANK is not there"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two' in the environment; expected a number of at least 1"),
        ({"RANK": "4"}, "RANK is '4' in the environment; expected a number of at least 0 and at most 3"),
        ({"RANK": "-1"}, "RANK is '-1'"),
        ({"MASTER_PORT": "99999"}, "MASTER_PORT is '99999'"),
        ({"LOCAL_RANK": "2"}, "LOCAL_RANK is 2 in the environment, but LOCAL_WORLD_SIZE is 2"),
    ],
)
def test_variables_that_contradict_one_another_are_one_line(change, says):
    with pytest.raises(InputError) as refused:
        read_place(TORCHRUN | change)
    assert says in str(refused.value) and "\n" not in str(refused.value)


def test_of_the_processes_of_a_machine_one_speaks():
    """What all of them would say is said once on each machine; a process alone always speaks."""
    assert [speaks_for_machine(TORCHRUN | {"LOCAL_RANK": rank}) for rank in "01"] == [True, False]
    assert (
        speaks_for_machine({})
        and speaks_for_machine({"RANK": "1"})
        and speaks_for_machine({"WORLD_SIZE": "1", "RANK": "1"})
    )


@pytest.mark.parametrize("change", [{"RANK": "4"}, {"MASTER_PORT": ""}, {"WORLD_SIZE": "x"}, {"LOCAL_RANK": "2"}])
def test_where_the_variables_contradict_one_another_every_process_speaks(change):
    """The one that would speak for all may not be there: an exit code of 2 without a word would be the rest."""
    assert speaks_for_machine(TORCHRUN | change)
