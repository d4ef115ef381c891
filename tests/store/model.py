"""The simplest store: a dict of tasks and a few loops. The state machine compares real stores with it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from google.rpc import code_pb2

from tests.store.support import METHOD
from weft.coordinator.store.records import Owner, Verdict
from weft.coordinator.store.rules import State
from weft.v1 import session_pb2

MAX_ATTEMPTS = 2
MAX_CRASHES = 1
RECOVERY_GRACE_S = 5.0
# How long after the grace of a cancellation the store ends a task itself.
BACKSTOP_S = 1.0


# An attempt: number, agent, and "running", "ended", "crashed" or "released".
Told = tuple[int, str, str]
MAX_TOLD = 16

_CAUSES = {
    "ended": session_pb2.RERUN_CAUSE_FAILED,
    "crashed": session_pb2.RERUN_CAUSE_LOST,
    "released": session_pb2.RERUN_CAUSE_RELEASED,
}


@dataclass
class ModelTask:
    task_id: str
    priority: int
    ready_at: float
    close_at: float | None
    close_s: float | None
    group: str = ""
    submitter: str = ""
    # The methods that may run it, and the present one.
    methods: tuple[str, ...] = (METHOD,)
    at: int = 0
    state: State = State.QUEUED
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    owner: Owner | None = None
    # Whose attempt was the last that did not succeed: another agent should make the next one.
    avoid: str = ""
    cancel_end_at: float | None = None
    cancel_grace_s: float = 0.0
    held_back: bool = False
    # The last attempt's report and what it came to; and what of that survives a crash, since claims do not.
    answer: tuple[Owner, int, Verdict] | None = None
    kept_answer: tuple[Owner, int, Verdict] | None = None
    # Attempts that are over and did not end the task: number, agent and how; and what of that survives a crash.
    past: list[Told] = field(default_factory=list)
    kept_past: list[Told] = field(default_factory=list)
    # The last attempt before RetryTask.
    retried_after: int = -1

    @property
    def method(self) -> str:
        return self.methods[self.at]

    @property
    def waiting(self) -> bool:
        return self.state in {State.QUEUED, State.SCHEDULED}

    def remember(self, how: str) -> None:
        assert self.owner is not None
        self.past.append((self.attempt, self.owner.agent_id, how))
        if len(self.past) > MAX_TOLD:
            del self.past[1]

    def journaled(self) -> None:
        """All that is known of it is in the file now, but for a running attempt."""
        self.kept_past = list(self.past)

    def told(self) -> list[Told]:
        """Its attempts, as the store is to tell them."""
        in_past = any(number == self.attempt and how != "released" for number, _, how in self.past)
        if not self.attempt or in_past:
            return self.past
        assert self.owner is not None
        last = (self.attempt, self.owner.agent_id, "running" if self.state is State.RUNNING else "ended")
        told = [*self.past, last]
        return told if len(told) <= MAX_TOLD else [told[0], *told[2:]]

    def rerun(self) -> tuple[str, int] | None:
        """Of a claimed task: the agent of the last attempt, and why there is another one; None: it is the first."""
        if not self.past:
            return None
        _, agent_id, how = self.past[-1]
        requested = self.retried_after == self.attempt - 1
        return agent_id, session_pb2.RERUN_CAUSE_REQUESTED if requested else _CAUSES[how]

    def end(self, state: State) -> None:
        self.state = state
        self.journaled()
        self.held_back = False
        self.cancel_end_at = None

    def falls_back(self, now: float) -> bool:
        """Go on at the next method, if there is one."""
        if self.at + 1 == len(self.methods) or self.cancel_end_at is not None:
            return False
        self.at += 1
        self.state, self.ready_at, self.avoid = State.QUEUED, now, ""
        self.failures = self.crashes = 0
        self.journaled()
        return True

    def leaves(self, now: float) -> bool:
        """Go on at the next method, if there is one, because nobody serves this one."""
        # A fallback is another reason for the next attempt.
        self.retried_after = -1 if self.at + 1 < len(self.methods) else self.retried_after
        return self.falls_back(now)

    def crash(self, now: float) -> Verdict:
        self.crashes += 1
        self.answer = self.kept_answer = None
        self.remember("crashed")
        self.journaled()
        if self.cancel_end_at is not None:
            self.end(State.CANCELLED)
        elif self.crashes > MAX_CRASHES and self.falls_back(now):
            return Verdict.RETRYING
        elif self.crashes > MAX_CRASHES:
            self.end(State.FAILED)
        else:
            assert self.owner is not None
            self.state, self.ready_at, self.avoid = State.QUEUED, now, self.owner.agent_id
            return Verdict.RETRYING
        return Verdict.STORED


@dataclass
class Model:
    """The expected state of a store. Every method takes the time."""

    tasks: dict[str, ModelTask] = field(default_factory=dict)
    leases: dict[Owner, float] = field(default_factory=dict)
    instances: dict[Owner, str] = field(default_factory=dict)
    connected: dict[str, int] = field(default_factory=dict)
    # The last session of each agent, while its stream is open.
    attached: dict[str, Owner] = field(default_factory=dict)
    hold_until: float = 0.0
    hold_for: set[str] = field(default_factory=set)
    closed_groups: set[str] = field(default_factory=set)

    def counts(self, group: str) -> Counter[State]:
        """The tasks of a group by state, counted anew."""
        return Counter(task.state for task in self.tasks.values() if task.group == group)

    def unfinished_of(self, submitter: str) -> int:
        """The unfinished tasks of a submitter, counted anew."""
        return sum(task.submitter == submitter and not task.state.terminal for task in self.tasks.values())

    def held_by(self, owner: Owner) -> list[ModelTask]:
        return [task for task in self.tasks.values() if task.state is State.RUNNING and task.owner == owner]

    def claimable(self) -> list[ModelTask]:
        ready = [task for task in self.tasks.values() if task.state is State.QUEUED and not task.held_back]
        return sorted(ready, key=lambda task: (-task.priority, task.task_id))

    def claim(self, owner: Owner, limit: int, now: float) -> list[ModelTask]:
        claimed: list[ModelTask] = []
        if owner not in self.leases:
            return claimed
        for task in self.claimable():
            if len(claimed) == limit:
                break
            if task.close_at is not None and task.close_at <= now:
                task.end(State.FAILED)
                continue
            task.state, task.owner, task.answer = State.RUNNING, owner, None
            task.attempt += 1
            claimed.append(task)
        return claimed

    def report(
        self, owner: Owner, task_id: str, attempt: int, code: int, now: float, *, crashed: bool
    ) -> Verdict:
        task = self.tasks[task_id]
        if task.attempt != attempt or task.owner != owner:
            return Verdict.STALE
        if task.state is not State.RUNNING:
            if task.answer is not None and task.answer[:2] == (owner, attempt):
                return task.answer[2]
            return Verdict.STALE
        verdict = task.crash(now) if crashed else self._reported(task, code, now)
        task.answer = task.kept_answer = (owner, attempt, verdict)
        return verdict

    def _reported(self, task: ModelTask, code: int, now: float) -> Verdict:
        if code == code_pb2.OK:
            task.end(State.SUCCEEDED)
            return Verdict.STORED
        task.failures += 1
        if code == code_pb2.UNAVAILABLE and task.failures < MAX_ATTEMPTS:
            if task.cancel_end_at is not None:
                task.end(State.CANCELLED)
                return Verdict.STORED
            # When it is ready again is drawn at random: the machine fills in what the store says.
            assert task.owner is not None
            task.state, task.avoid = State.SCHEDULED, task.owner.agent_id
            task.remember("ended")
            task.journaled()
            return Verdict.RETRYING
        past = list(task.past)
        if code != code_pb2.CANCELLED:
            task.remember("ended")
            if task.falls_back(now):
                return Verdict.RETRYING
            task.past = past
        cancelled = code == code_pb2.CANCELLED and task.cancel_end_at is not None
        task.end(State.CANCELLED if cancelled else State.FAILED)
        return Verdict.STORED

    def release(self, owner: Owner, task_id: str, attempt: int, *, heard_of: bool = True) -> bool:
        task = self.tasks[task_id]
        if task.state is not State.RUNNING or task.owner != owner or task.attempt != attempt:
            return False
        if task.cancel_end_at is not None:
            task.end(State.CANCELLED)
        else:
            if heard_of:
                task.remember("released")
            task.state = State.QUEUED
            task.attempt -= 1
        return True

    def cancel(self, task_id: str, grace_s: float, now: float) -> None:
        task = self.tasks[task_id]
        end_at = now + grace_s + BACKSTOP_S
        if task.waiting:
            task.end(State.CANCELLED)
        elif task.state is State.RUNNING and (task.cancel_end_at is None or end_at < task.cancel_end_at):
            task.cancel_end_at, task.cancel_grace_s = end_at, grace_s
            task.kept_answer = None
            task.journaled()

    def retry(self, task_id: str, now: float) -> bool:
        task = self.tasks[task_id]
        if task.state not in {State.FAILED, State.CANCELLED}:
            return False
        task.past = task.told()
        task.retried_after = task.attempt
        task.journaled()
        task.state, task.ready_at, task.at = State.QUEUED, now, 0
        task.failures = task.crashes = 0
        task.answer = task.kept_answer = None
        if task.owner is not None:
            task.avoid = task.owner.agent_id
        task.owner = None
        task.close_at = None if task.close_s is None else now + task.close_s
        return True

    def in_use(self, agent_id: str, instance_id: str, now: float) -> bool:
        """Whether another process is alive as this agent."""
        last = self.attached.get(agent_id)
        return last is not None and self.instances[last] != instance_id and self.leases.get(last, now) > now

    def register(self, owner: Owner, instance_id: str, lease_ends_at: float) -> None:
        self.leases[owner] = lease_ends_at
        self.instances[owner] = instance_id
        self.connected[owner.agent_id] = owner.epoch
        self.attached[owner.agent_id] = owner

    def detach(self, owner: Owner, lease_ends_at: float) -> None:
        if owner in self.leases:
            self.leases[owner] = lease_ends_at
        if self.attached.get(owner.agent_id) == owner:
            del self.attached[owner.agent_id]

    def adopt(self, owner: Owner, held: list[tuple[str, int, int]], now: float) -> list[bool]:
        verdicts = []
        for task_id, attempt, epoch in held:
            task = self.tasks[task_id]
            running = task.state is State.RUNNING and task.attempt == attempt
            holder = task.owner
            mine = (
                holder is not None
                and holder.agent_id == owner.agent_id
                and epoch <= holder.epoch <= owner.epoch
            )
            recovered = task.held_back and attempt > task.attempt
            verdicts.append((running and mine) or recovered)
            if verdicts[-1]:
                task.state, task.owner, task.attempt, task.held_back = State.RUNNING, owner, attempt, False
                task.answer = None
            if recovered and task.cancel_end_at is not None:
                # The agent hears of it only now.
                task.cancel_end_at = now + task.cancel_grace_s + BACKSTOP_S
        for earlier in [o for o in self.leases if o.agent_id == owner.agent_id and o.epoch < owner.epoch]:
            if self.instances[earlier] == self.instances[owner]:
                for task in self.held_by(earlier):
                    self.release(earlier, task.task_id, task.attempt, heard_of=False)
            self._lose(earlier, now)
        self.hold_for.discard(owner.agent_id)
        self.release_hold(now)
        return verdicts

    def retire(self, owner: Owner, now: float) -> None:
        self._lose(owner, now)
        self._left(owner)
        self.hold_for.discard(owner.agent_id)
        self.release_hold(now)

    def _left(self, owner: Owner) -> None:
        if self.connected.get(owner.agent_id) == owner.epoch:
            del self.connected[owner.agent_id]

    def _lose(self, owner: Owner, now: float) -> None:
        if self.leases.pop(owner, None) is not None:
            for task in self.held_by(owner):
                task.crash(now)

    def release_hold(self, now: float) -> None:
        if self.hold_for and now < self.hold_until:
            return
        for agent_id in self.hold_for:
            self.connected.pop(agent_id, None)
        self.hold_for.clear()
        for task in self.tasks.values():
            if task.held_back:
                task.held_back = False
                if task.cancel_end_at is not None:
                    task.end(State.CANCELLED)

    def sweep(self, now: float) -> None:
        for owner, ends_at in list(self.leases.items()):
            if ends_at <= now:
                self._lose(owner, now)
                self._left(owner)
        for task in self.tasks.values():
            self._expire(task, now)
        self.release_hold(now)

    def _expire(self, task: ModelTask, now: float) -> None:
        close_at = task.close_at
        if task.state is State.RUNNING:
            if task.cancel_end_at is not None and task.cancel_end_at <= now:
                task.end(State.CANCELLED)
            elif close_at is not None and close_at + BACKSTOP_S <= now:
                task.end(State.FAILED)
        elif task.waiting:
            if close_at is not None and close_at <= now:
                task.end(State.FAILED)
            elif task.ready_at <= now:
                task.state = State.QUEUED

    def restart(self, now: float) -> None:
        """A process that forgets claims was stopped or killed, and everything acknowledged is there."""
        self.leases.clear()
        self.attached.clear()
        self.hold_for = set(self.connected)
        self.hold_until = now + RECOVERY_GRACE_S
        for task in self.tasks.values():
            if task.state is State.RUNNING:
                task.state = State.QUEUED
                task.attempt -= 1
            if task.waiting:
                task.past = list(task.kept_past)
                task.answer = task.kept_answer
                task.owner = None if task.answer is None else task.answer[0]
                scheduled = task.ready_at > now
                task.state = State.SCHEDULED if scheduled else State.QUEUED
                task.held_back = not scheduled
        self.release_hold(now)
