"""The time of one process in its place, at an address: it takes the place, may be asked for it, and leaves it.

begin ─► serves ─► asked: the successor binds the port ─► releases ─► the successor serves ─► those who are connected move ─► end
            │                                                └► the successor dies: another coordinator in this process takes over
            └► told to stop ─► end
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import Any

from weft.coordinator.handover import port_sockets
from weft.coordinator.handover.handover_door import DoorTaken, HandoverDoor
from weft.coordinator.handover.handover_wire import ANSWER_S, Gone, HandoverError, Wire
from weft.coordinator.handover.predecessor import Nobody, OwnPast, kill, predecessor_at
from weft.coordinator.server import Coordinator
from weft.coordinator.server_port import BindError
from weft.coordinator.settings import CoordinatorSettings
from weft.rpc.process.background_tasks import end_tasks
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

# What a successor may take to recover one unfinished task, beside the time that everything else may take: four times what was measured.
_RECOVERY_OF_ONE_S = 0.0001


class Tenure:
    """One process' time in a place.

    Args:
        make: makes a coordinator, of which it is told whether its port may be shared; called again if a successor has died before it served.
    """

    def __init__(
        self, settings: CoordinatorSettings, make: Callable[[CoordinatorSettings, bool], Coordinator]
    ) -> None:
        self._settings = settings
        self._shares = port_sockets.can_share() and not settings.listen.startswith("unix")
        self._make = make
        self.coordinator = make(settings, self._shares)
        self._door: HandoverDoor | None = None
        self._leaving = False
        # Earlier coordinators of this process, while they leave.
        self._past: set[asyncio.Task[None]] = set()

    async def begin(self, *, replace: bool) -> None:
        """Take the place.

        Args:
            replace: from the coordinator that has it, if there is one.

        Raises:
            HandoverError
            And those of `Coordinator.start`.
        """
        settings = self._settings
        if not replace:
            await self.coordinator.start(Nobody(self._claim))
            return
        if not self._shares or settings.listen.endswith(":0"):
            raise HandoverError(
                f"no coordinator can be replaced at {settings.listen}: that takes Linux and a port (--listen HOST:PORT)."
                " Stop that one, then start this one"
            )
        predecessor = await predecessor_at(settings.listen, self._store, settings.replace_s, self._claim)
        await self.coordinator.start(predecessor)

    async def last(self, stop: asyncio.Event) -> None:
        """Wait until this process is told to stop, or has been replaced and those who were connected have moved."""
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while not stopped.done():
                if self._door is None:
                    await stopped
                    return
                asked = asyncio.ensure_future(self._door.successor())
                await asyncio.wait((stopped, asked), return_when=asyncio.FIRST_COMPLETED)
                if not asked.done():
                    asked.cancel()
                elif await self._replaced_by(asked.result(), stopped):
                    return
        finally:
            stopped.cancel()

    async def end(self, *, told: bool) -> None:
        """Stop.

        Args:
            told: it was told to, and not replaced.
        """
        settings = self._settings
        if told and settings.drain_s and settings.shared_store and self._shares:
            await self.coordinator.departure.drain(settings.drain_s, settings.stop_grace_s)
        await self.coordinator.stop()
        await end_tasks(*self._past)
        if self._door is not None:
            self._door.close()

    def status_line(self) -> str:
        """How it is, for people."""
        if self._leaving:
            return "another coordinator has taken its place; serves who is still connected"
        return self.coordinator.status_line()

    async def probe_store(self) -> None:
        """Ask the store, if this process still has it (`Coordinator.probe_store`)."""
        if not self._leaving:
            await self.coordinator.probe_store()

    @property
    def _store(self) -> str:
        """The place of the store, as it is compared."""
        settings = self._settings
        if settings.shared_store:
            return f"{settings.store_place} {settings.store_prefix}"
        return os.path.realpath(settings.store)

    def _claim(self, address: str) -> None:
        if self._door is not None or not self._shares:
            return
        try:
            self._door = HandoverDoor(address, self._store)
        except DoorTaken:
            raise BindError(
                f"cannot listen on {address}: another coordinator has it. Choose another address with --listen HOST:PORT, or take"
                " the place of the coordinator there (--replace)"
            ) from None

    async def _replaced_by(self, successor: Wire, stopped: asyncio.Future[Any]) -> bool:
        """Give the place to a successor. False: it has not taken it."""
        try:
            if (await successor.hear(ANSWER_S))["kind"] != "bound":
                raise Gone("it said something else")
        except (Gone, TimeoutError) as error:
            # Nothing has changed here. If the successor lives, the end of the connection tells it that it does not get the place.
            successor.close()
            log.warning(
                "handover.called_off", process_id=successor.peer.pid, error=str(error) or "it took too long"
            )
            self._next()
            return False
        log.info("handover.begun", process_id=successor.peer.pid)
        self._leaving = True
        patience_s = self._settings.replace_s + self.coordinator.unfinished() * _RECOVERY_OF_ONE_S
        await self.coordinator.release()
        try:
            await successor.tell("released")
            relay = str((await successor.hear(patience_s)).get("relay", ""))
        except (Gone, TimeoutError) as error:
            if isinstance(error, TimeoutError):
                # If it cannot be killed, the store is its own, or free.
                with contextlib.suppress(HandoverError):
                    await kill(successor)
            successor.close()
            await self._take_back(successor)
            return False
        assert self._door is not None
        self._door.close()
        self._door = None
        leaving = asyncio.ensure_future(self.coordinator.departure.leave(relay, self._settings.leave_s))
        await asyncio.wait((leaving, stopped), return_when=asyncio.FIRST_COMPLETED)
        await end_tasks(leaving)
        if self._settings.shared_store:
            await self.coordinator.departure.finish_calls(self._settings.stop_grace_s)
        return True

    def _next(self) -> None:
        assert self._door is not None
        self._door.ready_for_another()

    async def _take_back(self, successor: Wire) -> None:
        """The successor has died before it served: take the place again, in this process."""
        log.error(
            "handover.successor_died", process_id=successor.peer.pid, effect="this process takes over again"
        )
        past, own = self.coordinator, OwnPast()
        # Port 0 would be another one now.
        settings = self._settings.model_copy(update={"listen": past.address})
        made = self._make(settings, self._shares)
        try:
            await made.start(own)
        except BaseException:
            past.departure.fail()
            raise
        self.coordinator, self._leaving = made, False
        leaving = asyncio.get_running_loop().create_task(
            self._leave(past, own.relay), name="past-coordinator"
        )
        self._past.add(leaving)
        leaving.add_done_callback(self._past.discard)
        self._next()

    async def _leave(self, past: Coordinator, relay: str) -> None:
        try:
            await past.departure.leave(relay, self._settings.leave_s)
        finally:
            await past.stop()
