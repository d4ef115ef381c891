"""The checks of a hosted method's messages by the rules of its contract (`buf.validate`).

    direct call:  request ─► checked ─► handler ─► response ─► checked ─► caller
    task:                    (the coordinator has checked it) ─► handler ─► response ─► checked ─► coordinator

A response that breaks rules is the handler's fault: the call fails with INTERNAL, and is not retried.
"""

from __future__ import annotations

from typing import Any, NoReturn

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message

from weft.rpc.contracts.descriptors import message_class
from weft.rpc.contracts.payload_rules import (
    MessageRules,
    Violations,
    request_refusal,
    result_refusal,
    unreadable,
)
from weft.rpc.errors import ResourceExhausted, WeftError
from weft.v1 import task_pb2


class MessageRefused(WeftError):
    """A request or response that is not passed on. Raised where the handler reads or sends it; it is also the call's outcome."""

    def __init__(self, outcome: task_pb2.Outcome) -> None:
        super().__init__(outcome.status.message)
        # The status for a handler that answers with an error that it catches, as a relay does.
        self.received = outcome.status
        self.outcome = outcome


class ResponseTooLarge(MessageRefused, ResourceExhausted):
    """A streaming handler sent a response over the limit."""


class RulesBroken(MessageRefused):
    """A request or a response breaks rules of its contract."""

    def __init__(self, error: WeftError) -> None:
        super().__init__(task_pb2.Outcome(status=error.status()))


class PayloadChecks:
    """The checks of one method. For any thread.

    Args:
        types: of its request and response.
        request: the rules of its requests; None: there are none.
        response: the same of its responses.
    """

    def __init__(
        self,
        method: str,
        types: tuple[Descriptor, Descriptor],
        request: MessageRules | None,
        response: MessageRules | None,
    ) -> None:
        self._method = method
        self._types = types
        self._request = request
        self._response = response

    def check_request(self, request: Any) -> None:
        """Check a request: a message, or its bytes.

        Raises:
            RulesBroken: INVALID_ARGUMENT (RULES_VIOLATED).
        """
        if self._request is None:
            return
        message = _message(request, self._types[0])
        if message is None:
            self._refuse_request(unreadable(self._types[0].full_name))
        if broken := self._request.broken_request(message, message.ByteSize()):
            self._refuse_request(broken)

    def check_response(self, response: Any) -> None:
        """Check a response: a message, or its bytes.

        Raises:
            RulesBroken: INTERNAL (RESULT_RULES_VIOLATED).
        """
        if self._response is None:
            return
        message = _message(response, self._types[1])
        if message is None:
            self._refuse_response(unreadable(self._types[1].full_name))
        if broken := self._response.broken(message, message.ByteSize()):
            self._refuse_response(broken)

    def _refuse_request(self, broken: Violations) -> NoReturn:
        raise RulesBroken(request_refusal(self._method, broken))

    def _refuse_response(self, broken: Violations) -> NoReturn:
        raise RulesBroken(result_refusal(self._method, broken))


def _message(given: Any, message_type: Descriptor) -> Message | None:
    """The message to check; None: its bytes cannot be parsed."""
    if isinstance(given, Message):
        return given
    try:
        return message_class(message_type).FromString(given)
    except DecodeError:
        return None
