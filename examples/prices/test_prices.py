"""Tests of the agent: its handlers alone, and the whole in a mesh. `python -m pytest examples/prices`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from examples.prices.agent import PRICE, TOTAL, agent, load, price
from weft.agent import Agent
from weft.client import Method
from weft.testing import LocalMesh, run_handler


@pytest.fixture
def weft_agents() -> Sequence[Agent]:
    return [agent]


def asked(**fields: Any) -> Struct:
    return json_format.ParseDict(fields, Struct())


def test_a_handler_alone() -> None:
    async def known() -> dict[str, Any]:
        await load()
        return await run_handler(price, {"name": "pear"})

    assert asyncio.run(known()) == {"price": 1.5}


async def test_a_handler_that_asks_its_own_mesh(weft_mesh: LocalMesh) -> None:
    handle = await weft_mesh.tasks.submit(
        Method.of(TOTAL, Struct, Struct), asked(names=["apple", "pear", "pear"])
    )
    assert (await handle.result(timeout_s=30))["total"] == 4.0


async def test_a_price_that_is_asked_for_tomorrow(weft_mesh: LocalMesh) -> None:
    before = weft_mesh.clock.now()
    handle = await weft_mesh.tasks.submit(
        Method.of(PRICE, Struct, Struct), asked(name="apple"), delay_s=86_400
    )
    assert (await handle.result(timeout_s=30))["price"] == 1.0
    assert weft_mesh.clock.now() - before >= 86_400
