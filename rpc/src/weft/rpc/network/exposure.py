"""Ports that other machines can reach: each needs TLS and a check of its callers, unless the process was told to do without."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from weft.rpc.network.agent_ports import stays_here
from weft.rpc.process.logs import get_logger

_log = get_logger(__name__)

# An insecure port is mentioned so often.
REMIND_S = 3600.0


class ExposedPort(Exception):
    """A port would be open to other machines without protection; the message says what to do."""


class Port(NamedTuple):
    """A port that a process is about to open.

    Attributes:
        name: for messages, such as "the coordinator's port".
        address: "host:port", or "unix:path".
        tls: it has a certificate.
        callers: its callers are checked, by tokens or certificates. None: nobody checks those of such a port, and TLS is enough.
        ways: how it gets what it lacks, and how it stays on this machine; for messages.
    """

    name: str
    address: str
    tls: bool
    callers: bool | None
    ways: str

    @property
    def lacks(self) -> str:
        """What it has to have and does not; empty: nothing."""
        if stays_here(self.address):
            return ""
        missing = ["TLS"] * (not self.tls) + ["a check of its callers"] * (self.callers is False)
        return " and ".join(missing)


class Exposure:
    """The insecure ports of one process. Belongs to the event loop on which ports are opened.

    Args:
        allowed: they may be opened all the same.
    """

    def __init__(self, *, allowed: bool) -> None:
        self._allowed = allowed
        self._ports: list[Port] = []
        self._timer: asyncio.TimerHandle | None = None

    def check(self, port: Port) -> None:
        """Let a port be opened.

        Raises:
            ExposedPort: it may not.
        """
        if not (lacks := port.lacks):
            return
        if not self._allowed:
            raise ExposedPort(
                f"{port.name} {port.address} would be open to other machines without {lacks}. {port.ways}."
                " Or allow it with --insecure (WEFT_INSECURE=true), if you trust everybody who reaches it"
            )
        self._ports.append(port)
        if self._timer is not None:
            self._timer.cancel()
        self._tell()

    @property
    def insecure(self) -> list[str]:
        """What is insecure: one line for each port."""
        return [
            f"{port.name} {port.address} is open to other machines without {port.lacks}"
            for port in self._ports
        ]

    def close(self) -> None:
        """The ports are closed."""
        if self._timer is not None:
            self._timer.cancel()
        self._ports.clear()

    def _tell(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(REMIND_S, self._tell)
        _log.warning(
            "port.insecure", ports=self.insecure, effect="--insecure allows it", do=self._ports[0].ways
        )
