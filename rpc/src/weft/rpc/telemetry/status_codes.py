"""What the status of a call says of its span. Pure."""

from __future__ import annotations

from google.rpc import code_pb2

from weft.rpc.telemetry.span_records import Kind

_CODES: dict[int, str] = {number: name for name, number in code_pb2.Code.items()}
# A server's own faults. With the other codes it tells its caller of the caller's.
SERVER_FAULTS = frozenset(
    {
        code_pb2.UNKNOWN,
        code_pb2.DEADLINE_EXCEEDED,
        code_pb2.UNIMPLEMENTED,
        code_pb2.INTERNAL,
        code_pb2.UNAVAILABLE,
        code_pb2.DATA_LOSS,
    }
)


def code_name(code: int) -> str:
    """The name of a google.rpc.Code; of an unknown one, its number."""
    return _CODES.get(code, str(code))


def is_fault(kind: Kind, code: int) -> bool:
    """Whether a code makes a span of this kind an error: any but OK does, except at a server."""
    return code in SERVER_FAULTS if kind is Kind.SERVER else code != code_pb2.OK
