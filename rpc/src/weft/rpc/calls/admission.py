"""Admission: the bound on the calls that a server takes at a time. More calls are refused at once (OVERLOADED).

gRPC's own bound cancels calls at random. It is set far above this one (`channel.MAX_PENDING_CALLS`), so that each call of a
burst of thousands is either taken or refused with a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import grpc

from weft.rpc import errors, refusals
from weft.rpc.calls import relay
from weft.rpc.handler_shape import behaviour_of

# A full server has room again soon.
RETRY_AFTER_S = 1.0


class Admission:
    """Counts and bounds a server's calls. Belongs to one event loop.

    Args:
        most: the most calls at a time.
        setting: the name of the setting for the bound, for the message.
        urgent: whether a call may be one of the tenth of `most` that are taken beyond it, by its metadata. None: no call may.
    """

    def __init__(
        self, most: int, setting: str, urgent: Callable[[Iterable[tuple[str, Any]]], bool] | None = None
    ) -> None:
        self.most = most
        self._reserve = 0 if urgent is None else max(1, most // 10)
        self._urgent = urgent
        # Calls in flight, and calls refused so far.
        self.calls = 0
        self.refused = 0
        self._setting = setting

    def bounded(self, handler: Any) -> grpc.RpcMethodHandler[Any, Any]:
        """The same handler, but its calls are counted, and refused when there are too many."""
        shape, behaviour = behaviour_of(handler)

        async def admitted(request: Any, context: Any) -> Any:
            if self.calls >= self.most and not self._has_room_for(context):
                self.refused += 1
                await relay.refuse(self._full(), context)
            self.calls += 1
            try:
                return await behaviour(request, context)
            finally:
                self.calls -= 1

        made: grpc.RpcMethodHandler[Any, Any] = handler._replace(**{shape: admitted})
        return made

    def _has_room_for(self, context: Any) -> bool:
        """Whether a call is taken though the server is full."""
        if self._urgent is None or self.calls >= self.most + self._reserve:
            return False
        return self._urgent(context.invocation_metadata() or ())

    def _full(self) -> errors.ResourceExhausted:
        return refusals.overloaded(
            f"this server has {self.most} calls, the most that it takes at a time: retry later, call another server of the mesh,"
            f" or raise {self._setting}",
            metadata={"limit": str(self.most)},
            retry_after_s=RETRY_AFTER_S,
        )
