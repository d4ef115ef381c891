"""Pools as Python values: templates, and a pool at one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from weft.client.task_snapshot import OpenEnum, moment
from weft.rpc.times import duration
from weft.v1 import pool_pb2


class PoolState(OpenEnum):
    """The state of a pool; the numbers are those of `weft.v1.PoolState`."""

    # It has fewer or more ready members than it should have, and gets there.
    CHANGING = 1
    READY = 2
    # Members do not become ready: `problem` says why. It goes on trying.
    FAILING = 3
    PAUSED = 4
    STOPPED = 5
    DELETING = 6
    # It was ephemeral, and its members have failed.
    ENDED = 7
    # It has no members, since they had nothing to do.
    IDLE = 8


class MemberState(OpenEnum):
    """The state of a pool's member; the numbers are those of `weft.v1.PoolMemberState`."""

    STARTING = 1
    READY = 2
    STOPPING = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolTemplate:
    """What the members of a pool are started from. One of `program`, `app` and `command` says what a member is."""

    # How they are run, as `pools.providers()` names it.
    provider: str = "process"
    # The MODULE:OBJECT of a weft.agent.Agent.
    program: str = ""
    # The address of a gRPC server beside the agent, for a sidecar.
    app: str = ""
    # The words of a command that is an agent in any language: it reads WEFT_TARGET, WEFT_AGENT_ID, WEFT_TOKEN and so on.
    command: Sequence[str] = ()
    # Of a container.
    image: str = ""
    # 0: the agent's default.
    slots: int = 0
    # Beside "weft.pool" and "weft.pool.version".
    labels: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, float] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    # Where members run. Empty: where the coordinator does.
    folder: str = ""
    # Of the provider.
    settings: Mapping[str, str] = field(default_factory=dict)
    # A member that is not ready after so long counts as failed. None: 60 s.
    ready_timeout_s: float | None = None
    # A member that is stopped may finish what it runs for so long. None: 30 s.
    stop_grace_s: float | None = None

    @property
    def proto(self) -> pool_pb2.PoolTemplate:
        ready, grace = self.ready_timeout_s, self.stop_grace_s
        return pool_pb2.PoolTemplate(
            provider=self.provider,
            program=self.program,
            app=self.app,
            command=self.command,
            image=self.image,
            slots=self.slots,
            labels=self.labels,
            resources=self.resources,
            environment=self.environment,
            folder=self.folder,
            settings=self.settings,
            ready_timeout=None if ready is None else duration(ready),
            stop_grace=None if grace is None else duration(grace),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscale:
    """How many members a pool has for the work that there is: queued and running tasks of its methods, and direct calls."""

    min: int = 0
    max: int
    # So many tasks and direct calls for one member. 0: its slots, as the template says, or 1.
    target_per_member: int = 0
    # Fewer members only when fewer would have done for so long. None: 60 s.
    cool_down_s: float | None = None
    # Full names of the methods that count. Empty: those that members host.
    methods: Sequence[str] = ()

    @property
    def proto(self) -> pool_pb2.Autoscale:
        return pool_pb2.Autoscale(
            min=self.min,
            max=self.max,
            target_per_member=self.target_per_member,
            cool_down=None if self.cool_down_s is None else duration(self.cool_down_s),
            methods=self.methods,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """How members of a new version take the place of others."""

    # So many more members in the meantime. 0: a quarter, at least 1.
    surge: int = 0
    # A new member counts when it has been ready for so long. None: 5 s.
    healthy_for_s: float | None = None
    # A version whose members fail so many times in a row is rolled back. 0: 3.
    max_failures: int = 0

    @property
    def proto(self) -> pool_pb2.Rollout:
        return pool_pb2.Rollout(
            surge=self.surge,
            healthy_for=None if self.healthy_for_s is None else duration(self.healthy_for_s),
            max_failures=self.max_failures,
        )


@dataclass(frozen=True, slots=True)
class PoolMember:
    """A member of a pool."""

    # The id of its agent.
    id: str
    state: MemberState
    # The version of the template that it was started from.
    version: int
    # Where it runs, and what its provider calls it there.
    place: str
    handle: str
    created_at: datetime | None
    ready_at: datetime | None
    # Since when its agent has not been connected.
    away_at: datetime | None
    # Why it is being stopped.
    reason: str
    # Its processes stand still.
    frozen: bool = False

    @classmethod
    def of(cls, proto: pool_pb2.PoolMember) -> PoolMember:
        return cls(
            id=proto.id,
            state=MemberState(proto.state),
            version=proto.version,
            place=proto.place,
            handle=proto.handle,
            created_at=moment(proto, "create_time"),
            ready_at=moment(proto, "ready_time"),
            away_at=moment(proto, "away_time"),
            reason=proto.reason,
            frozen=proto.frozen,
        )


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool at one moment."""

    name: str
    uid: str
    state: PoolState
    # What keeps it from being ready. Empty: nothing.
    problem: str
    # Members that it should have, and those that are ready.
    wanted: int
    ready: int
    # Not in a listing.
    members: Sequence[PoolMember]
    # Counts its templates and restarts.
    version: int
    # Members of its version take the place of others; the version before; so many of 100 members have the new one (0: all).
    rolling: bool
    previous_version: int
    percent: int
    # The version that was rolled back last, and why.
    rolled_back: str
    ephemeral: bool
    paused: bool
    # Its members stand still while it is paused.
    frozen: bool
    pause_reason: str
    stopped: bool
    # Members that it has started; of them, those that were ready and ended by themselves, and those that were never ready.
    started: int
    lost: int
    failed: int
    # After a failure: when the next member is started.
    retry_at: datetime | None
    created_at: datetime | None
    updated_at: datetime | None
    # The message, with the template.
    proto: pool_pb2.Pool = field(repr=False)

    @classmethod
    def of(cls, proto: pool_pb2.Pool) -> Pool:
        return cls(
            name=proto.name,
            uid=proto.uid,
            state=PoolState(proto.state),
            problem=proto.problem,
            wanted=proto.wanted,
            ready=proto.ready_count,
            members=tuple(map(PoolMember.of, proto.members)),
            version=proto.version,
            rolling=proto.rolling,
            previous_version=proto.previous_version,
            percent=proto.percent,
            rolled_back=proto.rolled_back,
            ephemeral=proto.spec.ephemeral,
            paused=proto.paused,
            frozen=proto.frozen,
            pause_reason=proto.pause_reason,
            stopped=proto.stopped,
            started=proto.started_count,
            lost=proto.lost_count,
            failed=proto.failed_count,
            retry_at=moment(proto, "retry_time"),
            created_at=moment(proto, "create_time"),
            updated_at=moment(proto, "update_time"),
            proto=proto,
        )


@dataclass(frozen=True, slots=True)
class PoolProvider:
    """A way to run members."""

    name: str
    description: str
    # The Python package that it is part of.
    package: str
    place: str
    # Why it cannot be used now. Empty: it can.
    problem: str
    # Its members can stand still: `pools.pause(…, freeze=True)`.
    can_freeze: bool = False

    @classmethod
    def of(cls, proto: pool_pb2.PoolProvider) -> PoolProvider:
        return cls(proto.name, proto.description, proto.package, proto.place, proto.problem, proto.can_freeze)
