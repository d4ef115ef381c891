"""The coordinator's port, and the file that names it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from grpc import aio

from weft.coordinator.settings import CoordinatorSettings
from weft.rpc.network.binding import taken_by_other
from weft.rpc.network.exposure import ExposedPort, Exposure, Port
from weft.rpc.network.ports import PortRefused, open_port
from weft.rpc.security.tls import Tls
from weft.rpc.security.tls_files import TlsFiles
from weft.rpc.telemetry.metrics_endpoint import HTTPS

_WAYS = (
    "Listen on this machine alone (--listen 127.0.0.1:7700); or give it TLS and tokens (--tls-cert FILE --tls-key FILE --tokens on);"
    " or let it make its certificates (--ca auto --tokens on); or TLS with certificates of callers (--tls-client-ca FILE)"
)


class BindError(Exception):
    """The address cannot be used: another process has it, or it is not this machine's."""


def check_ports(exposure: Exposure, settings: CoordinatorSettings, tls: Tls | None) -> None:
    """Refuse ports that would be open to other machines without protection.

    Args:
        tls: of the ports.

    Raises:
        BindError
    """
    has_certificate = tls is not None and tls.serves
    callers = settings.tokens == "on" or bool(tls and tls.client_ca)
    metrics, hooks = settings.metrics, settings.hooks
    ports = [
        Port("the coordinator's port", settings.listen, has_certificate, callers, _WAYS),
        Port(
            "the port of its metrics",
            metrics.removeprefix(HTTPS),
            metrics.startswith(HTTPS),
            None,
            "Serve them on this machine (--metrics 127.0.0.1:9464), or by TLS (--metrics https://HOST:PORT)",
        ),
        Port(
            "the port of its webhooks",
            hooks.removeprefix(HTTPS),
            hooks.startswith(HTTPS),
            None,
            "Serve them on this machine (--hooks 127.0.0.1:7780) behind a proxy with TLS, or by TLS (--hooks https://HOST:PORT)",
        ),
        Port(
            "the port of channelz",
            settings.channelz,
            has_certificate,
            None,
            "Serve it on this machine (--channelz 127.0.0.1:9465), or by TLS (--tls-cert FILE --tls-key FILE)",
        ),
    ]
    try:
        for port in ports:
            if port.address:
                exposure.check(port)
    except ExposedPort as error:
        raise BindError(str(error)) from None


def bind(
    server: aio.Server,
    listen: str,
    tls: TlsFiles | None = None,
    *,
    option: str = "--listen",
    asks_callers: bool = True,
    exclusive: bool = False,
) -> str:
    """Take the address; returns it with the port that it got.

    Args:
        tls: the certificate of the port; None: it is plain.
        option: by which another address is chosen.
        asks_callers: False: callers need no certificate, whatever the settings are.
        exclusive: the server's port could be shared, and must not be.

    Raises:
        BindError: it cannot be used.
    """
    try:
        if exclusive and (taken := taken_by_other(listen)):
            raise PortRefused(taken)
        port = open_port(server, listen, tls, asks_callers=asks_callers)
    except PortRefused as error:
        replaced = ", or take the place of the coordinator there (--replace)" if exclusive else ""
        raise BindError(
            f"cannot listen on {listen}: {error}. Choose another address with {option} HOST:PORT{replaced}"
        ) from None
    return listen if listen.startswith("unix:") else f"{listen.rpartition(':')[0]}:{port}"


def relay_address(listen: str) -> str:
    """Where the predecessor of this process passes calls on to it: a socket without a file, of this machine alone. Who calls is asked there, too."""
    return f"unix-abstract:weft-relay/{listen}/{secrets.token_hex(8)}"


def write_whole(path: Path, text: str) -> None:
    """Write a file so that no reader sees a part of it."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)
