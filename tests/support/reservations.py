"""Reservations at the arbiter: requests, and a race of callers while an arbiter and the coordinator are killed."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.support.mesh import MeshHarness
from weft.client import Mesh, connect, methods
from weft.rpc.errors import FailedPrecondition
from weft.rpc.times import timestamp
from weft.services.arbiter.v1 import arbiter_pb2, arbiter_pb2_grpc

_RESERVING = methods(arbiter_pb2_grpc.ArbiterServiceStub).Reserve
_LISTING = methods(arbiter_pb2_grpc.ArbiterServiceStub).ListReservations


def wanted(
    resource: str, holder: str, amount: float = 1, after_s: float = 0, lasts_s: int = 600, **more: Any
) -> Any:
    """A request for a reservation."""
    request = arbiter_pb2.ReserveRequest(
        resource=resource, holder=holder, amount=amount, duration={"seconds": lasts_s}, **more
    )
    if after_s:
        request.start_time.CopyFrom(timestamp(time.time() + after_s))
    return request


async def race_for(resource: str, amount: int, callers: int, mesh: MeshHarness, dies: str) -> None:
    """That many callers race for an amount, over all arbiters; one of these and the coordinator die by kill -9 on the way. As many as can
    have it get it, and the book says who.

    Args:
        dies: the agent.
    """
    start = timestamp(time.time() + 50_000)

    async def reserve(client: Mesh, number: int) -> str:
        request = wanted(resource, f"h{number}", reservation_id=f"race-{number}", start_time=start)
        try:
            done = await client.tasks.call(_RESERVING, request, timeout_s=60)
        except FailedPrecondition:
            return ""
        return done.reservation.id

    async with connect(mesh.target) as client:
        racing = [asyncio.ensure_future(reserve(client, number)) for number in range(callers)]
        await asyncio.wait(racing, return_when=asyncio.FIRST_COMPLETED)
        await mesh.agents[dies].kill()
        await mesh.restart_coordinator()
        won = sorted(filter(None, await asyncio.gather(*racing)))
        assert len(won) == amount
        request = arbiter_pb2.ListReservationsRequest(resource=resource)
        listed = await client.tasks.call(_LISTING, request, timeout_s=60)
        assert sorted(each.id for each in listed.reservations if each.id.startswith("race-")) == won
