"""Agents that are told to do something, all at once: `Mesh.fleet.select` gives them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc.aio
from google.protobuf.message import Message

from weft.client.agent_stacks import AgentStacks
from weft.client.api import COMMAND_AGENTS, TELL_AGENTS, Api
from weft.client.methods import Method
from weft.rpc.errors import WeftError, from_status
from weft.rpc.times import duration, optional_duration, seconds
from weft.v1 import command_pb2, fleet_pb2

Value = TypeVar("Value")

# How long an agent may take to answer.
TIMEOUT_S = 5.0
# For the way there and back, beside that.
_CALL_S = 10.0

_Reply = command_pb2.CommandReply
_Command = command_pb2.AgentCommand


@dataclass(frozen=True, slots=True)
class CommandOutcome(Generic[Value]):
    """What became of a command at one agent."""

    agent_id: str
    # What the agent answered. None: there is nothing to answer, or it failed.
    value: Value | None
    # None: the agent has done it.
    error: WeftError | None

    def result(self) -> Value:
        """The answer.

        Raises:
            WeftError: the command was not carried out, or may not have been.
        """
        if self.error is not None:
            raise self.error
        assert self.value is not None
        return self.value


@dataclass(frozen=True, slots=True)
class GarbageCollection:
    """What a collection of garbage has done."""

    # That were found unreachable.
    objects: int
    took_s: float
    memory_before_bytes: int
    memory_after_bytes: int


class SelectedAgents:
    """The agents for which all that was given holds, found anew for each command. For operators.

    Each command goes to all of them at once; outcomes come as the agents answer, each agent's once. An agent that does not answer within
    `timeout_s` has DEADLINE_EXCEEDED (COMMAND_NOT_ANSWERED) as its error.

        async for outcome in mesh.fleet.select(labels={"zone": "eu"}).set_log_level("debug"):
            print(outcome.agent_id, outcome.error or "done")

    Large because it has a method for each command.
    """

    def __init__(self, api: Api, selector: command_pb2.AgentSelector) -> None:
        self._api = api
        self._selector = selector

    def stacks(self, *, timeout_s: float = TIMEOUT_S) -> AsyncGenerator[CommandOutcome[AgentStacks]]:
        """What their handlers, threads, asyncio tasks and child processes are doing; also while a handler blocks an agent's event loop."""
        command = _Command(stacks=command_pb2.DumpStacks())
        return self._run(command, timeout_s, lambda reply: AgentStacks.of(reply.stacks))

    def collect_garbage(
        self, *, timeout_s: float = TIMEOUT_S
    ) -> AsyncGenerator[CommandOutcome[GarbageCollection]]:
        """Collect Python's garbage."""
        return self._run(_Command(gc=command_pb2.CollectGarbage()), timeout_s, _collection)

    def set_labels(
        self,
        labels: Mapping[str, str] | None = None,
        *,
        remove: Sequence[str] = (),
        timeout_s: float = TIMEOUT_S,
    ) -> AsyncGenerator[CommandOutcome[Mapping[str, str]]]:
        """Change labels: placement heeds them at once, and as long as the agent's process lives. Gives all labels of each agent.

        Args:
            labels: to add, or to give another value.
            remove: keys of those to remove.
        """
        change = command_pb2.ChangeLabels(set=labels, remove=remove)
        return self._run(_Command(labels=change), timeout_s, lambda reply: dict(reply.labels.labels))

    def set_log_level(
        self, level: str, *, timeout_s: float = TIMEOUT_S
    ) -> AsyncGenerator[CommandOutcome[None]]:
        """Log from another level on, as long as the agent's process lives.

        Args:
            level: debug, info, warning or error.
        """
        return self._run(_Command(log_level=command_pb2.SetLogLevel(level=level)), timeout_s, _nothing)

    def restart(
        self, *, grace_s: float | None = None, timeout_s: float = TIMEOUT_S
    ) -> AsyncGenerator[CommandOutcome[None]]:
        """Drain, then start the process again with the same command, environment and id. An outcome says that the drain has begun.

        Args:
            grace_s: how long running handlers may take. Default: the agent's own setting.
        """
        command = command_pb2.RestartAgent(grace=optional_duration(grace_s))
        return self._run(_Command(restart=command), timeout_s, _nothing)

    def stop(
        self, *, grace_s: float | None = None, timeout_s: float = TIMEOUT_S
    ) -> AsyncGenerator[CommandOutcome[None]]:
        """Drain, then end the process. What starts the agent may start it again. An outcome says that the drain has begun.

        Args:
            grace_s: how long running handlers may take. Default: the agent's own setting.
        """
        command = command_pb2.StopAgent(grace=optional_duration(grace_s))
        return self._run(_Command(stop=command), timeout_s, _nothing)

    def tell(
        self, message: Message | Mapping[str, Any], *, timeout_s: float = TIMEOUT_S
    ) -> AsyncGenerator[CommandOutcome[None]]:
        """Send a message to their programs, for functions of `Agent.on_message`. An outcome says that an agent has taken it; its functions run after that.
        Agents that take no such messages are left out. Not for operators alone.

        Args:
            message: of any type; a dict is sent as a `google.protobuf.Struct`.
        """
        proto = message if isinstance(message, Message) else _struct(message)
        told = command_pb2.AgentMessage(type=proto.DESCRIPTOR.full_name, payload=proto.SerializeToString())
        request = command_pb2.TellAgentsRequest(
            selector=self._selector, message=told, timeout=duration(timeout_s)
        )
        return self._outcomes(TELL_AGENTS, request, timeout_s, _nothing)

    def drain(self) -> AsyncGenerator[CommandOutcome[None]]:
        """Take no new work, release attempts that have not started, and finish the others. It holds until it is changed, also across
        restarts, and for agents that are named and not connected."""
        return self._set_desired(fleet_pb2.DESIRED_STATE_DRAINING)

    def pause(self) -> AsyncGenerator[CommandOutcome[None]]:
        """Take no new work, and keep the attempts that they hold. It holds as `drain` does."""
        return self._set_desired(fleet_pb2.DESIRED_STATE_PAUSED)

    def resume(self) -> AsyncGenerator[CommandOutcome[None]]:
        """Take work again."""
        return self._set_desired(fleet_pb2.DESIRED_STATE_ACTIVE)

    def _set_desired(self, state: fleet_pb2.DesiredState) -> AsyncGenerator[CommandOutcome[None]]:
        return self._run(_Command(desired_state=state), TIMEOUT_S, _nothing)

    def _run(
        self, command: command_pb2.AgentCommand, timeout_s: float, value: Callable[[_Reply], Value]
    ) -> AsyncGenerator[CommandOutcome[Value]]:
        request = command_pb2.CommandAgentsRequest(
            selector=self._selector, command=command, timeout=duration(timeout_s)
        )
        return self._outcomes(COMMAND_AGENTS, request, timeout_s, value)

    async def _outcomes(
        self, method: Method[Any, Any], request: Any, timeout_s: float, value: Callable[[_Reply], Value]
    ) -> AsyncGenerator[CommandOutcome[Value]]:
        """Give a command, or send a message.

        Raises:
            WeftError: the coordinator has refused it, or cannot be reached.
        """
        call = self._api.open(method, request, timeout_s=timeout_s + _CALL_S)
        try:
            async for response in call:
                for result in response.results:
                    yield _outcome(result, value)
        except asyncio.CancelledError:
            self._api.home.check_cut_off()
            raise
        except grpc.aio.AioRpcError as error:
            raise self._api.error(error) from error
        finally:
            call.cancel()


def _outcome(result: command_pb2.CommandResult, value: Callable[[_Reply], Value]) -> CommandOutcome[Value]:
    if result.status.code:
        return CommandOutcome(result.agent_id, None, from_status(result.status))
    return CommandOutcome(result.agent_id, value(result.reply), None)


def _collection(reply: _Reply) -> GarbageCollection:
    done = reply.gc
    return GarbageCollection(
        done.objects, seconds(done.took), done.memory_before_bytes, done.memory_after_bytes
    )


def _nothing(_reply: _Reply) -> None:
    """There is nothing in the answer."""


def _struct(fields: Mapping[str, Any]) -> Message:
    from google.protobuf import json_format, struct_pb2

    return json_format.ParseDict(dict(fields), struct_pb2.Struct())
