"""Whether direct calls can reach an agent: the coordinator dials its advertised address once it is connected.

    connected ─► dial, DescribeAgent ─┬─► this agent answers: REACHABLE, until its session ends
                      ▲               └─► no answer, or another process: UNREACHABLE, and why
                      └──────── growing waits ◄──────┘

The agent is told once a session, so that its log shows the problem before the first direct call fails.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from weft.coordinator.sessions.agent_session import AgentSession
from weft.rpc.errors import InvalidArgument
from weft.rpc.network.agent_ports import tls_problem
from weft.rpc.network.agent_route import PLAIN, AgentRoute
from weft.rpc.network.channel import client_options, dial
from weft.rpc.network.connection_faults import explained
from weft.rpc.network.targets import parse
from weft.rpc.process.logs import get_logger
from weft.rpc.security.channel_credentials import ChannelSecurity
from weft.v1 import agent_pb2, agent_pb2_grpc, fleet_pb2, session_pb2

log = get_logger(__name__)

TIMEOUT_S = 2.0
AT_A_TIME = 32
FIRST_RETRY_S = 1.0
MAX_RETRY_S = 30.0
# Characters of gRPC's message that lists and logs show.
_MAX_DETAILS = 300


class Reachability:
    """Dials the agents that are connected here, some at a time.

    Args:
        found: called when a session's agent has become reachable, or unreachable for a new reason.
        route: TLS of the connections, and the tickets that the calls show.
    """

    def __init__(self, found: Callable[[AgentSession], None], route: AgentRoute = PLAIN) -> None:
        self._found = found
        self._route = route
        self._dialling = asyncio.Semaphore(AT_A_TIME)
        self._tasks: dict[AgentSession, asyncio.Task[None]] = {}

    def session_changed(self, session: AgentSession) -> None:
        """A session was opened, has changed or has ended: dial while it is open."""
        task = self._tasks.get(session)
        if task is not None and not session.open:
            task.cancel()
        elif task is None and session.open and _to_dial(session):
            name = f"reach-{session.owner.agent_id}"
            task = asyncio.get_running_loop().create_task(self._follow(session), name=name)
            self._tasks[session] = task
            task.add_done_callback(lambda _: self._tasks.pop(session, None))

    async def stop(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, session: AgentSession) -> None:
        """Dial until the agent is reached or its session is over."""
        retry_s = FIRST_RETRY_S
        while session.open:
            async with self._dialling:
                problem = await find_problem(session.hello, self._route)
            if session.set_direct_problem(problem):
                agent, address = session.owner.agent_id, session.hello.advertised_address
                if problem:
                    log.warning("agent.unreachable", agent_id=agent, address=address, error=problem)
                else:
                    log.info("agent.reachable", agent_id=agent, address=address)
                self._found(session)
            if not problem:
                return
            # With jitter, so that agents whose network came back are not all dialled at once.
            await asyncio.sleep(retry_s * random.uniform(0.75, 1.25))  # noqa: S311 - not for secrets
            retry_s = min(MAX_RETRY_S, 2 * retry_s)


def _to_dial(session: AgentSession) -> bool:
    return bool(session.hello.advertised_address) and session.direct_state != fleet_pb2.DIRECT_STATE_REACHABLE


async def find_problem(hello: session_pb2.Hello, how: AgentRoute = PLAIN) -> str:
    """Why direct calls cannot reach the agent at its advertised address; empty: they can."""
    address = hello.advertised_address
    try:
        if parse(address, sources=False) != (address,):
            return f"the advertised address {address!r} is not a single HOST:PORT"
    except InvalidArgument as error:
        return error.message
    problem = tls_problem(address, hello.tls_name, secured=how.security is not None)
    if problem:
        return problem
    route = how.to(hello.agent_id, hello.instance_id, hello.tls_name)
    channel = dial(address, client_options(own_connection=True), route, server_name=hello.tls_name)
    try:
        agent = await _described(channel)
    except aio.AioRpcError as error:
        return _why(address, error, how.security)
    except DecodeError:
        return f"the server at {address} is not a weft agent"
    finally:
        await channel.close()
    if (agent.id, agent.instance_id) != (hello.agent_id, hello.instance_id):
        which = "another process of this agent" if agent.id == hello.agent_id else f"agent {agent.id!r}"
        return f"{which} answers at {address}"
    return ""


async def _described(channel: aio.Channel) -> fleet_pb2.Agent:
    call = agent_pb2_grpc.AgentServiceStub(channel).DescribeAgent(
        agent_pb2.DescribeAgentRequest(), timeout=TIMEOUT_S
    )
    try:
        response: agent_pb2.DescribeAgentResponse = await call
        return response.agent
    finally:
        call.cancel()


def _why(address: str, error: aio.AioRpcError, security: ChannelSecurity | None) -> str:
    details = explained(error.details() or "", security)[:_MAX_DETAILS]
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return f"the server at {address} is not a weft agent"
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"no answer from {address} within {TIMEOUT_S:g} s"
    return f"cannot connect to {address}: {error.code().name}: {details}"
