"""The probe service with dear methods: `Call` and its like cost three slots, the isolated one a single one."""

from __future__ import annotations

from probe.v1.probe_pb2_grpc import add_ProbeServiceServicer_to_server
from tests.support.probe import ProbeService
from weft.agent import Agent

agent = Agent()
agent.add_servicer(add_ProbeServiceServicer_to_server, ProbeService(), slot_cost=3)
