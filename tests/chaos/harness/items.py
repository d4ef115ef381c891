"""One request of the load: how it is sampled, and its expected outcome."""

from __future__ import annotations

import random
from dataclasses import dataclass

from google.rpc import code_pb2

from probe.v1.probe_pb2 import ProbeReply, ProbeRequest
from tests.support import tasks
from weft.v1 import task_pb2


@dataclass(frozen=True, slots=True)
class Shape:
    """The properties of a load, and its agents."""

    # Submitted and not read: keeps a backlog for as long as the load goes on.
    open_tasks: int
    batch_tasks: int
    # A handler's time is sampled from these.
    sleeps_s: tuple[float, ...]
    slots: int
    prefetch: int
    callers: int = 2
    # Some fail once, and wait for another attempt.
    retries: bool = True
    # Beside the load, with a tick every second or two.
    schedules: int = 0
    # As many groups are made at a time, and as many callers ask a method with a cache.
    groups: int = 0
    sharers: int = 0
    # Events of as many keys are published, and taken in three ways.
    event_keys: int = 0
    # Tasks have fairness keys, some have locks or use resources, and `Call` has run limits.
    gated: bool = False


# Bound by the agents' slots and not by processors: its throughput is steady enough to see it fall and come back.
STEADY = Shape(open_tasks=120, batch_tasks=20, sleeps_s=(0.04,), slots=4, prefetch=0)
# As much as goes through: as many moves as possible are under way when a fault hits.
DENSE = Shape(
    open_tasks=1200,
    batch_tasks=100,
    sleeps_s=(0, 0, 0.005, 0.02),
    slots=8,
    prefetch=8,
    schedules=6,
    groups=2,
    sharers=3,
)

# Many tasks at few gates, whose releases are what a fault may lose. No transparent calls: they have no locks.
GATED = Shape(
    open_tasks=300,
    batch_tasks=50,
    sleeps_s=(0.005, 0.02, 0.03),
    slots=8,
    prefetch=0,
    callers=0,
    schedules=6,
    groups=3,
    sharers=3,
    gated=True,
)
# Few tasks, and events: as many kills as possible hit these.
EVENTFUL = Shape(
    open_tasks=40, batch_tasks=10, sleeps_s=(0.02,), slots=8, prefetch=0, callers=1, event_keys=6
)
# The run limits of `Call`: running attempts in all, and of each fairness key.
RUNNING, RUNNING_PER_KEY = 8, 3
# Each agent of a gated load declares as many.
GPUS = 2
_KEYS, _LOCKS = "abcde", ("db", "disk")


@dataclass(frozen=True, slots=True)
class Recorded:
    """An outcome as the mesh has it."""

    # The serialized task, as far as it never changes again.
    fixed: bytes
    attempt: int
    agent_id: str
    finished_at_s: float
    # The attempt that the response says it comes from; none: no response, or a stream's.
    answered: tuple[str, int, str] | None
    task_id: str


@dataclass(slots=True)
class Item:
    """One request, and what is known of it."""

    request_id: str
    name: str
    request: ProbeRequest
    task_id: str = ""
    # It was sent again after a submission of unknown outcome.
    repeated: bool = False
    end: Recorded | None = None
    key: str = ""
    # Name, and whether it is shared.
    lock: tuple[str, bool] | None = None
    # Of its agent's.
    gpus: int = 0
    # It goes on at its method's fallback.
    falls: bool = False

    @property
    def plain(self) -> bool:
        """Its handler does not fail by itself: one attempt is all it needs."""
        return not self.request.fail_code

    def problem(self, task: task_pb2.Task) -> str:
        """Why this is not the outcome of this request; empty: it is."""
        if self.request.fail_code and not self.request.fail_attempts:
            status = task.outcome.status
            right = status.code == self.request.fail_code and status.message == self.request.text
            return "" if task.state == task_pb2.TASK_STATE_FAILED and right else "should have failed"
        if task.state != task_pb2.TASK_STATE_SUCCEEDED:
            return "should have succeeded"
        if self.name == "Stream":
            return "" if task.progress_count >= self.request.stream_count else "has responses missing"
        return "" if tasks.reply(task).text == self.request.text else "has somebody else's response"


def sampled(rng: random.Random, shape: Shape, text: str, ledger_path: str) -> Item:
    """A request; most succeed, some fail once, a few fail for good."""
    request = ProbeRequest(text=text, ledger=ledger_path, sleep_s=rng.choice(shape.sleeps_s))
    name = rng.choices(["Call", "CallSync", "Stream"], [80, 15, 5])[0]
    fate = rng.random()
    if name == "Stream":
        request.stream_count = rng.randint(1, 5)
        request.sleep_s /= request.stream_count
    elif fate < 0.05 and shape.retries:
        request.fail_code, request.fail_attempts = code_pb2.UNAVAILABLE, 1
    elif 0.05 <= fate < 0.08:
        request.fail_code, request.fail_message = code_pb2.FAILED_PRECONDITION, text
    return gated(rng, shape, Item(text, name, request))


def gated(rng: random.Random, shape: Shape, item: Item) -> Item:
    """Give an item of a gated load what it has of gates."""
    if shape.gated:
        item.key = rng.choice(_KEYS)
        item.lock = (rng.choice(_LOCKS), rng.random() < 0.6) if rng.random() < 0.2 else None
        item.gpus = rng.choices((0, 1, 2), (16, 3, 1))[0]
    return item


def recorded(task: task_pb2.Task) -> Recorded:
    """The fields of an ended task that never change."""
    kept = task_pb2.Task(
        id=task.id,
        state=task.state,
        attempt=task.attempt,
        crashes=task.crashes,
        agent_id=task.agent_id,
        finish_time=task.finish_time,
        outcome=task.outcome,
    )
    answered = None
    if task.outcome.response:
        reply = ProbeReply.FromString(task.outcome.response)
        answered = (reply.task_id, reply.attempt, reply.agent_id)
    return Recorded(
        fixed=kept.SerializeToString(deterministic=True),
        attempt=task.attempt,
        agent_id=task.agent_id,
        finished_at_s=task.finish_time.ToNanoseconds() / 1e9,
        answered=answered,
        task_id=task.id,
    )
