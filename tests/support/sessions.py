"""Sessions of agents at a coordinator, and what a store says of an agent, without connections."""

from __future__ import annotations

from collections.abc import Iterable

from weft.coordinator.dispatch.session_index import SessionIndex
from weft.coordinator.fleet.agent_view import described
from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.sessions.hello import describe
from weft.coordinator.store.records import AgentRecord, Owner
from weft.v1 import fleet_pb2, session_pb2

A, B = "acme.v1.Analyst/Analyze", "acme.v1.Analyst/Summarize"


def session(
    name: str, epoch: int = 1, methods: Iterable[str] = (A,), *, slots: int = 4, gpu: bool = False
) -> AgentSession:
    """An agent's session, with its contract accepted."""
    hello = session_pb2.Hello(
        agent_id=name,
        slots=slots,
        labels={"gpu": "yes"} if gpu else {},
        methods=[fleet_pb2.HostedMethod(name=method, slot_cost=1) for method in methods],
        contract_hash=f"contract of {name}",
    )
    made = AgentSession(hello, Owner(name, epoch), 0.0)
    made.accepted = True
    return made


def index_of(*sessions: AgentSession) -> SessionIndex:
    index = SessionIndex()
    for each in sessions:
        index.changed(each)
    return index


def record(
    of: AgentSession, *, shown: bool = False, connected: bool = True, left: bool = False
) -> AgentRecord:
    """The store's record of a session's agent; `shown`: with the view that another coordinator shares."""
    view = described(of).SerializeToString() if shown else b""
    description = describe(of.hello).SerializeToString()
    owner, desired = of.owner, fleet_pb2.DESIRED_STATE_ACTIVE
    return AgentRecord(
        owner.agent_id, "i", owner.epoch, description, connected, desired, left=left, view=view
    )
