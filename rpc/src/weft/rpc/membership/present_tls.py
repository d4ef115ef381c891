"""The TLS settings that a client uses now: its own, or those of the certificate that it gets by joining. Imports little."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from weft.rpc.security.tls import Tls

if TYPE_CHECKING:
    from weft.rpc.security.channel_credentials import ChannelSecurity
    from weft.rpc.security.token_source import TokenSource


def present(
    tls: Tls | None, targets: Sequence[str], token: TokenSource | None
) -> tuple[Tls | None, TokenSource | None]:
    """The settings to use, and the token to show. With a pin it may block for some seconds: see `membership.joined`.

    Raises:
        WeftError: the mesh cannot be joined.
    """
    if tls is None or not tls.pin:
        return tls, token
    from weft.rpc.membership.membership import joined

    return joined(tls, targets, token)


def security_of(tls: Tls | None) -> ChannelSecurity | None:
    """How channels are secured by these settings; None: they are plain. Clients without TLS do without its modules."""
    if tls is None:
        return None
    from weft.rpc.security.channel_credentials import channel_security

    return channel_security(tls)
