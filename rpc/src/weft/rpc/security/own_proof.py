"""What the calls of a process show: its token, or else its certificate, which the connection shows by itself."""

from __future__ import annotations

from weft.rpc.security.tls import Tls
from weft.rpc.security.token_source import Shown


class ByCertificate:
    """Shows nothing in a call: the connection's certificate tells who calls, where ports ask for it."""

    @property
    def is_bearer(self) -> bool:
        return False

    @property
    def renewable(self) -> bool:
        return False

    def text(self) -> str:
        return ""


def own_proof(token: Shown | None, tls: Tls | None) -> Shown | None:
    """What proves who a process is. None: nothing.

    Args:
        tls: its settings.
    """
    if token is not None or tls is None or not tls.cert:
        return token
    return ByCertificate()
