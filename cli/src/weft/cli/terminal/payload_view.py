"""Payloads and statuses as JSON, without the values of secret fields unless they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.rpc import code_pb2

from weft.rpc.contracts.json_rendering import json_value, unread_bytes
from weft.rpc.contracts.secret_fields import SecretFields
from weft.rpc.enum_names import enum_name
from weft.rpc.errors import DataLoss, InvalidArgument
from weft.rpc.payloads.envelope import is_coded, opened
from weft.v1.payload_pb2 import CodedFailure

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf import any_pb2
    from google.rpc import status_pb2

    from weft.rpc.contracts.contract_reader import ResolvedMethod


class PayloadView:
    """Shows the payloads of one method.

    Args:
        method: None: its contract is not known. Then nobody can tell what is secret, and a payload's size is shown.
        show_secrets: show all values; as base64 where the contract is not known.
    """

    def __init__(self, method: ResolvedMethod | None = None, *, show_secrets: bool = False) -> None:
        self.method = method
        self._secrets = None if show_secrets else SecretFields()

    def request(self, payload: bytes) -> Any:
        """A request as JSON."""
        return self._shown(payload, None if self.method is None else self.method.request_to_json)

    def response(self, payload: bytes) -> Any:
        """A response as JSON."""
        return self._shown(payload, None if self.method is None else self.method.response_to_json)

    def readable_response(self, payload: bytes) -> Any:
        """A response as JSON, by the contract.

        Raises:
            weft.rpc.errors.InvalidArgument: it does not fit the contract.
        """
        return None if self.method is None else self.method.response_to_json(payload, self._secrets)

    def unread(self, payload: bytes) -> Any:
        """A payload that does not fit the contract, or is coded."""
        if not is_coded(payload):
            return unread_bytes(payload, self._secrets)
        try:
            return {"coded": opened(payload).told(), "bytes": len(payload)}
        except DataLoss:
            return {"coded": "damaged", "bytes": len(payload)}

    def status(self, status: status_pb2.Status) -> dict[str, Any]:
        """A failure: code name, message, and details as JSON."""
        return {
            "code": enum_name(code_pb2.Code, status.code),
            "message": status.message,
            "details": [self.detail(packed) for packed in status.details],
        }

    def detail(self, packed: any_pb2.Any) -> dict[str, Any]:
        """One detail of a status as JSON."""
        if packed.TypeName() == CodedFailure.DESCRIPTOR.full_name:
            # A client without the keys got it.
            return {"@type": packed.type_url, "bytes": len(packed.value)}
        pool = None if self.method is None else self.method.pool
        shown: dict[str, Any] = json_value(packed, pool, self._secrets)
        return shown

    def _shown(self, payload: bytes, render: Callable[..., Any] | None) -> Any:
        if render is not None:
            try:
                return render(payload, self._secrets)
            except InvalidArgument:
                # The contract has changed since, or the message is nested too deeply for protobuf.
                pass
        return self.unread(payload)


# Where no method is known: statuses of weft itself, tasks without payloads.
PLAIN = PayloadView()
