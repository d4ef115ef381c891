"""The credentials of connections: made from the present files, and once for all channels of a process."""

from __future__ import annotations

import grpc

from weft.rpc.security.tls import Tls
from weft.rpc.security.tls_files import TlsFiles


class ChannelSecurity:
    """What the connections of a process share: files of certificates, and the credentials that they make.

    gRPC cannot change the credentials of a channel. Who has a channel asks for `version` before a call, and makes another
    channel when it has grown (`renewed_channel`).

    Args:
        files: with authorities (`Tls.dials`).
    """

    def __init__(self, files: TlsFiles) -> None:
        self.files = files
        self._made_of = 0
        self._made: grpc.ChannelCredentials | None = None

    @property
    def tls(self) -> Tls:
        return self.files.tls

    def version(self) -> int:
        """Grows when the files have changed."""
        return self.files.look()

    def credentials(self) -> grpc.ChannelCredentials:
        """Credentials of the present files. From any thread."""
        made, version = self._made, self.files.version
        if made is None or self._made_of != version:
            material = self.files.material
            made = grpc.ssl_channel_credentials(material.ca, material.key, material.cert)
            self._made, self._made_of = made, version
        return made


def channel_security(tls: Tls | None) -> ChannelSecurity | None:
    """What connections with these settings share; None: they use no TLS.

    Raises:
        InvalidArgument: a file cannot be used.
    """
    return ChannelSecurity(TlsFiles(tls)) if tls is not None and tls.dials else None
