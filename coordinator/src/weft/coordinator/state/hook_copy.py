"""Hooks, exported and imported without their secrets: an imported hook is paused until its secret is rotated."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from weft.coordinator.events.event_types import EventTypes
from weft.coordinator.hooks.hook_codec import check_spec
from weft.coordinator.hooks.hook_intake import check_fits
from weft.coordinator.hooks.hook_secrets import PAUSED_BY_IMPORT
from weft.coordinator.hooks.hook_table import HookTable
from weft.coordinator.hooks.hook_tools import HookTools
from weft.coordinator.hooks.outgoing_part import OutgoingPart
from weft.coordinator.request_checks import check_reason, check_resource_name
from weft.coordinator.state.subscription_copy import set_maker
from weft.rpc import refusals
from weft.rpc.times import checked_time, timestamp
from weft.v1 import hook_pb2, security_pb2

_PAGE = 100
_UID = re.compile("[0-9a-f]{16}")
# The rest is its secrets, its counts, and where it is.
_KEPT = ("name", "spec", "uid", "create_time", "update_time", "paused", "pause_reason", "maker")


class HookCopies:
    """Exports and imports the hooks of a mesh."""

    def __init__(self, tools: HookTools, outgoing: OutgoingPart) -> None:
        self._tools, self._outgoing = tools, outgoing
        self._table = HookTable(tools.store)

    async def exported(self) -> AsyncIterator[hook_pb2.Hook]:
        """All hooks, by name."""
        cursor = ""
        while True:
            found, cursor = await self._table.page(_PAGE, cursor)
            for stored in found:
                yield _copy_of(stored.hook)
            if not cursor:
                return

    async def take(self, given: hook_pb2.Hook, maker: security_pb2.Maker | None) -> bool:
        """Store a hook, paused; false: it was there. Its uid stays, so that repeats of its deliveries find their tasks.

        Args:
            maker: who imports. None: the coordinator does not ask who calls.

        Raises:
            WeftError: as `CreateHook` says.
        """
        hook = _copy_of(given)
        check_resource_name(hook.name, "hook.name")
        check_reason(hook.pause_reason, "hook.pause_reason")
        if not _UID.fullmatch(hook.uid):
            raise refusals.invalid_field("a hook's uid has 16 hexadecimal digits", field="hook.uid")
        for name in ("create_time", "update_time"):
            checked_time(getattr(hook, name), f"hook.{name}")
        check_spec(hook.spec, EventTypes(self._tools.contracts), self._tools.contracts)
        if hook.spec.incoming.HasField("task"):
            check_fits(self._tools.submissions, hook)
        known = await self._table.find(hook.name)
        if known is not None:
            if known[0].hook.spec != hook.spec:
                raise refusals.hook_exists(hook.name)
            return False
        set_maker(hook.maker, maker)
        if not hook.paused:
            hook.paused, hook.pause_reason = True, PAUSED_BY_IMPORT
        hook.update_time.CopyFrom(timestamp(self._tools.store.now()))
        stored = hook_pb2.StoredHook(hook=hook)
        if hook.spec.HasField("outgoing"):
            self._outgoing.check(hook.spec.outgoing)
            await self._outgoing.begin(stored)
        await self._table.create(stored)
        await self._outgoing.settle()
        return True


def _copy_of(given: hook_pb2.Hook) -> hook_pb2.Hook:
    hook = hook_pb2.Hook()
    hook.CopyFrom(given)
    for field, _ in given.ListFields():
        if field.name not in _KEPT:
            hook.ClearField(field.name)
    return hook
