"""Makes channels and servers, with the options that hold for all of weft.

`docs/decisions` and gRPC's documentation explain each option. Every channel of weft is made by `dial` or
`dial_blocking`, and every server by `make_server`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import grpc
from grpc import aio

from weft.rpc import refusals
from weft.rpc.network.agent_ports import stays_here
from weft.rpc.network.gone import quiet_grpc
from weft.rpc.network.targets import is_source
from weft.rpc.process import open_files
from weft.rpc.security.namespace_names import NAMESPACE_KEY
from weft.rpc.security.token_metadata import TOKEN_KEY

if TYPE_CHECKING:
    from weft.rpc.security.channel_credentials import ChannelSecurity
    from weft.rpc.security.token_source import Shown

# The largest message of an application: gRPC's own default, which stock clients also have.
MAX_PAYLOAD_BYTES = 4 * 1024 * 1024
# The largest message of weft's own. They wrap and batch payloads: there is room for one of the largest and several small ones.
MAX_MESSAGE_BYTES = 4 * MAX_PAYLOAD_BYTES
# A batch of this size takes no more items.
BATCH_BYTES = 1024 * 1024
BATCH_ITEMS = 512
# The most metadata of a call that every hop of weft takes, in each direction, as HTTP/2 counts it. gRPC's soft and hard bound
# are equal: between the two, gRPC refuses at random. There is room for tokens with many groups, and for details with a stack.
MAX_METADATA_BYTES = 1024 * 1024
# The most calls that have arrived and wait for a handler. gRPC cancels more, so the bound is far above the one of `admission`,
# which refuses calls with a reason.
MAX_PENDING_CALLS = 100_000
# The calls and streams of one connection at a time. HTTP/2 tells the client, which lets more of them wait. It also bounds what a
# connection costs that opens streams and resets them at once.
MAX_STREAMS = 4096
# The time for which a peer may stop reading before its connection is closed. A server may have a setting for it.
STALLED_S = 30.0
# A connection without a call is closed after so long. A client dials again for its next call, and loses none.
IDLE_S = 900.0
# A connection of a coordinator is renewed after about so long (gRPC varies it by a tenth). Its client is told to dial again while its calls are
# served still, so that none is lost.
CONNECTION_AGE_S = 60.0
# The connection is closed this much later, so that a watched stream ends first, with a status.
_STALLED_MARGIN_S = 5.0

# What gRPC writes before a list of addresses.
_ADDRESS_LIST = re.compile(r"^(ipv[46]|dns):(///)?")

Options = Sequence[tuple[str, int | str]]

METADATA_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
)


def client_options(*, max_message_bytes: int = MAX_MESSAGE_BYTES, own_connection: bool = False) -> Options:
    """Options of a channel. It notices a dead peer within half a minute, even when it is idle.

    Args:
        max_message_bytes: the largest message that this end receives or sends.
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
        # Another layer retries, and only one should.
        ("grpc.enable_retries", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1000),
        ("grpc.max_reconnect_backoff_ms", 2000),
        # A lost coordinator may be back under another address of its name. By default gRPC looks a name up twice a minute.
        ("grpc.dns_min_time_between_resolutions_ms", 1000),
        ("grpc.use_local_subchannel_pool", int(own_connection)),
        # If a target has several addresses, each process begins with a random one.
        ("grpc.service_config", '{"loadBalancingConfig":[{"pick_first":{"shuffleAddressList":true}}]}'),
    ]


class Route(NamedTuple):
    """How a process reaches its coordinators.

    Args:
        use_proxy: use the proxy of `grpc_proxy`, `https_proxy` or `http_proxy`, unless `no_grpc_proxy` or `no_proxy` excepts
            the address. By default these variables are ignored: they are meant for the web. A mesh is seldom behind the web's
            proxy, and a loopback address never is.
        security: its TLS. None: connections are plain.
        token: what its calls show. None: nothing.
        namespace: the one of its calls. Empty: that of the token, or the default one.
        name: the one that coordinators' certificates have, if neither a call of `dial` nor a setting says another. Empty: the host of each address.
    """

    use_proxy: bool = False
    security: ChannelSecurity | None = None
    token: Shown | None = None
    namespace: str = ""
    name: str = ""

    def caller_metadata(self, address: str) -> Sequence[tuple[str, str]]:
        """The metadata that shows the token and names the namespace, for a call of a blocking channel.

        Raises:
            FailedPrecondition: TOKEN_UNSAFE.
        """
        named = ((NAMESPACE_KEY, self.namespace),) if self.namespace else ()
        if self.token is None:
            return named
        check_safe(address, self.security)
        return (*named, (TOKEN_KEY, self.token.text()))

    def server_name(self, targets: Sequence[str]) -> str | None:
        """The name by which any of several coordinators is verified; None: `dial` knows it.

        gRPC has one name for all addresses of a channel, so certificates of several coordinators need a name in common. If a source names them, it is that
        of the service there.
        """
        if self.security is None or self.security.tls.server_name:
            return None
        if is_source(targets[0]):
            from weft.rpc.network.registry_url import source_url

            return source_url(targets[0]).tls_name or None
        if len(targets) == 1:
            return None
        return targets[0].rpartition(":")[0].strip("[]")

    def named_for(self, targets: Sequence[str]) -> Route:
        """The route to each coordinator by itself."""
        return self._replace(name=self.server_name(targets) or "") if is_source(targets[0]) else self


NO_TLS = Route()


def authority(addresses: Sequence[str], route: Route) -> list[tuple[str, str]]:
    """The option that names the host of several addresses: gRPC would use the text of its list. By TLS, the name by which the server is verified takes its place."""
    several = len(addresses) > 1 and route.security is None
    return [("grpc.default_authority", addresses[0])] if several else []


def dial(
    address: str,
    options: Options | None = None,
    route: Route = NO_TLS,
    *,
    server_name: str | None = None,
) -> aio.Channel:
    """A channel to `address`, on the running event loop. It connects when it is first used.

    Args:
        address: the target for gRPC. A unix socket has no TLS.
        options: by default `client_options()`.
        route: its TLS, and whether by a proxy. When certificates change, calls go on with the new ones.
        server_name: the name that the server's certificate must have. Default: that of the settings, else the address' host.

    Raises:
        FailedPrecondition: a token would be sent without TLS to another machine (TOKEN_UNSAFE).
    """
    if route.token is None and not route.namespace:
        return _dial(address, options, route, server_name)
    if route.token is not None and route.token.is_bearer:
        check_safe(address, route.security)
    from weft.rpc.network.caller_channel import CallerChannel

    return CallerChannel(_dial(address, options, route, server_name), route.token, route.namespace)


def _dial(address: str, options: Options | None, route: Route, server_name: str | None) -> aio.Channel:
    security = route.security
    if security is None or address.startswith("unix"):
        return plain_channel(address, options, route, server_name)
    from weft.rpc.network.renewed_channel import RenewedChannel

    return RenewedChannel(
        lambda: plain_channel(address, options, route, server_name), security.version, address
    )


def plain_channel(
    address: str, options: Options | None, route: Route, server_name: str | None
) -> aio.Channel:
    """A channel as `dial` makes it, that keeps the certificates that it is made with, and shows nothing."""
    options, security = _with_proxy(options, route.use_proxy), route.security
    if security is None or address.startswith("unix"):
        return aio.insecure_channel(address, options=options)
    named = _with_server_name(options, security, server_name or route.name or None)
    return aio.secure_channel(address, security.credentials(), options=named)


def check_safe(address: str, security: ChannelSecurity | None) -> None:
    """Refuse to send a token where others may read it.

    Raises:
        FailedPrecondition: TOKEN_UNSAFE.
    """
    if security is None and not all(map(stays_here, _ADDRESS_LIST.sub("", address).split(","))):
        raise refusals.token_unsafe(
            f"the token is not sent to {address}: the connection has no TLS, and others may read it on its way. Set WEFT_TLS_CA,"
            " or use an address of this machine"
        )


def dial_blocking(
    address: str,
    options: Options | None = None,
    route: Route = NO_TLS,
) -> grpc.Channel:
    """A channel as `dial` makes it, but of blocking grpc, for threads. It keeps the certificates that it is made with."""
    options, security = _with_proxy(options, route.use_proxy), route.security
    if security is None or address.startswith("unix"):
        return grpc.insecure_channel(address, options=options)
    options = _with_server_name(options, security, route.name or None)
    return grpc.secure_channel(address, security.credentials(), options=options)


def _with_server_name(options: Options, security: ChannelSecurity, name: str | None) -> Options:
    name = security.tls.server_name if name is None else name
    return [*options, ("grpc.ssl_target_name_override", name)] if name else options


def _with_proxy(options: Options | None, use_proxy: bool) -> Options:
    return [*(client_options() if options is None else options), ("grpc.enable_http_proxy", int(use_proxy))]


def make_server(options: Options | None = None) -> aio.Server:
    """A server on the running event loop. It does not log an error when a caller leaves.

    Args:
        options: by default `server_options()`.
    """
    quiet_grpc()
    return aio.server(options=server_options() if options is None else options)


def server_options(
    *,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    stalled_s: float = STALLED_S,
    max_streams: int = MAX_STREAMS,
    max_connections: int = 0,
    idle_s: float = IDLE_S,
    age_s: float = 0.0,
    shares_port: bool = False,
) -> Options:
    """Options of a server: a port in use is an error, dead peers are noticed, clients may ping, bursts are not dropped, and floods of
    connections and streams are bounded.

    Args:
        max_message_bytes: the largest message that this end receives or sends.
        stalled_s: a peer that stops reading for at most so long keeps its connection.
        max_streams: calls and streams of one connection at a time; its client lets more of them wait.
        max_connections: more are closed at once. 0: as many as this process may have open files, but some.
        idle_s: a connection without a call is closed after so long.
        age_s: a connection is renewed after about so long; 0: never.
        shares_port: another process of this user may bind the same port.
    """
    connections = max_connections or open_files.connections(open_files.limit())
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        *METADATA_OPTIONS,
        ("grpc.so_reuseport", int(shares_port)),
        ("grpc.server.max_pending_requests", MAX_PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING_CALLS),
        ("grpc.keepalive_time_ms", 30_000),
        # gRPC also gives this time to the kernel, which then closes a connection whose peer takes no bytes.
        ("grpc.keepalive_timeout_ms", int((stalled_s + _STALLED_MARGIN_S) * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # Stock clients ping as often as they are configured to. A ping costs less than a closed connection and its failed calls.
        ("grpc.http2.min_ping_interval_without_data_ms", 100),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.server_handshake_timeout_ms", 10_000),
        ("grpc.max_concurrent_streams", max_streams),
        ("grpc.max_connection_idle_ms", int(idle_s * 1000)),
        *([("grpc.max_connection_age_ms", int(age_s * 1000))] if age_s else []),
        *([] if connections is None else [("grpc.max_allowed_incoming_connections", connections)]),
    ]


def is_instrumented() -> bool:
    """Whether OpenTelemetry's own instrumentation of gRPC wraps the channels of this process."""
    return hasattr(grpc.aio.insecure_channel, "__wrapped__")
