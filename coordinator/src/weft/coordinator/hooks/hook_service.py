"""The servicer of `weft.v1.HookService`: checks requests, and reads and changes hooks in the store's table."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from grpc import aio

from weft.coordinator import guard
from weft.coordinator.events.event_types import EventTypes
from weft.coordinator.hooks.hook_codec import (
    DEFAULT_OVERLAP_S,
    MAX_OVERLAP_S,
    check_spec,
    same_direction,
    secret_kind,
    shown,
    target_of,
)
from weft.coordinator.hooks.hook_intake import HookIntake, check_fits, task_request
from weft.coordinator.hooks.hook_request import MAX_BODY_BYTES, HookRequest, together
from weft.coordinator.hooks.hook_secrets import chosen_secret, rotate
from weft.coordinator.hooks.hook_table import HookTable
from weft.coordinator.hooks.hook_tools import HookTools
from weft.coordinator.hooks.outgoing_part import OutgoingPart
from weft.coordinator.identity.makers import maker_of
from weft.coordinator.request_checks import (
    check_page_size,
    check_page_token,
    check_reason,
    check_resource_name,
)
from weft.rpc import refusals
from weft.rpc.times import checked_duration, timestamp
from weft.v1 import hook_pb2, hook_pb2_grpc, security_pb2

Context = aio.ServicerContext[Any, Any]

_TESTED = "test"


class HookService(hook_pb2_grpc.HookServiceServicer):
    """Each RPC's errors and guarantee are in the contract's comments.

    Args:
        intake: says what requests become.
        outgoing: is told of changes at once.
    """

    def __init__(self, tools: HookTools, intake: HookIntake, outgoing: OutgoingPart) -> None:
        self._tools = tools
        self._store, self._contracts, self._submissions = tools.store, tools.contracts, tools.submissions
        self._edge, self._namespace, self._secrets = tools.edge, tools.namespace, tools.secrets
        self._types = EventTypes(tools.contracts)
        self._intake = intake
        self._outgoing = outgoing
        self._table = HookTable(tools.store)

    @guard.unary
    async def CreateHook(
        self, request: hook_pb2.CreateHookRequest, context: Context
    ) -> hook_pb2.CreateHookResponse:
        check_resource_name(request.name)
        now = self._store.now()
        hook = hook_pb2.Hook(
            name=request.name,
            spec=request.spec,
            uid=secrets.token_hex(8),
            create_time=timestamp(now),
            update_time=timestamp(now),
            maker=maker_of(self._edge.caller(context)),
        )
        self._check(hook, context)
        secret = chosen_secret(secret_kind(request.spec), request.secret)
        stored = hook_pb2.StoredHook(hook=hook)
        stored.secrets.append(await asyncio.to_thread(self._secrets.stored, secret, now))
        if hook.spec.HasField("outgoing"):
            await self._outgoing.begin(stored)
        await self._table.create(stored)
        await self._outgoing.settle()
        return hook_pb2.CreateHookResponse(hook=shown(stored, None, self._namespace), secret=secret)

    @guard.unary
    async def GetHook(self, request: hook_pb2.GetHookRequest, context: Context) -> hook_pb2.GetHookResponse:
        stored = await self._seen(request.name, context)
        return hook_pb2.GetHookResponse(hook=await self._shown(stored))

    @guard.unary
    async def ListHooks(
        self, request: hook_pb2.ListHooksRequest, context: Context
    ) -> hook_pb2.ListHooksResponse:
        check_page_size(request.page_size)
        check_page_token(request.page_token, check_resource_name)
        found, cursor = await self._table.page(request.page_size or 100, request.page_token)
        caller = self._edge.caller(context)
        found = [each for each in found if caller.sees(target_of(each.hook.spec))]
        counts = await self._table.counts([each.hook.name for each in found]) if found else []
        return hook_pb2.ListHooksResponse(
            hooks=[
                shown(each, its, self._namespace, full=False) for each, its in zip(found, counts, strict=True)
            ],
            next_page_token=cursor,
        )

    @guard.unary
    async def UpdateHook(
        self, request: hook_pb2.UpdateHookRequest, context: Context
    ) -> hook_pb2.UpdateHookResponse:
        known = await self._seen(request.name, context)
        check_reason(request.pause_reason, "pause_reason")
        changes_spec = request.HasField("spec")
        if changes_spec:
            if not same_direction(known.hook.spec, request.spec):
                raise refusals.invalid_field(
                    "spec has another kind or direction than the hook: its secrets do not fit; create another hook",
                    field="spec",
                )
            changed = hook_pb2.Hook()
            changed.CopyFrom(known.hook)
            changed.spec.CopyFrom(request.spec)
            self._check(changed, context)
        now, maker = self._store.now(), maker_of(self._edge.caller(context)) or security_pb2.Maker()
        moved = hook_pb2.StoredHook(hook=hook_pb2.Hook(spec=request.spec))
        moves = changes_spec and target_of(known.hook.spec) != target_of(request.spec)
        if moves and request.spec.HasField("outgoing"):
            await self._outgoing.begin(moved)

        def update(stored: hook_pb2.StoredHook) -> bool:
            hook = stored.hook
            if request.HasField("paused"):
                if not (request.paused or stored.secrets):
                    raise refusals.hook_without_secret(hook.name)
                hook.paused = request.paused
                hook.pause_reason = request.pause_reason if request.paused else ""
            if changes_spec:
                hook.spec.CopyFrom(request.spec)
                hook.maker.CopyFrom(maker)
                hook.update_time.CopyFrom(timestamp(now))
            if moves:
                stored.start_sequence = moved.start_sequence
                stored.subscription_uid = moved.subscription_uid
            return True

        changed_hook = await self._table.change(request.name, update, known.hook.uid)
        await self._outgoing.settle()
        return hook_pb2.UpdateHookResponse(hook=await self._shown(changed_hook))

    @guard.unary
    async def RotateHookSecret(
        self, request: hook_pb2.RotateHookSecretRequest, context: Context
    ) -> hook_pb2.RotateHookSecretResponse:
        known = await self._seen(request.name, context)
        overlap_s = DEFAULT_OVERLAP_S
        if request.HasField("overlap"):
            overlap_s = checked_duration(request.overlap, "overlap", most_s=MAX_OVERLAP_S)
        secret, now = chosen_secret(secret_kind(known.hook.spec), request.secret), self._store.now()
        added = await asyncio.to_thread(self._secrets.stored, secret, now)

        def add(stored: hook_pb2.StoredHook) -> bool:
            rotate(stored, added, overlap_s, now)
            return True

        changed = await self._table.change(request.name, add, known.hook.uid)
        return hook_pb2.RotateHookSecretResponse(hook=await self._shown(changed), secret=secret)

    @guard.unary
    async def DeleteHook(
        self, request: hook_pb2.DeleteHookRequest, context: Context
    ) -> hook_pb2.DeleteHookResponse:
        known = await self._seen(request.name, context)
        await self._table.delete(request.name, known.hook.uid)
        await self._outgoing.settle()
        return hook_pb2.DeleteHookResponse()

    @guard.unary
    async def TestHook(
        self, request: hook_pb2.TestHookRequest, context: Context
    ) -> hook_pb2.TestHookResponse:
        hook = (await self._seen(request.name, context)).hook
        if hook.spec.HasField("outgoing"):
            return hook_pb2.TestHookResponse(matched=True, task_id=await self._outgoing.try_hook(hook))
        if (size := len(request.body)) > MAX_BODY_BYTES:
            raise refusals.payload_too_large(
                f"body has {size} bytes; a request's may have {MAX_BODY_BYTES}",
                size,
                MAX_BODY_BYTES,
                field="body",
            )
        tried = HookRequest(request.body, together(request.headers.items()), dict(request.query))
        made = self._intake.made(self._intake.read(hook), tried, _TESTED)
        if made is None:
            return hook_pb2.TestHookResponse()
        if hook.spec.incoming.HasField("task"):
            self._submissions.check(task_request(hook, _TESTED, made.payload, self._store.now()), own_id=True)
        return hook_pb2.TestHookResponse(
            matched=True, payload=made.payload, target=target_of(hook.spec), key=made.key
        )

    async def _seen(self, name: str, context: Context) -> hook_pb2.StoredHook:
        """
        Raises:
            InvalidArgument
            NotFound: HOOK_NOT_FOUND, also for a hook whose target is out of the caller's scope.
        """
        check_resource_name(name)
        stored = await self._table.read(name)
        if not self._edge.caller(context).sees(target_of(stored.hook.spec)):
            raise refusals.hook_not_found(name)
        return stored

    def _check(self, hook: hook_pb2.Hook, context: Context) -> None:
        """Refuse a hook whose spec is wrong, or that its caller may not have.

        Raises:
            WeftError: as `CreateHook` says.
        """
        check_spec(hook.spec, self._types, self._contracts)
        self._edge.check_method(context, target_of(hook.spec))
        if hook.spec.incoming.HasField("task"):
            check_fits(self._submissions, hook)
        if hook.spec.HasField("outgoing"):
            self._outgoing.check(hook.spec.outgoing)

    async def _shown(self, stored: hook_pb2.StoredHook) -> hook_pb2.Hook:
        (counts,) = await self._table.counts([stored.hook.name])
        return shown(stored, counts, self._namespace)
