"""The one account of an agent's slots, for durable attempts and direct calls together.

A durable attempt waits for its slots; a direct call waits in turn, for a short time, with not too many before it. Attempts
come first: while one waits, no direct call gets a slot, or an expensive method could wait for ever.

Changed on the application's event loop alone, where all calls begin and end; read from any thread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from weft.agent.handlers.overrun import Overruns

# Direct calls that wait for a slot.
MAX_QUEUE = 10_000


class Slots:
    """The slots of an agent: total, and used by attempts and by direct calls.

    Args:
        total: the agent's capacity.
        wait_s: how long a direct call waits for a slot at most.
        max_queue: direct calls that wait at a time.
    """

    __slots__ = (
        "_max_queue",
        "_on_direct_end",
        "_queue",
        "_wait_s",
        "direct",
        "direct_open",
        "durable",
        "overruns",
        "total",
        "waiting",
    )

    def __init__(self, total: int, wait_s: float = 0.0, max_queue: int = MAX_QUEUE) -> None:
        self.total = total
        # Slots that running attempts use, and slots that direct calls use.
        self.durable = 0
        self.direct = 0
        # Attempts that wait for a slot; the executor's.
        self.waiting = 0
        # Whether direct calls are taken at all: not while the agent drains.
        self.direct_open = True
        # Overrun handlers, which keep their slots.
        self.overruns = Overruns()
        self._wait_s = wait_s
        self._max_queue = max_queue
        # Waiting direct calls, in their order; a call that waits no more may still be here.
        self._queue: deque[tuple[int, asyncio.Future[bool]]] = deque()
        self._on_direct_end: Callable[[], None] | None = None

    @property
    def used(self) -> int:
        """Slots that are taken."""
        return self.durable + self.direct

    def on_direct_end(self, call: Callable[[], None]) -> None:
        """Call this when a direct call ends while attempts wait for slots, or while no direct calls are taken."""
        self._on_direct_end = call

    def take(self, cost: int) -> bool:
        """Take slots for an attempt. False if not enough are free."""
        if self.durable + self.direct + cost > self.total:
            return False
        self.durable += cost
        return True

    def give(self, cost: int) -> None:
        """Free the slots of an attempt. Call `admit` afterwards, when the waiting attempts have had their turn."""
        self.durable -= cost

    # -- direct calls -------------------------------------------------------------------------------------------

    def take_direct(self, cost: int) -> bool:
        """Take slots for a direct call now. False if there are none for it."""
        # As `_take_direct`, once more: every direct call comes here.
        if (
            self._queue
            or not self.direct_open
            or self.waiting
            or self.durable + self.direct + cost > self.total
        ):
            return False
        self.direct += cost
        return True

    async def wait_direct(self, cost: int, most_s: float | None = None) -> bool:
        """Wait for the call's turn, and take its slots. False if the call is to be refused.

        Args:
            most_s: the call itself waits no longer than this.
        """
        if self.take_direct(cost):
            return True
        if (
            not self.direct_open
            or not self._wait_s
            or cost > self.total
            or len(self._queue) >= self._max_queue
        ):
            return False
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        self._queue.append((cost, turn))
        wait_s = self._wait_s if most_s is None else min(self._wait_s, most_s)
        timer = loop.call_later(wait_s, self._too_late, turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self.give_direct(cost)
            raise
        finally:
            timer.cancel()
            # The next waiting call may have its turn.
            self.admit()

    def give_direct(self, cost: int) -> None:
        """Free the slots of a direct call."""
        self.direct -= cost
        if self._on_direct_end is not None and (self.waiting or not self.direct_open):
            self._on_direct_end()
        if self._queue:
            self.admit()

    def admit(self) -> None:
        """Give free slots to the waiting direct calls, in turn."""
        while self._queue:
            cost, turn = self._queue[0]
            if not turn.done():
                if not self._take_direct(cost):
                    return
                turn.set_result(True)
            self._queue.popleft()

    def open_direct(self, *, on: bool) -> None:
        """Take direct calls, or refuse them, waiting calls included."""
        self.direct_open = on
        if not on:
            queue, self._queue = self._queue, deque()
            for _, turn in queue:
                if not turn.done():
                    turn.set_result(False)

    def _take_direct(self, cost: int) -> bool:
        if not self.direct_open or self.waiting or self.durable + self.direct + cost > self.total:
            return False
        self.direct += cost
        return True

    def _too_late(self, turn: asyncio.Future[bool]) -> None:
        if not turn.done():
            turn.set_result(False)
