"""A request that its client has coded: the coordinator stores it and passes it on, and cannot read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from google.protobuf.descriptor import FieldDescriptor

from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.rpc.payloads.envelope import Envelope
from weft.v1 import payload_pb2


class CodedRequest:
    """In the place of a message, for the policy of its method."""

    def __init__(self, envelope: Envelope, method: str, request_type: str) -> None:
        header = envelope.header
        # An event of its type may be its request.
        bound = header.kind, header.method
        requests = (payload_pb2.PAYLOAD_KIND_REQUEST, method), (payload_pb2.PAYLOAD_KIND_EVENT, request_type)
        if bound not in requests or not header.request_digest:
            raise refusals.payload_corrupt(
                f"the coded payload for {method} is no request of it, but of {header.method[:200]!r}", method
            )
        self._method = method
        self._envelope = envelope

    def read(self, path: Sequence[FieldDescriptor]) -> NoReturn:
        """Refuse to evaluate a key.

        Raises:
            FailedPrecondition: REQUEST_UNREADABLE.
        """
        key = ".".join(field.name for field in path)
        raise refusals.request_unreadable(
            f"the policy of {self._method} has the key {key}, and its request is coded ({self._envelope.told()}):"
            ' use a key of its metadata, such as metadata["x-tenant"], or send the request as it is',
            self._method,
            key,
        )

    def bound_to_its_method(self, fallback: str) -> WeftError:
        """Why its method must not have a fallback."""
        return refusals.request_unreadable(
            f"{self._method} has the fallback {fallback}, and its request is coded ({self._envelope.told()}) for {self._method}"
            " alone: send the request as it is, or leave the fallback out",
            self._method,
        )

    def form(self) -> bytes:
        """What equal requests have in common: the client's digest."""
        return self._envelope.header.request_digest
