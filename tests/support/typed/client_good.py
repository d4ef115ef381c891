"""Right uses of `weft.client`."""

from __future__ import annotations

from typing import assert_type

from probe.v1 import probe_pb2, probe_pb2_grpc
from weft.client import (
    Cron,
    Finished,
    Method,
    NotFound,
    OverlapPolicy,
    RetryLater,
    RetryPolicy,
    Schedule,
    SubmitOptions,
    TaskHandle,
    call_options,
    connect,
    methods,
)


async def submissions() -> None:
    probe = methods(probe_pb2_grpc.ProbeServiceStub)
    async with connect("127.0.0.1:7700") as mesh:
        handle = await mesh.tasks.submit(probe.Echo, probe_pb2.Payload(data=b"x"), priority=7)
        assert_type(handle, TaskHandle[probe_pb2.Payload])
        assert_type(await handle.result(timeout_s=5), probe_pb2.Payload)

        stream = await mesh.tasks.submit(probe.Stream, probe_pb2.ProbeRequest(stream_count=3))
        async for reply in stream.stream():
            assert_type(reply, probe_pb2.ProbeReply)

        requests = (probe_pb2.ProbeRequest(text=str(number)) for number in range(9))
        async for done in mesh.tasks.run_many(probe.Call, requests, retry=RetryPolicy(max_attempts=2)):
            assert_type(done, Finished[probe_pb2.ProbeReply])
            print(done.index, done.result().text)

        async for each in mesh.tasks.submit_many(
            probe.Echo, [probe_pb2.Payload()], request_id=lambda p: p.data.hex()
        ):
            assert_type(await each.result(), probe_pb2.Payload)

        assert_type(mesh.tasks.handle(probe.Call, handle.id), TaskHandle[probe_pb2.ProbeReply])
        assert_type(await (await mesh.tasks.submit("a.v1.B/C", b"")).result(), bytes)


async def a_method_by_name() -> None:
    echo = Method.of("probe.v1.ProbeService/Echo", probe_pb2.Payload, probe_pb2.Payload)
    async with connect() as mesh:
        handle = await mesh.tasks.submit(echo, probe_pb2.Payload())
        assert_type(handle, TaskHandle[probe_pb2.Payload])


async def plain_calls() -> None:
    async with connect() as mesh:
        stub = probe_pb2_grpc.ProbeServiceStub(mesh.channel())
        reply = await stub.Call(
            probe_pb2.ProbeRequest(text="a"), timeout=5, metadata=call_options(priority=9)
        )
        assert_type(reply, probe_pb2.ProbeReply)
        # A stub's own method is a method too.
        handle = await mesh.tasks.submit(stub.Call, probe_pb2.ProbeRequest(text="a"))
        assert_type(handle, TaskHandle[probe_pb2.ProbeReply])


async def schedules() -> None:
    probe = methods(probe_pb2_grpc.ProbeServiceStub)
    async with connect() as mesh:
        made = await mesh.schedules.create(
            "s", probe.Echo, probe_pb2.Payload(), Cron("0 3 * * *"), overlap=OverlapPolicy.QUEUE, priority=7
        )
        assert_type(made, Schedule)
        assert_type(await mesh.schedules.run("s"), TaskHandle[bytes])
        async for each in mesh.schedules.list():
            assert_type(each, Schedule)


async def the_fleet() -> None:
    async with connect() as mesh:
        for agent in await mesh.fleet.agents():
            print(agent.id, agent.state.name)


async def errors_and_options(options: SubmitOptions) -> None:
    async with connect() as mesh:
        try:
            await mesh.tasks.submit("a.v1.B/C", b"", **options)
        except NotFound as error:
            print(error.reason_name, error.field)
        except RetryLater as error:
            print(error.retry_after_s)
