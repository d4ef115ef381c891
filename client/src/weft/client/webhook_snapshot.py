"""Webhooks as Python values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from google.protobuf.message import Message

from weft.client.task_snapshot import moment
from weft.rpc import refusals
from weft.rpc.enum_names import enum_name
from weft.v1 import hook_pb2 as pb
from weft.v1 import lifecycle_pb2

HookKind = Literal["github", "gitlab", "stripe", "standard", "generic"]
# What an outgoing hook sends.
HookSource = Literal["task-ended", "group-ended", "event"]
KINDS: Sequence[HookKind] = ("github", "gitlab", "stripe", "standard", "generic")


@dataclass(frozen=True, slots=True)
class HookSigning:
    """How a generic hook is signed: an HMAC in a header.

    Attributes:
        header: that has it.
        prefix: before it, such as "sha256=".
        encoding: how it is written.
        digest: by which it is made.
        time_header: has the time in seconds since 1970; empty: there is none.
        id_header: has the id of the delivery; empty: there is none.
        content: what is signed, of "{body}", "{time}" and "{id}". Empty: the body, or with a time "{time}.{body}".
    """

    header: str = "x-signature"
    prefix: str = ""
    encoding: Literal["hex", "base64"] = "hex"
    digest: Literal["sha256", "sha512"] = "sha256"
    time_header: str = ""
    id_header: str = ""
    content: str = ""

    def proto(self) -> pb.HookSigning:
        return pb.HookSigning(
            header=self.header,
            prefix=self.prefix,
            encoding=number(pb.HookEncoding, "HOOK_ENCODING_", "encoding", self.encoding),
            digest=number(pb.HookDigest, "HOOK_DIGEST_", "digest", self.digest),
            time_header=self.time_header,
            id_header=self.id_header,
            content=self.content,
        )


@dataclass(frozen=True, slots=True)
class HookSecret:
    """A secret of a hook, without its value. `expires_at`: None: it is right for ever."""

    created_at: datetime | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Webhook:
    """A hook at one moment.

    Attributes:
        kind: how its requests are signed: one of `KINDS`; "outgoing": it sends events.
        target: the method or the topic that requests become; of an outgoing hook: the topic that it sends.
        url: of an outgoing hook: where to.
        to_event: whether requests become events.
        path: at the coordinators' port for webhooks.
        secrets: newest first.
        accepted: requests that became a task or an event, or deliveries that were taken; `repeated`: that were repeats; `filtered`: that did not match; `unsigned`: that were
            not signed rightly; `failed`: that were, and did not become anything all the same. Some seconds old.
        last_at: when the last request came that was signed.
        last_error: why the last refused one was refused.
        proto: as it came, with template and options where one hook was asked for.
    """

    name: str
    kind: str
    target: str
    url: str
    to_event: bool
    path: str
    filter: str
    paused: bool
    pause_reason: str
    secrets: Sequence[HookSecret]
    accepted: int
    repeated: int
    filtered: int
    unsigned: int
    failed: int
    last_at: datetime | None
    last_error: str
    last_error_at: datetime | None
    created_at: datetime | None
    proto: pb.Hook

    @classmethod
    def of(cls, found: pb.Hook) -> Webhook:
        incoming, counts, sends = found.spec.incoming, found.counts, found.spec.HasField("outgoing")
        kind = enum_name(pb.HookKind, incoming.kind, "HOOK_KIND_").lower()
        return cls(
            name=found.name,
            kind="outgoing" if sends else kind,
            target=_sent(found.spec.outgoing) if sends else incoming.task.method or incoming.event.topic,
            url=found.spec.outgoing.url,
            to_event=incoming.HasField("event"),
            path=found.path,
            filter=incoming.filter or found.spec.outgoing.events.filter,
            paused=found.paused,
            pause_reason=found.pause_reason,
            secrets=tuple(
                HookSecret(moment(each, "create_time"), moment(each, "expire_time")) for each in found.secrets
            ),
            accepted=counts.accepted_count,
            repeated=counts.repeated_count,
            filtered=counts.filtered_count,
            unsigned=counts.unsigned_count,
            failed=counts.failed_count,
            last_at=moment(counts, "last_time"),
            last_error=counts.last_error,
            last_error_at=moment(counts, "last_error_time"),
            created_at=moment(found, "create_time"),
            proto=found,
        )


def _sent(outgoing: pb.OutgoingHook) -> str:
    """The topic that a hook sends."""
    own: dict[str, type[Message]] = {
        "task_ends": lifecycle_pb2.TaskEnded,
        "group_ends": lifecycle_pb2.GroupEnded,
    }
    kind = own.get(outgoing.WhichOneof("source") or "")
    return outgoing.events.topic if kind is None else kind.DESCRIPTOR.full_name


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A hook, and its new secret, which is never told again."""

    hook: Webhook
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class HookTest:
    """What a request would become.

    Attributes:
        matched: false: nothing; the rest is empty then.
        target: the method or the topic.
        payload: the serialized message.
        key: the event's.
        task_id: of an outgoing hook: the task that sends the try.
    """

    matched: bool
    target: str = ""
    payload: bytes = b""
    key: str = ""
    task_id: str = ""


def number(kind: Any, prefix: str, name: str, word: str) -> Any:
    """The number of an enum's value by its short name.

    Raises:
        InvalidArgument
    """
    values: Mapping[str, int] = dict(kind.items())
    known = {each.removeprefix(prefix).lower(): value for each, value in values.items() if value}
    if word not in known:
        raise refusals.invalid_field(f"{name} is {word!r}; it must be one of {', '.join(known)}", field=name)
    return known[word]
