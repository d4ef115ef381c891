"""An agent that hosts the mirror service: `weft agent tests.support.mirror_agent:agent`."""

from __future__ import annotations

from mirror.v1 import mirror_pb2_grpc
from tests.support import deep
from tests.support.mirror import Mirror
from weft.agent import Agent

deep.lift()
agent = Agent()
agent.add_servicer(mirror_pb2_grpc.add_MirrorServiceServicer_to_server, Mirror())

isolated = Agent()
isolated.add_servicer(mirror_pb2_grpc.add_MirrorServiceServicer_to_server, Mirror(), isolate=True)
