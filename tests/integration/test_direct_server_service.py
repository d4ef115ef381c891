"""What an agent's own port serves beside the hosted methods: Execute, DescribeAgent, health, reflection; and the port itself."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.rpc import code_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from probe.v1 import probe_pb2
from tests.support.command import weft
from tests.support.direct import probe_agent, serving, used_slots
from tests.support.ledger import Ledger
from tests.support.processes import until
from weft.agent import Agent, ListenError
from weft.agent.direct.execute_service import MAX_CALLS
from weft.rpc.calls.pacing import FEW_ITEMS, LEAST_GAP_S
from weft.rpc.errors import error_info
from weft.v1 import agent_pb2, agent_pb2_grpc, fleet_pb2, task_pb2

REQUEST = probe_pb2.ProbeRequest
SERVICE = "probe.v1.ProbeService"


@pytest.fixture
def agent() -> Agent:
    return probe_agent(isolated=True, slots=4, labels={"zone": "a"})


@pytest.fixture
async def channel(agent: Agent) -> AsyncIterator[grpc.aio.Channel]:
    async with serving(agent) as made:
        yield made


class Stream:
    """One Execute stream, as a caller has it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.call = agent_pb2_grpc.AgentServiceStub(channel).Execute(timeout=50)
        self.results: dict[int, task_pb2.Outcome] = {}
        self.loads: list[agent_pb2.LoadReport] = []
        self.messages = 0

    async def send(self, *calls: agent_pb2.DirectCall, cancels: tuple[int, ...] = ()) -> None:
        await self.call.write(agent_pb2.ExecuteRequest(calls=calls, cancels=cancels))

    async def until(self, *ids: int) -> None:
        """Read until these are answered."""
        while not set(ids) <= set(self.results):
            await self.read()

    async def read(self) -> None:
        message = await self.call.read()
        assert message is not grpc.aio.EOF, await self.call.details()
        self.messages += 1
        for result in message.results:
            assert result.id not in self.results, "answered twice"
            self.results[result.id] = result.outcome
        if message.HasField("load"):
            self.loads.append(message.load)

    def reason(self, call_id: int) -> str:
        info = error_info(self.results[call_id].status)
        return "" if info is None else info.reason


@pytest.fixture
async def stream(channel: grpc.aio.Channel) -> AsyncIterator[Stream]:
    made = Stream(channel)
    yield made
    made.call.cancel()


def direct(
    call_id: int, method: str = "Call", *, time_left_ms: int = 0, **fields: Any
) -> agent_pb2.DirectCall:
    context = task_pb2.CallContext(metadata=[task_pb2.Metadatum(key="x-key", value=b"v")])
    payload = REQUEST(text=str(call_id), **fields).SerializeToString()
    return agent_pb2.DirectCall(
        id=call_id, method=f"{SERVICE}/{method}", payload=payload, context=context, time_left_ms=time_left_ms
    )


@pytest.mark.parametrize("method", ["Call", "CallSync", "CallIsolated"])
async def test_execute_answers_as_the_handler_does(stream, method):
    await stream.send(direct(7, method, time_left_ms=30_000))
    await stream.until(7)
    outcome = stream.results[7]
    reply = probe_pb2.ProbeReply.FromString(outcome.response)
    assert (reply.text, reply.agent_id, reply.attempt) == ("7", "d1", 1)
    assert "x-key=v" in list(reply.metadata)
    assert 0 < reply.time_remaining_s <= 30
    assert ("probe-text", b"7") in [(each.key, each.value) for each in outcome.trailers]
    failing = direct(8, method, fail_code=code_pb2.ABORTED, fail_message="no", fail_reason="WHY")
    await stream.send(failing, direct(9, method, raise_text="secret"))
    await stream.until(8, 9)
    assert (stream.results[8].status.code, stream.reason(8)) == (code_pb2.ABORTED, "WHY")
    assert stream.reason(9) == "HANDLER_FAILED"
    assert "secret" not in str(stream.results[9])


async def test_execute_leaves_a_gap_between_messages_while_many_calls_run():
    count = 300
    async with serving(probe_agent(slots=count)) as channel:
        stream = Stream(channel)
        began_s = time.monotonic()
        await stream.send(*[direct(each, sleep_s=each * 0.0005) for each in range(1, count + 1)])
        await stream.until(*range(1, count + 1))
        # The first and the last few go at once; a slow machine is allowed more messages.
        assert stream.messages <= 2 * FEW_ITEMS + 3 + (time.monotonic() - began_s) / LEAST_GAP_S
        stream.call.cancel()


async def test_execute_batches_and_tells_the_load(stream):
    await stream.read()
    assert (stream.loads[-1].used_slots, stream.loads[-1].slots) == (0, 4)
    ids = range(1, 2001)
    # Four slots: some wait for one, most are refused at once, each by itself.
    await stream.send(*[direct(each) for each in ids])
    await stream.until(*ids)
    codes = [stream.results[each].status.code for each in ids]
    assert codes.count(0) >= 4
    refused = [each for each in ids if stream.results[each].status.code]
    assert {stream.reason(each) for each in refused} == {"OVERLOADED"}
    # Results leave together: those that waited for a slot end one by one, the others in a few messages.
    assert stream.messages < len(ids) / 4
    while stream.loads[-1].used_slots:
        await stream.read()


async def test_execute_refuses_what_it_cannot_call(stream):
    unknown = agent_pb2.DirectCall(id=1, method="acme.v1.Nothing/Here")
    garbage = agent_pb2.DirectCall(id=3, method=f"{SERVICE}/Call", payload=b"\xff")
    await stream.send(unknown, direct(2, "Stream"), garbage)
    await stream.until(1, 2, 3)
    assert [stream.reason(each) for each in (1, 2, 3)] == [
        "METHOD_NOT_HOSTED",
        "METHOD_NOT_HOSTED",
        "PAYLOAD_MALFORMED",
    ]


@pytest.mark.parametrize("method", ["Call", "CallSync", "CallIsolated"])
async def test_execute_cancels_and_keeps_time(agent, stream, method, tmp_path: Path):
    ledger = Ledger(tmp_path / "ledger")
    await stream.send(direct(1, method, sleep_s=60, ledger=ledger.path))
    await ledger.until("start", "1")
    await stream.send(direct(2, method, sleep_s=60, time_left_ms=300), cancels=(1, 99))
    await stream.until(1, 2)
    assert (stream.results[1].status.code, stream.results[2].status.code) == (
        code_pb2.CANCELLED,
        code_pb2.DEADLINE_EXCEEDED,
    )
    await ledger.until("cancelled", "1")
    await until(lambda: used_slots(agent) == 0, "the slots are free")
    await stream.send(direct(1, method))
    stream.results.clear()
    await stream.until(1)
    assert stream.results[1].status.code == 0


async def test_execute_finishes_after_a_half_close(stream):
    await stream.send(direct(1, sleep_s=0.5), direct(2, "CallSync", sleep_s=0.3))
    await stream.call.done_writing()
    await stream.until(1, 2)
    while await stream.call.read() is not grpc.aio.EOF:
        pass
    assert await stream.call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("method", ["Call", "CallSync"])
async def test_execute_that_is_left_cancels_its_calls(agent, stream, method, tmp_path: Path):
    ledger = Ledger(tmp_path / "ledger")
    await stream.send(*[direct(each, method, sleep_s=60, ledger=ledger.path) for each in (1, 2)])
    await ledger.until("start", count=2)
    stream.call.cancel()
    await ledger.until("cancelled", count=2)
    await until(lambda: used_slots(agent) == 0, "the slots are free")


@pytest.mark.parametrize(
    ("calls", "names"),
    [
        ([direct(1, sleep_s=30), direct(1)], "call id 1"),
        ([agent_pb2.DirectCall(id=each) for each in range(MAX_CALLS + 1)], f"{MAX_CALLS + 1} calls"),
    ],
    ids=["an id twice", "too many calls"],
)
async def test_execute_ends_when_its_rules_are_broken(agent, stream, calls, names):
    await stream.send(*calls)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        while True:
            await stream.read()
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert names in raised.value.details()
    await until(lambda: used_slots(agent) == 0, "the slots are free")


async def test_an_agent_describes_itself(agent, channel):
    stub = agent_pb2_grpc.AgentServiceStub(channel)
    seen = (await stub.DescribeAgent(agent_pb2.DescribeAgentRequest(), timeout=10)).agent
    assert (seen.id, seen.slots, seen.used_slots, seen.labels["zone"]) == ("d1", 4, 0, "a")
    assert seen.state == fleet_pb2.AGENT_STATE_ACTIVE
    assert seen.advertised_address == agent.direct_address
    assert [method.name for method in seen.methods] == list(agent.methods)
    again = (await stub.DescribeAgent(agent_pb2.DescribeAgentRequest(), timeout=10)).agent
    assert len(seen.instance_id) == 32
    assert again.instance_id == seen.instance_id


async def test_health_of_each_service(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "weft.v1.AgentService", SERVICE):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, service
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Check(health_pb2.HealthCheckRequest(service="acme.v1.Nothing"), timeout=10)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_by_its_own_protocol(channel, version):
    ask = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    questions = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="weft.v1.AgentService"),
    ]
    listed, hosted, own = [answer async for answer in ask(iter(questions), timeout=10)]
    names = [service.name for service in listed.list_services_response.service]
    assert {SERVICE, "weft.v1.AgentService", "grpc.health.v1.Health"} <= set(names)
    for answer, service in ((hosted, "ProbeService"), (own, "AgentService")):
        files = [
            FileDescriptorProto.FromString(each)
            for each in answer.file_descriptor_response.file_descriptor_proto
        ]
        assert service in [each.name for file in files for each in file.service]


# -- the port -------------------------------------------------------------------------------------------------------


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield f"127.0.0.1:{held.getsockname()[1]}"


async def test_a_port_in_use_is_said_at_the_start(taken):
    agent = probe_agent(listen=taken)
    with pytest.raises(ListenError, match=f"cannot listen on {taken}: it is in use"):
        await asyncio.wait_for(agent.serve(), 20)


@pytest.mark.slow
async def test_the_command_says_so_too(taken):
    done = await weft("agent", "tests.support.probe:agent", env={"WEFT_AGENT_LISTEN": taken})
    assert done.status == 1
    assert f"cannot listen on {taken}" in done.err


async def test_no_direct_server_when_it_is_off():
    agent = probe_agent(listen="off")
    run = asyncio.ensure_future(agent.serve())
    await until(lambda: agent._runtime is not None, "it runs")
    assert agent.direct_address == ""
    agent.stop()
    await asyncio.wait_for(run, 20)


async def test_on_a_unix_socket_and_behind_another_name(tmp_path: Path):
    agent = probe_agent(listen=f"unix:{tmp_path}/direct.sock")
    async with serving(agent) as channel:
        assert agent.direct_address == f"unix:{tmp_path}/direct.sock"
        stub = agent_pb2_grpc.AgentServiceStub(channel)
        await stub.DescribeAgent(agent_pb2.DescribeAgentRequest(), timeout=10)
    agent = probe_agent(listen="0.0.0.0:0", insecure=True)
    async with serving(agent):
        host, _, port = agent.direct_address.rpartition(":")
        assert (host, port != "0") == ("127.0.0.1", True)
    agent = probe_agent(advertised_address="agent.example:7800")
    run = asyncio.ensure_future(agent.serve())
    await until(lambda: agent.direct_address == "agent.example:7800", "it has that name")
    agent.stop()
    await asyncio.wait_for(run, 20)
