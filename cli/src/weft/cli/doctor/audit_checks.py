"""Checks of the audit: whether a coordinator can write it. Operators and observers can ask."""

from __future__ import annotations

from collections.abc import Iterator

from grpc import aio

from weft.cli.doctor.diagnosis import Diagnosis, problem, warning
from weft.client import Mesh
from weft.v1 import audit_pb2
from weft.v1.audit_pb2_grpc import AuditServiceStub

_ANSWER_S = 10.0


async def asked(mesh: Mesh) -> audit_pb2.ListAuditEventsResponse:
    """What a coordinator says of its audit, as far as this caller may know. Nothing: it keeps none."""
    request = audit_pb2.ListAuditEventsRequest(page_size=1)
    try:
        response: audit_pb2.ListAuditEventsResponse = await AuditServiceStub(mesh.channel()).ListAuditEvents(
            request, timeout=_ANSWER_S
        )
    except aio.AioRpcError:
        return audit_pb2.ListAuditEventsResponse()
    return response


def findings(said: audit_pb2.ListAuditEventsResponse) -> Iterator[Diagnosis]:
    """Where the audit cannot be written, and whether events were lost."""
    for fault in said.faults:
        yield problem(
            "audit",
            f"it is not written: {fault}",
            "make room, or correct the place's path or rights: events wait, and the oldest of more than 10,000 are lost",
        )
    if said.lost:
        yield warning(
            "audit",
            f"{said.lost} of its events were lost since the coordinator began",
            "look for audit.not_written in the coordinator's log; another place may have them (docs/how-to/audit.md)",
        )
