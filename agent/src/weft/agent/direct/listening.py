"""The listen address of an agent's direct server, and its advertised address."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from weft.agent.errors import ListenError
from weft.rpc.network.ports import PortRefused
from weft.rpc.network.targets import is_source
from weft.rpc.process.logs import get_logger
from weft.rpc.registries.resolved_targets import resolved

_log = get_logger("weft.agent")

OFF = "off"
LOOPBACK = "127.0.0.1"
# A server on one of these listens on every address of the machine. Callers cannot dial these names.
_ANY = ("0.0.0.0", "[::]", "[::0]", "*")
_LOOK_UP_TIMEOUT_S = 2.0


async def listen_address(setting: str, targets: Sequence[str]) -> str:
    """The address for the direct server: the setting, or a free port on the address that leads to the coordinator."""
    return setting or f"{await _local_host(targets)}:0"


async def dialled_address(bound: str, port: int, targets: Sequence[str]) -> str:
    """The address under which others reach a server that has bound `bound` and got `port`."""
    if bound.startswith("unix:"):
        return bound
    host = bound.rpartition(":")[0]
    if host in _ANY:
        host = await _local_host(targets)
    return f"{host}:{port}"


def not_bound(address: str, refused: PortRefused) -> ListenError:
    """The message for an address on which the server cannot listen."""
    return ListenError(
        f"the direct server cannot listen on {address}: {refused}. "
        "Choose another with WEFT_AGENT_LISTEN=HOST:PORT (port 0: a free one), or none with "
        f"WEFT_AGENT_LISTEN={OFF}"
    )


async def _local_host(targets: Sequence[str]) -> str:
    """This machine's address as a coordinator at one of `targets` sees it."""
    if is_source(targets[0]):
        # The address is the agent's for as long as it lives: coordinators that start at the same time are worth a wait.
        targets = await asyncio.to_thread(resolved, targets, patient=True)
    for target in targets:
        if target.startswith("unix"):
            return LOOPBACK
        host, _, port = target.rpartition(":")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_LOOK_UP_TIMEOUT_S):
                found = await loop.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)
        except (OSError, TimeoutError, UnicodeError):
            continue
        for family, kind, protocol, _name, where in found:
            try:
                with socket.socket(family, kind, protocol) as probe:
                    # Sends nothing: it only asks the system for the route.
                    probe.connect(where)
                    own: str = probe.getsockname()[0]
            except OSError:
                continue
            return f"[{own}]" if family == socket.AF_INET6 else own
    _log.warning(
        "direct.local_only",
        targets=list(targets),
        effect="no coordinator's name is known now, so the direct server listens for this machine alone",
        do="set WEFT_AGENT_LISTEN where others call it",
    )
    return LOOPBACK
