"""Where a running coordinator is asked for its place. Whoever has the door has the port: two starts at once cannot both get it."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from weft.coordinator.handover.handover_wire import ANSWER_S, PROTOCOL, Gone, Wire, door_name
from weft.rpc.process.logs import get_logger
from weft.rpc.process.version import VERSION

log = get_logger(__name__)

# Successors that may ask at a time; one of them gets the place.
_MOST = 8


class DoorTaken(Exception):
    """Another coordinator has the door of this address."""


class HandoverDoor:
    """The door of one address.

    Args:
        listen: "host:port", with the port that is bound.
        store: the place of the store, which the successor must have, too.

    Raises:
        DoorTaken
    """

    def __init__(self, listen: str, store: str) -> None:
        self._store = store
        self._asking: set[asyncio.Task[None]] = set()
        self._successor: asyncio.Future[Wire] = asyncio.get_running_loop().create_future()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        try:
            self._socket.bind(door_name(listen))
        except OSError as error:
            self._socket.close()
            raise DoorTaken(listen) from error
        self._socket.listen(_MOST)
        self._open = asyncio.get_running_loop().create_task(self._accept(), name="handover-door")

    async def successor(self) -> Wire:
        """Wait for one that may have the place, and has been told so."""
        return await asyncio.shield(self._successor)

    def ready_for_another(self) -> None:
        """The successor has gone."""
        self._successor = asyncio.get_running_loop().create_future()

    def close(self) -> None:
        self._open.cancel()
        for each in self._asking:
            each.cancel()
        self._socket.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                one, _ = await loop.sock_accept(self._socket)
            except OSError as error:
                log.warning("handover.door_failed", error=str(error))
                await asyncio.sleep(1.0)
                continue
            if len(self._asking) >= _MOST:
                one.close()
                continue
            task = loop.create_task(self._ask(one))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def _ask(self, one: socket.socket) -> None:
        wire = await Wire.over(one)
        try:
            if not wire.is_ours:
                wire.close()
                return
            why = self._refusal(await wire.hear(ANSWER_S))
            if why:
                await wire.tell("refuses", why=why)
                wire.close()
                return
            # In this order: whoever comes meanwhile must be refused.
            self._successor.set_result(wire)
            await wire.tell("agrees", version=VERSION)
        except (Gone, TimeoutError) as error:
            log.info("handover.not_asked", error=str(error))
            wire.close()

    def _refusal(self, asked: dict[str, Any]) -> str:
        """Why one that asks does not get the place; empty: it does."""
        if asked["kind"] != "replace" or asked.get("protocol") != PROTOCOL:
            return "it speaks another version of the hand-over: stop this coordinator, then start that one"
        if asked.get("store") != self._store:
            return f"it has the store {self._store}, and that one another: give it the same --store, or another --listen"
        if self._successor.done():
            return "another coordinator is taking its place already"
        return ""
