"""An app's own report whether it serves: grpc.health.v1, followed by `Watch`, for each service.

If the app reports nothing for a service, its report for the whole app ("") counts. An app without health serves while
it is connected; `app` handles that. An answer that is not one of grpc.health.v1 is ignored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from weft.rpc.process.logs import get_logger

_log = get_logger("weft.sidecar")

# A watch that ends while the connection holds is begun again after this, doubled up to a bound.
FIRST_BACKOFF_S = 0.1
MAX_BACKOFF_S = 2.0
OVERALL = ""

_WATCH = "/grpc.health.v1.Health/Watch"
_Status = health_pb2.HealthCheckResponse


class AppHealth:
    """The health of services, as the app reports it over one connection.

    Args:
        changed: called when a report has changed.
    """

    def __init__(
        self, channel: grpc.aio.Channel, services: Sequence[str], changed: Callable[[], None]
    ) -> None:
        # As bytes: for an answer that does not parse, grpc.aio would log a traceback and return None.
        self._begin_watch: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(_WATCH)
        self._services = services
        self._changed = changed
        # The last answer; None: there was none.
        self._said: dict[str, _Status.ServingStatus | None] = {}
        # Set when the app has answered for every service.
        self.settled = asyncio.Event()

    def serving(self, service: str) -> bool:
        """Whether the app, which is connected, takes calls of a service."""
        said = self._said.get(service)
        if said is None:
            said = self._said.get(OVERALL)
        return said is None or said == _Status.SERVING

    async def follow(self) -> None:
        """Listen until cancelled."""
        async with asyncio.TaskGroup() as watches:
            for name in (OVERALL, *self._services):
                watches.create_task(self._watch(name))

    async def _watch(self, name: str) -> None:
        backoff_s = FIRST_BACKOFF_S
        while True:
            call = self._begin_watch(health_pb2.HealthCheckRequest(service=name).SerializeToString())
            try:
                async for answer in call:
                    status = _Status.FromString(answer).status
                    self._say(name, None if status == _Status.SERVICE_UNKNOWN else status)
                    backoff_s = FIRST_BACKOFF_S
            except DecodeError:
                _log.warning("app.health_invalid", service=name, effect="its answer is ignored")
                self._say(name, None)
                return
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    self._say(name, None)
                    return
            finally:
                call.cancel()
            # Its last answer still counts: a lost stream is not a lost app.
            self._say(name, self._said.get(name))
            await asyncio.sleep(backoff_s)
            backoff_s = min(MAX_BACKOFF_S, backoff_s * 2)

    def _say(self, name: str, status: _Status.ServingStatus | None) -> None:
        news = name not in self._said or self._said[name] != status
        self._said[name] = status
        if len(self._said) > len(self._services):
            self.settled.set()
        if news:
            self._changed()
