"""The probe service without its isolated method: an agent that starts no further process, and so starts sooner.

weft agent tests.support.plain:agent      every call takes one slot
weft agent tests.support.plain:costly     every call takes three
"""

from __future__ import annotations

from probe.v1.probe_pb2_grpc import add_ProbeServiceServicer_to_server
from tests.support.probe import ProbeService
from weft.agent import Agent


def make_agent(slot_cost: int) -> Agent:
    made = Agent()
    made.add_servicer(add_ProbeServiceServicer_to_server, ProbeService(), slot_cost=slot_cost)
    return made


agent = make_agent(1)
costly = make_agent(3)
