"""What a provider of pools is: a way to start, list and stop the processes of agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from weft.rpc.network.agent_ports import stays_here
from weft.rpc.network.targets import parse
from weft.v1 import pool_pb2


@dataclass(frozen=True, slots=True)
class MemberSpec:
    """A member that is to be started.

    Attributes:
        id: of the agent. No other member ever has it.
        pool: the pool's name.
        template: of the pool.
        variables: of the agent's environment: those of the template, and weft's own, with the token.
    """

    id: str
    pool: str
    template: pool_pb2.PoolTemplate
    variables: Mapping[str, str] = field(repr=False)


class ListedMember(NamedTuple):
    """A member that a provider has.

    Attributes:
        handle: what the provider calls it: a process id, a container's name. Empty: it is being started.
        running: False: it has ended, and the provider remembers that.
        ending: how it ended, with its last words, if they are known.
        frozen: it runs, but stands still.
    """

    handle: str
    running: bool
    ending: str = ""
    frozen: bool = False


class AgentProvider(Protocol):
    """A way to run agents. A package adds one as an entry point of the group `weft.pool_providers`: a function that takes a
    `ProviderSetting`. There is one for each mesh of a coordinator, and it sees the members of that mesh alone.

    Every call may be repeated, also by several coordinators at a time, and has a deadline: then it is cancelled. A call that fails raises
    any exception, whose text operators read.
    """

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str:
        """What it runs agents as, in a sentence."""
        ...

    @property
    def place(self) -> str:
        """Where it runs them: coordinators with the same place see the same members."""
        ...

    def check(self, template: pool_pb2.PoolTemplate) -> None:
        """Refuse a template that this provider cannot start. Pure.

        Raises:
            WeftError: by `refusals.invalid_field`.
        """
        ...

    async def list(self) -> Mapping[str, ListedMember]:
        """The members of this mesh that are at this place, also those that have ended and are not forgotten yet."""
        ...

    async def start(self, member: MemberSpec) -> None:
        """Start a member. One of this id that is there already, running or ended, stays as it is."""
        ...

    async def stop(self, member_id: str, grace_s: float) -> None:
        """Begin to stop a member: it may finish for so long, and is then killed, with all that it has started. One that stands still goes on
        for that. One that is not there is none."""
        ...

    async def forget(self, member_id: str) -> None:
        """Forget a member that has ended."""
        ...

    async def close(self) -> None:
        """This coordinator ends. The members go on."""
        ...


@runtime_checkable
class FreezingProvider(AgentProvider, Protocol):
    """A provider whose members can stand still."""

    async def freeze(self, member_id: str) -> None:
        """Let a member stand still, with all that it has started. One that does so already, has ended or is not there stays as it is."""
        ...

    async def thaw(self, member_id: str) -> None:
        """Let a member go on that stands still."""
        ...


@dataclass(frozen=True, slots=True)
class ProviderSetting:
    """What a provider is made with.

    Attributes:
        mesh: a mark of the mesh, 12 hex digits, by which its members are told from those of others.
        folder: for sockets and logs.
        alone_s: members that no coordinator asks for may go on for so long.
        changed: to be called when a member may have ended.
    """

    mesh: str
    folder: str = ""
    alone_s: float = 60.0
    changed: Callable[[], None] = lambda: None


def command_of(template: pool_pb2.PoolTemplate, weft: Sequence[str]) -> list[str]:
    """The words that start an agent of a template. Empty: those of its image.

    Args:
        weft: the words of the command weft there.
    """
    if template.command:
        return list(template.command)
    if template.program:
        return [*weft, "agent", template.program]
    return [*weft, "agent", "--app", template.app] if template.app else []


def check_reach(member: MemberSpec) -> None:
    """Refuse to start a member elsewhere that could not dial the coordinator.

    Raises:
        ValueError
    """
    target = member.variables["WEFT_TARGET"]
    if all(map(stays_here, parse(target))):
        raise ValueError(f"it could not dial {target} from there: set WEFT_POOL_TARGET at the coordinator")
