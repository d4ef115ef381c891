"""Wrong uses of `weft.client.sync`."""

from __future__ import annotations

from collections.abc import AsyncIterator

from probe.v1 import probe_pb2, probe_pb2_grpc
from weft.client import methods
from weft.client.sync import connect

probe = methods(probe_pb2_grpc.ProbeServiceStub)


async def requests() -> AsyncIterator[probe_pb2.Payload]:
    yield probe_pb2.Payload()


with connect() as mesh:
    mesh.tasks.submit(probe.Eco, probe_pb2.Payload())  # wrong
    mesh.tasks.submit(probe.Echo, probe_pb2.ProbeRequest())  # wrong
    print(mesh.tasks.submit(probe.Echo, probe_pb2.Payload()).result().text)  # wrong
    mesh.tasks.run_many(probe.Echo, requests())  # wrong
    mesh.tasks.wait([3])  # wrong
