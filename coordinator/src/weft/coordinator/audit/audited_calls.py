"""Wrappers of handlers that tell the audit of their calls.

Calls of weft's own RPCs are recorded as `audit_rules` says, and those of hosted methods are counted. Nothing waits here, and nothing is
written: a call costs a look-up or two.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc
from google.protobuf.message import Message

from weft.coordinator.audit.audit_counts import OTHER
from weft.coordinator.audit.audit_event import NOBODY, AuditFact, who
from weft.coordinator.audit.audit_log import AuditLog
from weft.coordinator.audit.audit_rules import AuditRule, audit_rule
from weft.coordinator.audit.call_facts import (
    METHOD_UNKNOWN,
    details_of,
    made_by,
    outcome_in,
    outcome_of,
    peer_of,
)
from weft.rpc.errors import PermissionDenied, WeftError
from weft.rpc.handler_shape import with_behaviour
from weft.rpc.identity.edge import Edge
from weft.rpc.wrapped_handlers import WrappedHandlers
from weft.v1 import coordinator_pb2

# Streams of many submissions, and sessions: what comes in them is told where it is read (`submissions`, `session`).
CONNECT = "weft.v1.CoordinatorService/Connect"
SUBMIT_TASKS = "weft.v1.CoordinatorService/SubmitTasks"
TELL_THEMSELVES = frozenset({CONNECT, SUBMIT_TASKS})
_DENIED = PermissionDenied.code.name


class AuditedCalls:
    """Tells the audit of calls.

    Args:
        edge: knows who makes a call, and tells of those that it denies.
    """

    def __init__(self, audit: AuditLog, edge: Edge) -> None:
        self._audit = audit
        self._edge = edge

    def handler(self, handler: Any, method: str) -> Any:
        """The handler of one of weft's own RPCs, whose calls are recorded or counted if they change something."""
        how = audit_rule(method)
        frequent = how is AuditRule.COUNTED
        if not self._audit.on or how is AuditRule.NOT or method in TELL_THEMSELVES:
            return handler
        return with_behaviour(handler, _Audited(self, method, frequent=frequent))

    def around(self, wrapped: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
        """The same wrapper of handlers, with the audit around it."""
        return lambda handler, method: self.handler(wrapped(handler, method), method)

    def hosted(self, inner: grpc.GenericRpcHandler) -> grpc.GenericRpcHandler:
        """The same handlers of hosted methods, whose calls are counted."""
        return WrappedHandlers(inner, self._hosted) if self._audit.on else inner

    def _hosted(self, handler: Any, method: str) -> Any:
        return with_behaviour(handler, _Audited(self, method, frequent=True, hosted=True))

    def fact(self, method: str, context: Any, *, frequent: bool) -> AuditFact:
        """What is known at the beginning of a call. Of a frequent one not the address: it would make each count another one."""
        try:
            caller = who(self._edge.caller(context))
        except WeftError:
            caller = NOBODY
        return AuditFact(method, caller, "" if frequent else peer_of(context.peer()))

    def ended(self, fact: AuditFact, *, frequent: bool) -> None:
        if frequent:
            self._audit.count(fact)
        else:
            self._audit.change(fact)

    def submissions(self, method: str, context: Any) -> _Submissions | None:
        """What counts the tasks that a stream submits. None: nothing does.

        Args:
            method: the stream's own.
        """
        return (
            _Submissions(self._audit, self.fact(method, context, frequent=True)) if self._audit.on else None
        )

    def session(
        self, method: str, context: Any
    ) -> Callable[[Message], contextlib.AbstractContextManager[None]]:
        """Around the opening of an agent's session: what records it, by its Hello."""
        fact = self.fact(method, context, frequent=False) if self._audit.on else None

        @contextlib.contextmanager
        def opening(hello: Message) -> Iterator[None]:
            try:
                with self._edge.counting(context, method):
                    yield
            except WeftError as error:
                if fact is not None and error.code.name != _DENIED:
                    outcome = outcome_of(error, context)
                    self._audit.change(_with(fact, outcome)._replace(details=details_of(hello)))
                raise
            if fact is not None:
                self._audit.change(fact._replace(details=details_of(hello)))

        return opening


class _Audited:
    """Around the behaviour of one method."""

    def __init__(self, calls: AuditedCalls, method: str, *, frequent: bool, hosted: bool = False) -> None:
        self._calls = calls
        self._method = method
        self._frequent = frequent
        self._hosted = hosted

    async def __call__(self, behaviour: Callable[..., Any], request: Any, context: Any) -> Any:
        fact = self._calls.fact(self._method, context, frequent=self._frequent)
        if self._frequent:
            if submitted := getattr(request, "method", ""):
                fact = fact._replace(details=(("method", submitted),))
        elif isinstance(request, Message):
            fact = fact._replace(details=details_of(request))
        try:
            response = await behaviour(request, context)
        except BaseException as error:
            outcome = outcome_of(error, context)
            # The edge has told of a denied call. What a hosted method denies is its own affair.
            if self._hosted or outcome[0] != _DENIED:
                self._calls.ended(_with(fact, outcome), frequent=self._frequent)
            raise
        if not self._frequent and isinstance(response, Message):
            fact = fact._replace(details=(*fact.details, *made_by(response)))
        self._calls.ended(fact, frequent=self._frequent)
        return response


class _Submissions:
    """Counts the tasks of a stream, a message at a time."""

    def __init__(self, audit: AuditLog, fact: AuditFact) -> None:
        self._audit = audit
        self._fact = fact

    def __call__(
        self,
        requests: Sequence[coordinator_pb2.SubmitTaskRequest],
        answers: Sequence[coordinator_pb2.SubmitAck],
    ) -> None:
        """Count the tasks of a message.

        Args:
            answers: one for each of the requests.
        """
        counts = Counter(
            (request.method, outcome_in(answer.error) if answer.HasField("error") else None)
            for request, answer in zip(requests, answers, strict=True)
        )
        for (method, outcome), count in counts.items():
            fact = self._fact._replace(details=(("method", method),))
            if outcome is None:
                self._audit.count(fact, count)
            elif outcome[0] != _DENIED:
                self._audit.count(_with(fact, outcome), count)


def _with(fact: AuditFact, outcome: tuple[str, str]) -> AuditFact:
    """A fact with the outcome of its call. The name of a method that nobody knows is left out: callers make as many as they like."""
    code, reason = outcome
    if reason != METHOD_UNKNOWN:
        return fact._replace(code=code, reason=reason)
    details = tuple((name, OTHER if name == "method" else text) for name, text in fact.details)
    own = fact.action.startswith("weft.")
    return fact._replace(action=fact.action if own else OTHER, code=code, reason=reason, details=details)
