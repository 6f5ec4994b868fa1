"""A process that waits for the others says for whom, and gives up in the end; an attempt knows nothing of an earlier one."""

import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

pytest.importorskip("torch")

from torch.distributed import TCPStore

from laconic.errors import RunFailed
from laconic.parallel import membership
from laconic.parallel.heartbeats import Failure, Heartbeats
from laconic.parallel.launching import free_port
from laconic.parallel.membership import Membership
from laconic.parallel.place import RankPlace, host_name


@pytest.fixture(autouse=True)
def impatience() -> Iterator[None]:
    """Ten seconds are none, and five minutes are half a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(membership, "UNSAID_SECONDS", 0.0)
        patch.setattr(membership, "MEETING_SECONDS", 0.5)
        yield


def place(rank: int, launcher: int | None = None) -> RankPlace:
    return RankPlace(rank, 3, 0, 1, "127.0.0.1", free_port(), launcher)


@pytest.mark.parametrize("launcher", [None, 1])
def test_a_lone_first_process_says_once_whom_it_waits_for(
    launcher: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where `--processes` has started all of them, a line would be no news."""
    with pytest.raises(RunFailed, match="of 3 processes these did not come: rank 1, 2"):
        Membership(place(0, launcher), str, {})
    line = f"laconic: rank 0 of 3 (on {host_name()}) waits for rank 1, 2, and gives up after 0 minutes\n"
    assert capsys.readouterr().err == ("" if launcher else line)


def test_a_process_that_finds_nobody_says_where_it_looks() -> None:
    here, said = place(2), []
    with pytest.raises(RunFailed, match=rf"rank 2 of 3 .*: nobody answers at 127.0.0.1:{here.port}, where all are to"):
        membership._open_store(here, said.append)
    assert said == [f"rank 0, whom it looks for at 127.0.0.1:{here.port}, where all are to meet"]


def test_a_first_process_whose_host_has_no_address_says_so() -> None:
    """torch would wait for a minute in silence."""
    here, said = RankPlace(0, 3, 0, 1, "no.such.host.invalid", free_port(), None), []
    with pytest.raises(
        RunFailed, match=r"the host no\.such\.host\.invalid \(MASTER_ADDR\), where all are to meet, has no add"
    ):
        membership._open_store(here, said.append)
    assert said == ["the host no.such.host.invalid (MASTER_ADDR), which has no address"]


def test_a_second_attempt_does_not_end_for_the_failure_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is torchrun's, and holds what the first attempt wrote. A member of that attempt reads it."""
    here = RankPlace(0, 1, 0, 1, "127.0.0.1", free_port(), is_elastic=True, has_agent_store=True)
    store = TCPStore(here.address, here.port, is_master=True, wait_for_workers=False)
    monkeypatch.setattr(membership, "_open_store", lambda *_: store)
    monkeypatch.setattr(membership, "_silence", lambda _: sys.stderr)
    monkeypatch.setattr(Heartbeats, "start", lambda _: None)
    Membership(here, str, {}).heartbeats.settle(Failure(0, "a", "boom", 1, "", 0))
    failures = []
    for attempt in (1, 0):
        member = Membership(replace(here, attempt=attempt), str, {})
        member.heartbeats._look()
        failures.append(member.heartbeats.failure)
    assert failures[0] is None and failures[1] is not None and failures[1].text == "boom"
