"""Tells systemd how this process is, if systemd has started it as a service of the type `notify`.

    READY=1        it does its work, or tries to
    WATCHDOG=1     its event loop runs and its store answers: without it for WatchdogSec, systemd ends the process and starts it again
    STATUS=…       a line for `systemctl status`
    RELOADING=1    a new program takes this process over, and will say READY=1: systemd must take the end for no end
    STOPPING=1     it ends

The protocol is sd_notify's: a datagram to the socket that NOTIFY_SOCKET names. Without the variable nothing is done. Sockets of systemd
(`LISTEN_FDS`) are refused: gRPC for Python opens its ports itself, so callers of an inherited socket would never be answered. See decision 0079.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, MutableMapping

from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

_SOCKET, _INTERVAL, _PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
_PASSED, _PASSED_TO = "LISTEN_FDS", "LISTEN_PID"
# How often the status is looked at, where there is no watchdog.
_LOOK_S = 10.0


class ServiceNotices:
    """What systemd is told of this process.

    Args:
        address: of systemd's socket.
        watchdog_s: systemd ends this process after so long without a notice; 0: never.
    """

    def __init__(self, address: str, watchdog_s: float = 0.0) -> None:
        # "@" stands for the zero byte of an abstract address.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog_s = watchdog_s
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._status = ""

    async def follow(
        self, status: Callable[[], str], probe: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        """Say that the process is ready, and then again and again that it lives; until cancelled.

        Args:
            status: a line for people.
            probe: asks what the process cannot work without. It lives if an answer comes, also an error; silence for a quarter of the watchdog's
                time is death.
        """
        self._tell("READY=1", *self._changed(status()))
        while True:
            # Twice in the time that it waits, as sd_watchdog_enabled(3) advises, with the time for the answer.
            await asyncio.sleep(min(_LOOK_S, self._watchdog_s / 4 or _LOOK_S))
            lives = bool(self._watchdog_s) and await self._answers(probe)
            lines = [*(["WATCHDOG=1"] if lives else []), *self._changed(status())]
            if lines:
                self._tell(*lines)

    async def _answers(self, probe: Callable[[], Awaitable[object]] | None) -> bool:
        if probe is None:
            return True
        bound = asyncio.timeout(self._watchdog_s / 4)
        try:
            async with bound:
                await probe()
        except Exception:
            # An error is an answer, too: what fails is tried again by its own rules, and a new process would mend nothing.
            return not bound.expired()
        return True

    def stopping(self) -> None:
        """Say that the process ends."""
        self._tell("STOPPING=1")

    def replaced(self) -> None:
        """Say that a new program takes this process over, and will be ready in a while."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=restarts")

    def _changed(self, status: str) -> list[str]:
        if status == self._status:
            return []
        self._status = status
        # A line break would begin another assignment.
        return ["STATUS=" + "".join(char if char.isprintable() else " " for char in status)[:256]]

    def _tell(self, *lines: str) -> None:
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            log.debug("service.not_told", error=str(error))


def passed_sockets(environ: MutableMapping[str, str] = os.environ) -> int:
    """How many open sockets systemd has passed to this process (socket activation); 0: none."""
    number = environ.get(_PASSED, "")
    own = environ.get(_PASSED_TO, "") == str(os.getpid())
    return int(number) if own and number.isdecimal() and len(number) < 6 else 0


def service_notices(environ: MutableMapping[str, str] = os.environ) -> ServiceNotices | None:
    """What the environment asks for; None: nothing. Its variables are removed: children are no services."""
    address = environ.pop(_SOCKET, "")
    interval, pid = environ.pop(_INTERVAL, ""), environ.pop(_PID, "")
    if not address.startswith(("/", "@")) or not hasattr(socket, "AF_UNIX"):
        return None
    watched = interval.isdecimal() and len(interval) < 16 and pid in {"", str(os.getpid())}
    return ServiceNotices(address, int(interval) / 1e6 if watched else 0.0)
