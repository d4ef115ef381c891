"""Refuses sockets that systemd has opened for a unit (socket activation): gRPC for Python can only open ports itself."""

from __future__ import annotations

from weft.cli.terminal.failure import Failure
from weft.rpc.process.service_notices import passed_sockets


def refuse_passed_sockets() -> None:
    """Check that this process was given no open sockets.

    Raises:
        Failure: it was: callers that connect there would wait for an answer for ever.
    """
    if number := passed_sockets():
        raise Failure(
            f"systemd has passed {number} open socket{'' if number == 1 else 's'} to this process, and weft cannot serve there: gRPC opens its ports itself",
            "disable the .socket unit, or put systemd-socket-proxyd between it and weft",
            status=2,
        )
