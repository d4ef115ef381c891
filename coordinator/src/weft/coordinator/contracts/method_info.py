"""A hosted method, as one contract describes it: how its requests are read, checked and compared."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message

from weft.coordinator.contracts.canonical import canonical_form
from weft.coordinator.contracts.coded_request import CodedRequest
from weft.coordinator.contracts.nesting import DeepRequest, read_deep
from weft.coordinator.contracts.required_fields import missing_fields
from weft.coordinator.contracts.wire import Malformed
from weft.coordinator.policy.method_policy import MethodPolicy
from weft.rpc import refusals
from weft.rpc.contracts.payload_rules import MessageRules, request_refusal, too_deep
from weft.rpc.errors import InvalidArgument
from weft.rpc.payloads.envelope import is_coded, opened


@dataclass(frozen=True, slots=True, eq=False)
class MethodInfo:
    """A hosted method, by one contract."""

    # "pkg.Service/Method".
    name: str
    # A number of weft.v1.MethodKind.
    kind: int
    # A task can call it.
    durable: bool
    request_class: type[Message]
    response_class: type[Message]
    descriptor: MethodDescriptor
    # Digest of its contract.
    contract: str
    # Its request or an inner message has proto2 required fields.
    has_required: bool
    # Neither its request nor an inner message `needs_ordering`.
    ordered: bool
    # Its options in this contract; None: there are none. Calls use those in force (`PolicyTable`).
    policy: MethodPolicy | None
    # The rules of its request; None: there are none.
    request_rules: MessageRules | None

    def check_request(self, payload: bytes) -> Message | DeepRequest | CodedRequest:
        """Parse the request.

        Raises:
            InvalidArgument: the payload does not parse as the request message (PAYLOAD_MALFORMED).
            DataLoss: it is coded, and no request of the method (PAYLOAD_CORRUPT).
        """
        try:
            message = self.request_class.FromString(payload)
        except DecodeError as error:
            if is_coded(payload):
                envelope = opened(payload)
                if envelope.plain:
                    return self.check_request(envelope.body)
                return CodedRequest(envelope, self.name, self.descriptor.input_type.full_name)
            try:
                return read_deep(payload, self.descriptor.input_type, has_required=self.has_required)
            except Malformed:
                raise self._malformed(f"({len(payload)} bytes): {error}") from None
        if self.has_required and not message.IsInitialized():
            raise self._malformed(f"({len(payload)} bytes): {missing_fields(message)}")
        return message

    def check_rules(self, request: Message | DeepRequest | CodedRequest, size_bytes: int) -> None:
        """Check a request by the contract's rules; a coded one is checked at its agent. Only for a method with `request_rules`.

        Raises:
            InvalidArgument: it breaks some, or nests deeper than rules can be checked (RULES_VIOLATED).
        """
        assert self.request_rules is not None
        if isinstance(request, CodedRequest):
            return
        if isinstance(request, DeepRequest):
            raise request_refusal(self.name, too_deep())
        if broken := self.request_rules.broken_request(request, size_bytes):
            raise request_refusal(self.name, broken)

    def request_form(self, request: Message | DeepRequest | CodedRequest) -> bytes:
        """The canonical form of a request (`canonical`). The request is used up."""
        if isinstance(request, DeepRequest | CodedRequest):
            return request.form()
        return canonical_form(request, ordered=self.ordered)

    def _malformed(self, why: str) -> InvalidArgument:
        return refusals.payload_malformed(
            f"the payload for {self.name} does not parse as {self.descriptor.input_type.full_name} {why}",
            field="payload",
        )
