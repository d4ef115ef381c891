"""An agent at one moment, as the client library shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from weft.client.task_snapshot import OpenEnum, moment
from weft.rpc.times import seconds
from weft.v1 import fleet_pb2


class DesiredState(OpenEnum):
    """The state that an operator set for an agent; the numbers are those of `weft.v1.DesiredState`."""

    ACTIVE = 1
    DRAINING = 2
    PAUSED = 3


class AgentState(OpenEnum):
    """The state of an agent; the numbers are those of `weft.v1.AgentState`."""

    ACTIVE = 1
    DRAINING = 2
    PAUSED = 3
    # Silent or disconnected; it keeps its attempts for a grace period.
    SUSPECT = 4
    LOST = 5
    # It ended in order, and has a desired state for its return.
    LEFT = 6


class DirectState(OpenEnum):
    """Whether direct calls reach an agent; the numbers are those of `weft.v1.DirectState`."""

    # The agent takes no direct calls, or its reachability is not known yet.
    UNKNOWN = 0
    REACHABLE = 1
    UNREACHABLE = 2


@dataclass(frozen=True, slots=True)
class Ejection:
    """Why an agent gets no tasks: its attempts keep failing."""

    # Until then it gets none while others serve a queue; after that one at a time, until one succeeds.
    ends_at: datetime | None
    # How many times it was ejected lately.
    count: int
    # Attempts that had failed in a row. Fewer than 3: more of its attempts failed than at its peers.
    failures: int
    # Status code of the last one, as a number. 0: a crash.
    code: int


@dataclass(frozen=True, slots=True)
class SlowMethod:
    """How long attempts of a method take at an agent, and at all agents, in seconds."""

    attempt_s: float
    typical_s: float


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """An agent at one moment."""

    id: str
    state: AgentState
    desired_state: DesiredState
    # Slots that one call takes, by method.
    methods: Mapping[str, int]
    slots: int
    used_slots: int
    # Slots of handlers that ignore their cancellation, and those handlers' methods.
    overrun_slots: int
    overrun_methods: Sequence[str]
    in_flight: int
    labels: Mapping[str, str]
    resources: Mapping[str, float]
    version: str
    connected_at: datetime | None
    last_seen_at: datetime | None
    process_cpu_cores: float
    process_memory_bytes: int
    # Methods that the agent reports as unavailable.
    unavailable: frozenset[str]
    # The address for direct calls; empty: it takes none.
    advertised_address: str
    direct_state: DirectState
    # The reason why the address does not lead to the agent. Empty: it does, or this is not known yet.
    direct_problem: str
    # The name in its certificate; empty: its port has no TLS.
    tls_name: str = ""
    # Its attempts keep failing: for some seconds, tasks go to other agents.
    failing: bool = False
    # Set while it is failing.
    ejection: Ejection | None = None
    # Methods that are slow there: it gets their tasks after other agents.
    slow_methods: Mapping[str, SlowMethod] = field(default_factory=dict)
    # Numbers that its program reports, by name (`Agent.gauge`).
    gauges: Mapping[str, float] = field(default_factory=dict)
    # What those that count as load say, as so many used slots.
    backlog_slots: float = 0.0
    # Its host in detail, as weft.v1.HostDetail has it: at most half a minute old. None: not reported.
    host: fleet_pb2.HostDetail | None = None
    # Another one for each process.
    instance_id: str = ""

    @classmethod
    def of(cls, proto: fleet_pb2.Agent) -> AgentInfo:
        return cls(
            id=proto.id,
            state=AgentState(proto.state),
            desired_state=DesiredState(proto.desired_state or DesiredState.ACTIVE),
            methods={method.name: method.slot_cost or 1 for method in proto.methods},
            slots=proto.slots,
            used_slots=proto.used_slots,
            overrun_slots=proto.overrun_slots,
            overrun_methods=tuple(proto.overrun_methods),
            in_flight=proto.in_flight,
            labels=dict(proto.labels),
            resources=dict(proto.resources),
            version=proto.version,
            connected_at=moment(proto, "connect_time"),
            last_seen_at=moment(proto, "last_seen_time"),
            process_cpu_cores=proto.load.process_cpu_cores,
            process_memory_bytes=proto.load.process_memory_bytes,
            unavailable=frozenset(method.name for method in proto.methods if method.unavailable),
            advertised_address=proto.advertised_address,
            direct_state=DirectState(proto.direct_state),
            direct_problem=proto.direct_problem,
            tls_name=proto.tls_name,
            failing=proto.failing,
            ejection=_ejection(proto.ejection) if proto.HasField("ejection") else None,
            slow_methods={
                slow.method: SlowMethod(seconds(slow.attempt_time), seconds(slow.typical_time))
                for slow in proto.slow_methods
            },
            gauges=dict(proto.load.gauges),
            backlog_slots=proto.load.backlog_slots,
            host=proto.load.detail if proto.load.HasField("detail") else None,
            instance_id=proto.instance_id,
        )


def _ejection(proto: fleet_pb2.Ejection) -> Ejection:
    return Ejection(moment(proto, "end_time"), proto.count, proto.failures, proto.code)
