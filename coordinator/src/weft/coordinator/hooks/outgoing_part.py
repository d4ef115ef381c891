"""Outgoing hooks as a part of a mesh: their subscriptions, and the worker that sends."""

from __future__ import annotations

import asyncio
import contextlib
import secrets

from weft.coordinator.calls.submission import accepted
from weft.coordinator.events.event_types import EventTypes
from weft.coordinator.hooks.hook_codec import topic_of
from weft.coordinator.hooks.hook_counts import HookCounts
from weft.coordinator.hooks.hook_delivery import HookDeliveries
from weft.coordinator.hooks.hook_tools import HookTools
from weft.coordinator.hooks.hook_worker import DELIVER, HookWorker
from weft.coordinator.hooks.outgoing_hooks import OutgoingHooks, delivery_request
from weft.coordinator.hooks.outgoing_url import check_host, place_of
from weft.coordinator.mesh_part import MeshPart
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.rpc.process.extras import install_command
from weft.rpc.process.extras import missing as missing_packages
from weft.rpc.times import timestamp
from weft.v1 import event_pb2, hook_pb2

# A sequence that no topic reaches.
_FAR = 2**62
# For the worker to be ready, when the first hook is made.
READY_S = 5.0


class OutgoingPart(MeshPart):
    """The outgoing hooks of a mesh. A mesh without them has no worker."""

    def __init__(self, tools: HookTools, counts: HookCounts) -> None:
        self._tools = tools
        self.hooks = OutgoingHooks(tools.store, tools.contracts)
        types = EventTypes(tools.contracts)
        deliveries = HookDeliveries(
            tools.store, types, tools.secrets, tools.settings, counts, tools.namespace
        )
        self._worker = HookWorker(tools.sessions, tools.coordinator_id, deliveries.outcome)
        # Whether this coordinator sends at all.
        self._sends = bool(tools.settings.hook_hosts) and not missing_packages("http")

    # -- for the service ----------------------------------------------------------------------------------------------

    def check(self, outgoing: hook_pb2.OutgoingHook) -> None:
        """Refuse a hook that may not send there.

        Raises:
            FailedPrecondition: HOOK_ADDRESS_REFUSED.
        """
        place, settings = place_of(outgoing.url), self._tools.settings
        check_host(place, settings.hook_hosts)
        if not place.secure and not settings.hook_networks:
            raise refusals.hook_address_refused(
                place.host,
                "http:// is for networks of the coordinators' setting hook_networks alone: use https://",
            )
        if missing_packages("http"):
            raise refusals.hook_address_refused(
                place.host,
                f"this coordinator cannot send, because packages are missing: {install_command('http')}",
            )

    async def begin(self, stored: hook_pb2.StoredHook) -> None:
        """Let a new hook begin with the next event of its topic."""
        topic = topic_of(stored.hook.spec.outgoing)
        stored.start_sequence = (await self._tools.store.read_events(topic, _FAR, limit=1)).last
        stored.subscription_uid = secrets.token_hex(8)
        self._worker.start()
        await self._wait_ready()

    async def settle(self) -> None:
        """Follow a change of hooks at once. If that fails, it is made up for."""
        self.hooks.rows_changed("hook")
        with contextlib.suppress(WeftError):
            await self.hooks.settle()
        self._look()

    async def _wait_ready(self) -> None:
        """Wait until the worker takes deliveries: from then on its method is known."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_S):
                await self._worker.ready.wait()

    async def try_hook(self, hook: hook_pb2.Hook) -> str:
        """Send a try by a hook; returns the id of its task.

        Raises:
            WeftError: as `SubmitTask`.
        """
        message = hook_pb2.HookTried(hook=hook.name)
        event = event_pb2.Event(
            topic=message.DESCRIPTOR.full_name,
            id=secrets.token_hex(16),
            publish_time=timestamp(self._tools.store.now()),
            payload=message.SerializeToString(),
        )
        request = delivery_request(hook, event, f"{hook.uid}.try-{event.id}")
        submission = self._tools.submissions.check(request, own_id=True)
        (result,) = await self._tools.submissions.store([submission])
        return accepted(result, submission.request_id).task_id

    # -- as a part ----------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Start the worker, if there is something for it."""
        if not self._sends or self._worker.running:
            return
        # Deliveries of a removed hook end as failed, rather than wait for ever.
        if self.hooks.any or any(key.method == DELIVER for key in self._tools.store.ready_depths()):
            self._worker.start()

    def rows_changed(self, kind: str) -> bool:
        return self.hooks.rows_changed(kind)

    async def keep_house(self, now_s: float) -> None:  # noqa: ARG002  # it has no times
        await self.hooks.settle()
        self._look()

    async def stop(self, why: WeftError | None) -> None:  # noqa: ARG002  # nobody waits here
        await self._worker.stop()

    async def methods(self) -> set[str]:
        return {DELIVER} if self.hooks.any else set()
