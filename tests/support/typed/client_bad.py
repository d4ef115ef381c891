"""Wrong uses of `weft.client`."""

from __future__ import annotations

from probe.v1 import probe_pb2, probe_pb2_grpc
from weft.client import connect, methods

probe = methods(probe_pb2_grpc.ProbeServiceStub)


async def wrong() -> None:
    async with connect() as mesh:
        await mesh.tasks.submit(probe.Eco, probe_pb2.Payload())  # wrong
        await mesh.tasks.submit(probe.Echo, probe_pb2.ProbeRequest())  # wrong
        await mesh.tasks.submit(probe.Echo, b"")  # wrong
        await mesh.tasks.submit(probe.Chat, probe_pb2.ProbeRequest())  # wrong
        await mesh.tasks.submit(probe.Echo, probe_pb2.Payload(), prioritty=3)  # wrong
        handle = await mesh.tasks.submit(probe.Echo, probe_pb2.Payload())
        print((await handle.result()).text)  # wrong
        print(handle.result().data)  # wrong
        mesh.tasks.run_many(probe.Echo, [probe_pb2.ProbeRequest()])  # wrong
        async for done in mesh.tasks.run_many(probe.Echo, [probe_pb2.Payload()]):
            print(done.result().text)  # wrong
        number: int = await mesh.tasks.handle(probe.Call, handle.id).result()  # wrong
        print(number, await mesh.tasks.get(7))  # wrong
