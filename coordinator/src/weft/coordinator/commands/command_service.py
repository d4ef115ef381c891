"""The servicer of `weft.v1.CommandService`."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from typing import Any

from google.rpc import code_pb2
from grpc import aio

from weft.coordinator import guard
from weft.coordinator.commands.agent_selection import check_selector, selected
from weft.coordinator.commands.command_checks import check_command, check_message, checked_timeout
from weft.coordinator.commands.command_runs import BATCH_RESULTS, CommandRuns
from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.fleet.fleet_view import FleetView
from weft.coordinator.sessions.sessions_by_agent import SessionsByAgent
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.base import Store
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.rpc.identity.edge import Edge
from weft.v1 import command_pb2, command_pb2_grpc, fleet_pb2

Context = aio.ServicerContext[Any, Any]
Response = command_pb2.CommandAgentsResponse

# Desired states that are stored at a time.
_STORED_AT_A_TIME = 64


class CommandService(command_pb2_grpc.CommandServiceServicer):
    """Each RPC's errors and guarantee are in the contract's comments."""

    def __init__(
        self,
        store: Store,
        register: AgentRegister,
        sessions: SessionsByAgent,
        fleet: FleetView,
        settings: CoordinatorSettings,
        edge: Edge,
    ) -> None:
        self._edge = edge
        self.runs = CommandRuns(store, sessions)
        self.stalled_stream_s = settings.stalled_stream_s
        self._register = register
        self._fleet = fleet

    async def stop(self, error: WeftError) -> None:
        """End all commands with an error."""
        await self.runs.stop(error)

    @guard.stream
    async def CommandAgents(
        self, request: command_pb2.CommandAgentsRequest, context: Context
    ) -> AsyncIterator[Response]:
        command = request.command
        check_selector(request.selector)
        check_command(command)
        timeout_s = checked_timeout(request)
        await self._fleet.look()
        found = selected(self._register, request.selector)
        yield Response(
            selected=sum(map(len, found)),
            results=[_failed(each, refusals.agent_not_found(each)) for each in found.unknown[:BATCH_RESULTS]],
        )
        for batch in _batches(found.unknown[BATCH_RESULTS:]):
            yield Response(results=[_failed(each, refusals.agent_not_found(each)) for each in batch])
        if command.WhichOneof("command") == "desired_state":
            for batch in _batches([*found.connected, *found.away], _STORED_AT_A_TIME):
                stored = (self._set_desired(each, command.desired_state) for each in batch)
                yield Response(results=await asyncio.gather(*stored))
            return
        for batch in _batches(found.away):
            yield Response(results=[_failed(each, refusals.agent_not_connected(each)) for each in batch])
        if found.connected:
            command.command_id = secrets.token_hex(8)
            async with aclosing(self.runs.run(command, found.connected, timeout_s)) as results:
                async for come in results:
                    yield Response(results=come)

    @guard.stream
    async def TellAgents(
        self, request: command_pb2.TellAgentsRequest, context: Context
    ) -> AsyncIterator[command_pb2.TellAgentsResponse]:
        check_selector(request.selector)
        check_message(request.message)
        timeout_s = checked_timeout(request)
        self._edge.check_method(context, request.message.type)
        await self._fleet.look()
        found = selected(self._register, request.selector)
        failed = [_failed(each, refusals.agent_not_found(each)) for each in found.unknown]
        failed += [_failed(each, refusals.agent_not_connected(each)) for each in found.away]
        # The caller learns at once that its message is on its way.
        yield command_pb2.TellAgentsResponse(results=failed)
        if not found.connected:
            return
        command = command_pb2.AgentCommand(command_id=secrets.token_hex(8), message=request.message)
        async with aclosing(self.runs.run(command, found.connected, timeout_s)) as results:
            async for come in results:
                # Who takes no such messages is none of those who are meant.
                taken = [each for each in come if each.status.code != code_pb2.UNIMPLEMENTED]
                yield command_pb2.TellAgentsResponse(results=taken)

    async def _set_desired(self, agent_id: str, desired: fleet_pb2.DesiredState) -> command_pb2.CommandResult:
        try:
            known = await self._fleet.set_desired(agent_id, desired)
        except WeftError as error:
            return _failed(agent_id, error)
        return (
            command_pb2.CommandResult(agent_id=agent_id)
            if known
            else _failed(agent_id, refusals.agent_not_found(agent_id))
        )


def _failed(agent_id: str, error: WeftError) -> command_pb2.CommandResult:
    return command_pb2.CommandResult(agent_id=agent_id, status=error.status())


def _batches(agent_ids: Sequence[str], size: int = BATCH_RESULTS) -> Iterator[Sequence[str]]:
    for at in range(0, len(agent_ids), size):
        yield agent_ids[at : at + size]
