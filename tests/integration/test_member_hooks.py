"""Functions of an agent for its connection and for messages, in the test's own process."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from pydantic import BaseModel

from probe.v1.probe_pb2 import Payload, ProbeRequest
from weft.agent import Agent, Connected, Disconnected, HostingError
from weft.client import CommandOutcome
from weft.rpc.errors import InvalidArgument, TooLarge
from weft.testing import mesh_of

T = 20.0


class Order(BaseModel):
    number: int


def hearing(agent_id: str, **labels: str) -> tuple[Agent, asyncio.Queue[Any]]:
    """An agent that keeps what it hears."""
    agent, heard = Agent(agent_id, slots=1, labels=labels), asyncio.Queue[Any]()
    loop = asyncio.get_running_loop()

    @agent.method("acme.v1.Analyst/Analyze")
    async def analyze(request: dict[str, Any]) -> dict[str, Any]:
        return request

    @agent.on_message
    async def probe(message: ProbeRequest) -> None:
        if message.raise_text:
            raise RuntimeError(message.raise_text)
        await heard.put(message.text)

    @agent.on_message
    def in_a_thread(message: Payload) -> None:
        assert threading.current_thread() is not threading.main_thread()
        loop.call_soon_threadsafe(heard.put_nowait, message.data)

    @agent.on_connect
    async def connected(session: Connected) -> None:
        await heard.put(("connected", session.epoch > 0))

    @agent.on_disconnect
    async def disconnected(why: Disconnected) -> None:
        await heard.put(("disconnected", why.message))

    return agent, heard


def reached(outcomes: Any) -> dict[str, str]:
    found: list[CommandOutcome[None]] = list(outcomes)
    return {each.agent_id: each.error.reason_name if each.error else "" for each in found}


async def next_of(heard: asyncio.Queue[Any]) -> Any:
    return await asyncio.wait_for(heard.get(), T)


async def test_messages_and_connections() -> None:
    (one, heard_one), (two, heard_two) = hearing("a1", zone="eu"), hearing("a2", zone="us")
    deaf = Agent("a3", slots=1)
    deaf.method("acme.v1.Analyst/Render")(_render)

    orders = asyncio.Queue[Any]()

    @deaf.on_message
    async def order(message: Order) -> None:
        await orders.put(message.number)

    async with mesh_of(one, two, deaf) as mesh:
        assert await next_of(heard_one) == ("connected", True)
        assert await next_of(heard_two) == ("connected", True)
        assert reached(await mesh.broadcast(ProbeRequest(text="all"))) == {"a1": "", "a2": ""}
        assert [await next_of(each) for each in (heard_one, heard_two)] == ["all", "all"]
        assert reached(await mesh.broadcast(ProbeRequest(text="eu"), labels={"zone": "eu"})) == {"a1": ""}
        assert reached(await mesh.broadcast(Payload(data=b"x"), agent_ids=["a2", "nobody"])) == {
            "a2": "",
            "nobody": "AGENT_NOT_FOUND",
        }
        assert await next_of(heard_two) == b"x"
        # In order, also behind one that raises.
        assert await next_of(heard_one) == "eu"
        await mesh.broadcast(ProbeRequest(raise_text="broken"))
        for number in range(50):
            await mesh.broadcast(ProbeRequest(text=str(number)), agent_ids=["a1"])
        assert [await next_of(heard_one) for _ in range(50)] == [str(number) for number in range(50)]
        # A dict, and a model that a dict must fit.
        assert reached(await mesh.broadcast({"number": 7})) == {"a3": ""}
        assert await next_of(orders) == 7
        assert reached(await mesh.broadcast({"number": "no"})) == {"a3": "PAYLOAD_MALFORMED"}
        with pytest.raises(TooLarge):
            await mesh.broadcast(Payload(data=bytes(300_000)))
        with pytest.raises(InvalidArgument):
            [each async for each in mesh.fleet.select().tell(Payload())]
        assert heard_two.empty()
        # As calls, to those with a label.
        outcomes = mesh.fleet.call_all(
            "acme.v1.Analyst/Analyze", b"", labels={"zone": "us"}, agent_ids=["a1", "a2"]
        )
        assert [each.agent_id async for each in outcomes] == ["a2"]
        # Another Hello, as a sidecar says when its app has changed.
        assert one._runtime is not None
        one._runtime.update_methods()
        what, why = await next_of(heard_one)
        assert (what, why) == ("disconnected", "the hosted methods have changed")
        assert await next_of(heard_one) == ("connected", True)


async def _render(request: dict[str, Any]) -> dict[str, Any]:
    return request


def test_functions_that_do_not_fit() -> None:
    agent = Agent("a1")

    async def two(message: ProbeRequest, more: int) -> None: ...
    async def plain(message: int) -> None: ...
    async def bare(message) -> None: ...  # type: ignore[no-untyped-def]
    async def yields(message: ProbeRequest) -> Any:
        yield

    for function in (two, plain, bare, yields):
        with pytest.raises(HostingError, match="on_message"):
            agent.on_message(function)
    with pytest.raises(HostingError, match="on_connect"):
        agent.on_connect(two)
