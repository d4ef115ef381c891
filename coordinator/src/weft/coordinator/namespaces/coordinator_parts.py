"""What stands once in a coordinator, for all its meshes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from weft.coordinator.audit.audited_calls import AuditedCalls
from weft.coordinator.identity.identity import Identity
from weft.coordinator.settings import CoordinatorSettings
from weft.rpc.network.exposure import Exposure
from weft.rpc.security.process_tls import ProcessTls
from weft.rpc.telemetry.span_tracer import SpanTracer


class CoordinatorParts(NamedTuple):
    """These parts."""

    settings: CoordinatorSettings
    coordinator_id: str
    tls: ProcessTls
    identity: Identity
    # None: no traces are exported.
    tracer: SpanTracer | None
    exposure: Exposure
    audited: AuditedCalls
    # Where it serves; empty before the port is open.
    address: Callable[[], str]
