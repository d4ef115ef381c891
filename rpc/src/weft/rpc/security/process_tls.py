"""TLS of one process: its ports and its connections use the same files."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakValueDictionary

from weft.rpc.security.tls import Tls

if TYPE_CHECKING:
    from weft.rpc.security.channel_credentials import ChannelSecurity
    from weft.rpc.security.tls_files import TlsFiles


class ProcessTls(NamedTuple):
    """What ports and connections use. None: they are plain."""

    ports: TlsFiles | None
    channels: ChannelSecurity | None

    @property
    def server_name(self) -> str:
        """A name by which callers verify the ports; empty: they are plain."""
        own = self.ports.material.own if self.ports is not None else None
        return own.server_name if own is not None else ""


def files_of(tls: Tls) -> TlsFiles:
    """The files of these settings: the same object for all parts of the process that use them now, so that the log tells once what
    is wrong with them.

    Raises:
        InvalidArgument: one cannot be used.
    """
    from weft.rpc.security.tls_files import TlsFiles

    found = _in_use.get(tls)
    if found is None:
        found = _in_use[tls] = TlsFiles(tls)
    return found


_in_use: WeakValueDictionary[Tls, TlsFiles] = WeakValueDictionary()


def process_tls(tls: Tls | None) -> ProcessTls:
    """Read the files of these settings.

    Raises:
        InvalidArgument: one cannot be used.
    """
    if tls is None:
        return ProcessTls(None, None)
    from weft.rpc.security.channel_credentials import ChannelSecurity

    files = files_of(tls)
    return ProcessTls(files if tls.serves else None, ChannelSecurity(files) if tls.dials else None)
