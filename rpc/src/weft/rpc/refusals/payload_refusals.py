"""Refusals of coded payloads: what cannot be decoded, read or stored."""

from __future__ import annotations

from weft.rpc.errors import DataLoss, FailedPrecondition, Unavailable
from weft.v1 import errors_pb2 as pb


def payload_coded(message: str, method: str, **missing: str) -> FailedPrecondition:
    """A process lacks the key, the codec or the store of a coded payload; or a payload must be coded and is not."""
    return FailedPrecondition(
        message, reason=pb.ERROR_REASON_PAYLOAD_CODED, metadata={"method": method, **missing}
    )


def payload_corrupt(message: str, method: str) -> DataLoss:
    """A coded payload was changed, belongs elsewhere, or is larger than allowed."""
    return DataLoss(message, reason=pb.ERROR_REASON_PAYLOAD_CORRUPT, metadata={"method": method})


def request_unreadable(message: str, method: str, key: str = "") -> FailedPrecondition:
    """The coordinator needs the request for the method's policy, and it is coded."""
    metadata = {"method": method, **({"key": key} if key else {})}
    return FailedPrecondition(message, reason=pb.ERROR_REASON_REQUEST_UNREADABLE, metadata=metadata)


def payload_store_unavailable(message: str, method: str) -> Unavailable:
    """The store of payloads cannot be read or written now."""
    return Unavailable(message, reason=pb.ERROR_REASON_PAYLOAD_STORE_UNAVAILABLE, metadata={"method": method})
