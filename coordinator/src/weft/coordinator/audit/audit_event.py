"""An event of the audit: its JSON form, and the digests that make a chain of such events. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from weft.rpc import bounded_json
from weft.rpc.identity.caller import ROLES, Caller, role_name
from weft.v1 import access_pb2, audit_pb2

# What the first event of a chain has as the digest before it.
NO_DIGEST = "0" * 64
# Bounds of what callers choose.
MAX_TEXT_CHARS = 128
MAX_DETAILS = 16

Record = Mapping[str, Any]
# Names and values.
Details = tuple[tuple[str, str], ...]

# Of a record, but for its time and role, whose forms are others in messages.
_FIELDS = frozenset(audit_pb2.AuditEvent.DESCRIPTOR.fields_by_name) - {"time", "role"}


class Who(NamedTuple):
    """Who did it, and where."""

    subject: str = ""
    # Empty: not known.
    role: str = ""
    token_id: str = ""
    namespace: str = ""


NOBODY = Who()


def who(caller: Caller) -> Who:
    """A caller, as the audit names it."""
    if not caller.subject:
        # The server does not ask: the role says nothing of it.
        return Who(namespace=caller.namespace)
    return Who(caller.subject, role_name(caller.role), caller.token_id, caller.namespace)


class AuditFact(NamedTuple):
    """What happened, before it has a place in a chain."""

    action: str
    who: Who = NOBODY
    peer: str = ""
    code: str = "OK"
    reason: str = ""
    details: Details = ()


class Chain:
    """Gives each event its place.

    Args:
        name: of the coordinator, and when it began.
        previous: the digest that the first event has before it.
    """

    def __init__(self, name: str, previous: str = NO_DIGEST) -> None:
        self._name = name
        self._previous = previous
        self.length = 0

    def follow(self, digest: str) -> None:
        """Let the chain go on after an event of another one. Before its first event."""
        self._previous = digest

    def add(self, fact: AuditFact, count: int, now: float) -> Record:
        """The record of an event, which is the chain's last one from now on."""
        self.length += 1
        subject, role, token_id, namespace = fact.who
        record: dict[str, Any] = {
            "chain": self._name,
            "sequence": self.length,
            "time": _time_text(datetime.fromtimestamp(now, UTC)),
            "subject": short(subject),
            "role": role,
            "token_id": token_id,
            "namespace": short(namespace),
            "peer": short(fact.peer),
            "action": short(fact.action),
            "details": {short(name): short(value) for name, value in fact.details[:MAX_DETAILS]},
            "code": fact.code,
            "reason": fact.reason,
            "count": count,
            "previous": self._previous,
        }
        self._previous = record["digest"] = digest_of(record)
        return record


def short(text: str) -> str:
    """A text within its bound. Letters that are half of one are replaced: no JSON has them."""
    return text[:MAX_TEXT_CHARS].encode(errors="replace").decode()


def line_of(record: Record) -> bytes:
    """A record as a line of JSON, without the line's end: always the same bytes for the same record."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def digest_of(record: Record) -> str:
    """The digest of a record, in hexadecimal digits."""
    return hashlib.sha256(
        line_of({name: value for name, value in record.items() if name != "digest"})
    ).hexdigest()


def record_of(line: bytes) -> Record:
    """The record in a line.

    Raises:
        ValueError: it has none.
    """
    found: Any = bounded_json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("it is no object")  # noqa: TRY004
    return found


def message_of(record: Record) -> audit_pb2.AuditEvent:
    """A record of this coordinator's kind as a message."""
    kept = {name: value for name, value in record.items() if name in _FIELDS}
    role = ROLES.get(record["role"], access_pb2.ROLE_UNSPECIFIED)
    message = audit_pb2.AuditEvent(**kept, role=role)
    message.time.FromJsonString(record["time"])
    return message


def record_from(message: audit_pb2.AuditEvent) -> Record:
    """The record in a message."""
    record: dict[str, Any] = {name: getattr(message, name) for name in _FIELDS if name != "details"}
    role = role_name(message.role) if message.role else ""
    try:
        at = datetime.fromtimestamp(message.time.seconds, UTC).replace(microsecond=message.time.nanos // 1000)
    except (ValueError, OverflowError, OSError):
        # No event has such a time: the digest of its record is another one.
        at = datetime.fromtimestamp(0, UTC)
    return {**record, "details": dict(message.details), "role": role, "time": _time_text(at)}


def _time_text(at: datetime) -> str:
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")
