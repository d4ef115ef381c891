"""Streams that break at random under load: every attempt has one end, every stream of responses is without gaps."""

from __future__ import annotations

import random
import time

import pytest

from probe.v1 import probe_pb2, probe_pb2_grpc
from tests.support.probe import ProbeService
from tests.support.running_agent import running
from tests.support.scripted_coordinator import ScriptedCoordinator, ScriptedSession, assignment
from weft.agent import Agent
from weft.rpc.network.channel import MAX_MESSAGE_BYTES
from weft.v1 import session_pb2

TASKS = 400
STREAMED = 90
PROBE = "probe.v1.ProbeService/"


class Account:
    """What the coordinator of this test has assigned, stored and acknowledged."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.unassigned = [f"t{number}" for number in range(TASKS)]
        self.assigned: set[str] = set()
        self.stored: dict[str, session_pb2.AttemptResult] = {}
        self.progress: dict[str, int] = {}

    def next_assignments(self) -> list[session_pb2.Assignment]:
        count = min(
            len(self.unassigned), self.random.randint(1, 30), 64 - len(self.assigned - set(self.stored))
        )
        taken = [self.unassigned.pop() for _ in range(max(0, count))]
        self.assigned.update(taken)
        made = []
        for task_id in taken:
            name = self.random.choice(["Call", "CallSync", "Stream", "Echo"])
            request = probe_pb2.ProbeRequest(
                text=task_id, sleep_s=self.random.choice([0, 0, 0.001, 0.02]), stream_count=STREAMED
            )
            if name == "Echo":
                made.append(assignment(task_id, f"{PROBE}Echo", b""))
            else:
                made.append(assignment(task_id, f"{PROBE}{name}", request))
        return made

    def take(self, session: ScriptedSession, start: int) -> int:
        """Store what came since `start`, and acknowledge most of it, as a coordinator that may die in between."""
        messages = session.received[start:]
        for message in messages:
            assert message.ByteSize() <= MAX_MESSAGE_BYTES
            for progress in message.progress:
                known = self.progress.get(progress.task_id, 0)
                assert progress.index <= known + 1, (
                    f"{progress.task_id} jumps from {known} to {progress.index}"
                )
                self.progress[progress.task_id] = max(known, progress.index)
                if self.random.random() < 0.8:
                    session.ack_progress(progress.task_id, self.progress[progress.task_id])
            for result in message.results:
                before = self.stored.setdefault(result.task_id, result)
                assert before == result, "a second, different end of one attempt"
                assert self.progress.get(result.task_id, 0) == result.progress_count
                if self.random.random() < 0.7:
                    session.ack(result)
        return start + len(messages)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost_and_nothing_ends_twice(seed: int) -> None:
    account = Account(seed)
    with ScriptedCoordinator() as coordinator:
        agent = Agent("storm", target=coordinator.address, slots=32, prefetch=32)
        agent.add_servicer(probe_pb2_grpc.add_ProbeServiceServicer_to_server, ProbeService())
        ends_at = time.monotonic() + 60
        with running(agent):
            while len(account.stored) < TASKS:
                assert time.monotonic() < ends_at, f"seed {seed}: {len(account.stored)} of {TASKS} ended"
                session = coordinator.accept()
                held = {each.task_id for each in session.hello.held}
                # An assignment may have been lost with the stream: given out again, as a coordinator would.
                lost = account.assigned - set(account.stored) - held
                account.assigned -= lost
                account.unassigned.extend(lost)
                session.welcome()
                seen = 0
                for _ in range(account.random.randint(1, 12)):
                    if fresh := account.next_assignments():
                        session.send(assignments=fresh)
                    goal = seen + account.random.randint(0, 3)
                    until = time.monotonic() + 0.2
                    while len(session.received) < goal and time.monotonic() < until:
                        time.sleep(0.002)
                    seen = account.take(session, seen)
                session.drop()
                session.wait_end()
        assert not account.unassigned
        for task_id, count in account.progress.items():
            assert count == account.stored[task_id].progress_count == STREAMED
