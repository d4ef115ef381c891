"""Checks of agents and queues, as the coordinator lists them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from weft.cli.doctor.diagnosis import Diagnosis, ok, problem, warning
from weft.cli.terminal import moments
from weft.client import AgentInfo, AgentState, CoordinatorStats, DesiredState, Queue, WaitReason
from weft.client.agent_snapshot import DirectState
from weft.rpc.network.agent_ports import stays_here
from weft.rpc.process.version import VERSION

# An agent is heard of each second; the lists of other coordinators' agents are some seconds old.
_SKEW_S = 10.0
# Tasks that have waited this long for an agent wait for one that is missing rather than busy.
_LONG_WAIT_S = 10.0
# Listed for a while after they have gone.
_AWAY = frozenset({AgentState.LOST, AgentState.LEFT})
# Names in one finding.
_NAMED = 5
_SAFE = "give it TLS and tokens, or an address of its machine alone: docs/how-to/tls.md, Safe by default"


def findings(agents: Sequence[AgentInfo], queues: Sequence[Queue], now: datetime) -> Iterator[Diagnosis]:
    """What the lists show."""
    yield from _fleet(agents)
    for agent in agents:
        yield from _agent(agent)
    yield from _versions(agents)
    yield from _clocks(agents, now)
    for queue in queues:
        yield from _queue(queue)
    yield from _idle(agents, queues)


def _fleet(agents: Sequence[AgentInfo]) -> Iterator[Diagnosis]:
    connected = [agent for agent in agents if agent.state not in _AWAY]
    if not connected:
        yield problem(
            "agents",
            "no agent is connected: tasks wait",
            "start one: weft agent PROGRAM:AGENT --target HOST:PORT",
        )
        return
    slots = sum(agent.slots for agent in connected)
    used = sum(agent.used_slots for agent in connected)
    yield ok("agents", f"{len(connected)} connected, {used} of {slots} slots in use")


def _agent(agent: AgentInfo) -> Iterator[Diagnosis]:
    subject = f"agent {agent.id}"
    if agent.state is AgentState.SUSPECT:
        yield warning(
            subject, "its connection broke, and it has not come back yet", "see whether its process runs"
        )
    if not agent.methods:
        yield warning(
            subject, "it hosts no method", "see its log: its app may be away, or its program hosts nothing"
        )
    if agent.unavailable:
        yield problem(
            subject,
            f"its app does not serve {_some(sorted(agent.unavailable))}",
            "see the app's log, and its health service",
        )
    if agent.failing:
        ejection = agent.ejection
        why = f" ({ejection.failures} in a row)" if ejection is not None and ejection.failures else ""
        yield problem(
            subject, f"its attempts keep failing{why}: others get its tasks", f"weft agents show {agent.id}"
        )
    if agent.overrun_slots:
        yield problem(
            subject,
            f"{agent.overrun_slots} of its slots are held by handlers that ignore their cancellation:"
            f" {_some(agent.overrun_methods)}",
            "restart it, and give these handlers isolate=True",
        )
    if agent.slow_methods:
        yield warning(
            subject, f"slower than others at {_some(sorted(agent.slow_methods))}", "look at its host's load"
        )
    if agent.desired_state is not DesiredState.ACTIVE:
        name = agent.desired_state.name
        yield warning(
            subject, f"an operator has set it {name}: it gets no tasks", f"weft agents resume {agent.id}"
        )
    if agent.advertised_address and not agent.tls_name and not stays_here(agent.advertised_address):
        yield warning(
            subject, f"its port {agent.advertised_address} is open to other machines without TLS", _SAFE
        )
    if agent.direct_state is DirectState.UNREACHABLE:
        yield warning(
            subject,
            f"direct calls cannot reach {agent.advertised_address}: {agent.direct_problem}",
            "set WEFT_AGENT_ADVERTISED_ADDRESS to an address that callers reach; durable calls need none",
        )


def insecure(stats: CoordinatorStats) -> Iterator[Diagnosis]:
    """Ports of the coordinator that should not be open as they are."""
    for text in stats.insecure_ports:
        yield warning(f"coordinator {stats.coordinator_id}", text, _SAFE)


def limited(stats: CoordinatorStats) -> Iterator[Diagnosis]:
    """Callers that were refused something at their limits."""
    for each in stats.limited:
        what = ", ".join(f"{count} at {limit}" for limit, count in sorted(each.refused.items()))
        yield warning(
            f"{'namespace' if each.is_namespace else 'caller'} {each.name}",
            f"calls or tasks were refused at its limits in the last minutes: {what}",
            "slow it down, or raise the limit: docs/how-to/limits-and-overload.md, Limits of callers",
        )


def _versions(agents: Sequence[AgentInfo]) -> Iterator[Diagnosis]:
    others = {agent.version for agent in agents if agent.version} - {VERSION}
    if others:
        yield warning(
            "versions",
            f"agents run weft {', '.join(sorted(others))}; this command is {VERSION}",
            "bring all to one version when you can; sessions of different versions work as docs/protocol.md says",
        )


def _clocks(agents: Sequence[AgentInfo], now: datetime) -> Iterator[Diagnosis]:
    """Moments of the coordinator's clock against this machine's: an agent was heard of just now."""
    ages = [(now - agent.last_seen_at).total_seconds() for agent in agents if agent.last_seen_at is not None]
    if not ages:
        return
    age_s = min(ages, key=abs)
    if abs(age_s) > _SKEW_S:
        where = "behind" if age_s > 0 else "ahead of"
        yield warning(
            "clocks",
            f"the coordinator's clock is about {moments.span(abs(age_s))} {where} this machine's",
            "synchronize both (chrony, systemd-timesyncd): schedules and times in lists are the coordinator's",
        )
    else:
        yield ok("clocks", "the coordinator's clock and this machine's agree")


def _queue(queue: Queue) -> Iterator[Diagnosis]:
    name = f"queue {queue.method}" + (f" [{queue.requirements}]" if queue.requirements else "")
    if queue.paused:
        waits = f": {queue.queued} tasks wait" if queue.queued else ""
        yield warning(name, f"an operator has paused it{waits}", f"weft queues resume {queue.method}")
    elif queue.queued and not queue.agents:
        yield problem(
            name,
            f"{_waiting(queue)}: {queue.waits_for or 'no agent'}",
            "start an agent that hosts the method and has what the tasks require",
        )
    elif queue.queued and queue.oldest_age_s > _LONG_WAIT_S:
        yield warning(name, f"{_waiting(queue)}: {queue.waits_for}", _advice(queue))


def _waiting(queue: Queue) -> str:
    # Tasks that wait for a limit have no age here.
    age = f", the oldest for {moments.span(queue.oldest_age_s)}" if queue.queued > queue.limited else ""
    return f"{queue.queued} tasks wait{age}"


def _advice(queue: Queue) -> str:
    if queue.wait_reason in {WaitReason.LIMIT, WaitReason.LOCK, WaitReason.RESOURCE}:
        return f"weft resources; weft queues list --method {queue.method}"
    return "add agents or slots"


def _idle(agents: Sequence[AgentInfo], queues: Sequence[Queue]) -> Iterator[Diagnosis]:
    """Agents that could work, while tasks wait that none of them hosts."""
    waiting = [queue for queue in queues if queue.queued and not queue.agents and not queue.paused]
    idle = [agent.id for agent in agents if agent.methods and not agent.used_slots]
    if waiting and idle:
        yield warning(
            "agents",
            f"{_some(idle)} have nothing to do, while tasks of {_some([queue.method for queue in waiting])} wait",
            "see whether they run the program that hosts these methods: weft agents list --method METHOD",
        )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
