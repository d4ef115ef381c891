"""The app behind a sidecar: the channel to it, its contract, and whether it takes calls now.

    dial ──► connected ──► contract read ──► health followed ─┬─► its services are there, each as its health says
      ▲                                                       │
      └── the connection is lost: nothing is there, at once ◄─┘

It never gives up: an app that is slow to start, or is started again, is dialled for ever. One callback reports each
change of the contract or of the health; its receiver then reads both.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import grpc
import grpc.aio

from weft.agent.errors import HostingError
from weft.agent.sidecar.app_contract import AppContract
from weft.agent.sidecar.app_health import AppHealth
from weft.rpc.calls.relay import Observe
from weft.rpc.errors import WeftError
from weft.rpc.network.channel import METADATA_OPTIONS, NO_TLS, Route, dial
from weft.rpc.network.connection_faults import probed
from weft.rpc.process.logs import get_logger

_log = get_logger("weft.sidecar")

# How often the log mentions an app that stays away.
REMIND_S = 30.0
# Once connected, the app has this long to report its health. Without a report, a connected app counts as healthy.
HEALTH_TIMEOUT_S = 3.0
FIRST_BACKOFF_S = 0.1
MAX_BACKOFF_S = 2.0

_READY = grpc.ChannelConnectivity.READY
_NEVER_MS = 2**31 - 1
# No keepalive: stock servers end connections that ping more often than every five minutes. The loss of a process on
# this machine shows at once.
_OPTIONS: list[tuple[str, int]] = [
    *METADATA_OPTIONS,
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.use_local_subchannel_pool", 1),
    # The loss of an idle connection must be noticed too.
    ("grpc.client_idle_timeout_ms", _NEVER_MS),
]

ReadContract = Callable[[grpc.aio.Channel], Awaitable[AppContract]]


class App:
    """One app. Made, run and closed on the event loop.

    Args:
        address: what gRPC dials: "host:port" or "unix:PATH".
        read: reads its contract.
        changed: called when `contract` or `unavailable` has changed.
        max_message_bytes: largest request or response.
        route: with the TLS to the app.

    Attributes:
        observe: told of each call to the app that has ended.
    """

    observe: Observe | None = None

    def __init__(
        self,
        address: str,
        read: ReadContract,
        changed: Callable[[], None],
        max_message_bytes: int,
        route: Route = NO_TLS,
    ) -> None:
        self.address = address
        sizes = (
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
        )
        self.channel = dial(address, (*_OPTIONS, *sizes), route)
        self._security = route.security
        # None: the app has not been connected yet.
        self.contract: AppContract | None = None
        # Services that take no calls now.
        self.unavailable: frozenset[str] = frozenset()
        # How often the connection was lost.
        self.losses = 0
        self._read = read
        self._changed = changed
        self._loss = asyncio.Event()
        self._quiet_until = 0.0

    async def run(self) -> None:
        """Follow the app until cancelled.

        Raises:
            HostingError: its first contract cannot be hosted.
        """
        try:
            while True:
                await self._connected()
                await self._follow_connection()
        finally:
            await self.channel.close()

    async def lost_since(self, losses: int, timeout_s: float) -> bool:
        """Whether there have been more losses than `losses`, or there are within `timeout_s`."""
        if self.losses == losses:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._loss.wait()
        return self.losses != losses

    async def _connected(self) -> None:
        """Wait until there is a connection."""
        while (state := self.channel.get_state(try_to_connect=True)) is not _READY:
            if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE and time.monotonic() >= self._quiet_until:
                self._quiet_until = time.monotonic() + REMIND_S
                why = await probed(self.address, self._security)
                _log.warning("app.unreachable", app=self.address, error=why or None, effect="dialling on")
            await self.channel.wait_for_state_change(state)
        self._quiet_until = 0.0

    async def _follow_connection(self) -> None:
        """Run until the connection is lost. The loss is noticed here, not by the calls that fail."""
        lost = asyncio.ensure_future(self.channel.wait_for_state_change(_READY))
        follow = asyncio.ensure_future(self._follow_app())
        try:
            await asyncio.wait({lost, follow}, return_when=asyncio.FIRST_COMPLETED)
            if follow.done():
                # The contract cannot be hosted, or the app has no health service to follow.
                follow.result()
                await asyncio.wait({lost})
            self._lost()
        finally:
            lost.cancel()
            follow.cancel()
            await asyncio.wait({lost, follow})

    def _lost(self) -> None:
        self.losses += 1
        self._loss.set()
        self._loss = asyncio.Event()
        if self.contract is not None:
            _log.warning("app.lost", app=self.address, effect="its methods take no calls until it is back")
            self._tell(frozenset(self.contract.services))

    async def _follow_app(self) -> None:
        self._keep(await self._contract())
        assert self.contract is not None
        services = self.contract.services

        def tell() -> None:
            if health.settled.is_set():
                self._tell(frozenset(name for name in services if not health.serving(name)))

        health = AppHealth(self.channel, services, tell)

        async with asyncio.TaskGroup() as group:
            group.create_task(health.follow())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEALTH_TIMEOUT_S):
                    await health.settled.wait()
            health.settled.set()
            tell()
            _log.info(
                "app.connected",
                app=self.address,
                services=services,
                methods=len(self.contract.methods),
                unavailable=sorted(self.unavailable),
            )

    async def _contract(self) -> AppContract:
        """The app's contract. Asks until the app answers.

        Raises:
            HostingError: its first contract cannot be hosted.
        """
        backoff_s = FIRST_BACKOFF_S
        while True:
            try:
                return await self._read(self.channel)
            except HostingError as error:
                if self.contract is None:
                    raise
                _log.error("app.contract_refused", app=self.address, error=error.message)
            except WeftError as error:
                _log.info("app.contract_not_read", app=self.address, error=error.message)
            await asyncio.sleep(backoff_s)
            backoff_s = min(MAX_BACKOFF_S, backoff_s * 2)

    def _keep(self, contract: AppContract) -> None:
        if self.contract is None or self.contract.digest != contract.digest:
            self.contract = contract
            # No calls are taken before the app has reported its health.
            self.unavailable = frozenset(contract.services)
            self._changed()

    def _tell(self, unavailable: frozenset[str]) -> None:
        if unavailable != self.unavailable:
            self.unavailable = unavailable
            self._changed()
