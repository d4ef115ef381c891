"""The fleet API: reads and changes agents and queues."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar, Unpack, overload

from google.protobuf.message import Message

from weft.client import api as rpc
from weft.client.agent_snapshot import AgentInfo, AgentState, DesiredState
from weft.client.api import Api
from weft.client.fleet_calls import AgentOutcome, call_each
from weft.client.methods import AnyMethod, as_method
from weft.client.options import SubmitOptions
from weft.client.resource_snapshot import Resources
from weft.client.selected_agents import SelectedAgents
from weft.client.sticky_session import StickySession, StickySessionInfo, as_session
from weft.client.task_snapshot import WaitReason
from weft.client.tasks import Tasks
from weft.rpc import refusals
from weft.rpc.discovery import Discovery
from weft.rpc.task_policy.method_options import RunLimit
from weft.rpc.times import seconds
from weft.v1 import command_pb2, coordinator_pb2, fleet_pb2, sticky_pb2

_PAGE_AGENTS = 1000

Req = TypeVar("Req")
Resp = TypeVar("Resp")


_AWAY = frozenset({AgentState.LOST, AgentState.LEFT})


@dataclass(frozen=True, slots=True)
class Queue:
    """Counts of the tasks of one method and requirement that have not ended."""

    method: str
    # Such as "gpu>=1,zone=eu"; empty: none.
    requirements: str
    queued: int
    scheduled: int
    running: int
    paused: bool
    # Connected agents that can take its tasks.
    agents: int
    oldest_age_s: float
    # The reason why its ready tasks wait, and its explanation. NONE and empty: no task waits.
    wait_reason: WaitReason = WaitReason.NONE
    waits_for: str = ""
    # How many of the queued tasks wait for a run limit or a lock.
    limited: int = 0
    # The method's run limits in force; and those that operators have set, which are a part of them.
    limits: Sequence[RunLimit] = ()
    operator_limits: Sequence[RunLimit] = ()

    @classmethod
    def of(cls, proto: fleet_pb2.Queue) -> Queue:
        return cls(
            method=proto.method,
            requirements=proto.requirements,
            queued=proto.queued,
            scheduled=proto.scheduled,
            running=proto.running,
            paused=proto.paused,
            agents=proto.agents,
            oldest_age_s=seconds(proto.oldest_age),
            wait_reason=WaitReason(proto.waiting.reason),
            waits_for=proto.waiting.text,
            limited=proto.limited,
            limits=tuple(map(RunLimit.of, proto.limits)),
            operator_limits=tuple(map(RunLimit.of, proto.operator_limits)),
        )


class Fleet:
    """Agents, queues and sticky sessions; `Mesh.fleet` gives it. Large because it has a method for each thing that is asked of them."""

    def __init__(self, api: Api, tasks: Tasks) -> None:
        self._api = api
        self._tasks = tasks

    async def agents(self, method: str = "") -> Sequence[AgentInfo]:
        """All known agents, sorted by id; with `method`, only agents that host it."""
        found: list[AgentInfo] = []
        page_token = ""
        while True:
            page = await self._api.call(
                rpc.LIST_AGENTS,
                coordinator_pb2.ListAgentsRequest(
                    method=method, page_size=_PAGE_AGENTS, page_token=page_token
                ),
            )
            found += map(AgentInfo.of, page.agents)
            page_token = page.next_page_token
            if not page_token:
                return found

    async def watch(self, methods: Sequence[str] = ()) -> AsyncGenerator[Sequence[AgentInfo]]:
        """The connected agents, now and after each change, without their load; with `methods`, only agents that host one
        of these. While the coordinator is away, it waits.

        Close it when done: `async with contextlib.aclosing(fleet.watch()) as updates`.
        """
        self._api.home.check()
        changed = asyncio.Event()
        newest: list[fleet_pb2.Agent] = []

        def update(agents: list[fleet_pb2.Agent]) -> None:
            newest[:] = agents
            changed.set()

        discovery = Discovery(self._api.channel, update, methods=methods)
        discovery.start().add_done_callback(lambda _: changed.set())
        try:
            while True:
                await changed.wait()
                self._api.home.check()
                changed.clear()
                yield [AgentInfo.of(agent) for agent in newest]
        finally:
            await discovery.close()

    async def agent(self, agent_id: str) -> AgentInfo:
        """One agent.

        Raises:
            NotFound: no agent has this id.
        """
        request = coordinator_pb2.GetAgentRequest(agent_id=agent_id)
        return AgentInfo.of((await self._api.call(rpc.GET_AGENT, request)).agent)

    @overload
    def call_all(
        self,
        method: AnyMethod[Req, Resp],
        request: Req,
        *,
        timeout_s: float = 60.0,
        agent_ids: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> AsyncGenerator[AgentOutcome[Resp]]: ...
    @overload
    def call_all(
        self,
        method: str,
        request: bytes | Message,
        *,
        timeout_s: float = 60.0,
        agent_ids: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> AsyncGenerator[AgentOutcome[bytes]]: ...
    async def call_all(
        self,
        method: AnyMethod[Any, Any] | str,
        request: Any,
        *,
        timeout_s: float = 60.0,
        agent_ids: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> AsyncGenerator[AgentOutcome[Any]]:
        """Run a method once on each connected agent that hosts it: a task for each. Outcomes come as the tasks end.

        An agent that takes no work (it is draining or paused, or its app is down) gets an outcome with NO_AGENT_MATCHES; one that
        leaves meanwhile gets one when the time is up.

        Args:
            method: a unary method: of `methods(Stub)`, or a hosted function; or "pkg.Service/Method", with serialized messages.
            request: the request, the same for all.
            timeout_s: time limit of each task, from its submission.
            agent_ids: only these agents.
            labels: only agents that have these labels.
            options: how the tasks are run; `agent_id` is set here.

        Close it when done: `async with contextlib.aclosing(fleet.call_all(...)) as outcomes`. Tasks that were submitted go on.
        """
        called = as_method(method)
        agents = [
            agent.id
            for agent in await self.agents(called.name)
            if agent.state not in _AWAY and _selected(agent, agent_ids, labels or {})
        ]
        given = SubmitOptions(**{"no_wait": True, "schedule_to_close_s": timeout_s, **options})
        async with aclosing(call_each(self._tasks, agents, called, request, given)) as outcomes:
            async for outcome in outcomes:
                yield outcome

    def select(
        self,
        *agent_ids: str,
        method: str = "",
        labels: Mapping[str, str] | None = None,
        everything: bool = False,
    ) -> SelectedAgents:
        """The agents for which all of this holds, to be given commands: restart, stop, labels, stacks and others.

            async for outcome in mesh.fleet.select("host-1").stacks(): ...

        Args:
            agent_ids: these agents.
            method: those that host it, by full name.
            labels: those that have these labels.
            everything: all connected agents; to be said if nothing else is given.
        """
        selector = command_pb2.AgentSelector(
            agent_ids=agent_ids, method=method, labels=labels, all=everything
        )
        return SelectedAgents(self._api, selector)

    async def set_state(self, agent_id: str, state: DesiredState) -> AgentInfo:
        """Set an agent's desired state. It holds until it is changed, also across the agent's restarts."""
        request = coordinator_pb2.UpdateAgentRequest(
            agent_id=agent_id,
            desired_state=state.value,  # type: ignore[arg-type]
        )
        return AgentInfo.of((await self._api.call(rpc.UPDATE_AGENT, request)).agent)

    async def queues(self, method: str = "") -> Sequence[Queue]:
        """Queues that hold tasks, are paused, or belong to a hosted method."""
        request = coordinator_pb2.ListQueuesRequest(method=method)
        return [Queue.of(queue) for queue in (await self._api.call(rpc.LIST_QUEUES, request)).queues]

    async def pause(self, method: str) -> Sequence[Queue]:
        """Dispatch nothing of a method, until `resume`."""
        return await self._set_paused(method, paused=True)

    async def resume(self, method: str) -> Sequence[Queue]:
        """Dispatch a method's tasks again."""
        return await self._set_paused(method, paused=False)

    async def limit(self, method: str, limit: RunLimit) -> Sequence[Queue]:
        """Set a run limit of a method. It holds from now on, also for queued tasks, and replaces the operators' earlier one with
        the same key. Of it and the contract's limits the tighter holds.

        Raises:
            InvalidArgument: it limits nothing, or its key is no key of the method's requests.
            NotFound: no contract has the method.
        """
        asked = coordinator_pb2.QueueLimits(
            key=limit.key,
            max_running=limit.max_running or 0,
            max_rate_per_s=limit.max_rate_per_s or 0.0,
            burst=limit.burst or 0,
            at_limit=limit.to_proto().at_limit,
        )
        if not (asked.max_running or asked.max_rate_per_s):
            raise refusals.invalid_field("a run limit needs max_running or max_rate_per_s", field="limit")
        return await self._update(coordinator_pb2.UpdateQueueRequest(method=method, limits=asked))

    async def clear_limits(self, method: str, key: str | None = None) -> Sequence[Queue]:
        """Remove the run limits that operators have set for a method; with `key`, only the one with this key."""
        request = coordinator_pb2.UpdateQueueRequest(method=method, clear_limits=key is None)
        if key is not None:
            request.limits.CopyFrom(coordinator_pb2.QueueLimits(key=key))
        return await self._update(request)

    async def resources(self, method: str = "", lock: str = "") -> Resources:
        """The resources of the connected agents, with `method` of its hosts only; and the locks, with `lock` that one only."""
        request = coordinator_pb2.ListResourcesRequest(method=method, lock=lock)
        return Resources.of(await self._api.call(rpc.LIST_RESOURCES, request))

    async def sessions(self, agent_id: str = "") -> Sequence[StickySessionInfo]:
        """The sticky sessions that have an agent; with `agent_id`, only those of that one."""
        found: list[StickySessionInfo] = []
        request = sticky_pb2.ListStickySessionsRequest(agent_id=agent_id, page_size=_PAGE_AGENTS)
        while True:
            page = await self._api.call(rpc.LIST_SESSIONS, request)
            found += map(StickySessionInfo.of, page.sessions)
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def end_session(self, service: str, session: StickySession | str) -> None:
        """End a sticky session: its next call begins a new one. So does a caller who is told that its hard session is lost.

        Args:
            service: the service, such as "acme.chat.v1.ChatService", or a method of it.
            session: the session; a key alone is a soft one.

        Raises:
            NotFound: there is no such session (STICKY_SESSION_NOT_FOUND).
        """
        said = as_session(session).to_proto()
        await self._api.call(
            rpc.END_SESSION, sticky_pb2.EndStickySessionRequest(service=service, session=said)
        )

    async def _set_paused(self, method: str, *, paused: bool) -> Sequence[Queue]:
        return await self._update(coordinator_pb2.UpdateQueueRequest(method=method, paused=paused))

    async def _update(self, request: coordinator_pb2.UpdateQueueRequest) -> Sequence[Queue]:
        return [Queue.of(queue) for queue in (await self._api.call(rpc.UPDATE_QUEUE, request)).queues]


def _selected(agent: AgentInfo, agent_ids: Sequence[str], labels: Mapping[str, str]) -> bool:
    return (not agent_ids or agent.id in agent_ids) and labels.items() <= agent.labels.items()
