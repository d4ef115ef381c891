"""A place that events are written to: in their order, in batches, again and again while it cannot be written. It holds nobody up."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from weft.coordinator.audit.audit_event import Record
from weft.rpc.process.background_tasks import end_tasks
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

# Events that wait for one place. Past this, the oldest are lost, and the chain there has a gap.
MAX_WAITING = 10_000
BATCH = 500
# Between two tries, growing.
_LEAST_PAUSE_S = 0.5
_MOST_PAUSE_S = 15.0


class AuditSink:
    """One place.

    Args:
        place: what kind of a place it is, for figures.
        name: which one it is, for people.
        write: writes events, or raises.
    """

    def __init__(self, place: str, name: str, write: Callable[[Sequence[Record]], Awaitable[None]]) -> None:
        self.place = place
        self.name = name
        self._write = write
        self._waiting: deque[Record] = deque()
        self._more = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None
        # Why it cannot be written now; empty: it can.
        self.fault = ""
        # Events that were never written.
        self.lost = 0

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    def add(self, record: Record) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            self.lost += 1
        self._waiting.append(record)
        self._more.set()
        self._idle.clear()

    @property
    def waiting(self) -> int:
        """Events that have not been written."""
        return len(self._waiting)

    async def idle(self) -> None:
        """Wait until all events have been written."""
        await self._idle.wait()

    async def stop(self, within_s: float) -> None:
        """Write what waits, within a time."""
        if self._task is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.idle()
        await end_tasks(self._task)
        if self._waiting:
            self.lost += len(self._waiting)
            log.error("audit.not_written", place=self.name, count=len(self._waiting), error=self.fault)
            self._waiting.clear()

    async def _run(self) -> None:
        pause_s = _LEAST_PAUSE_S
        while True:
            await self._more.wait()
            batch = [self._waiting[at] for at in range(min(BATCH, len(self._waiting)))]
            lost = self.lost
            try:
                await self._write(batch)
            except Exception as error:  # whatever a place raises, tasks go on and events wait
                self._failed(str(error) or type(error).__name__)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _MOST_PAUSE_S)
                continue
            pause_s = _LEAST_PAUSE_S
            # While it wrote, some of these may have been given up as lost.
            given_up = min(self.lost - lost, len(batch))
            for _ in range(len(batch) - given_up):
                self._waiting.popleft()
            self.lost -= given_up
            if not self._waiting:
                self._more.clear()
                self._idle.set()
            if self.fault:
                log.info("audit.written_again", place=self.name)
            self.fault = ""

    def _failed(self, why: str) -> None:
        if why != self.fault:
            log.error("audit.not_written", place=self.name, count=len(self._waiting), error=why)
        self.fault = why
