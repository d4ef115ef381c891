"""Refuses to run if a library has replaced Python's threads and sockets: asyncio and gRPC would hang without an
error."""

from __future__ import annotations

import sys

from weft.agent.errors import LoadError


def refuse_patched() -> None:
    """
    Raises:
        LoadError: gevent's or eventlet's monkey patching is in force.
    """
    for library, module, record in (
        ("gevent", "gevent.monkey", "saved"),
        ("eventlet", "eventlet.patcher", "already_patched"),
    ):
        if getattr(sys.modules.get(module), record, None):
            raise LoadError(
                f"{library} has replaced Python's threads and sockets (monkey patching), and weft's agents cannot run so: "
                f"leave the patching out. Sync handlers run in threads of their own, without {library}; a handler that "
                "needs it can start a process for that"
            )
