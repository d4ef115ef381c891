"""Sticky sessions of the probe service, for tests of durable and of direct calls."""

from __future__ import annotations

import itertools
from typing import Any

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import ProbeRequest
from weft.client import Mesh, StickySession, Task, methods

PROBE = methods(probe_pb2_grpc.ProbeServiceStub)
AGENTS = ["a1", "a2", "a3"]
SETTINGS = {"session_grace_s": 0.5, "heartbeat_interval_s": 0.3, "reconnect_grace_s": 0.5}
_number = itertools.count()


def key() -> str:
    """A new session's key."""
    return f"conversation-{next(_number)}"


def hard(name: str) -> StickySession:
    return StickySession(name, "hard")


async def ran(mesh: Mesh, session: StickySession | str, **options: Any) -> Task:
    """A task of a session, when it has ended."""
    handle = await mesh.tasks.submit(PROBE.Call, ProbeRequest(text="x"), session=session, **options)
    return await handle.ended(20)


async def session_at(mesh: Mesh, agent_id: str, *, firm: bool) -> StickySession:
    """A session that an agent has."""
    for _ in range(200):
        session = StickySession(key(), "hard" if firm else "soft")
        if (await ran(mesh, session)).agent_id == agent_id:
            return session
    raise AssertionError(f"{agent_id} gets no session")
