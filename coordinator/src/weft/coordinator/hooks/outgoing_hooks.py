"""Outgoing hooks: a subscription for each, which makes a delivery of each event that the hook is for.

    hook (a row) ─► subscription "hook:NAME" (a row) ─► delivery pass, from its cursor ─► a task of HookDelivery/Deliver ─► some coordinator's worker

The subscription follows its hook: whichever coordinator sees that the hook has changed makes, changes or deletes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from google.protobuf.message import DecodeError
from google.rpc import code_pb2

from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.events.subscription_codec import OF_HOOK
from weft.coordinator.events.subscription_table import SubscriptionTable
from weft.coordinator.hooks.hook_codec import KIND, topic_of
from weft.coordinator.hooks.hook_worker import DELIVER
from weft.coordinator.store.base import Store
from weft.coordinator.store.table_store import every_row
from weft.rpc import refusals
from weft.rpc.errors import NotFound
from weft.rpc.identity.scope import covers
from weft.rpc.task_policy.option_checks import HOOK_ID
from weft.v1 import coordinator_pb2, event_pb2, hook_pb2, lifecycle_pb2, task_pb2

# After this, a delivery of the same event would be another task: longer than deliveries are submitted again.
_SOON_S = 1.0
# Of deliveries, as in weft/hooks/v1/delivery.proto.
RETRYABLE = (code_pb2.ABORTED, code_pb2.UNAVAILABLE)
# It is the coordinator that ends with an attempt: by a kill or an update, hardly ever because of the delivery.
MAX_CRASHES = 15


class OutgoingHooks:
    """The outgoing hooks of a store, as they were last read."""

    def __init__(self, store: Store, contracts: Contracts) -> None:
        self._store = store
        self._contracts = contracts
        self._subscriptions = SubscriptionTable(store)
        # By name. None: not read yet.
        self._hooks: Mapping[str, hook_pb2.StoredHook] | None = None
        self._stale = True
        self._settling = asyncio.Lock()

    @property
    def any(self) -> bool:
        """Whether there are some."""
        return bool(self._hooks)

    def rows_changed(self, kind: str) -> bool:
        """Some coordinator has changed rows of a kind. True: hooks, and `settle` is to look at them."""
        if kind == KIND:
            self._stale = True
        return kind == KIND

    async def settle(self) -> None:
        """Read the hooks, and make their subscriptions what they are to be. Does nothing unless hooks have changed.

        Raises:
            Unavailable: the store cannot be read or written.
        """
        # One after another: one that has read earlier would end the subscriptions of newer hooks.
        async with self._settling:
            if not self._stale:
                return
            self._stale = False
            try:
                await self._settle()
            except BaseException:
                self._stale = True
                raise

    async def _settle(self) -> None:
        hooks: dict[str, hook_pb2.StoredHook] = {}
        async for row in every_row(self._store, KIND):
            stored = hook_pb2.StoredHook.FromString(row.value)
            if stored.hook.spec.HasField("outgoing"):
                hooks[stored.hook.name] = stored
        had_some, self._hooks = self._hooks is None or bool(self._hooks), hooks
        if not hooks and not had_some:
            return
        known = await self._subscriptions.all()
        for name, stored in hooks.items():
            await self._follow(stored, known.get(f"{OF_HOOK}{name}"))
        for name in known:
            if name.startswith(OF_HOOK) and name.removeprefix(OF_HOOK) not in hooks:
                await self._end(name)

    async def _follow(self, stored: hook_pb2.StoredHook, known: event_pb2.Subscription | None) -> None:
        wanted = subscription_of(stored)
        if known is not None and known.uid != wanted.uid:
            await self._end(known.name)
            known = None
        if known is None:
            await self._subscriptions.create(wanted)
        elif known != wanted:

            def change(present: event_pb2.Subscription) -> bool:
                present.CopyFrom(wanted)
                return True

            await self._subscriptions.change(known.name, change)

    async def _end(self, name: str) -> None:
        try:
            await self._subscriptions.delete(name)
        except NotFound:
            # Another coordinator was quicker.
            return

    def delivery(
        self, subscription: event_pb2.Subscription, event: event_pb2.Event
    ) -> coordinator_pb2.SubmitTaskRequest | None:
        """The delivery of an event by a hook's subscription; None: the hook is not for it.

        Raises:
            Unavailable: HOOK_UNAVAILABLE: the hook is not read yet, or is being removed.
        """
        name = subscription.name.removeprefix(OF_HOOK)
        stored = None if self._hooks is None else self._hooks.get(name)
        known = stored is not None and stored.subscription_uid == subscription.uid
        if stored is None or not known or self._contracts.find(DELIVER) is None:
            raise refusals.hook_unavailable(name, "is not known here yet", retry_after_s=_SOON_S)
        if not _wants(stored.hook.spec.outgoing, event):
            return None
        return delivery_request(stored.hook, event, f"{stored.subscription_uid}.{event.sequence}")


def delivery_request(
    hook: hook_pb2.Hook, event: event_pb2.Event, delivery: str
) -> coordinator_pb2.SubmitTaskRequest:
    """The task of one delivery. Repeats are the same task."""
    options = task_pb2.TaskOptions()
    options.CopyFrom(hook.spec.outgoing.options)
    if options.HasField("retry"):
        # A retry policy of the hook takes the place of the method's, which says what may be tried again, and how often.
        if not options.retry.retryable_codes:
            options.retry.retryable_codes.extend(RETRYABLE)
        if not options.retry.HasField("max_crashes"):
            options.retry.max_crashes = MAX_CRASHES
    options.context.traceparent = event.attributes.get("traceparent", "")
    options.context.tracestate = event.attributes.get("tracestate", "")
    call = hook_pb2.HookCall(hook=hook.name, uid=hook.uid, event=event)
    return coordinator_pb2.SubmitTaskRequest(
        method=DELIVER, payload=call.SerializeToString(), request_id=f"{HOOK_ID}{delivery}", options=options
    )


def subscription_of(stored: hook_pb2.StoredHook) -> event_pb2.Subscription:
    """The subscription that an outgoing hook is to have."""
    hook = stored.hook
    made = event_pb2.Subscription(
        name=f"{OF_HOOK}{hook.name}",
        spec=event_pb2.SubscriptionSpec(
            topic=topic_of(hook.spec.outgoing),
            filter=hook.spec.outgoing.events.filter,
            delivery=event_pb2.EventDelivery(method=DELIVER),
        ),
        uid=stored.subscription_uid,
        create_time=hook.create_time,
        start_sequence=stored.start_sequence,
        declared=True,
        paused=hook.paused,
        pause_reason=hook.pause_reason,
    )
    if hook.HasField("maker"):
        made.maker.CopyFrom(hook.maker)
    return made


def _wants(outgoing: hook_pb2.OutgoingHook, event: event_pb2.Event) -> bool:
    """Whether a hook is for an event of its topic. Events of topics have matched the hook's filter already."""
    try:
        match outgoing.WhichOneof("source"):
            case "task_ends":
                ended, ends = lifecycle_pb2.TaskEnded.FromString(event.payload), outgoing.task_ends
                # That of a delivery would be delivered, and so on.
                return (
                    ended.method != DELIVER
                    and (not ends.methods or covers(ends.methods, ended.method))
                    and (not ends.states or ended.state in ends.states)
                )
            case "group_ends":
                group = lifecycle_pb2.GroupEnded.FromString(event.payload).group
                return not outgoing.group_ends.names or covers(outgoing.group_ends.names, group)
            case _:
                return True
    except DecodeError:
        return False
