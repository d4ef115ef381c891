"""Fixtures of the store tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.store.factories import FACTORIES
from tests.store.support import Harness, StoreFactory


@pytest.fixture(params=sorted(FACTORIES))
async def store_factory(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreFactory]:
    """Opens stores of one kind; each kind runs the whole suite."""
    factory = FACTORIES[request.param](tmp_path)
    yield factory
    await factory.close()


@pytest.fixture
async def h(store_factory: StoreFactory) -> Harness:
    """An open store with nothing in it."""
    return await store_factory.open()
