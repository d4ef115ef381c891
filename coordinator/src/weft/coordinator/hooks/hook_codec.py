"""Hooks on the wire and in rows: specs are checked here, and nowhere else. A row's value is a serialized `weft.v1.StoredHook`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from google.protobuf.descriptor import Descriptor

from weft.coordinator.codec import not_durable
from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.events.event_codec import check_topic
from weft.coordinator.events.event_filter import filter_of as event_filter_of
from weft.coordinator.events.event_types import EventTypes, is_own
from weft.coordinator.hooks.hook_filter import filter_of
from weft.coordinator.hooks.hook_signatures import DEFAULT_TOLERANCE_S, content_form
from weft.coordinator.hooks.hook_template import Template, TextTemplate
from weft.coordinator.hooks.outgoing_url import place_of
from weft.rpc import refusals
from weft.rpc.identity.scope import MAX_PATTERN_CHARS, MAX_PATTERNS
from weft.rpc.times import checked_duration
from weft.v1 import hook_pb2, lifecycle_pb2, task_pb2

KIND, COUNTS_KIND = "hook", "hook-counts"
MAX_OPTIONS_BYTES = 16 * 1024
MAX_OVERLAP_S, DEFAULT_OVERLAP_S = 30 * 86400.0, 86400.0
_LEAST_TOLERANCE_S, _MOST_TOLERANCE_S = 1.0, 86400.0
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_MAX_CONTENT_CHARS, _MAX_PREFIX_CHARS = 128, 32
_ENDED = frozenset({task_pb2.TASK_STATE_SUCCEEDED, task_pb2.TASK_STATE_FAILED, task_pb2.TASK_STATE_CANCELLED})
_PART = re.compile(r"\{([^{}]*)\}")


def check_spec(spec: hook_pb2.HookSpec, types: EventTypes, contracts: Contracts) -> None:
    """Refuse a spec that is wrong, also for its target.

    Raises:
        WeftError: as `CreateHook` says.
    """
    match spec.WhichOneof("direction"):
        case "incoming":
            _check_incoming(spec.incoming, types, contracts)
        case "outgoing":
            _check_outgoing(spec.outgoing, types)
        case _:
            raise refusals.invalid_field(
                "spec has no direction: it must be incoming or outgoing", field="spec.incoming"
            )


def _check_outgoing(outgoing: hook_pb2.OutgoingHook, types: EventTypes) -> None:
    place_of(outgoing.url, "spec.outgoing.url")
    match outgoing.WhichOneof("source"):
        case "task_ends":
            _check_patterns(outgoing.task_ends.methods, "spec.outgoing.task_ends.methods")
            if not _ENDED.issuperset(outgoing.task_ends.states):
                raise refusals.invalid_field(
                    "spec.outgoing.task_ends.states must be SUCCEEDED, FAILED or CANCELLED",
                    field="spec.outgoing.task_ends.states",
                )
        case "group_ends":
            _check_patterns(outgoing.group_ends.names, "spec.outgoing.group_ends.names")
        case "events":
            field = "spec.outgoing.events.topic"
            kind = types.get(check_topic(outgoing.events.topic, field))
            event_filter_of(outgoing.events.filter, kind, "spec.outgoing.events.filter")
        case _:
            raise refusals.invalid_field(
                "spec.outgoing has no source: it must be task_ends, group_ends or events",
                field="spec.outgoing.task_ends",
            )
    _check_options(outgoing.options, "spec.outgoing.options")


def _check_patterns(patterns: Sequence[str], field: str) -> None:
    if len(patterns) > MAX_PATTERNS or any(not 1 <= len(each) <= MAX_PATTERN_CHARS for each in patterns):
        raise refusals.invalid_field(
            f"{field} must be at most {MAX_PATTERNS} patterns of 1 to {MAX_PATTERN_CHARS} characters",
            field=field,
        )


def _check_incoming(incoming: hook_pb2.IncomingHook, types: EventTypes, contracts: Contracts) -> None:
    _check_signing(incoming)
    if incoming.HasField("tolerance"):
        checked_duration(
            incoming.tolerance,
            "spec.incoming.tolerance",
            least_s=_LEAST_TOLERANCE_S,
            most_s=_MOST_TOLERANCE_S,
        )
    filter_of(incoming.filter, "spec.incoming.filter")
    match incoming.WhichOneof("target"):
        case "task":
            descriptor = _method(incoming.task, contracts)
        case "event":
            descriptor = _event(incoming.event, types)
        case _:
            raise refusals.invalid_field(
                "spec.incoming has no target: it must be a task or an event", field="spec.incoming.task"
            )
    if incoming.template:
        field = "spec.incoming.template"
        Template(incoming.template, field).check_names(descriptor, field)


def _method(task: hook_pb2.HookTask, contracts: Contracts) -> Descriptor:
    info = contracts.method(task.method)
    if not info.durable:
        raise not_durable(task.method)
    _check_options(task.options, "spec.incoming.task.options")
    return info.descriptor.input_type


def _check_options(options: task_pb2.TaskOptions, field: str) -> None:
    if (size := options.ByteSize()) > MAX_OPTIONS_BYTES:
        raise refusals.payload_too_large(
            f"{field} are {size} bytes; a hook's may have {MAX_OPTIONS_BYTES}",
            size,
            MAX_OPTIONS_BYTES,
            field=field,
        )


def _event(event: hook_pb2.HookEvent, types: EventTypes) -> Descriptor:
    field = "spec.incoming.event.topic"
    if is_own(check_topic(event.topic, field)):
        raise refusals.invalid_field(
            f"{field} is {event.topic}, to which coordinators alone publish: use a message type of your own",
            field=field,
        )
    TextTemplate(event.key, "spec.incoming.event.key")
    return types.get(event.topic).descriptor


def _check_signing(incoming: hook_pb2.IncomingHook) -> None:
    if incoming.kind not in (*hook_pb2.HookKind.values(),) or not incoming.kind:
        raise refusals.invalid_field(
            f"spec.incoming.kind is {incoming.kind}, which is no kind of hook", field="spec.incoming.kind"
        )
    signing, field = incoming.signing, "spec.incoming.signing"
    if incoming.kind != hook_pb2.HOOK_KIND_GENERIC:
        if incoming.HasField("signing"):
            raise refusals.invalid_field(
                f"{field} is for generic hooks alone: other kinds have a fixed way to sign", field=field
            )
        return
    for name in ("header", "time_header", "id_header"):
        value = getattr(signing, name)
        if value and not _HEADER.fullmatch(value):
            raise refusals.invalid_field(
                f"{field}.{name} is {value[:64]!r}, which is no name of a header", field=f"{field}.{name}"
            )
    if (
        not (signing.prefix.isascii() and signing.prefix.isprintable())
        or len(signing.prefix) > _MAX_PREFIX_CHARS
    ):
        raise refusals.invalid_field(
            f"{field}.prefix must be at most {_MAX_PREFIX_CHARS} printable ASCII characters",
            field=f"{field}.prefix",
        )
    if signing.encoding not in hook_pb2.HookEncoding.values():
        raise refusals.invalid_field(f"{field}.encoding is {signing.encoding}", field=f"{field}.encoding")
    if signing.digest not in hook_pb2.HookDigest.values():
        raise refusals.invalid_field(f"{field}.digest is {signing.digest}", field=f"{field}.digest")
    _check_content(signing, f"{field}.content")


def _check_content(signing: hook_pb2.HookSigning, field: str) -> None:
    form = content_form(signing)
    parts = _PART.findall(form)
    if len(form) > _MAX_CONTENT_CHARS or not set(parts) <= {"body", "time", "id"} or parts.count("body") != 1:
        raise refusals.invalid_field(
            f"{field} must have {{body}} once, and no placeholders but {{time}} and {{id}}; at most"
            f" {_MAX_CONTENT_CHARS} characters",
            field=field,
        )
    for part, header in (("time", signing.time_header), ("id", signing.id_header)):
        if part in parts and not header:
            raise refusals.invalid_field(f"{field} has {{{part}}}: name its header, too", field=field)
    if signing.time_header and "time" not in parts:
        raise refusals.invalid_field(
            f"{field} has no {{time}}: a time that is not signed says nothing, since anybody could change it",
            field=field,
        )


def tolerance_s(incoming: hook_pb2.IncomingHook) -> float:
    """How far a signed time may be from now."""
    return (
        checked_duration(incoming.tolerance, "tolerance")
        if incoming.HasField("tolerance")
        else DEFAULT_TOLERANCE_S
    )


def target_of(spec: hook_pb2.HookSpec) -> str:
    """The method or the topic that a hook submits to, or the topic that it sends."""
    if spec.HasField("outgoing"):
        return topic_of(spec.outgoing)
    return spec.incoming.task.method or spec.incoming.event.topic


def topic_of(outgoing: hook_pb2.OutgoingHook) -> str:
    """The topic of an outgoing hook's events."""
    match outgoing.WhichOneof("source"):
        case "task_ends":
            return lifecycle_pb2.TaskEnded.DESCRIPTOR.full_name
        case "group_ends":
            return lifecycle_pb2.GroupEnded.DESCRIPTOR.full_name
        case _:
            return outgoing.events.topic


def secret_kind(spec: hook_pb2.HookSpec) -> hook_pb2.HookKind:
    """Of which kind a hook's secrets are."""
    return hook_pb2.HOOK_KIND_STANDARD if spec.HasField("outgoing") else spec.incoming.kind


def same_direction(one: hook_pb2.HookSpec, other: hook_pb2.HookSpec) -> bool:
    """Whether a spec may take the place of the other: secrets are of a direction and a kind."""
    return (
        one.WhichOneof("direction") == other.WhichOneof("direction")
        and one.incoming.kind == other.incoming.kind
    )


def path_of(name: str, namespace: str) -> str:
    """The path of a hook at the port for webhooks."""
    return f"/namespaces/{namespace}/hooks/{name}" if namespace else f"/hooks/{name}"


def shown(
    stored: hook_pb2.StoredHook,
    counts: hook_pb2.StoredHookCounts | None,
    namespace: str,
    *,
    full: bool = True,
) -> hook_pb2.Hook:
    """A hook as callers see it: without values of secrets; without its template and options, if not `full`."""
    message = hook_pb2.Hook()
    message.CopyFrom(stored.hook)
    message.secrets.extend(each.secret for each in stored.secrets)
    if message.spec.HasField("incoming"):
        message.path = path_of(message.name, namespace)
    if counts is not None and counts.uid == message.uid:
        message.counts.CopyFrom(counts.counts)
    if not full:
        if message.spec.HasField("outgoing"):
            message.spec.outgoing.ClearField("options")
        else:
            message.spec.incoming.ClearField("template")
            if message.spec.incoming.HasField("task"):
                message.spec.incoming.task.ClearField("options")
    return message
