"""Leaves out what cannot be: a call of a shape that a way does not take, as a task takes one request."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.ways import Way


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = [item for item in items if _possible(item)]


def _possible(item: pytest.Item) -> bool:
    given: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
    way, shape = given.get("way"), given.get("shape")
    return not (isinstance(way, type) and issubclass(way, Way) and shape and shape not in way.shapes)
