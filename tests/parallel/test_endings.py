"""What is said of a process that ends with an error; and what must agree before processes work together."""

import errno
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
from ranked import in_team  # noqa: E402
from torch.distributed import DistNetworkError  # noqa: E402

from laconic.errors import Diverged, InputError, RecipeError, Terminated  # noqa: E402
from laconic.parallel import shared_folder  # noqa: E402
from laconic.parallel.endings import breaks_off, ending_of, is_unforeseen  # noqa: E402
from laconic.parallel.membership import Membership  # noqa: E402
from laconic.parallel.place import RankPlace  # noqa: E402
from laconic.parallel.shared_folder import check_shared  # noqa: E402

NO_MEMORY = (
    "[enforce fail at alloc_cpu.cpp:116] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"
)
ENDINGS = [
    (RecipeError("seed: expected a number"), "seed: expected a number", 2, False),
    (Diverged("the loss is nan"), "the loss is nan", 1, False),
    (Terminated("ended by SIGTERM; go on", 143), "ended by SIGTERM; go on", 143, False),
    (KeyboardInterrupt(), "left at once", 130, False),
    (SystemExit(3), "exit code 3", 3, False),
    (torch.OutOfMemoryError("CUDA out of memory.\nTried"), "ran out of memory: CUDA out of memory.", 1, False),
    (RuntimeError(NO_MEMORY), f"ran out of memory: {NO_MEMORY}", 1, False),
    (MemoryError(), "ran out of memory: MemoryError", 1, False),
    (OSError(errno.ENOSPC, "No space left", "a.json"), "a.json: cannot be read or written (No space left)", 1, False),
    (FileNotFoundError(2, "No such file", "b"), "b: cannot be read or written (No such file)", 2, False),
    (ValueError("rank must be positive"), "ValueError: rank must be positive", 1, True),
]


@pytest.mark.parametrize(("error", "text", "code", "has_traceback"), ENDINGS, ids=lambda value: type(value).__name__)
def test_an_ending_is_one_line_and_a_code(error, text, code, has_traceback):
    assert (*ending_of(error), is_unforeseen(error)) == (text, code, has_traceback)
    assert not breaks_off(error)


@pytest.mark.parametrize(
    "error",
    [
        DistNetworkError("Connection reset"),
        RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:3411"),
        ConnectionResetError(104, "Connection reset by peer"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_broken_connection_is_known_from_a_mistake(error):
    """It follows from the end of another process, which is named in its place."""
    assert breaks_off(error) and not is_unforeseen(error)


def member(rank, *members, local_size=1):
    """A member that has met these."""
    found = Membership.__new__(Membership)
    found.place, found.members = RankPlace(rank, len(members), 0, local_size, "a", 1), list(members)
    return found


def test_a_process_with_another_recipe_names_the_key():
    """Rank 1 has another seed in its first phase; ranks 0 and 2 have not."""
    same = {"host": "a", "said": {"laconic": "1", "recipe": {"phases": [{"name": "one", "lr": 0.1}]}}}
    other = {"host": "b", "said": {"laconic": "1", "recipe": {"phases": [{"name": "one", "lr": 0.2}]}}}
    members = (same, other, same | {"host": "c"})
    member(0, *members).compare()
    member(2, *members).compare()
    with pytest.raises(InputError, match=r"recipe\.phases\.one\.lr is 0\.2, there 0\.1"):
        member(1, *members).compare()


def test_two_processes_of_a_machine_need_local_ranks():
    members = [{"host": "a", "said": {}}, {"host": "a", "said": {}}]
    member(1, *members, local_size=2).compare()
    with pytest.raises(InputError, match="ranks 0 and 1 are both on a; set LOCAL_RANK and LOCAL_WORLD_SIZE"):
        member(1, *members).compare()


def test_a_folder_that_machines_do_not_share_is_refused_by_all(tmp_path, monkeypatch):
    """Every process has a folder of its own, then all have one; nothing is left in either."""
    monkeypatch.setattr(shared_folder, "SHOWN_SECONDS", 0.2)

    def work(team):
        shared = tmp_path / "shared"
        check_shared(team, shared)
        monkeypatch.chdir(tmp_path if team.is_first else tmp_path / "elsewhere")
        with pytest.raises(InputError, match=r"rank 1 .* does not see what rank 0 .* writes there"):
            check_shared(team, Path("run"))
        return shared.exists() or (tmp_path / "run").exists()

    (tmp_path / "elsewhere").mkdir()
    assert in_team(2, work, tmp_path / "results") == [False, False]
