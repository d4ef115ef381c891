"""Channels, and the options of channels and servers, in one place. `docs/decisions` and the gRPC documentation say why
each is set.

Every channel of weft is made by `dial` or `dial_blocking`, every server by `make_server`: what holds for all stands there.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from grpc import aio

from weft.rpc.network.gone import quiet_grpc

# What a peer may send in one message: gRPC's own default, which stock clients have on their side too.
MAX_PAYLOAD_BYTES = 4 * 1024 * 1024
# weft's own messages wrap payloads and batch them: room for one of the largest beside small ones.
MAX_MESSAGE_BYTES = 4 * MAX_PAYLOAD_BYTES
# A batch is closed once it has grown to this.
BATCH_BYTES = 1024 * 1024
BATCH_ITEMS = 512
# Metadata that every hop of weft takes, either way, as HTTP/2 counts it. One bound and no softer one below it: between
# two, gRPC refuses at random. Room for tokens with many groups and for details with a stack; beyond it gRPC says so.
MAX_METADATA_BYTES = 1024 * 1024
# Calls that have arrived and that no handler has taken up yet. Beyond it gRPC cancels them, so it is far above what
# servers admit (see `admission`), who refuse by name; below it nothing is dropped.
MAX_PENDING_CALLS = 100_000
# How long a peer may not read before its connection is given up, unless a server has a setting for it.
STALLED_S = 30.0
# Whoever watches one stream ends it first, with a status.
_STALLED_MARGIN_S = 5.0

Options = Sequence[tuple[str, int | str]]

METADATA_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
)


def client_options(*, max_message_bytes: int = MAX_MESSAGE_BYTES, own_connection: bool = False) -> Options:
    """Options of a channel that must notice a dead peer within half a minute, idle or not.

    Args:
        max_message_bytes: most that this end receives or sends in one message.
        own_connection: do not share a connection with other channels of this process to the same address.
    """
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        *METADATA_OPTIONS,
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # One layer retries, and it is not this one.
        ("grpc.enable_retries", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1000),
        ("grpc.max_reconnect_backoff_ms", 2000),
        ("grpc.use_local_subchannel_pool", int(own_connection)),
        # Of several addresses behind one target each process begins with another.
        ("grpc.service_config", '{"loadBalancingConfig":[{"pick_first":{"shuffleAddressList":true}}]}'),
    ]


def dial(address: str, options: Options | None = None, *, use_proxy: bool = False) -> aio.Channel:
    """A channel to `address`, on the running event loop. It connects when it is first used.

    Args:
        address: what gRPC dials.
        options: by default `client_options()`.
        use_proxy: go by the proxy that `grpc_proxy`, `https_proxy` or `http_proxy` names, unless `no_grpc_proxy` or
            `no_proxy` excepts the address. Otherwise such variables are ignored: they are there for the web, and a
            mesh is seldom behind the web's proxy, its loopback addresses never.
    """
    return aio.insecure_channel(address, options=_with_proxy(options, use_proxy))


def dial_blocking(address: str, options: Options | None = None, *, use_proxy: bool = False) -> grpc.Channel:
    """The same for a thread, with calls that block it."""
    return grpc.insecure_channel(address, options=_with_proxy(options, use_proxy))


def _with_proxy(options: Options | None, use_proxy: bool) -> Options:
    return [*(client_options() if options is None else options), ("grpc.enable_http_proxy", int(use_proxy))]


def make_server(options: Options | None = None) -> aio.Server:
    """A server on the running event loop. What callers do, such as to leave, is not in its log as an error.

    Args:
        options: by default `server_options()`.
    """
    quiet_grpc()
    return aio.server(options=server_options() if options is None else options)


def server_options(*, max_message_bytes: int = MAX_MESSAGE_BYTES, stalled_s: float = STALLED_S) -> Options:
    """Options of a server: a double bind fails, half-open peers are noticed, clients may ping, bursts are not dropped.

    Args:
        max_message_bytes: most that this end receives or sends in one message.
        stalled_s: a peer may not read for so long, the whole process of it included, and keeps its connection.
    """
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        *METADATA_OPTIONS,
        ("grpc.so_reuseport", 0),
        ("grpc.server.max_pending_requests", MAX_PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING_CALLS),
        ("grpc.keepalive_time_ms", 30_000),
        # gRPC also makes it the time after which the kernel ends a connection whose peer takes no bytes.
        ("grpc.keepalive_timeout_ms", int((stalled_s + _STALLED_MARGIN_S) * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # Stock clients ping as often as they are told to, and each ping costs less than losing them their calls.
        ("grpc.http2.min_ping_interval_without_data_ms", 100),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.server_handshake_timeout_ms", 10_000),
    ]
