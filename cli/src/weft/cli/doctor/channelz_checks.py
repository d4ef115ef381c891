"""Checks of a process' connections, as its channelz tells them (`--channelz HOST:PORT` of `weft coordinator` and `weft agent`)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from weft.cli.doctor.diagnosis import Diagnosis, ok, problem, warning
from weft.rpc.network.channel import NO_TLS, Route, client_options, dial
from weft.rpc.network.connection_faults import ConnectionFault, connected

if TYPE_CHECKING:
    from grpc import aio
    from grpc_channelz.v1 import channelz_pb2 as pb

_ANSWER_S = 3.0
# More are not looked at.
_MOST_PAGES = 20
# Callers share one connection a process, weft's own a few; a host may run many processes.
_MANY_CONNECTIONS = 200
# Calls of a channel of which none succeeded: fewer may be chance.
_MANY_FAILED = 10
# Findings of one kind.
_NAMED = 5
# gRPC has no state for a channel that was never used.
_STATES = ("UNUSED", "IDLE", "CONNECTING", "READY", "TRANSIENT_FAILURE", "SHUTDOWN")
_SERVICE = "/grpc.channelz.v1.Channelz"


@dataclass(frozen=True, slots=True)
class ChannelFacts:
    """A channel of the process to a server.

    Args:
        problem: why it is not connected, in gRPC's words; empty: it is, or is not known.
    """

    target: str
    state: str
    started: int = 0
    succeeded: int = 0
    failed: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ConnectionFacts:
    """What a process' channelz tells.

    Args:
        hosts: connections to its servers, by the host at the other end.
    """

    servers: int
    hosts: Counter[str]
    channels: Sequence[ChannelFacts]


async def findings(address: str, route: Route = NO_TLS) -> Sequence[Diagnosis]:
    """Ask the channelz at this address."""
    from grpc import aio

    subject = f"connections of {address}"
    async with dial(address, client_options(own_connection=True), route) as channel:
        try:
            async with asyncio.timeout(_ANSWER_S):
                await connected(channel, address, route.security)
                facts = await _read(channel)
        except ConnectionFault as fault:
            return [problem(subject, str(fault), "docs/how-to/tls.md says how TLS is set up")]
        except TimeoutError:
            return [
                problem(
                    subject,
                    f"no channelz answers in {_ANSWER_S:g} s",
                    "start the process with --channelz HOST:PORT; is the address right?",
                )
            ]
        except aio.AioRpcError as error:
            return [
                problem(
                    subject,
                    f"it answers with {error.code().name}: {error.details()}",
                    "is this the address that the process logged with channelz.opened?",
                )
            ]
    return list(told(subject, facts))


def told(subject: str, facts: ConnectionFacts) -> Iterator[Diagnosis]:
    """What the facts mean. Pure."""
    yield from _unconnected(subject, facts.channels)
    yield from _failing(subject, facts.channels)
    many = [(host, count) for host, count in facts.hosts.most_common(_NAMED) if count >= _MANY_CONNECTIONS]
    for host, count in many:
        yield warning(
            subject,
            f"{count} connections come from {host}",
            "if few processes run there, they make a channel for each call: make one and keep it",
        )
    states = Counter(channel.state for channel in facts.channels)
    listed = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    yield ok(
        subject,
        f"{_counted(facts.hosts.total(), 'connection')} from {_counted(len(facts.hosts), 'host')} to"
        f" {_counted(facts.servers, 'server')}; {_counted(len(facts.channels), 'channel')}"
        + (f": {listed}" if listed else ""),
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _unconnected(subject: str, channels: Sequence[ChannelFacts]) -> Iterator[Diagnosis]:
    found = {channel.target: channel for channel in channels if channel.state == "TRANSIENT_FAILURE"}
    for channel in list(found.values())[:_NAMED]:
        yield warning(
            subject,
            f"it cannot connect to {channel.target}" + (f": {channel.problem}" if channel.problem else ""),
            "does a server run there, and is the way to it free of firewalls?",
        )
    if len(found) > _NAMED:
        yield warning(subject, f"nor to {len(found) - _NAMED} more", "the same")


def _failing(subject: str, channels: Sequence[ChannelFacts]) -> Iterator[Diagnosis]:
    found = [
        channel
        for channel in channels
        if channel.state != "TRANSIENT_FAILURE" and not channel.succeeded and channel.failed >= _MANY_FAILED
    ]
    for channel in found[:_NAMED]:
        yield warning(
            subject,
            f"all {channel.failed} calls to {channel.target} have failed",
            "is this the server that is meant? see its log",
        )


# -- reading ----------------------------------------------------------------------------------------------------------


async def _read(channel: aio.Channel) -> ConnectionFacts:
    from grpc_channelz.v1 import channelz_pb2 as pb

    channels: list[ChannelFacts] = []
    async for page in _pages(channel, "GetTopChannels", pb.GetTopChannelsRequest(), "start_channel_id"):
        channels += [_channel_facts(each) for each in page.channel]
    servers: list[int] = []
    async for page in _pages(channel, "GetServers", pb.GetServersRequest(), "start_server_id"):
        servers += [each.ref.server_id for each in page.server]
    hosts: Counter[str] = Counter()
    for server_id in servers:
        first = pb.GetServerSocketsRequest(server_id=server_id)
        async for page in _pages(channel, "GetServerSockets", first, "start_socket_id"):
            hosts.update(_host(ref.name) for ref in page.socket_ref)
    return ConnectionFacts(len(servers), hosts, channels)


async def _pages(channel: aio.Channel, name: str, request: Any, start: str) -> AsyncIterator[Any]:
    """The pages of a list, at most `_MOST_PAGES`.

    Args:
        start: the field of the request that says where a page starts.
    """
    from grpc_channelz.v1 import channelz_pb2 as pb

    response: Any = getattr(pb, f"{name}Response")
    call: Any = channel.unary_unary(
        f"{_SERVICE}/{name}", type(request).SerializeToString, response.FromString
    )
    for _ in range(_MOST_PAGES):
        page = await call(request, timeout=_ANSWER_S)
        yield page
        ids = _ids(page)
        if page.end or not ids:
            return
        setattr(request, start, max(ids) + 1)


def _ids(page: Any) -> list[int]:
    kind, of_page = {
        "GetTopChannelsResponse": ("channel_id", "channel"),
        "GetServersResponse": ("server_id", "server"),
        "GetServerSocketsResponse": ("socket_id", "socket_ref"),
    }[page.DESCRIPTOR.name]
    return [getattr(getattr(each, "ref", each), kind) for each in getattr(page, of_page)]


def _channel_facts(channel: pb.Channel) -> ChannelFacts:
    data = channel.data
    state = _STATES[data.state.state] if data.state.state < len(_STATES) else str(data.state.state)
    why = ""
    if state == "TRANSIENT_FAILURE":
        told_by = [
            event.description for event in data.trace.events if "TRANSIENT_FAILURE" in event.description
        ]
        why = told_by[-1].partition("last error: ")[2] or told_by[-1] if told_by else ""
    return ChannelFacts(
        data.target.removeprefix("dns:///"),
        state,
        data.calls_started,
        data.calls_succeeded,
        data.calls_failed,
        why.partition("\n")[0],
    )


def _host(name: str) -> str:
    """The host of a socket's name, such as "chttp2 ipv4:10.0.0.1:46790"."""
    return unquote(name).rpartition(" ")[2].partition(":")[2].rpartition(":")[0] or name
