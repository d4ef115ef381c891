"""Calls that show no token of weft's own, at ports that verify certificates of callers (mTLS): a certificate may stand for a token.

A certificate is known in the call alone, and gRPC wants a handler, with its shape, before. So the handler is chosen by the call's path first, and again
when the caller is known.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import grpc

from weft.rpc import refusals
from weft.rpc.calls import relay
from weft.rpc.calls.late_handler import late_handler
from weft.rpc.errors import Unauthenticated, WeftError
from weft.rpc.handler_shape import behaviour_of, with_behaviour
from weft.rpc.identity.guarded_server import placed
from weft.rpc.identity.judges import Proof
from weft.rpc.identity.refused_calls import RefusedCalls
from weft.rpc.identity.shown_certificate import certificate_shown
from weft.rpc.identity.shown_proof import Place, ShownProof
from weft.rpc.identity.shown_text import check_form, shows_any, token_of


class Callers(Protocol):
    """What the edge knows of callers."""

    async def fresh(self, proof: Proof) -> ShownProof: ...

    def known(
        self,
        inner: grpc.GenericRpcHandler,
        details: grpc.HandlerCallDetails,
        text: Proof,
        shown: ShownProof,
    ) -> Any: ...

    def why_not(self, shown: ShownProof, place: Place) -> WeftError | None: ...

    @property
    def refused(self) -> RefusedCalls: ...


class CertifiedCalls:
    """Such calls of one edge.

    Args:
        open_paths: anybody may call these.
    """

    def __init__(self, edge: Callers, open_paths: frozenset[str]) -> None:
        self._edge = edge
        self._open_paths = open_paths

    def entered(self, inner: grpc.GenericRpcHandler, details: grpc.HandlerCallDetails) -> Any:
        """The handler for one call, before its caller is known: of the same shape as the one that will run."""
        is_open = details.method in self._open_paths
        handler = inner.service(placed(details, "") if is_open else details)
        if handler is None:
            # The caller's own namespace may have it.
            return late_handler(partial(self._found_late, inner, details))
        return with_behaviour(handler, partial(self._run, inner, details, behaviour_of(handler)[0]))

    async def _found_late(
        self, inner: grpc.GenericRpcHandler, details: grpc.HandlerCallDetails, context: Any
    ) -> Any:
        try:
            proof, shown = await self._proved(details, context)
        except WeftError as why:
            self._edge.refused.add(why, details.method, context.peer())
            await self._edge.refused.wait(why)
            raise
        return self._edge.known(inner, details, proof, shown)

    async def _run(
        self,
        inner: grpc.GenericRpcHandler,
        details: grpc.HandlerCallDetails,
        shape: str,
        behaviour: Callable[..., Any],
        request: Any,
        context: Any,
    ) -> Any:
        """One call."""
        try:
            proof, shown = await self._proved(details, context)
        except WeftError as error:
            if details.method in self._open_paths and isinstance(error, Unauthenticated):
                return await behaviour(request, context)
            self._edge.refused.add(error, details.method, context.peer())
            await self._edge.refused.wait(error)
            return await relay.refuse(error, context)
        place = shown.namespace(details.invocation_metadata or ()), details.method
        if (why := self._edge.why_not(shown, place)) is None:
            found = self._edge.known(inner, details, proof, shown)
            if found is not None and (known := behaviour_of(found))[0] == shape:
                return await known[1](request, context)
            why = refusals.method_unknown(
                f"the caller's namespace has no such method as the default one has: {details.method}. Name the namespace in the call",
                details.method.removeprefix("/"),
                called=True,
            )
        self._edge.refused.add(why, details.method, context.peer(), shown.caller(place[0]))
        return await relay.refuse(why, context)

    async def _proved(self, details: grpc.HandlerCallDetails, context: Any) -> tuple[Proof, ShownProof]:
        """What proves who calls: the certificate, or else an outside issuer's token.

        Raises:
            Unauthenticated: nothing does.
            Unavailable: it is not known now.
        """
        pairs: Any = details.invocation_metadata or ()
        proof: Proof
        try:
            proof = certificate_shown(context)
            return proof, await self._edge.fresh(proof)
        except Unauthenticated:
            if not shows_any(pairs):
                raise
        proof = token_of(pairs)
        check_form(proof)
        return proof, await self._edge.fresh(proof)
