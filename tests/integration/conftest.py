"""Endpoints and balancers for tests of balancing; a mesh with one or two coordinators. Leaves out tests that cannot be: of a way that does not take the shape."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.endpoints import Endpoints
from tests.support.mesh import MeshHarness
from tests.support.shared_redis import two_coordinators
from tests.support.ways import Way
from weft.rpc.balancing import Balancer


@pytest.fixture
async def endpoints(tmp_path: Path) -> AsyncIterator[Endpoints]:
    """Servers for balancers, none yet."""
    made = Endpoints(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def balancers() -> AsyncIterator[Callable[..., Balancer]]:
    """Makes balancers, and closes them in the end."""
    made: list[Balancer] = []

    def make(*args: Any, **settings: Any) -> Balancer:
        made.append(Balancer(*args, **settings))
        return made[-1]

    yield make
    for balancer in made:
        await balancer.close()


@pytest_asyncio.fixture(params=["embedded", "redis"])
async def doors(
    tmp_path: Path, mesh: MeshHarness, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[MeshHarness, MeshHarness]]:
    """Two doors to one mesh: on Redis two coordinators, else the same one twice."""
    if request.param == "embedded":
        await mesh.coordinator()
        yield mesh, mesh
    else:
        async with two_coordinators(mesh, tmp_path) as both:
            yield both


@pytest_asyncio.fixture
async def pair(tmp_path: Path, mesh: MeshHarness) -> AsyncIterator[tuple[MeshHarness, MeshHarness]]:
    """Two harnesses, each with a coordinator on the same Redis."""
    async with two_coordinators(mesh, tmp_path) as both:
        yield both


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = [item for item in items if _possible(item)]


def _possible(item: pytest.Item) -> bool:
    given: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
    way, shape = given.get("way"), given.get("shape")
    return not (isinstance(way, type) and issubclass(way, Way) and shape and shape not in way.shapes)
