"""Taking the place of another coordinator, as its successor sees it: three moments of its own start at which the other one has a say."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from weft.coordinator.handover.handover_wire import (
    ANSWER_S,
    PROTOCOL,
    Gone,
    HandoverError,
    Wire,
    door_name,
)
from weft.coordinator.server_port import BindError
from weft.coordinator.store.open_errors import StoreLocked
from weft.rpc.process.logs import get_logger
from weft.rpc.process.version import VERSION

log = get_logger(__name__)

T = TypeVar("T")

# How often it is tried again what the predecessor still has.
_LOOK_S = 0.02
# How often the log says for what it is waited.
_TELL_S = 2.0
# After its death the kernel frees what a process had.
_DEATH_S = 5.0


class Predecessor(Protocol):
    """Who had the place before."""

    # It lets the successor bind the same port.
    shares: bool

    async def bound(self, bind: Callable[[], str]) -> str:
        """Bind the port. When this returns, the predecessor has given up the store, or is giving it up.

        Raises:
            BindError
            HandoverError
        """
        ...

    async def opened(self, opening: Callable[[], Awaitable[None]]) -> None:
        """Open the store.

        Raises:
            StoreError
        """
        ...

    async def served(self, relay: str) -> None:
        """The successor serves.

        Args:
            relay: where it takes calls of the predecessor's callers; empty: nowhere.
        """
        ...


# Makes an address this process' own (`HandoverDoor`). Raises BindError: another coordinator has it.
Claim = Callable[[str], None]


class Nobody:
    """The place is free, or else the start fails."""

    shares = False

    def __init__(self, claim: Claim = lambda _address: None) -> None:
        self._claim = claim

    async def bound(self, bind: Callable[[], str]) -> str:
        address = bind()
        self._claim(address)
        return address

    async def opened(self, opening: Callable[[], Awaitable[None]]) -> None:
        await opening()

    async def served(self, relay: str) -> None: ...


class Unasked:
    """Something that cannot be asked may have the place: another program, or a coordinator of a version before hand-overs, or one that has just
    died. It is waited for.

    Args:
        patience_s: for how long.
    """

    shares = False

    def __init__(self, listen: str, patience_s: float, claim: Claim) -> None:
        self._listen, self._claim = listen, claim
        self._ends_at_s = time.monotonic() + patience_s

    async def bound(self, bind: Callable[[], str]) -> str:
        async def claim_and_bind() -> str:
            self._claim(self._listen)
            return bind()

        return await again_until(self._ends_at_s, claim_and_bind, BindError, "the port")

    async def opened(self, opening: Callable[[], Awaitable[None]]) -> None:
        await again_until(self._ends_at_s, opening, StoreLocked, "the store")

    async def served(self, relay: str) -> None: ...


class OwnPast:
    """This process itself, whose successor has died before it served: it has released all, and serves who is connected to it."""

    shares = True
    relay = ""

    async def bound(self, bind: Callable[[], str]) -> str:
        return bind()

    async def opened(self, opening: Callable[[], Awaitable[None]]) -> None:
        await again_until(time.monotonic() + _DEATH_S, opening, StoreLocked, "the store")

    async def served(self, relay: str) -> None:
        self.relay = relay


async def again_until(
    ends_at_s: float, attempt: Callable[[], Awaitable[T]], failure: type[Exception], what: str
) -> T:
    """Try until it succeeds or the time is over, by the monotonic clock, and log for what it waits.

    Raises: the last failure.
    """
    told_at_s = time.monotonic()
    while True:
        try:
            return await attempt()
        except failure as error:
            now_s = time.monotonic()
            if now_s >= ends_at_s:
                raise
            if now_s >= told_at_s + _TELL_S:
                told_at_s = now_s
                left_s = round(ends_at_s - now_s, 1)
                log.info("handover.waiting", waits_for=what, error=str(error), left_s=left_s)
        await asyncio.sleep(_LOOK_S)


class Living:
    """A coordinator that has agreed to leave.

    Args:
        patience_s: it gets so long to give the store up. Then it is killed.
    """

    shares = True

    def __init__(self, wire: Wire, listen: str, patience_s: float, claim: Claim) -> None:
        self._wire, self._listen, self._patience_s, self._claim = wire, listen, patience_s, claim
        self._began_s = time.monotonic()

    async def bound(self, bind: Callable[[], str]) -> str:
        try:
            address = bind()
        except BindError:
            self._wire.close()
            raise
        try:
            await self._wire.tell("bound")
            await self._released()
        except Gone:
            self._wire.close()
            await self._died()
        return address

    async def _died(self) -> None:
        """The connection has ended: if its process has, too, then the address is free.

        Raises:
            HandoverError: it lives, and stays.
        """
        try:
            await self._own(_DEATH_S)
        except BindError:
            raise HandoverError(
                f"the coordinator at {self._listen} (pid {self._wire.peer.pid}) has called the hand-over off, and stays: its log says why."
                " Start this one again"
            ) from None
        log.warning("handover.predecessor_died", process_id=self._wire.peer.pid)

    async def _own(self, patience_s: float) -> None:
        """Make the address this process' own as soon as the predecessor has given it up.

        Raises:
            BindError: it has not.
        """

        async def claim() -> None:
            self._claim(self._listen)

        await again_until(time.monotonic() + patience_s, claim, BindError, "the address")

    async def _released(self) -> None:
        ends_at_s = self._began_s + self._patience_s
        while (left_s := ends_at_s - time.monotonic()) > 0.0:
            try:
                message = await self._wire.hear(min(_TELL_S, left_s))
            except TimeoutError:
                log.info(
                    "handover.waiting",
                    waits_for="the store",
                    process_id=self._wire.peer.pid,
                    left_s=round(max(0.0, ends_at_s - time.monotonic()), 1),
                )
            else:
                if message["kind"] != "released":
                    raise Gone("it said something else")
                return
        await kill(self._wire)

    async def opened(self, opening: Callable[[], Awaitable[None]]) -> None:
        # If it was killed, the kernel may need a moment.
        await again_until(time.monotonic() + _DEATH_S, opening, StoreLocked, "the store")

    async def served(self, relay: str) -> None:
        log.info(
            "handover.taken",
            process_id=self._wire.peer.pid,
            took_s=round(time.monotonic() - self._began_s, 3),
        )
        with contextlib.suppress(Gone):
            await self._wire.tell("serves", relay=relay)
        self._wire.close()
        await self._own(_DEATH_S)


async def predecessor_at(listen: str, store: str, patience_s: float, claim: Claim) -> Predecessor:
    """Ask the coordinator of an address for its place.

    Args:
        claim: makes the address this process' own, once it is free.
        store: the place of the store, which must be its own, too.
        patience_s: how long it may take; one that does not leave in this time is killed.

    Raises:
        HandoverError: it has another store, is another user's, or cannot be killed.
    """
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    one.setblocking(False)
    try:
        one.connect(door_name(listen))
    except OSError:
        one.close()
        return Unasked(listen, patience_s, claim)
    wire = await Wire.over(one)
    if not wire.is_ours:
        wire.close()
        raise HandoverError(
            f"the coordinator at {listen} belongs to user {wire.peer.uid}: only that user can replace it"
        )
    try:
        await wire.tell("replace", protocol=PROTOCOL, store=store, version=VERSION)
        answer = await wire.hear(min(ANSWER_S, patience_s))
    except TimeoutError:
        await kill(wire)
        return Unasked(listen, _DEATH_S, claim)
    except Gone:
        return Unasked(listen, patience_s, claim)
    if answer["kind"] != "agrees":
        wire.close()
        raise HandoverError(
            f"the coordinator at {listen} (pid {wire.peer.pid}) stays: {answer.get('why', '')}"
        )
    log.info("handover.agreed", process_id=wire.peer.pid, version=str(answer.get("version", "")))
    return Living(wire, listen, patience_s, claim)


async def kill(wire: Wire) -> None:
    """Kill the process at the other end, which does not do its part of the hand-over in time, and wait until it has gone.

    Raises:
        HandoverError: it cannot be killed.
    """
    pid = wire.peer.pid
    log.error("handover.other_hangs", process_id=pid, effect="it is killed")
    try:
        if pid <= 0:
            raise ProcessLookupError("its process cannot be seen from here")
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(_DEATH_S):
            await wire.ended()
    except (OSError, TimeoutError) as error:
        raise HandoverError(
            f"the other coordinator (pid {pid}) does not do its part of the hand-over, and cannot be killed: {error or 'it does not end'}."
            " Stop it, then start one"
        ) from None
    finally:
        wire.close()
