"""A channel to any of the coordinators of a target, for clients and the egress."""

from __future__ import annotations

from collections.abc import Sequence

from grpc import aio

from weft.rpc.network.channel import NO_TLS, Route, authority, client_options, dial
from weft.rpc.network.targets import dialled, is_source


def dial_any(targets: Sequence[str], route: Route = NO_TLS, *, known: str = "") -> aio.Channel:
    """A channel to any of the coordinators of a target, as `channel.dial` makes it. Names are looked up now, and the first use of a source waits for its first
    addresses: some seconds at most. `resolved_targets.resolved` does that in a thread before.

    Args:
        targets: from `targets.parse`.
        known: gRPC's target for them, if they have been looked up.

    Raises:
        FailedPrecondition: a token would be sent without TLS to another machine (TOKEN_UNSAFE).
        MissingExtra: what the source needs is not installed.
    """
    if is_source(targets[0]):
        # Imported here: most targets are addresses.
        from weft.rpc.registries.followed_channel import dial_followed

        return dial_followed(targets[0], route)
    options = [*client_options(), *authority(targets, route)]
    return dial(known or dialled(targets), options, route, server_name=route.server_name(targets))
