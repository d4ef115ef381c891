"""What an answer carries beside its response: initial metadata, and trailers with status and details. Pure.

A task's answer carries what a direct call's does: what gRPC takes on weft's connections, as HTTP/2 counts it. Of a failure
that has more, code and message stay, and what else has room; its message says what was left out.
"""

from __future__ import annotations

from collections.abc import Iterable

from weft.rpc import errors, refusals
from weft.rpc.network.channel import MAX_METADATA_BYTES
from weft.v1 import task_pb2

# Of initial metadata, and of trailers with status and details. The rest of the bound is for what hops add.
MAX_ANSWER_BYTES = MAX_METADATA_BYTES - 16 * 1024
# Below this, as protobuf counts, nobody need count any further: an empty entry is the one that grows most, some sixfold.
_SURELY_FITS_BYTES = 64 * 1024
# HTTP/2's own for each entry.
_ENTRY_BYTES = 32
# What a message may take of the bound when not all has room, and what saying so takes.
_MESSAGE_SHARE = 4
_NOTE_BYTES = 2048
_UNESCAPED = bytes(number for number in range(0x20, 0x7F) if number != ord("%"))


def beside_bytes(outcome: task_pb2.Outcome) -> int:
    """What an outcome takes beside its response in a message of weft's, in bytes."""
    if not (outcome.trailers or outcome.headers or outcome.HasField("status")):
        return 0
    return outcome.ByteSize() - len(outcome.response)


def metadata_bytes(entries: Iterable[task_pb2.Metadatum]) -> int:
    """Size of metadata entries."""
    # gRPC's C core counts bytes as they are, before they are written as base64.
    return sum(len(entry.key) + len(entry.value) + _ENTRY_BYTES for entry in entries)


def fit(outcome: task_pb2.Outcome, limit_bytes: int = MAX_ANSWER_BYTES) -> None:
    """See to it that an answer can carry what an outcome has beside its response; changes the outcome of a failure.

    Raises:
        ResourceExhausted: a success has more metadata than that (RESULT_TOO_LARGE).
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
    """Why metadata of a success is refused."""
    return refusals.result_too_large(
        f"the handler's {what} is {size_bytes} bytes; an answer carries {limit_bytes} of it, which no setting changes:"
        " such data belongs into the response",
        size_bytes=size_bytes,
        limit_bytes=limit_bytes,
    )


def _leave_out(outcome: task_pb2.Outcome, limit_bytes: int) -> None:
    """Keep the code, the message, and in this order what has room: each detail, the trailers, the initial metadata."""
    status, left_out = outcome.status, list[str]()
    said = _text_bytes(status.message)
    if said > limit_bytes // _MESSAGE_SHARE:
        left_out.append(f"the end of a message of {said} bytes")
        # A byte may take three.
        cut = status.message.encode()[: limit_bytes // _MESSAGE_SHARE // 3]
        status.message = cut.decode(errors="ignore")
        said = _text_bytes(status.message)
    # The message stands in the details once more.
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
    """Of a status message, percent-encoded."""
    raw = message.encode()
    return len(raw) + 2 * len(raw.translate(None, _UNESCAPED))


def _details_bytes(outcome: task_pb2.Outcome) -> int:
    if not outcome.status.details:
        return 0
    return len(errors.STATUS_DETAILS_KEY) + outcome.status.ByteSize() + _ENTRY_BYTES
