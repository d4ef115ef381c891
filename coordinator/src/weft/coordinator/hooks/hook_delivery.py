"""One delivery of an outgoing hook: what is sent, and what its answer means for the task.

task ─► hook (a row) ─► CloudEvent in JSON, signed ─► POST ─► 2xx: taken · 410: the hook is paused · 429, 503 …: later ─► the task's outcome
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2

from weft.coordinator.events.event_types import EventType, EventTypes
from weft.coordinator.hooks import hook_counts
from weft.coordinator.hooks.hook_counts import HookCounts
from weft.coordinator.hooks.hook_secrets import HookSecrets, right_now
from weft.coordinator.hooks.hook_signatures import standard_signature
from weft.coordinator.hooks.hook_table import HookTable
from weft.coordinator.hooks.outgoing_url import check_host, networks_of, place_of
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.base import Store
from weft.rpc.contracts.json_rendering import json_value, unread_bytes
from weft.rpc.contracts.secret_fields import SecretFields
from weft.rpc.errors import WeftError
from weft.rpc.process.logs import get_logger
from weft.rpc.task_policy.option_checks import HOOK_ID
from weft.rpc.times import duration
from weft.v1 import event_pb2, hook_pb2, session_pb2, task_pb2

if TYPE_CHECKING:
    from weft.coordinator.hooks.hook_client import HookClient, Sent

log = get_logger(__name__)

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
_GONE = 410
_SECRETS = SecretFields()
# The stubs have another class of descriptors.
_TRIED_TYPE: Any = hook_pb2.HookTried.DESCRIPTOR
_TRIED = EventType(_TRIED_TYPE)


class HookDeliveries:
    """Makes deliveries.

    Args:
        namespace: empty: the default one.
    """

    def __init__(
        self,
        store: Store,
        types: EventTypes,
        hook_secrets: HookSecrets,
        settings: CoordinatorSettings,
        counts: HookCounts,
        namespace: str,
    ) -> None:
        self._store = store
        self._types = types
        self._secrets = hook_secrets
        self._hosts = settings.hook_hosts
        self._networks = networks_of(settings.hook_networks)
        self._counts = counts
        self._namespace = namespace
        self._table = HookTable(store)
        self._client: HookClient | None = None

    async def outcome(self, assignment: session_pb2.Assignment) -> task_pb2.Outcome:
        """Carry out one attempt. Raises nothing but cancellation."""
        if not assignment.request_id.startswith(HOOK_ID):
            # A caller's own: it would have other systems take for ours what it says.
            return _failed(code_pb2.PERMISSION_DENIED, "coordinators alone submit deliveries")
        try:
            call = hook_pb2.HookCall.FromString(assignment.payload)
            return await self._deliver(call, f"msg_{assignment.request_id.removeprefix(HOOK_ID)}")
        except DecodeError as error:
            return _failed(code_pb2.INVALID_ARGUMENT, f"the request does not parse: {error}")
        except WeftError as error:
            return task_pb2.Outcome(status=error.status())
        except Exception:
            log.exception("hook.delivery_failed")
            return _failed(code_pb2.INTERNAL, "the coordinator failed; its log has the rest")

    async def _deliver(self, call: hook_pb2.HookCall, message_id: str) -> task_pb2.Outcome:
        found = await self._table.find(call.hook)
        if found is None or found[0].hook.uid != call.uid:
            return _failed(code_pb2.FAILED_PRECONDITION, f"the hook {call.hook!r} is removed")
        stored = found[0]
        name, url = stored.hook.name, stored.hook.spec.outgoing.url
        place = place_of(url)
        check_host(place, self._hosts)
        known = right_now(stored, self._store.now())
        opened = await asyncio.to_thread(lambda: [self._secrets.opened(each, name) for each in known])
        body, at = cloud_event(call.event, self._types, self._namespace), int(time.time())
        headers = {
            "Content-Type": CONTENT_TYPE,
            "User-Agent": "weft",
            "webhook-id": message_id,
            "webhook-timestamp": str(at),
            "webhook-signature": " ".join(standard_signature(each, message_id, at, body) for each in opened),
        }
        from weft.coordinator.hooks.hook_client import HookClient, NotSent

        self._client = self._client or HookClient(self._networks)
        try:
            sent = await self._client.send(url, headers, body)
        except NotSent as error:
            self._counts.add(name, call.uid, hook_counts.FAILED, str(error))
            return _failed(code_pb2.ABORTED, f"{place.host}: {error}")
        except WeftError as error:
            self._counts.add(name, call.uid, hook_counts.FAILED, error.message)
            raise
        return await self._judged(stored.hook, sent)

    async def _judged(self, hook: hook_pb2.Hook, sent: Sent) -> task_pb2.Outcome:
        """What an answer means."""
        if 200 <= sent.status < 300:
            self._counts.add(hook.name, hook.uid, hook_counts.ACCEPTED)
            return task_pb2.Outcome(response=hook_pb2.HookReceipt(status=sent.status).SerializeToString())
        text = f"the receiver answered {sent.status}{_told(sent.text)}"
        self._counts.add(hook.name, hook.uid, hook_counts.FAILED, text)
        if sent.status == _GONE:
            await self._pause(hook)
            return _failed(code_pb2.FAILED_PRECONDITION, f"{text}: the hook is paused")
        return _failed(code_pb2.ABORTED, text, sent.retry_after_s)

    async def _pause(self, hook: hook_pb2.Hook) -> None:
        def pause(stored: hook_pb2.StoredHook) -> bool:
            if stored.hook.uid != hook.uid or stored.hook.paused:
                return False
            stored.hook.paused, stored.hook.pause_reason = True, "the receiver answered 410 Gone"
            return True

        await self._table.change(hook.name, pause)
        log.warning("hook.paused", hook=hook.name, reason="the receiver answered 410 Gone")


def cloud_event(event: event_pb2.Event, types: EventTypes, namespace: str) -> bytes:
    """An event as a CloudEvent in JSON. Secret fields are left out."""
    found = _TRIED if event.topic == _TRIED.name else types.find(event.topic)
    document: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.id or str(event.sequence),
        "source": f"/weft/{quote(namespace)}" if namespace else "/weft",
        "type": event.topic,
        "time": event.publish_time.ToJsonString(),
        "datacontenttype": "application/json",
    }
    if event.key:
        document["subject"] = event.key
    document |= {name: value for name, value in event.attributes.items() if name not in document}
    if event.sequence:
        document["sequence"] = str(event.sequence)
    document["data"] = _data(event.payload, found)
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _data(payload: bytes, found: EventType | None) -> Any:
    if found is None:
        return unread_bytes(payload, _SECRETS)
    try:
        message = found.message_class.FromString(payload)
    except DecodeError:
        # Of another version of the contract.
        return unread_bytes(payload, _SECRETS)
    return json_value(message, found.descriptor.file.pool, _SECRETS)


def _told(text: str) -> str:
    shown = " ".join(text.split())[:200]
    return f": {shown}" if shown else ""


def _failed(code: int, message: str, retry_after_s: float | None = None) -> task_pb2.Outcome:
    status = status_pb2.Status(code=code, message=message)
    if retry_after_s is not None:
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=duration(retry_after_s)))
    return task_pb2.Outcome(status=status)
