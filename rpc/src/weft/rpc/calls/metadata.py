"""Metadata: which keys belong to the caller, and the form of entries in weft's contract (`weft.v1.Metadatum`)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from weft.rpc.security.token_metadata import shows_token
from weft.v1 import task_pb2

Pairs = tuple[tuple[str, str | bytes], ...]

# Says whether the call is durable (stored) or direct (straight to an agent).
MODE_KEY = "weft-mode"
DURABLE, DIRECT = "durable", "direct"
# With this entry a caller says that its call may be run twice.
RETRY_MARK = ("weft-retry", "unavailable")
# Trailers of a call: its agent, and the agent's load in the form of gRFC A51.
AGENT_KEY = "weft-agent"
ORCA_KEY = "endpoint-load-metrics-bin"
# The same bytes under another key: gRPC's C core removes `ORCA_KEY`, so that Python's clients never see it.
LOAD_KEY = "weft-load-bin"
# Trailer of a durable call that a stored result answers.
CACHED_TRAILER = ("weft-cached", "true")
# Trailer of a durable call that a fallback method answers.
FALLBACK_KEY = "weft-fallback"
# Metadata of a direct call whose requests, a stream of them, are coded (weft.v1.PayloadHeader). It passes every hop as the caller's own does.
CODED_KEY = "x-weft-coded"
# Metadata of a direct call whose caller would try other agents before it waits for a slot of this one.
NO_WAIT_KEY = "weft-no-wait"
# With a durable call of a handler: its name among the remembered steps of the handler's task; and that a task which has failed under it is
# not the answer.
STEP_KEY, STEP_ANEW_KEY = "weft-step", "weft-step-anew"
# Keys that belong to one hop, or that gRPC's C core uses itself. They must not, or cannot, go on to the next hop.
# docs/transparency.md describes each.
_HOP_KEYS = frozenset(
    {
        "user-agent",
        "content-type",
        "content-length",
        "te",
        "connection",
        "traceparent",
        "tracestate",
        "baggage",
        "grpc-timeout",
        "grpc-encoding",
        "grpc-accept-encoding",
        "grpc-internal-encoding-request",
        "grpc-status",
        "grpc-message",
        "grpc-status-details-bin",
        "grpc-previous-rpc-attempts",
        # As a trailer it ends the process.
        "grpclb_client_stats",
    }
)
_HOP_PREFIXES = ("weft-", ":")
# If a server sends one of these, gRPC's C core ends the process.
FATAL_KEYS = frozenset({"grpc-timeout", "grpclb_client_stats"})
# The keys and text values that gRPC takes. It fails a call with any other.
_KEY = re.compile(r"[0-9a-z_.-]+")
_TEXT = re.compile(rb"[\x20-\x7e]*")


def belongs_to_caller(key: str) -> bool:
    """Whether a key is the application's own, and not gRPC's, weft's or the trace context's."""
    return key not in _HOP_KEYS and not key.startswith(_HOP_PREFIXES)


def can_be_sent(entry: task_pb2.Metadatum) -> bool:
    """Whether an entry from another process may be sent with a call: it is legal, and the application's own."""
    legal = (
        not shows_token(entry.key, entry.value)
        and _KEY.fullmatch(entry.key)
        and (entry.key.endswith("-bin") or _TEXT.fullmatch(entry.value))
    )
    return bool(legal) and belongs_to_caller(entry.key)


def unfit(pairs: Iterable[tuple[object, object]]) -> str:
    """Why gRPC would not send a call's metadata. Empty: it can be sent."""
    for key, value in pairs:
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            return f"the key {key!r} has other characters than a to z, 0 to 9, '_', '.' and '-'"
        if key in FATAL_KEYS:
            return f"the key {key} is gRPC's own"
        if not isinstance(value, str | bytes):
            return f"the value of {key} is neither text nor bytes, but {type(value).__name__}"
        raw = value.encode() if isinstance(value, str) else value
        if not key.endswith("-bin") and not _TEXT.fullmatch(raw):
            return f"the value of {key} is not printable ASCII; keys that end in -bin take any bytes"
    return ""


def without_tokens(pairs: Iterable[tuple[str, str | bytes]]) -> Pairs:
    """The entries that show no token: no handler gets one."""
    return tuple([(key, value) for key, value in pairs if not shows_token(key, value)])


def to_proto(pairs: Iterable[tuple[str, str | bytes]]) -> list[task_pb2.Metadatum]:
    """The application's own entries of `pairs`, in order, including repeated keys."""
    return [
        task_pb2.Metadatum(key=key, value=value if isinstance(value, bytes) else value.encode())
        for key, value in pairs
        if belongs_to_caller(key) and not shows_token(key, value)
    ]


def from_proto(entries: Collection[task_pb2.Metadatum]) -> Pairs:
    """Entries in the form that grpc takes: bytes for "-bin" keys, text for others."""
    if not entries:
        # Most calls have none. The generator below would cost as much as for ten entries.
        return ()
    return tuple(
        (entry.key, entry.value if entry.key.endswith("-bin") else entry.value.decode("latin-1"))
        for entry in entries
    )
