"""`weft health`: asks one server for its health, for the probes of containers."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli.command_line.examples import examples
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target
from weft.cli.terminal.output import show

if TYPE_CHECKING:
    from weft.rpc.network.channel import Route

_CHECK = "/grpc.health.v1.Health/Check"
# The statuses of grpc.health.v1.HealthCheckResponse, by their numbers: the command does without the package of its messages.
_STATUSES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


@examples(
    "weft health",
    "weft health acme.v1.Greeter --target coordinator.example:7700 --tls-ca pki/ca.pem",
    "weft health --target 127.0.0.1:7711",
    "weft health --target 127.0.0.1:7711 --agent worker-1",
)
def health(
    service: Annotated[
        str,
        typer.Argument(metavar="[SERVICE]", help="A service by its full name. [default: the whole server]"),
    ] = "",
    timeout_s: Annotated[
        float,
        typer.Option("--timeout", metavar="S", min=0.1, help="The most seconds for connection and answer."),
    ] = 3.0,
    agent: Annotated[
        str,
        typer.Option(
            metavar="ID",
            help="The target is this agent's port, in a mesh that makes its certificates by itself.",
        ),
    ] = "",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Ask a server for its health. Status 0: it serves.

    The server is any with grpc.health.v1: a coordinator, an agent's own port, an egress, another. With several in the target, the
    first is asked.
    """
    from weft.cli.process.command_runner import by_proxy
    from weft.cli.terminal.failure import Failure
    from weft.rpc.membership.present_tls import present
    from weft.rpc.network.channel import Route
    from weft.rpc.network.targets import parse
    from weft.rpc.registries.resolved_targets import resolved
    from weft.rpc.security.channel_credentials import channel_security
    from weft.rpc.security.mesh_names import agent_port
    from weft.rpc.security.namespace_names import chosen_namespace
    from weft.rpc.security.tls import chosen
    from weft.rpc.security.token_source import token_source

    # Without a pin, a probe shows no token.
    tls = chosen(None)
    if tls is not None and tls.pin:
        tls, _ = present(tls, parse(target), token_source())
    if tls is not None and agent:
        tls = dataclasses.replace(tls, server_name=agent_port(agent))
    given = parse(target)
    if not (addresses := resolved(given)):
        raise Failure(f"{target} names no address: the warning above says why")
    route = Route(by_proxy(), channel_security(tls), namespace=chosen_namespace()).named_for(given)
    status = asyncio.run(_asked(addresses[0], service, timeout_s, route))
    show({"service": service, "status": status}, status, as_json=as_json)
    if status != "SERVING":
        raise typer.Exit(1)


async def _asked(address: str, service: str, timeout_s: float, route: Route) -> str:
    """The status, in capitals.

    Raises:
        Failure: there is no answer.
    """
    import grpc
    from google.protobuf.message import DecodeError
    from google.protobuf.wrappers_pb2 import Int32Value, StringValue
    from grpc import aio

    from weft.cli.terminal.failure import Failure
    from weft.rpc.network.channel import client_options, dial
    from weft.rpc.network.connection_faults import ConnectionFault, connected

    # On the wire, a HealthCheckRequest is a StringValue, and its answer an Int32Value.
    request = StringValue(value=service).SerializeToString()
    async with dial(address, client_options(own_connection=True), route) as channel:
        try:
            async with asyncio.timeout(timeout_s):
                await connected(channel, address, route.security)
                check: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_CHECK)
                answer = await check(request)
        except ConnectionFault as fault:
            raise Failure(f"{address} cannot be asked: {fault}") from None
        except TimeoutError:
            raise Failure(f"{address} does not answer within {timeout_s:g} s") from None
        except aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return "SERVICE_UNKNOWN"
            raise Failure(f"{address} answers with {error.code().name}: {error.details()}") from None
    try:
        return _STATUSES.get(Int32Value.FromString(answer).value, "UNKNOWN")
    except DecodeError:
        raise Failure(
            f"{address} answers with bytes that are no state: it is no server of gRPC's health"
        ) from None
