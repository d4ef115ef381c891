"""Coded failures: a status whose message and details only those can read who have the key.

The code stays, and what retries are decided by: RetryInfo, and weft's own ErrorInfo.
"""

from __future__ import annotations

from collections.abc import Collection

from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from weft.rpc.errors import DOMAIN, unpacked
from weft.rpc.payloads.payload_coder import FAILURE, PayloadCoder
from weft.v1 import payload_pb2, task_pb2

MESSAGE = "the failure is coded: its caller can read it"


def coded_outcome(
    coder: PayloadCoder, outcome: task_pb2.Outcome, method: str, *, with_error: bool
) -> task_pb2.Outcome:
    """The outcome of a failed call, its failure coded.

    Args:
        with_error: the handler's exception goes along, for operators who have the key.
    """
    failure = payload_pb2.Failure(status=outcome.status)
    made = task_pb2.Outcome(headers=outcome.headers, trailers=outcome.trailers, fallback=outcome.fallback)
    if outcome.HasField("error") and with_error:
        failure.error.CopyFrom(outcome.error)
        made.error.type = outcome.error.type
    coded = coder.encode(failure.SerializeToString(), FAILURE, method, store=False)
    made.status.code, made.status.message = outcome.status.code, MESSAGE
    made.status.details.add().Pack(payload_pb2.CodedFailure(coded=coded))
    for packed in outcome.status.details:
        info = unpacked(packed, error_details_pb2.ErrorInfo)
        of_weft = info is not None and info.domain == DOMAIN
        if of_weft or unpacked(packed, error_details_pb2.RetryInfo) is not None:
            made.status.details.append(packed)
    return made


def coded_in(status: status_pb2.Status) -> bytes | None:
    """The coded failure of a status; None: it is not coded."""
    for packed in status.details:
        found = unpacked(packed, payload_pb2.CodedFailure)
        if found is not None:
            return found.coded
    return None


def decoded(
    coder: PayloadCoder, status: status_pb2.Status, methods: Collection[str]
) -> payload_pb2.Failure | None:
    """The failure of a coded status; None: it is not coded.

    Raises:
        WeftError: it cannot be decoded.
    """
    coded = coded_in(status)
    if coded is None:
        return None
    try:
        failure = payload_pb2.Failure.FromString(coder.decode(coded, FAILURE, methods))
    except DecodeError:
        return None
    # The code was sent beside it, and decisions were made by it.
    failure.status.code = status.code
    return failure
