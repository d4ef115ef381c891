"""Fixtures for pytest, which finds this module by an entry point. It imports weft only when a fixture is used.

It is a top-level module beside the namespace `weft`, because pytest rewrites the assertions of a plugin's top-level
modules. Without a top-level module, pytest would take the folders below for modules, with wrong names.

@pytest.fixture
def weft_agents():
return [agent]

async def test_it(weft_mesh): ...       # with pytest-asyncio or anyio
def test_it(weft_sync_mesh): ...        # without asyncio
"""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from weft.agent import Agent
    from weft.testing.local_mesh import LocalMesh
    from weft.testing.sync_local_mesh import SyncLocalMesh


@pytest.fixture
def weft_agents() -> Sequence[Agent]:
    """The agents of `weft_mesh` and `weft_sync_mesh`: define a fixture of this name in your tests or conftest.py."""
    return ()


@pytest.fixture
def weft_mesh_options() -> Mapping[str, Any]:
    """Keyword arguments of `weft.testing.mesh_of` for both fixtures, such as {"skip_idle_time": False}. Define it like
    that."""
    return {}


@pytest.fixture
def weft_mesh(request: pytest.FixtureRequest) -> LocalMesh:
    """A mesh of `weft_agents` in the test's own event loop: see `weft.testing.mesh_of`."""
    plugin = "anyio" if "anyio_backend" in request.fixturenames else "asyncio"
    if plugin == "asyncio" and not request.config.pluginmanager.hasplugin("asyncio"):
        pytest.fail(
            "weft_mesh needs an event loop: install pytest-asyncio, mark the test with @pytest.mark.anyio, or use"
            " weft_sync_mesh",
            pytrace=False,
        )
    mesh: LocalMesh = request.getfixturevalue(f"_weft_mesh_of_{plugin}")
    return mesh


@pytest.fixture
def weft_sync_mesh(
    weft_agents: Sequence[Agent], weft_mesh_options: Mapping[str, Any]
) -> Iterator[SyncLocalMesh]:
    """A mesh of `weft_agents` for a test without asyncio: see `weft.testing.sync_mesh_of`."""
    from weft.testing.sync_local_mesh import sync_mesh_of

    with sync_mesh_of(*weft_agents, **weft_mesh_options) as mesh:
        yield mesh


async def _mesh(
    weft_agents: Sequence[Agent], weft_mesh_options: Mapping[str, Any]
) -> AsyncIterator[LocalMesh]:
    from weft.testing.local_mesh import mesh_of

    async with mesh_of(*weft_agents, **weft_mesh_options) as mesh:
        yield mesh


_weft_mesh_of_anyio = pytest.fixture(name="_weft_mesh_of_anyio")(_mesh)

if importlib.util.find_spec("pytest_asyncio") is not None:
    import pytest_asyncio

    _weft_mesh_of_asyncio = pytest_asyncio.fixture(name="_weft_mesh_of_asyncio")(_mesh)
