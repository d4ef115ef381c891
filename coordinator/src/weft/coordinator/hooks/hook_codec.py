"""Hooks on the wire and in rows: specs are checked here, and nowhere else. A row's value is a serialized `weft.v1.StoredHook`."""

from __future__ import annotations

import re

from google.protobuf.descriptor import Descriptor

from weft.coordinator.codec import not_durable
from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.events.event_codec import check_topic
from weft.coordinator.events.event_types import EventTypes, is_own
from weft.coordinator.hooks.hook_filter import filter_of
from weft.coordinator.hooks.hook_signatures import DEFAULT_TOLERANCE_S, content_form
from weft.coordinator.hooks.hook_template import Template, TextTemplate
from weft.rpc import refusals
from weft.rpc.times import checked_duration
from weft.v1 import hook_pb2

KIND, COUNTS_KIND = "hook", "hook-counts"
MAX_OPTIONS_BYTES = 16 * 1024
MAX_OVERLAP_S, DEFAULT_OVERLAP_S = 30 * 86400.0, 86400.0
_LEAST_TOLERANCE_S, _MOST_TOLERANCE_S = 1.0, 86400.0
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_MAX_CONTENT_CHARS, _MAX_PREFIX_CHARS = 128, 32
_PART = re.compile(r"\{([^{}]*)\}")


def check_spec(spec: hook_pb2.HookSpec, types: EventTypes, contracts: Contracts) -> None:
    """Refuse a spec that is wrong, also for its target.

    Raises:
        WeftError: as `CreateHook` says.
    """
    if spec.WhichOneof("direction") is None:
        raise refusals.invalid_field("spec has no direction: it must be incoming", field="spec.incoming")
    incoming = spec.incoming
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
    if (size := task.options.ByteSize()) > MAX_OPTIONS_BYTES:
        field = "spec.incoming.task.options"
        raise refusals.payload_too_large(
            f"{field} are {size} bytes; a hook's may have {MAX_OPTIONS_BYTES}",
            size,
            MAX_OPTIONS_BYTES,
            field=field,
        )
    return info.descriptor.input_type


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
                f"{field} is for generic hooks alone: the other kinds know how they are signed", field=field
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
    """The method, or the topic."""
    return spec.incoming.task.method or spec.incoming.event.topic


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
    message.path = path_of(message.name, namespace)
    if counts is not None and counts.uid == message.uid:
        message.counts.CopyFrom(counts.counts)
    if not full:
        message.spec.incoming.ClearField("template")
        message.spec.incoming.task.ClearField("options")
        if not message.spec.incoming.task.method:
            message.spec.incoming.ClearField("task")
    return message
