"""One agent's session at the coordinator: its slots, its held attempts, and the outbox of its stream.

No I/O here: `sessions` reads and writes the stream. All waiting items of the outbox go out in one message.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from weft.coordinator.sessions.agent_outcomes import AgentOutcomes, weighted_load
from weft.coordinator.sessions.agent_requests import AgentRequests
from weft.coordinator.sessions.agent_resources import AgentResources, Consumes
from weft.coordinator.sessions.assignments import NO_TREE, Held, assignment_of, size_of, tree_of
from weft.coordinator.store.records import AttemptRef, Claimed, Owner
from weft.coordinator.store.rules import QueueKey
from weft.rpc.errors import WeftError
from weft.rpc.identity.caller import ANYBODY
from weft.rpc.network.channel import BATCH_BYTES, BATCH_ITEMS
from weft.rpc.times import duration
from weft.v1 import fleet_pb2, session_pb2

T = TypeVar("T")
# Queues whose cost is kept. Clients choose requirements, so there may be any number of them; past this many, begin anew.
COSTS_REMEMBERED = 4096
# Bounds of the outbox of an agent that reads slowly: past the first the agent is not read, past the second it gets no work.
OUTBOX_ITEMS = 8192
OUTBOX_BYTES = 16 * 1024 * 1024
# Acknowledgements wait for others: a message costs both sides some hundred microseconds, an item in a message about one.
ACK_DELAY_S = 0.02


class AgentSession:
    """A session, from its welcome to its end.

    Large because it is the one place for an agent's capacity, held attempts and waiting messages, which change together.
    """

    host_detail: fleet_pb2.HostDetail | None = None  # sent more seldom than the rest
    caller = ANYBODY  # who opened it
    report_key = b""  # what messages that come out-of-band must show
    admission: asyncio.Task[None] | None = None  # checks its contract, beside the stream
    _tokens_changed = False
    other_load = 0.0  # slots used by others than held attempts, and the backlog of the agent's program, which takes no slot
    durable_children: Container[str] = ()  # methods whose handlers' calls are remembered

    def __init__(self, hello: session_pb2.Hello, owner: Owner, now_s: float) -> None:
        self.owner = owner
        self.hello = hello
        self.instance_id = hello.instance_id
        self.slots = hello.slots
        self.used_slots = 0
        self.open = True
        # Nothing is assigned before the contract has been accepted.
        self.accepted = False
        self.draining = hello.draining
        self.desired: fleet_pb2.DesiredState = fleet_pb2.DESIRED_STATE_ACTIVE
        self.report = session_pb2.AgentReport()
        # Slots for attempts; and slots that direct calls and overrun handlers use, by the last heartbeat.
        self._credits = hello.slots + hello.prefetch
        self._otherwise_busy = 0
        # Whether direct calls can reach it, as in the agent's description.
        self.direct_state: fleet_pb2.DirectState = fleet_pb2.DIRECT_STATE_UNSPECIFIED
        self.direct_problem = ""
        self.connected_at_s = now_s
        # The heartbeat interval that the agent was told, and the silence after which its lease ends.
        self.interval_s = 0.0
        self.lease_s = 0.0
        # When the last message came, by the monotonic clock.
        self.heard_at_s = 0.0
        # A message is being handled and the next one is not read: the agent is not silent.
        self.handling = False
        # The agent reports out-of-band. Its event loop is blocked: assign nothing.
        self.loop_blocked = False
        # Since when a write has waited for the agent to read, by the monotonic clock; None: no write waits.
        self.writing_since_s: float | None = None
        self.goodbye = False
        self.error: WeftError | None = None
        self.task: asyncio.Task[object] | None = None
        self.held: dict[AttemptRef, Held] = {}
        self.outcomes = AgentOutcomes()  # kept over all sessions of the agent here
        # The agent's own costs, and those in force.
        self._own_costs = {method.name: max(1, method.slot_cost) for method in hello.methods}
        self._method_costs = self._own_costs
        self.method_set = frozenset(self._method_costs)
        self.highest_cost = self._highest_cost()
        self._services = frozenset(map(_service, self._method_costs))
        # Services that take no calls now.
        self._unavailable = frozenset(_service(method.name) for method in hello.methods if method.unavailable)
        self._labels = dict(hello.labels)
        self.resources = AgentResources(hello.resources)
        self._costs: dict[QueueKey, int] = {}
        self._unfit: set[QueueKey] = set()
        self._event = asyncio.Event()
        self._room = asyncio.Event()
        self._assignments: list[session_pb2.Assignment] = []
        self._assigned_bytes = 0
        self._cancels: list[session_pb2.Cancel] = []
        self._acks: list[session_pb2.ResultAck] = []
        self._ack_timer: asyncio.TimerHandle | None = None
        self._progress_acks: list[session_pb2.ProgressAck] = []
        self._desired_to_send: fleet_pb2.DesiredState = fleet_pb2.DESIRED_STATE_UNSPECIFIED
        self._echo = 0
        self._problem_to_send, self._problem_told = "", False
        self.requests = AgentRequests(self._event.set)

    # -- capacity ---------------------------------------------------------------------------------------------

    @property
    def takes_work(self) -> bool:
        """Whether it may get attempts, if it has free slots."""
        return (
            self.open
            and self.accepted
            and not self.draining
            and not self.loop_blocked
            and self.desired == fleet_pb2.DESIRED_STATE_ACTIVE
            and not self.outbox_full
        )

    @property
    def outbox_full(self) -> bool:
        """As many assignments as allowed wait for the agent to read them."""
        return self._assigned_bytes > OUTBOX_BYTES

    @property
    def free_slots(self) -> int:
        """Slots and prefetch that are not used."""
        return self._credits - self.used_slots - self._otherwise_busy

    @property
    def busy_slots(self) -> int:
        """Used slots: of attempts, of overrun handlers, and of direct calls."""
        return self.used_slots + self._otherwise_busy

    def load_for(self, method: str) -> float:
        """The load, as far as the agent is not slower than others at this method."""
        used, slow = self.used_slots + self.other_load, self.outcomes.slow
        return weighted_load(used, self.slots, slow.get(method, 1.0)) if slow else used / self.slots

    def room(self, *, all_slots: bool) -> int:
        """Free slots, as far as the agent may use them; `all_slots`: whatever the outcomes of its attempts."""
        allowance = self.outcomes.allowance
        if allowance is None or all_slots:
            return self.free_slots
        return min(self.free_slots, allowance - self.used_slots)

    def silent_for_s(self, now_s: float) -> float:
        """Seconds since the agent was last heard, by the monotonic clock."""
        return 0.0 if self.handling else now_s - self.heard_at_s

    def is_unavailable(self, method: str) -> bool:
        """Whether the agent reports that it takes no calls of a method that it hosts."""
        return _service(method) in self._unavailable

    @property
    def methods(self) -> Iterable[str]:
        return self._method_costs.keys()

    def cost(self, method: str) -> int:
        return self._method_costs.get(method, 1)

    def raise_costs(self, least: Callable[[str], int]) -> bool:
        """A task of a method takes as many slots as the agent says, and at least `least`; True: that is new."""
        costs = {method: max(cost, least(method)) for method, cost in self._own_costs.items()}
        if costs == self._method_costs:
            return False
        self._method_costs = costs
        self.highest_cost = self._highest_cost()
        self._costs.clear()
        self._unfit.clear()
        return True

    def _highest_cost(self) -> int:
        """The most slots of one task that it can take."""
        return max((cost for cost in self._method_costs.values() if cost <= self.slots), default=1)

    def costs(self, queues: Iterable[QueueKey]) -> dict[QueueKey, int]:
        """The queues that this agent serves, each with the slots that a task of it takes."""
        found = ((key, self.queue_cost(key)) for key in queues)
        return {key: cost for key, cost in found if cost is not None}

    def queue_cost(self, key: QueueKey) -> int | None:
        """Slots that a task of a queue takes; None: this agent does not serve it."""
        cost = self._costs.get(key)
        return cost if cost is not None or key in self._unfit else self._learn(key)

    def _learn(self, key: QueueKey) -> int | None:
        if len(self._costs) + len(self._unfit) >= COSTS_REMEMBERED:
            self._costs.clear()
            self._unfit.clear()
        cost = self._method_costs.get(key.method)
        takes = cost is not None and cost <= self.slots and not self.is_unavailable(key.method)
        declared, needed = self.resources.declared, key.requirements
        if cost is None or not takes or not needed.met_by(self._labels, declared, self.instance_id):
            self._unfit.add(key)
            return None
        self._costs[key] = cost
        return cost

    # -- reports ------------------------------------------------------------------------------------------------

    def take_heartbeat(self, report: session_pb2.AgentReport) -> bool:
        """Take a heartbeat; True if it changes which calls the agent takes."""
        if report.sequence < self.report.sequence:
            # A later one came out-of-band.
            return False
        self.report = report
        self.host_detail = report.load.detail if report.load.HasField("detail") else self.host_detail
        self._otherwise_busy = report.stuck_slots + report.direct_slots
        self.resources.set_stuck(report.stuck_resources)
        backlog = report.load.backlog_slots
        # An agent may say anything.
        self.other_load = self._otherwise_busy + (backlog if 0 <= backlog < math.inf else 0.0)
        self.echo(report.sequence)
        before = self.draining, self._unavailable
        self.draining = report.draining
        self._unavailable = self._services.intersection(report.unavailable_services)
        if self._unavailable != before[1]:
            self._costs.clear()
            self._unfit.clear()
        return before != (self.draining, self._unavailable)

    def set_direct_problem(self, problem: str) -> bool:
        """Note why the advertised address cannot be used; empty: it can. True if that is new. The agent is told of its
        first problem."""
        state = fleet_pb2.DIRECT_STATE_UNREACHABLE if problem else fleet_pb2.DIRECT_STATE_REACHABLE
        if (state, problem) == (self.direct_state, self.direct_problem):
            return False
        self.direct_state, self.direct_problem = state, problem
        if problem and not self._problem_told:
            self._problem_told = True
            self._problem_to_send = problem
            self._event.set()
        return True

    # -- held attempts ------------------------------------------------------------------------------------------

    def hold(self, ref: AttemptRef, held: Held, consumes: Consumes = ()) -> None:
        self.held[ref] = held
        self.used_slots += held[0]
        if consumes:
            self.resources.take(ref, consumes)

    def let_go(self, ref: AttemptRef) -> Held | None:
        """The attempt has ended, was released or was lost: its slots and resources are free. None: it is not held."""
        held = self.held.pop(ref, None)
        if held is not None:
            self.used_slots -= held[0]
            if self.resources.users:
                self.resources.give_back(ref)
        return held

    # -- the outbox ---------------------------------------------------------------------------------------------

    def assign(self, batch: Sequence[Claimed], now_s: float, since_s: float = 0.0) -> None:
        """Send attempts.

        Args:
            now_s: seconds since the epoch.
            since_s: the same moment by the monotonic clock.
        """
        context, traceparent, tree = b"", "", NO_TREE
        for claimed in batch:
            ref = AttemptRef(claimed.task_id, claimed.attempt)
            assignment = assignment_of(claimed, now_s, claimed.method in self.durable_children)
            if claimed.context != context:
                # Tasks that were submitted together have the same one.
                context, traceparent = claimed.context, assignment.context.traceparent
                tree = tree_of(assignment.context)
            size_bytes = len(claimed.payload)
            held = (claimed.cost, claimed.method, since_s, traceparent, tree, size_bytes)
            self.hold(ref, held, claimed.consumes)
            self._assignments.append(assignment)
            self._assigned_bytes += size_bytes if claimed.state is None else size_of(assignment)
        self._event.set()

    def cancel(self, ref: AttemptRef, reason: str, grace_s: float, *, lost: bool) -> None:
        """Tell the agent to end an attempt; `lost`: the attempt is no longer the agent's."""
        if lost:
            self.let_go(ref)
        self._cancels.append(
            session_pb2.Cancel(
                task_id=ref.task_id, attempt=ref.attempt, grace=duration(grace_s), reason=reason, lost=lost
            )
        )
        self._event.set()

    def acknowledge(self, acks: Iterable[session_pb2.ResultAck]) -> None:
        """These go with the next message, or alone after ACK_DELAY_S: no caller waits for them."""
        self._acks.extend(acks)
        if len(self._acks) >= BATCH_ITEMS:
            self._event.set()
        elif self._ack_timer is None:
            self._ack_timer = asyncio.get_running_loop().call_later(ACK_DELAY_S, self._send_acks)

    def _send_acks(self) -> None:
        self._ack_timer = None
        if self._acks:
            self._event.set()

    def acknowledge_progress(self, indexes: Mapping[AttemptRef, int]) -> None:
        self._progress_acks.extend(
            session_pb2.ProgressAck(task_id=ref.task_id, attempt=ref.attempt, index=index)
            for ref, index in indexes.items()
        )
        self._event.set()

    def echo(self, sequence: int) -> None:
        self._echo = sequence
        self._event.set()

    def set_desired(self, desired: fleet_pb2.DesiredState) -> None:
        """Put the desired state in force here at once, and tell the agent."""
        self.desired = desired
        self._desired_to_send = desired
        self._event.set()

    def tell_tokens_changed(self) -> None:
        self._tokens_changed = True
        self._event.set()

    def set_labels(self, hello: session_pb2.Hello) -> None:
        """Go on with the same Hello with other labels: an operator has changed them."""
        self.hello, self._labels = hello, dict(hello.labels)
        self._costs.clear()
        self._unfit.clear()

    async def outbox_filled(self) -> None:
        await self._event.wait()
        self._event.clear()

    async def outbox_has_room(self) -> None:
        """Wait until the outbox holds at most OUTBOX_ITEMS acknowledgements and cancellations."""
        while self.open and len(self._acks) + len(self._progress_acks) + len(self._cancels) > OUTBOX_ITEMS:
            self._room.clear()
            await self._room.wait()

    def take(self) -> session_pb2.ConnectResponse | None:
        """The next message: all waiting items, up to the bounds of a batch; None: nothing waits."""
        assignments = self._take_assignments()
        message = session_pb2.ConnectResponse(
            assignments=assignments,
            # A cancellation must not overtake the assignment of its attempt.
            cancels=_pop(self._cancels) if not self._assignments else (),
            result_acks=_pop(self._acks),
            progress_acks=_pop(self._progress_acks),
            desired_state=self._desired_to_send,
            echo_sequence=self._echo,
            direct_problem=self._problem_to_send,
            tokens_changed=self._tokens_changed,
        )
        more = self.requests.fill(message)
        self._desired_to_send = fleet_pb2.DESIRED_STATE_UNSPECIFIED
        self._problem_to_send = ""
        self._echo, self._tokens_changed = 0, False
        self._room.set()
        if self._assignments or self._acks or self._progress_acks or self._cancels or more:
            self._event.set()
        return message if message.ByteSize() else None

    def _take_assignments(self) -> list[session_pb2.Assignment]:
        waiting = self._assignments
        size_bytes = count = 0
        for assignment in waiting:
            # A single assignment always fits. A batch ends before its bound.
            size_bytes += size_of(assignment) + 256
            if count and (size_bytes > BATCH_BYTES or count >= BATCH_ITEMS):
                break
            count += 1
        taken = waiting[:count]
        del waiting[:count]
        self._assigned_bytes -= sum(map(size_of, taken))
        return taken

    def unsent(self) -> list[AttemptRef]:
        """Assignments that were not sent."""
        return [AttemptRef(a.task_id, a.attempt) for a in self._assignments]

    def close(self, error: WeftError | None = None) -> None:
        """End the stream; `error` is sent to the agent. Harmless if it has ended."""
        if self.open:
            self.open = False
            self.error = error
            if self._ack_timer is not None:
                self._ack_timer.cancel()
            self._event.set()
            self._room.set()


def _service(method: str) -> str:
    return method.rpartition("/")[0]


def _pop(waiting: list[T]) -> list[Any]:
    taken = waiting[:BATCH_ITEMS]
    del waiting[:BATCH_ITEMS]
    return taken
