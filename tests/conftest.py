"""What every test shares: no network, one thread in every process, and the folder of real benchmark files where it is present.

`make test` runs one process for each core, so that a second thread in any of them would wait for a core. There coverage, which
nearly doubles the time of what it watches, is off while tests of packages run that are not pure, and of a test over many made-up
examples it watches the first ones.
"""

import gc
import itertools
import os
import platform
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from house import ROOMS

from laconic.cli import app
from laconic.config.defaults import TRAFFIC_FOLDER
from laconic.system.threads import available_cores

ROOT = Path(__file__).resolve().parents[1]
UNMEASURED = {row.name for row in ROOMS if not row.is_pure} | {"benchmarks", "recipes", "tests"}
"""The folders of tests that coverage leaves out. Those of recipes train every recipe, and those of no package run the docs."""

EXAMPLES_MEASURED = 5

os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when huggingface_hub is first imported
os.environ["OMP_NUM_THREADS"] = "1"  # read once, when torch is first imported, here and in children

if platform.machine() in ("x86_64", "AMD64"):  # elsewhere PyTorch may come without oneDNN
    os.environ["LACONIC_PRODUCTS"] = "onednn"  # results do not depend on what was measured on this machine

if "PYTEST_XDIST_WORKER" in os.environ:  # coverage begins after this line, and would watch the whole import
    import_module("transformers.modeling_utils")


def pytest_xdist_auto_num_workers() -> int:
    """What `--numprocesses=auto` stands for: the cores that may be used. pytest-xdist itself would count all of the machine."""
    return available_cores()


class Watch:
    """Coverage after the collection: on only in fixtures and bodies of tests of pure packages, not in pytest's own work."""

    def __init__(self, controller: Any) -> None:
        """In a worker of pytest-xdist, pytest-cov has started coverage twice: before it knew that it was one, and after."""
        self.controller, self.depth = controller, 0
        controller.pause()
        while (earlier := import_module("coverage").Coverage.current()) is not None:
            earlier.stop()

    @contextmanager
    def over(self, node: pytest.Item | pytest.Collector) -> Generator[None, None, None]:
        if node.path.relative_to(ROOT).parent.name in UNMEASURED:
            yield
            return
        if self.depth == 0:
            self.controller.resume()
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1
            if self.depth == 0:
                self.controller.pause()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, request: pytest.FixtureRequest) -> Generator[None, object, object]:
        with self.over(request.node):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        made_up = getattr(getattr(item, "obj", None), "hypothesis", None)
        with self.over(item), self.first_examples_of(made_up) if made_up else nullcontext():
            return (yield)

    @contextmanager
    def first_examples_of(self, made_up: Any) -> Generator[None, None, None]:
        """While open, a test over made-up examples ends the coverage after the first of them."""
        test, calls = made_up.inner_test, itertools.count(1)

        @wraps(test)
        def counted(*arguments: object, **options: object) -> object:
            if next(calls) == EXAMPLES_MEASURED + 1:
                self.controller.pause()
            return test(*arguments, **options)

        made_up.inner_test = counted
        try:
            yield
        finally:
            made_up.inner_test = test


def pytest_collection_finish(session: pytest.Session) -> None:
    """Coverage pauses from here on, and the thousands of collected tests are no garbage to look through."""
    gc.freeze()
    plugin = session.config.pluginmanager.getplugin("_cov")
    if plugin is not None and plugin.cov_controller is not None:
        session.config.pluginmanager.register(Watch(plugin.cov_controller))


@pytest.fixture(autouse=True)
def one_torch_thread() -> None:
    """Sums come out the same on every machine; a test that never imported torch does not pay for it."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_traffic_in_the_repository() -> Iterator[None]:
    """A store of traffic and its list of forgotten requests lie by default in the folder in which a program runs, so a test that
    uses either runs in a folder of its own."""
    folder = ROOT / TRAFFIC_FOLDER
    was_there = folder.exists()
    yield
    assert was_there or not folder.exists(), f"left {folder}: change into another folder before a store is opened"


@pytest.fixture
def shared_data() -> Path:
    """The folder of real problem files beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("shared/data is absent")
    return folder


@pytest.fixture
def laconic(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Run a command in an empty folder; gives back exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["laconic", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            app.main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return call
