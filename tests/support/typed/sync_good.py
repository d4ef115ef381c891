"""Right uses of `weft.client.sync`."""

from __future__ import annotations

from typing import assert_type

from probe.v1 import probe_pb2, probe_pb2_grpc
from weft.client import Every, Finished, Schedule, methods
from weft.client.sync import SyncTaskHandle, connect


def submissions() -> None:
    probe = methods(probe_pb2_grpc.ProbeServiceStub)
    with connect("127.0.0.1:7700") as mesh:
        handle = mesh.tasks.submit(probe.Echo, probe_pb2.Payload(data=b"x"), priority=7)
        assert_type(handle, SyncTaskHandle[probe_pb2.Payload])
        assert_type(handle.result(timeout_s=5), probe_pb2.Payload)
        for done in mesh.tasks.run_many(probe.Call, [probe_pb2.ProbeRequest()]):
            assert_type(done, Finished[probe_pb2.ProbeReply])
        for each in mesh.tasks.submit_many(probe.Echo, iter([probe_pb2.Payload()])):
            assert_type(each.result(), probe_pb2.Payload)
        stub = probe_pb2_grpc.ProbeServiceStub(mesh.channel())
        assert_type(stub.Call(probe_pb2.ProbeRequest(text="a"), timeout=5), probe_pb2.ProbeReply)
        assert_type(mesh.schedules.create("s", probe.Echo, probe_pb2.Payload(), Every(5)), Schedule)
        for schedule in mesh.schedules.list():
            assert_type(schedule, Schedule)
        for agent in mesh.fleet.agents():
            print(agent.id, mesh.tasks.wait([handle, "id"]))
