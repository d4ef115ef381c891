"""The coordinator's port, and the file that names it."""

from __future__ import annotations

import os
from pathlib import Path

from grpc import aio

from weft.rpc.network.ports import PortRefused, open_port
from weft.rpc.security.tls_files import TlsFiles


class BindError(Exception):
    """The address cannot be used: another process has it, or it is not this machine's."""


def bind(
    server: aio.Server,
    listen: str,
    tls: TlsFiles | None = None,
    *,
    option: str = "--listen",
    asks_callers: bool = True,
) -> str:
    """Take the address; returns it with the port that it got.

    Args:
        tls: the certificate of the port; None: it is plain.
        option: by which another address is chosen.
        asks_callers: False: callers need no certificate, whatever the settings are.

    Raises:
        BindError: it cannot be used.
    """
    try:
        port = open_port(server, listen, tls, asks_callers=asks_callers)
    except PortRefused as error:
        raise BindError(
            f"cannot listen on {listen}: {error}. Choose another address with {option} HOST:PORT"
        ) from None
    return listen if listen.startswith("unix:") else f"{listen.rpartition(':')[0]}:{port}"


def write_whole(path: Path, text: str) -> None:
    """Write a file so that no reader sees a part of it."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)
