"""The attempts that an agent holds, and their responses, results and releases until they are acknowledged.

Handlers' threads, the event loop and the session share it, under one lock that is held for a few microseconds. The
outbox outlives every stream: a new stream names the held attempts and sends everything again. The outbox has no sockets
and never blocks a caller. A caller that must wait for room gets a callback.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from weft.agent.session.attempt import HeldAttempt, Ref
from weft.rpc.network.channel import BATCH_BYTES, BATCH_ITEMS
from weft.v1 import session_pb2, task_pb2

# A streaming handler may be this far ahead of the coordinator's acknowledgements.
PROGRESS_WINDOW = 64
PROGRESS_WINDOW_BYTES = 4 * 1024 * 1024
# An agent that holds more attempts than this names them without their trees.
MAX_TREES_TOLD = 10_000
# Bytes of an item in a message without its payload: ids, numbers, tags. Only for the size of batches.
_ITEM_OVERHEAD_BYTES = 128

# An attempt alone means its result or its release. An attempt with a Progress means that response.
_Item = tuple[HeldAttempt, session_pb2.Progress | None]


def _has_room(attempt: HeldAttempt) -> bool:
    return len(attempt.progress or ()) < PROGRESS_WINDOW and attempt.progress_bytes < PROGRESS_WINDOW_BYTES


class Outbox:
    """Every attempt that this agent holds, and the queue of items to send.

    Large because it has methods for handlers, for the session and for the agent's end; one lock guards the state that they share.

    Args:
        on_change: called, from any thread, when something was finished or acknowledged while `watched` is set.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._lock = threading.Lock()
        self._attempts: dict[Ref, HeldAttempt] = {}
        # Released attempts whose release may not have arrived yet: releases have no acknowledgement of their own.
        self._released: set[HeldAttempt] = set()
        # Attempts whose end was sent on this stream, and may not have arrived yet.
        self._reported: set[HeldAttempt] = set()
        self._queue: deque[_Item] = deque()
        self._wake: Callable[[], None] | None = None
        self._signalled = False
        self._on_change = on_change
        self.watched = False

    @property
    def count(self) -> int:
        """Held attempts. From any thread."""
        return len(self._attempts)

    def notify(self) -> None:
        """Tell a stopping agent of a change. From any thread."""
        if self.watched:
            self._on_change()

    # -- handlers' side -----------------------------------------------------------------------------------------

    def finish(self, attempt: HeldAttempt, result: session_pb2.AttemptResult) -> bool:
        """Keep an attempt's end and send it. False if it had ended already, or if it is lost."""
        size_bytes = result.ByteSize()
        with self._lock:
            if not attempt.held or attempt.result is not None or attempt.released:
                return False
            result.progress_count = attempt.progress_count
            attempt.result = result
            attempt.size_bytes = size_bytes + _ITEM_OVERHEAD_BYTES
            self._queue.append((attempt, None))
            self._signal()
        if self.watched:
            self._on_change()
        return True

    def release(self, attempt: HeldAttempt) -> bool:
        """Release an attempt. False if it had ended already, or if it is lost."""
        with self._lock:
            done = self._release(attempt)
            self._signal()
        self.notify()
        return done

    def release_unfinished(self) -> int:
        """Release every attempt that has not ended. Returns how many."""
        with self._lock:
            count = sum([self._release(attempt) for attempt in self._attempts.values()])
            self._signal()
        return count

    def send_progress(
        self,
        attempt: HeldAttempt,
        payload: bytes,
        on_room: Callable[[], None],
        headers: Callable[[], Iterable[task_pb2.Metadatum]] = list,
    ) -> bool:
        """Send one response of a streaming handler.

        False: too many are unacknowledged; nothing was sent, and `on_room` will be called (once, from any thread)
        when there is room. A response of an attempt that has ended or is lost is dropped.

        Args:
            headers: gives the handler's initial metadata, which goes with the first response.
        """
        with self._lock:
            if not attempt.held or attempt.result is not None or attempt.released:
                return True
            if attempt.progress is None:
                attempt.progress = deque()
            elif attempt.progress and not _has_room(attempt):
                attempt.on_room = on_room
                return False
            attempt.progress_count += 1
            task_id, number = attempt.ref
            progress = session_pb2.Progress(
                task_id=task_id, attempt=number, index=attempt.progress_count, payload=payload
            )
            if attempt.progress_count == 1:
                progress.headers.extend(headers())
            attempt.progress.append(progress)
            attempt.progress_bytes += len(payload)
            self._queue.append((attempt, progress))
            self._signal()
        return True

    def _release(self, attempt: HeldAttempt) -> bool:
        if not attempt.held or attempt.result is not None or attempt.released:
            return False
        attempt.released = True
        self._released.add(attempt)
        self._queue.append((attempt, None))
        return True

    def _signal(self) -> None:
        # One wake-up for a batch: the sender takes everything that has come until then.
        if not self._signalled and self._wake is not None:
            self._signalled = True
            self._wake()

    # -- session's side -------------------------------------------------------------------------------------------

    def hold(self, assignments: Iterable[session_pb2.Assignment], epoch: int) -> list[HeldAttempt]:
        """Take assignments, without those that are held already. A released attempt counts as new."""
        fresh: list[HeldAttempt] = []
        with self._lock:
            for assignment in assignments:
                attempt = HeldAttempt(assignment, epoch)
                known = self._attempts.get(attempt.ref)
                if known is not None:
                    if not known.released:
                        continue
                    self._drop(known)
                self._attempts[attempt.ref] = attempt
                fresh.append(attempt)
        return fresh

    def held(self) -> list[session_pb2.HeldAttempt]:
        """Every attempt that is held, for Hello. With its tree, unless they are so many that the message would become large."""
        with self._lock:
            trees = len(self._attempts) <= MAX_TREES_TOLD
            return [
                session_pb2.HeldAttempt(
                    task_id=attempt.ref[0],
                    attempt=attempt.ref[1],
                    epoch=attempt.epoch,
                    finished=attempt.result is not None,
                    root_id=attempt.assignment.context.root_id if trees else "",
                    budget_task_ids=[
                        each.task_id for each in (attempt.assignment.context.budgets if trees else ())
                    ],
                )
                for attempt in self._attempts.values()
            ]

    def attach(
        self, wake: Callable[[], None], epoch: int, adopted: Iterable[session_pb2.AttemptRef]
    ) -> list[HeldAttempt]:
        """Begin with a new stream: queue everything that the coordinator has not acknowledged.

        Attempts that it did not adopt are lost: they are dropped and returned.
        """
        keep = {(ref.task_id, ref.attempt) for ref in adopted}
        with self._lock:
            lost = [attempt for ref, attempt in self._attempts.items() if ref not in keep]
            for attempt in lost:
                self._drop(attempt)
            self._queue.clear()
            self._reported.clear()
            for attempt in self._attempts.values():
                attempt.epoch = epoch
                attempt.release_sequence = 0
                self._queue.extend((attempt, progress) for progress in attempt.progress or ())
                if attempt.result is not None or attempt.released:
                    self._queue.append((attempt, None))
            self._wake = wake
            self._signalled = True
            wake()
        return lost

    def detach(self, wake: Callable[[], None]) -> None:
        """End with a stream: new items are kept for the next one."""
        with self._lock:
            if self._wake == wake:
                self._wake = None

    def fill(
        self,
        message: session_pb2.ConnectRequest,
        wake: Callable[[], None],
        sequence: int,
        *,
        overtaking: bool = False,
    ) -> bool:
        """Move waiting items into a message, up to a batch. False: there was nothing for this stream.

        Args:
            wake: identifies the stream that asks. A stream that is not attached gets nothing.
            sequence: the heartbeat whose echo will show that the coordinator has this message.
            overtaking: the message may come before earlier ones: none of a stream of responses, nor its end.
        """
        size_bytes = items = 0
        with self._lock:
            if self._wake != wake:
                return False
            self._signalled = False
            queue = self._queue
            while queue and items < BATCH_ITEMS and size_bytes < BATCH_BYTES:
                if overtaking and queue[0][0].progress is not None:
                    break
                attempt, progress = queue.popleft()
                if not attempt.held:
                    continue
                items += 1
                if progress is not None:
                    message.progress.append(progress)
                    # The first has initial metadata as well.
                    told_bytes = progress.ByteSize() if progress.index == 1 else len(progress.payload)
                    size_bytes += told_bytes + _ITEM_OVERHEAD_BYTES
                    continue
                self._reported.add(attempt)
                if attempt.result is not None:
                    message.results.append(attempt.result)
                    size_bytes += attempt.size_bytes
                else:
                    message.released.add(task_id=attempt.ref[0], attempt=attempt.ref[1])
                    attempt.release_sequence = sequence
                    size_bytes += _ITEM_OVERHEAD_BYTES
        return items > 0

    def ack_results(self, acks: Sequence[session_pb2.ResultAck]) -> int:
        """Drop acknowledged results. Returns how many of them were refused."""
        refused = 0
        with self._lock:
            for ack in acks:
                attempt = self._attempts.get((ack.task_id, ack.attempt))
                if attempt is not None and attempt.result is not None:
                    self._drop(attempt)
                    refused += ack.refused
        if self.watched:
            self._on_change()
        return refused

    def ack_progress(self, acks: Sequence[session_pb2.ProgressAck]) -> None:
        """Drop stored responses, and wake the handlers that wait for room."""
        waiting: list[Callable[[], None]] = []
        with self._lock:
            for ack in acks:
                attempt = self._attempts.get((ack.task_id, ack.attempt))
                if attempt is None or attempt.progress is None:
                    continue
                while attempt.progress and attempt.progress[0].index <= ack.index:
                    attempt.progress_bytes -= len(attempt.progress.popleft().payload)
                if attempt.on_room is not None and _has_room(attempt):
                    waiting.append(attempt.on_room)
                    attempt.on_room = None
        for on_room in waiting:
            on_room()

    def echoed(self, sequence: int) -> None:
        """Forget the releases in all messages up to the one with this heartbeat: they have arrived."""
        if self._released:
            with self._lock:
                for attempt in list(self._released):
                    if 0 < attempt.release_sequence <= sequence:
                        self._drop(attempt)
        self.notify()

    def lose(self, ref: Ref) -> None:
        """Drop a lost attempt: nothing of it need be sent."""
        with self._lock:
            attempt = self._attempts.get(ref)
            if attempt is not None:
                self._drop(attempt)
        self.notify()

    def _drop(self, attempt: HeldAttempt) -> None:
        attempt.held = False
        self._attempts.pop(attempt.ref, None)
        self._released.discard(attempt)
        self._reported.discard(attempt)
        if attempt.on_room is not None:
            # The handler waits for room that would never come. Its further responses are dropped.
            on_room, attempt.on_room = attempt.on_room, None
            on_room()

    # -- the agent's side -----------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Attempts that are held, ended or not."""
        return len(self._attempts)

    @property
    def unreported(self) -> int:
        """Attempts that are held and whose end was not sent yet. From any thread."""
        return len(self._attempts) - len(self._reported)

    def unfinished(self) -> int:
        """Attempts that are held and have not ended."""
        with self._lock:
            return sum(attempt.result is None and not attempt.released for attempt in self._attempts.values())
