"""The bound on the metadata of an answer: initial metadata, and trailers with status and details. Pure.

The bound is the same for tasks and direct calls: the size that gRPC takes on weft's connections, as HTTP/2 counts it. A
failure over the bound keeps its code and message, and other parts as far as there is room; its message says what was left out.
"""

from __future__ import annotations

from collections.abc import Iterable

from weft.rpc import errors, refusals
from weft.rpc.network.channel import MAX_METADATA_BYTES
from weft.v1 import task_pb2

# The bound of initial metadata, and that of trailers with status and details. The rest of gRPC's bound is for the hops' own entries.
MAX_ANSWER_BYTES = MAX_METADATA_BYTES - 16 * 1024
# If protobuf counts less than this, HTTP/2's count need not be made: an empty entry grows most, about sixfold.
_SURELY_FITS_BYTES = 64 * 1024
# HTTP/2's overhead of each entry.
_ENTRY_BYTES = 32
# If not all has room, the message may take one part in so many of the bound.
_MESSAGE_SHARE = 4
# The bytes kept for the note of what was left out.
_NOTE_BYTES = 2048
_UNESCAPED = bytes(number for number in range(0x20, 0x7F) if number != ord("%"))


def beside_bytes(outcome: task_pb2.Outcome) -> int:
    """The bytes of an outcome without its response, in one of weft's messages."""
    if not (outcome.trailers or outcome.headers or outcome.HasField("status")):
        return 0
    return outcome.ByteSize() - len(outcome.response)


def metadata_bytes(entries: Iterable[task_pb2.Metadatum]) -> int:
    """The size of metadata entries, as HTTP/2 counts it."""
    # gRPC's C core counts the raw bytes, not their base64.
    return sum(len(entry.key) + len(entry.value) + _ENTRY_BYTES for entry in entries)


def fit(outcome: task_pb2.Outcome, limit_bytes: int = MAX_ANSWER_BYTES) -> None:
    """Make an outcome's metadata fit into an answer. Changes the outcome of a failure, in place.

    Raises:
        ResourceExhausted: the outcome of a success has too much metadata (RESULT_TOO_LARGE).
    """
    if beside_bytes(outcome) <= min(_SURELY_FITS_BYTES, limit_bytes // 8):
        return
    headers, trailers = metadata_bytes(outcome.headers), metadata_bytes(outcome.trailers)
    if not outcome.status.code:
        for what, size_bytes in (("initial metadata", headers), ("trailing metadata", trailers)):
            if size_bytes > limit_bytes:
                raise too_large(what, size_bytes, limit_bytes)
        return
    said = _text_bytes(outcome.status.message)
    if headers > limit_bytes or said + _details_bytes(outcome) + trailers > limit_bytes:
        _leave_out(outcome, limit_bytes)


def too_large(what: str, size_bytes: int, limit_bytes: int) -> errors.ResourceExhausted:
    """The error for a success with too much metadata."""
    return refusals.result_too_large(
        f"the handler's {what} is {size_bytes} bytes; an answer carries {limit_bytes} of it, which no setting changes:"
        " put such data into the response",
        size_bytes=size_bytes,
        limit_bytes=limit_bytes,
    )


def _leave_out(outcome: task_pb2.Outcome, limit_bytes: int) -> None:
    """Keep the code and the message, then as far as there is room, in this order: each detail, the trailers, the initial metadata."""
    status, left_out = outcome.status, list[str]()
    said = _text_bytes(status.message)
    if said > limit_bytes // _MESSAGE_SHARE:
        left_out.append(f"the end of a message of {said} bytes")
        # Percent-encoded, a byte may take three.
        cut = status.message.encode()[: limit_bytes // _MESSAGE_SHARE // 3]
        status.message = cut.decode(errors="ignore")
        said = _text_bytes(status.message)
    # The status details repeat the message.
    left = limit_bytes - _NOTE_BYTES - 2 * said
    details, dropped = [], 0
    for detail in status.details:
        size_bytes = detail.ByteSize() + 8
        if size_bytes <= left:
            left -= size_bytes
            details.append(detail)
        else:
            dropped += size_bytes
    if dropped:
        left_out.append(f"status details of {dropped} bytes")
    if (size_bytes := metadata_bytes(outcome.trailers)) > left:
        left_out.append(f"trailing metadata of {size_bytes} bytes")
        outcome.ClearField("trailers")
    if (size_bytes := metadata_bytes(outcome.headers)) > limit_bytes:
        left_out.append(f"initial metadata of {size_bytes} bytes")
        outcome.ClearField("headers")
    what = ", ".join(left_out)
    kept = [type(detail).FromString(detail.SerializeToString()) for detail in details]
    status.ClearField("details")
    status.details.extend(kept)
    if what:
        status.message += f" (left out, for an answer carries {limit_bytes} bytes of metadata: {what})"
        status.details.add().Pack(refusals.metadata_left_out(what, limit_bytes))


def _text_bytes(message: str) -> int:
    """The size of a status message, percent-encoded."""
    raw = message.encode()
    return len(raw) + 2 * len(raw.translate(None, _UNESCAPED))


def _details_bytes(outcome: task_pb2.Outcome) -> int:
    if not outcome.status.details:
        return 0
    return len(errors.STATUS_DETAILS_KEY) + outcome.status.ByteSize() + _ENTRY_BYTES
