"""Export of a program's own traces, for programs that do not set OpenTelemetry up themselves."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def export_traces(service: str, instance_id: str = "") -> Iterator[bool]:
    """Export the traces of this program within a `with` block, as the standard OTEL_* variables ask for it.

        with export_traces("billing"):
            agent.run()

    Calls of the library, handlers, and spans that the program makes by OpenTelemetry are exported; what is left is sent at the end. A
    program that has set OpenTelemetry up keeps its own set-up. It needs weft's extra `telemetry`.

    Args:
        service: the name of the program, where OTEL_SERVICE_NAME has none.
        instance_id: unique among its processes. Default: the host's name and the process id.

    Yields:
        Whether they are exported. If the environment asks for export that cannot be, a line of the log says why.
    """
    # Not loaded by programs that do not ask for it.
    from weft.rpc.telemetry.providers import set_up_traces, shut_down

    export = set_up_traces(service, instance_id or f"{socket.gethostname()}:{os.getpid()}")
    try:
        yield export is not None
    finally:
        shut_down(export)
