"""Fixtures for tests on real processes. A failed test shows the processes' logs."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import AsyncIterator, Generator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.mesh import MeshHarness
from tests.support.outer_environment import leave_out

_LONG_FIRST = ("tests/store/", "tests/chaos/", "tests/integration/")
_MESH = pytest.StashKey[MeshHarness]()
# As it was given to the whole run.
_STARTS = os.environ.get("WEFT_TEST_STARTS", "")


def pytest_configure() -> None:
    leave_out(os.environ)
    # A developer's weft.toml or .env in the checkout is not for tests.
    os.environ["WEFT_CONFIG"] = "off"
    sys.dont_write_bytecode = False
    gc.disable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Short files last: in the end each worker waits for the last one."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    turns = (turn for turn, folder in enumerate(_LONG_FIRST) if item.nodeid.startswith(folder))
    return next(turns, len(_LONG_FIRST))


def pytest_collection_finish() -> None:
    """Thousands of tests live to the end: the collector of garbage need not look at them again and again."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before the fixtures of a test, also those of its module."""
    alone = all(map(item.get_closest_marker, ("slow", "real_starts")))
    os.environ["WEFT_TEST_STARTS"] = "real" if alone else _STARTS


@pytest.fixture
def own_import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test adds to the import path, as a program that is loaded in its folder does, is gone after it."""
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """A folder that a test leaves on the import path is given to all processes of later tests, whose sandboxes cannot read it."""
    result = yield
    left = [each for each in sys.meta_path if type(each).__module__ == "weft.agent.process.search_path"]
    for each in left:
        sys.meta_path.remove(each)
    assert not left, "this test loads a program: it needs the fixture own_import_path"
    return result


@pytest.fixture
async def mesh(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[MeshHarness]:
    """A harness in which nothing runs yet."""
    async with MeshHarness(tmp_path) as harness:
        request.node.stash[_MESH] = harness
        yield harness


@pytest.fixture
async def running_mesh(mesh: MeshHarness) -> MeshHarness:
    """A harness with a coordinator and one probe agent, "a1" with 8 slots, that can take calls."""
    await mesh.coordinator()
    await mesh.agent("a1", slots=8)
    await mesh.wait_serving()
    return mesh


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _module_mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshHarness]:
    async with MeshHarness(tmp_path_factory.mktemp("mesh")) as harness:
        await harness.coordinator()
        await harness.agent("a1", slots=8)
        await harness.wait_serving()
        await harness.close_channels()
        yield harness


@pytest.fixture
async def shared_mesh(
    _module_mesh: MeshHarness, request: pytest.FixtureRequest
) -> AsyncIterator[MeshHarness]:
    """The same as `running_mesh`, shared by the tests of a module, which must leave it as they found it."""
    request.node.stash[_MESH] = _module_mesh
    yield _module_mesh
    await _module_mesh.close_channels()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    harness = item.stash.get(_MESH, None)
    if report.failed and harness is not None:
        report.sections.append(("processes", harness.logs()))
    return report
