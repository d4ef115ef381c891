"""The events that a coordinator lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from weft.cli.process.loading import loading

if TYPE_CHECKING:
    from weft.client import Mesh
    from weft.coordinator.audit.audit_event import Record

_TIMEOUT_S = 30.0
_PAGE = 500


async def listed(mesh: Mesh, since: datetime | None = None) -> tuple[list[Record], Sequence[str]]:
    """All events since a time, oldest first, and why the coordinator cannot write some now."""
    from weft.coordinator.audit.audit_event import record_from
    from weft.v1 import audit_pb2
    from weft.v1.audit_pb2_grpc import AuditServiceStub

    stub = AuditServiceStub(mesh.channel())
    request = audit_pb2.ListAuditEventsRequest(page_size=_PAGE)
    if since is not None:
        request.since.FromDatetime(since)
    found: list[Record] = []
    while True:
        page = await stub.ListAuditEvents(request, timeout=_TIMEOUT_S)
        found.extend(map(record_from, page.events))
        if not page.next_page_token:
            return found, page.faults
        request.page_token = page.next_page_token


def running(target: str, work: Callable[[Mesh], Any]) -> Any:
    """What a command does with a mesh."""
    with loading():
        from weft.cli.process.command_runner import run

    return run(target, work)
