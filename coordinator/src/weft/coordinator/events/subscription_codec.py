"""Subscriptions on the wire and in rows: specs are checked here, and nowhere else. A row's value is a serialized `weft.v1.Subscription` without
its progress; another row has that, a `SubscriptionState`."""

from __future__ import annotations

import hashlib

from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.events.consumer_rules import MAX_PARTITIONS
from weft.coordinator.events.event_codec import check_topic
from weft.coordinator.events.event_filter import filter_of
from weft.coordinator.events.event_types import EventTypes
from weft.coordinator.own_metadata import set_metadata
from weft.coordinator.request_checks import check_resource_name
from weft.rpc import refusals
from weft.rpc.task_policy.option_checks import EVENT_ID, MAX_LOCKS
from weft.rpc.task_policy.policy_checks import MAX_METHOD
from weft.v1 import coordinator_pb2, event_pb2, options_pb2, task_pb2

# Kinds of rows.
KIND, STATE_KIND = "subscription", "subscription-state"
# Names of those that the option `on_event` makes begin so.
DECLARED = "on/"
# Those of outgoing hooks: no caller can name one, so that they follow their hooks alone.
OF_HOOK = "hook:"
MAX_OPTIONS_BYTES = 16 * 1024
_KEY_BYTES = 8


def check_name(name: str) -> None:
    """Refuse the name of a new subscription.

    Raises:
        InvalidArgument
    """
    check_resource_name(name)
    if name.startswith(DECLARED):
        raise refusals.invalid_field(
            f"name begins with {DECLARED!r}, as those that the option on_event makes: choose another one",
            field="name",
        )


def check_known_name(name: str, field: str = "name") -> str:
    """Refuse a name that no subscription has; returns it.

    Raises:
        InvalidArgument
    """
    if name.startswith(DECLARED) and len(name) <= MAX_METHOD:
        return name
    return check_resource_name(name, field)


def check_listed_name(name: str, field: str = "name") -> str:
    """Refuse a name that no listing has; returns it.

    Raises:
        InvalidArgument
    """
    return check_known_name(name.removeprefix(OF_HOOK), field)


def judged(subscription: event_pb2.Subscription) -> tuple[str, ...]:
    """What a subscription's maker must still be allowed: its topic and its method, unless coordinators host that themselves."""
    spec = subscription.spec
    if subscription.name.startswith(OF_HOOK):
        return (spec.topic,)
    return spec.delivery.method, spec.topic


def check_spec(spec: event_pb2.SubscriptionSpec, types: EventTypes, contracts: Contracts) -> None:
    """Refuse a spec that is wrong, also for its method.

    Raises:
        WeftError: as `CreateSubscription` says.
    """
    kind = types.get(check_topic(spec.topic, "spec.topic"))
    filter_of(spec.filter, kind, "spec.filter")
    if not spec.HasField("delivery"):
        if spec.partitions > MAX_PARTITIONS:
            raise refusals.invalid_field(
                f"spec.partitions is {spec.partitions}; the most are {MAX_PARTITIONS}",
                field="spec.partitions",
            )
        return
    if spec.partitions:
        raise refusals.invalid_field(
            "spec.partitions are for consumers: leave them out", field="spec.partitions"
        )
    options = spec.delivery.options
    if (size := options.ByteSize()) > MAX_OPTIONS_BYTES:
        raise refusals.payload_too_large(
            f"spec.delivery.options are {size} bytes; a subscription's may have {MAX_OPTIONS_BYTES}",
            size,
            MAX_OPTIONS_BYTES,
            field="spec.delivery.options",
        )
    if len(options.locks) >= MAX_LOCKS:
        raise refusals.invalid_field(
            f"spec.delivery.options.locks are {len(options.locks)}: at most {MAX_LOCKS - 1} beside that of the event's key",
            field="spec.delivery.options.locks",
        )
    request = contracts.method(spec.delivery.method).descriptor.input_type.full_name
    if request != spec.topic:
        raise refusals.invalid_field(
            f"spec.delivery.method {spec.delivery.method} takes {request}, and not {spec.topic}",
            field="spec.delivery.method",
        )


def task_request(
    subscription: event_pb2.Subscription, event: event_pb2.Event
) -> coordinator_pb2.SubmitTaskRequest:
    """The task of an event. Repeats are the same task."""
    delivery = subscription.spec.delivery
    options = task_pb2.TaskOptions()
    options.CopyFrom(delivery.options)
    set_metadata(
        options,
        {
            "event-topic": event.topic,
            "event-sequence": str(event.sequence),
            "event-id": event.id,
            "event-time": event.publish_time.ToJsonString(),
            "event-subscription": subscription.name,
            "event-key-bin": event.key,
        },
    )
    options.context.traceparent = event.attributes.get("traceparent", "")
    options.context.tracestate = event.attributes.get("tracestate", "")
    if event.key:
        # One at a time, in the order in which they were submitted.
        digest = hashlib.blake2b(event.key.encode(), digest_size=_KEY_BYTES).hexdigest()
        options.locks.append(options_pb2.Lock(name=f"{EVENT_ID}{subscription.uid}:{digest}"))
    return coordinator_pb2.SubmitTaskRequest(
        method=delivery.method,
        payload=event.payload,
        request_id=f"{EVENT_ID}{subscription.uid}.{event.sequence}",
        options=options,
    )


def shown(
    subscription: event_pb2.Subscription, state: event_pb2.SubscriptionState | None, *, full: bool = True
) -> event_pb2.Subscription:
    """A subscription with its progress; without its options, if not `full`."""
    message = event_pb2.Subscription()
    message.CopyFrom(subscription)
    message.cursor = subscription.start_sequence
    if state is not None and state.uid == subscription.uid:
        message.cursor, message.error = state.cursor, state.error
        message.submitted_count, message.refused_count = state.submitted_count, state.refused_count
        message.missed_count = state.missed_count
    if not full:
        message.spec.delivery.ClearField("options")
    return message
