"""The way of a request, from its bytes to a durable task or event.

    request ─► hook (a row) ─► signature, time ─► paused? greeting? filter ─► message by the template ─► maker ─► task, by the delivery's request id
               404              401               503     202      202         400                       503      event, by its id and a note

Nothing of a request is looked at before its signature is right, apart from what the signature needs. A request is answered when what it became
is durable: a sender that gets no answer sends it again, which is the same task.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple

from weft.coordinator.calls.submission import SubmissionService, accepted
from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.events.event_codec import new_rows
from weft.coordinator.events.event_types import EventTypes
from weft.coordinator.hooks import hook_counts
from weft.coordinator.hooks.hook_codec import target_of, tolerance_s
from weft.coordinator.hooks.hook_counts import HookCounts
from weft.coordinator.hooks.hook_filter import HookFilter, filter_of
from weft.coordinator.hooks.hook_request import HookRequest, body_of, readable
from weft.coordinator.hooks.hook_secrets import HookSecrets, secrets_of
from weft.coordinator.hooks.hook_signatures import Signed, delivery_id, verified
from weft.coordinator.hooks.hook_table import HookTable
from weft.coordinator.hooks.hook_template import Template, TextTemplate
from weft.coordinator.hooks.seen_deliveries import KEPT_S, SeenDeliveries
from weft.coordinator.identity.makers import Makers
from weft.coordinator.own_metadata import set_metadata
from weft.coordinator.store.base import Store
from weft.coordinator.store.event_store import TooManyTopics
from weft.rpc import refusals
from weft.rpc.contracts import json_form
from weft.rpc.errors import (
    AlreadyExists,
    InvalidArgument,
    PermissionDenied,
    TooLarge,
    Unauthenticated,
    Unavailable,
    WeftError,
)
from weft.rpc.task_policy.option_checks import HOOK_ID
from weft.rpc.times import timestamp
from weft.v1 import coordinator_pb2, errors_pb2, event_pb2, hook_pb2, task_pb2

# A delivery is known for so long.
REQUEST_ID_S = 3 * 86400.0
# Compiled hooks that are kept.
_MOST_COMPILED = 1000
# Headers that prove who the sender is: no template and no filter sees them.
_PROOFS = frozenset({"authorization", "proxy-authorization", "cookie", "x-gitlab-token"})
_OF_PAYLOADS = (errors_pb2.ERROR_REASON_RULES_VIOLATED, errors_pb2.ERROR_REASON_PAYLOAD_MALFORMED)


class Taken(NamedTuple):
    """What became of a request: an outcome of `hook_counts`, and what the sender is told."""

    outcome: str
    document: dict[str, Any]


class Made(NamedTuple):
    """What a request is, as a message."""

    payload: bytes
    key: str


@dataclass(slots=True)
class _Compiled:
    """A hook, read."""

    revision: int
    hook: hook_pb2.Hook
    template: Template | None
    key: TextTemplate | None
    matching: HookFilter | None


class HookIntake:
    """Takes requests for the hooks of one mesh.

    Args:
        makers: judges who made them.
    """

    def __init__(
        self,
        store: Store,
        contracts: Contracts,
        submissions: SubmissionService,
        hook_secrets: HookSecrets,
        makers: Makers,
        counts: HookCounts,
    ) -> None:
        self._store = store
        self._contracts = contracts
        self._types = EventTypes(contracts)
        self._submissions = submissions
        self._secrets = hook_secrets
        self._makers = makers
        self._counts = counts
        self._table = HookTable(store)
        self._compiled: OrderedDict[str, _Compiled] = OrderedDict()
        self.seen = SeenDeliveries(store)

    async def take(self, name: str, request: HookRequest) -> Taken:
        """Deal with a request.

        Raises:
            NotFound: HOOK_NOT_FOUND.
            Unauthenticated: HOOK_SIGNATURE_INVALID, HOOK_REQUEST_STALE.
            InvalidArgument, TooLarge: the request does not fit the hook's target.
            WeftError: it cannot be taken now.
        """
        found = await self._table.find(name)
        if found is None or not found[0].hook.spec.HasField("incoming"):
            # One that sends takes nothing.
            self._counts.unknown()
            raise refusals.hook_not_found(name)
        stored, revision = found
        uid = stored.hook.uid
        opened = await self._opened(stored)
        try:
            taken = await self._taken(stored, revision, request, opened)
        except Unauthenticated as error:
            self._counts.add(name, uid, hook_counts.UNSIGNED, error.message)
            raise
        except WeftError as error:
            self._counts.add(name, uid, hook_counts.FAILED, error.message)
            raise
        self._counts.add(name, uid, taken.outcome)
        return taken

    async def _opened(self, stored: hook_pb2.StoredHook) -> list[str]:
        """The hook's secrets.

        Raises:
            Unavailable: HOOK_UNAVAILABLE.
        """
        try:
            return await secrets_of(self._secrets, stored, self._store.now())
        except Unavailable as error:
            # The sender may be anybody: why is for operators alone.
            why = error.__cause__ if isinstance(error.__cause__, WeftError) else error
            self._counts.add(stored.hook.name, stored.hook.uid, hook_counts.FAILED, why.message)
            raise

    async def _taken(
        self, stored: hook_pb2.StoredHook, revision: int, request: HookRequest, opened: list[str]
    ) -> Taken:
        name, incoming = stored.hook.name, stored.hook.spec.incoming
        signed = verified(request, incoming, opened, self._store.now(), tolerance_s(incoming))
        if stored.hook.paused:
            reason = f": {stored.hook.pause_reason}" if stored.hook.pause_reason else ""
            raise refusals.hook_unavailable(name, f"is paused{reason}", retry_after_s=60.0)
        if incoming.kind == hook_pb2.HOOK_KIND_GITHUB and request.headers.get("x-github-event") == "ping":
            return Taken(hook_counts.FILTERED, {"ping": True})
        compiled = self._read(stored.hook, revision)
        delivery = delivery_id(signed.identity)
        made = self.made(compiled, request, delivery)
        if made is None:
            return Taken(hook_counts.FILTERED, {"filtered": True})
        await self._check_maker(stored.hook)
        if incoming.HasField("task"):
            return await self._submit(stored.hook, delivery, signed, made)
        return await self._publish(stored.hook, delivery, signed, made)

    # -- a request as a message ---------------------------------------------------------------------------------------

    def read(self, hook: hook_pb2.Hook) -> _Compiled:
        """A hook, read anew."""
        incoming = hook.spec.incoming
        return _Compiled(
            0,
            hook,
            Template(incoming.template, "template") if incoming.template else None,
            TextTemplate(incoming.event.key, "key") if incoming.event.key else None,
            filter_of(incoming.filter),
        )

    def _read(self, hook: hook_pb2.Hook, revision: int) -> _Compiled:
        found = self._compiled.get(hook.name)
        if found is None or found.revision != revision:
            found = self.read(hook)
            found.revision = revision
            self._compiled[hook.name] = found
            if len(self._compiled) > _MOST_COMPILED:
                self._compiled.popitem(last=False)
        return found

    def made(self, compiled: _Compiled, request: HookRequest, delivery: str) -> Made | None:
        """The message that a request becomes; None: it does not match the filter.

        Raises:
            InvalidArgument: PAYLOAD_MALFORMED.
            NotFound: METHOD_UNKNOWN, EVENT_TYPE_UNKNOWN.
        """
        body = body_of(request)
        headers = {name: readable(value) for name, value in request.headers.items() if name not in _PROOFS}
        if compiled.matching is not None and not compiled.matching.matches(body, headers, request.query):
            return None
        values = {"body": body, "headers": headers, "query": request.query, "delivery": delivery}
        incoming = compiled.hook.spec.incoming
        if incoming.HasField("task"):
            info = self._contracts.method(incoming.task.method)
            message_class, pool = info.request_class, info.descriptor.input_type.file.pool
        else:
            kind = self._types.get(incoming.event.topic)
            message_class, pool = kind.message_class, kind.descriptor.file.pool
        form = body if compiled.template is None else compiled.template.filled(values)
        payload = json_form.parse(
            json.dumps(form), message_class, pool, ignore_unknown=compiled.template is None
        )
        return Made(payload, "" if compiled.key is None else compiled.key.filled(values))

    # -- what it becomes ----------------------------------------------------------------------------------------------

    async def _check_maker(self, hook: hook_pb2.Hook) -> None:
        try:
            await self._makers.check(hook.maker, target_of(hook.spec))
        except (Unauthenticated, PermissionDenied) as error:
            # Not of the sender: it has signed rightly.
            raise refusals.hook_unavailable(
                hook.name,
                f"acts for its maker, who may not do this any more: {error.message}",
                retry_after_s=60.0,
            ) from None

    async def _submit(self, hook: hook_pb2.Hook, delivery: str, signed: Signed, made: Made) -> Taken:
        submission = self._submissions.check(
            task_request(
                hook, delivery, made.payload, self._store.now() if signed.sent_s is None else signed.sent_s
            ),
            own_id=True,
        )
        submission.request_id_ttl_s = REQUEST_ID_S
        (result,) = await self._submissions.store([submission])
        try:
            stored = accepted(result, submission.request_id)
        except AlreadyExists as error:
            # It is the same delivery, and the hook has another template, or its method another contract, since.
            return Taken(hook_counts.REPEATED, {"task_id": error.metadata["task_id"], "existed": True})
        outcome = hook_counts.REPEATED if stored.existed else hook_counts.ACCEPTED
        return Taken(outcome, {"task_id": stored.task_id, "existed": stored.existed})

    async def _publish(self, hook: hook_pb2.Hook, delivery: str, signed: Signed, made: Made) -> Taken:
        topic = hook.spec.incoming.event.topic
        sequence, existed = await self.seen.sequence(hook.uid, delivery), True
        if sequence is None:
            event = event_pb2.NewEvent(
                topic=topic,
                payload=made.payload,
                id=f"{HOOK_ID}{hook.uid}.{delivery}",
                key=made.key,
                attributes={"hook": hook.name, "delivery": delivery},
            )
            results = await self._store.append_events(new_rows([event], self._types))
            if isinstance(results, TooManyTopics):
                raise refusals.overloaded(f"there are {results.limit} topics, the most that are allowed")
            sequence, existed = results[0].sequence, results[0].existed
            await self.seen.note(hook.uid, delivery, sequence, _kept_s(hook, signed))
        outcome = hook_counts.REPEATED if existed else hook_counts.ACCEPTED
        return Taken(outcome, {"topic": topic, "sequence": sequence, "existed": existed})


def _kept_s(hook: hook_pb2.Hook, signed: Signed) -> float:
    """How long an event's delivery is known."""
    if signed.sent_s is None:
        return KEPT_S
    # As long as its signed time may be taken. A sender that repeats signs anew: unless that makes it another delivery, it is known longer.
    least_s = 2 * tolerance_s(hook.spec.incoming) + 60.0
    return least_s if signed.is_content else max(KEPT_S, least_s)


def task_request(
    hook: hook_pb2.Hook, delivery: str, payload: bytes, at: float
) -> coordinator_pb2.SubmitTaskRequest:
    """The task of a delivery. Repeats are the same task."""
    task = hook.spec.incoming.task
    options = task_pb2.TaskOptions()
    options.CopyFrom(task.options)
    set_metadata(
        options,
        {"hook-name": hook.name, "hook-delivery": delivery, "hook-time": timestamp(at).ToJsonString()},
    )
    return coordinator_pb2.SubmitTaskRequest(
        method=task.method, payload=payload, request_id=f"{HOOK_ID}{hook.uid}.{delivery}", options=options
    )


def check_fits(submissions: SubmissionService, hook: hook_pb2.Hook) -> None:
    """Refuse a hook whose options are wrong for its method. Its requests are not known yet.

    Raises:
        InvalidArgument, TooLarge: naming the field.
    """
    try:
        submissions.check(task_request(hook, "delivery", b"", 0.0), own_id=True)
    except (InvalidArgument, TooLarge) as error:
        if error.reason not in _OF_PAYLOADS:
            error.field = f"spec.incoming.task.{error.field or 'options'}"
            raise
