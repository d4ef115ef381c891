"""An agent whose handlers call the probe service through the agent's own mesh: durably and directly, also from a process of its own.

`weft agent tests.support.child_calls:agent` hosts `test.v1.Children/...`; each answers `{"durable": …, "direct": …}`.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "gen"))

from probe.v1 import probe_pb2, probe_pb2_grpc
from weft.agent import Agent, current_task

agent = Agent()


@agent.method("test.v1.Children/Async")
async def call_async(request: dict) -> dict:
    mesh, found = current_task().mesh, {}
    for direct in (False, True):
        stub = probe_pb2_grpc.ProbeServiceStub(mesh.channel(direct=direct))
        reply = await stub.Echo(probe_pb2.Payload(data=b"child"), timeout=20)
        found["direct" if direct else "durable"] = reply.data.decode()
    return found


@agent.method("test.v1.Children/Isolated", isolate=True)
def call_isolated(request: dict) -> dict:
    mesh, found = current_task().sync_mesh, {}
    for direct in (False, True):
        stub = probe_pb2_grpc.ProbeServiceStub(mesh.channel(direct=direct))
        reply = stub.Echo(probe_pb2.Payload(data=b"child"), timeout=20)
        found["direct" if direct else "durable"] = reply.data.decode()
    return found


if __name__ == "__main__":
    agent.run()
