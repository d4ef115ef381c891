"""The credentials of a port: gRPC asks for them before each handshake, so that new certificates are used without a restart."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import grpc

from weft.rpc.security.tls_files import TlsFiles, TlsMaterial


def server_credentials(files: TlsFiles, *, asks_callers: bool = True) -> grpc.ServerCredentials:
    """Credentials of a port with the certificate of `files`. With `client_ca`, callers must show one too.

    Args:
        asks_callers: False: they need not, whatever the settings are.
    """
    asks_callers = asks_callers and bool(files.tls.client_ca)
    shown = _configuration(files.material)
    version = files.version

    def present() -> grpc.ServerCertificateConfiguration | None:
        # Called by gRPC's threads. None: nothing has changed.
        nonlocal version
        newest = files.look()
        if newest == version:
            return None
        version = newest
        return _configuration(files.material)

    # Its type does not know that None is an answer.
    fetcher = cast("Callable[[], grpc.ServerCertificateConfiguration]", present)
    return grpc.dynamic_ssl_server_credentials(shown, fetcher, require_client_authentication=asks_callers)


def _configuration(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.key or b"", material.cert or b"")], root_certificates=material.client_ca
    )
