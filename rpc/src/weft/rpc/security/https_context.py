"""The TLS of a port that Python itself serves: that of the metrics, and that of webhooks. It follows the files as gRPC's ports do."""

from __future__ import annotations

import contextlib
import ssl

from weft.rpc.security.tls_files import TlsFiles


class HttpsContext:
    """Makes the context of each connection. From any thread.

    Args:
        asks_callers: False: callers need no certificate, whatever the settings are.
    """

    def __init__(self, files: TlsFiles, *, asks_callers: bool = True) -> None:
        self._files = files
        self._asks_callers = asks_callers
        self._made_of = files.version
        self._context = _made(files, asks_callers=asks_callers)

    def present(self) -> ssl.SSLContext:
        """The context with the present certificate."""
        version = self._files.look()
        if version != self._made_of:
            # If the files change at this moment, the next connection gets the new ones.
            with contextlib.suppress(OSError):
                self._context = _made(self._files, asks_callers=self._asks_callers)
                self._made_of = version
        return self._context


def _made(files: TlsFiles, *, asks_callers: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(files.tls.cert, files.tls.key)
    if asks_callers and files.material.client_ca is not None:
        context.load_verify_locations(cadata=files.material.client_ca.decode("ascii", "replace"))
        context.verify_mode = ssl.CERT_REQUIRED
    return context
