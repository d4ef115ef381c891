"""What a door keeps, and tells, of the calls that it refuses."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import grpc

from weft.rpc.calls import relay
from weft.rpc.errors import Unauthenticated, WeftError
from weft.rpc.identity.caller import Caller, role_name
from weft.rpc.identity.refusal_pace import MOST_WAITING, RefusalPace


class RefusedCall(NamedTuple):
    """A call, or a request by HTTP, that was refused for who made it."""

    why: WeftError
    # "package.Service/Method": of the call, or the one that its request names. Of HTTP, what was asked for.
    method: str
    # As gRPC tells it.
    peer: str
    # None: not known.
    caller: Caller | None = None


ToldOfRefusal = Callable[[RefusedCall], None]


class RefusedCalls:
    """The refused calls of one door.

    Args:
        told: told of each.
    """

    def __init__(self, told: ToldOfRefusal) -> None:
        self._told = told
        # By reason and role.
        self._counts: Counter[tuple[str, str]] = Counter()
        self._pace = RefusalPace()
        self._waiting = 0

    def add(self, why: WeftError, method: str, peer: str, caller: Caller | None = None) -> None:
        """Count a refused call, and tell of it."""
        self._counts[why.reason_name, "none" if caller is None else role_name(caller.role)] += 1
        self._told(RefusedCall(why, method.removeprefix("/"), peer, caller))

    async def wait(self, why: WeftError) -> None:
        """Wait until a call may be answered: one whose proof is wrong waits when there are many."""
        if not isinstance(why, Unauthenticated) or self._waiting >= MOST_WAITING:
            return
        if delay_s := self._pace.delay_s(time.monotonic()):
            self._waiting += 1
            try:
                await asyncio.sleep(delay_s)
            finally:
                self._waiting -= 1

    def handler(self, why: WeftError, method: str, caller: Caller | None = None) -> Any:
        """The handler of a call that is refused."""

        async def refuse(_requests: Any, context: Any) -> None:
            self.add(why, method, context.peer(), caller)
            await self.wait(why)
            await relay.refuse(why, context)

        # Any shape of call fits this one on the wire.
        return grpc.stream_stream_rpc_method_handler(refuse)

    def counts(self) -> Iterator[tuple[tuple[str, str], float]]:
        """Calls refused so far: by the reason's name, and by the caller's role, "none" if it is not known."""
        yield from self._counts.copy().items()
