"""Discovery: follows `WatchAgents` of a coordinator, and keeps the known agents while the coordinator is away.

    dial ─► snapshot ─► changes ─► the stream breaks ─► wait ─► dial with the cursor ─► the changes since, or a snapshot

A snapshot may come in parts. It replaces the known agents when all parts have come, so that a balancer never sees an
incomplete fleet.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable

import grpc
from grpc import aio

from weft.rpc import refusals
from weft.rpc.errors import WeftError, from_call
from weft.rpc.process.logs import get_logger
from weft.v1 import coordinator_pb2, coordinator_pb2_grpc, fleet_pb2

_log = get_logger(__name__)

FIRST_BACKOFF_S = 0.05
MAX_BACKOFF_S = 1.0
# The longest wait when a retry will hardly help: the coordinator has no discovery (an older version), or refuses the request.
REFUSED_BACKOFF_S = 30.0
_REFUSALS = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INVALID_ARGUMENT)

Update = Callable[[list[fleet_pb2.Agent]], None]


class Discovery:
    """Follows the agents of a mesh. Belongs to the event loop in which it is started.

    Args:
        coordinator_channel: leads to a coordinator, or to any of several. `close` does not close it.
        update: called with all agents, after the first snapshot and after each change.
        methods: follow only agents that host one of these. Empty: follow all agents.
    """

    def __init__(
        self, coordinator_channel: aio.Channel, update: Update, *, methods: Iterable[str] = ()
    ) -> None:
        self._watch = coordinator_pb2_grpc.CoordinatorServiceStub(coordinator_channel).WatchAgents
        self._update = update
        self._methods = tuple(methods)
        self._cursor = ""
        self._agents: dict[str, fleet_pb2.Agent] = {}
        # A snapshot whose parts are still coming. None: there is none.
        self._partial: dict[str, fleet_pb2.Agent] | None = None
        self._known = asyncio.Event()
        self._last_error: WeftError | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> asyncio.Task[None]:
        """Begin to watch. Call it once. The task ends with `close`, or when the coordinator's channel is closed."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="discovery")
        return self._task

    async def ready(self, timeout_s: float) -> None:
        """Wait until `update` has had the first snapshot.

        Raises:
            WeftError: no snapshot came within the time. It is the coordinator's last error, or `Unavailable` if there is none.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._known.wait()
        except TimeoutError:
            raise self._last_error or refusals.unreachable(
                f"no coordinator has told its agents within {timeout_s:g} s"
            ) from None

    async def close(self) -> None:
        """Stop watching. After it, `update` is not called."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        while True:
            cursor = self._cursor
            error = await self._follow()
            if self._cursor != cursor:
                backoff_s = FIRST_BACKOFF_S
            if self._last_error is None:
                _log.warning("discovery.interrupted", count=len(self._agents), error=str(error))
            self._last_error = error
            # Full jitter: clients that lost their coordinator must not all reconnect at the same time.
            jitter_s = random.uniform(0.0, backoff_s)  # noqa: S311 - not for secrets
            await asyncio.sleep((error.retry_after_s or 0.0) + jitter_s)
            most_s = REFUSED_BACKOFF_S if error.code in _REFUSALS else MAX_BACKOFF_S
            backoff_s = min(most_s, 2 * backoff_s)

    async def _follow(self) -> WeftError:
        """Watch until the stream ends. Returns the error that ended it."""
        # The parts of an interrupted snapshot are dropped.
        self._partial = None
        request = coordinator_pb2.WatchAgentsRequest(methods=self._methods, cursor=self._cursor)
        call = self._watch(request)
        try:
            async for response in call:
                self._take(response)
                self._last_error = None
        except aio.AioRpcError as error:
            return from_call(error)
        finally:
            # Python never collects a call that has not ended.
            call.cancel()
        return refusals.unreachable("the coordinator ended the stream")

    def _take(self, response: coordinator_pb2.WatchAgentsResponse) -> None:
        if response.snapshot:
            self._partial = {}
        agents = self._agents if self._partial is None else self._partial
        for agent_id in response.removed:
            agents.pop(agent_id, None)
        for agent in response.agents:
            agents[agent.id] = agent
        if not response.cursor:
            return
        self._agents, self._partial, self._cursor = agents, None, response.cursor
        try:
            self._update(list(agents.values()))
        except Exception:
            # A fault of the listener must not end the discovery.
            _log.exception("discovery.listener_failed")
        self._known.set()
