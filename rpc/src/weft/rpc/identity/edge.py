"""The edge of a server: who calls is found out once for each call, in front of all of its doors.

    call ─► its token, from the metadata ─┬─ known: one look-up ──────────────┬─► namespace ─► role and scope ─► the handler
                                          └─ new: the judge is asked, in the call ─┘                       └─► refused

A wrapper of handlers, not an interceptor: those break handlers that read and write a stream themselves. A server that never asks
for tokens has its handlers unwrapped, so that the edge costs nothing there; one that does not ask now pays one look at a flag.
Messages of a stream are not looked at. The open calls of each token are known, so that a token's end ends them: `look_again` does it.
What is said of tokens holds for tickets (`weft.rpc.security.tickets`), too.

Where ports verify certificates of callers (mTLS), a certificate may stand for a token, for calls that show none. It is known in the call alone,
so that its handler is found in two steps (`certified_calls`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import grpc

from weft.rpc import refusals
from weft.rpc.calls import relay
from weft.rpc.calls.late_handler import late_handler
from weft.rpc.errors import PermissionDenied, Unauthenticated, Unavailable, WeftError
from weft.rpc.handler_shape import with_behaviour
from weft.rpc.identity.caller import ANYBODY, Caller, refusal_of, roles_of
from weft.rpc.identity.certified_calls import CertifiedCalls
from weft.rpc.identity.guarded_server import GuardedHandlers, GuardedServer, placed
from weft.rpc.identity.judges import Judge, Metering, PeerJudge, Proof, TokenVerdict
from weft.rpc.identity.moved_credential import MovedCredential
from weft.rpc.identity.refused_calls import RefusedCalls, ToldOfRefusal
from weft.rpc.identity.shown_certificate import certificate_shown, shows_own
from weft.rpc.identity.shown_proof import Place, ShownProof
from weft.rpc.identity.shown_text import Pairs, check_form, shows_any, token_of
from weft.rpc.process.logs import get_logger
from weft.rpc.security.jwt_form import is_jwt

log = get_logger(__name__)

Handler = Any

# Calls of tokens that are not known here, which may ask the judge at a time; more are refused.
MAX_ASKING = 1000
# Where nobody can be asked, the last verdict holds, and it is tried again after this time.
_STALE_S = 2.0
# Handlers that are kept of one token: far more than a server has methods.
_KEPT = 8192
# Anybody may ask whether a server is well: probes have no tokens. The health service itself refuses to tell of more than that.
_OPEN_PATHS = frozenset({"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"})


_ANYBODY = TokenVerdict(ANYBODY)


class Edge:
    """The edge of one server. Large because it follows a call from its head to its end.

    Args:
        judge: None: the server never asks for tokens.
        certificates: its ports verify those of callers, which may stand for tokens. None: they do not.
        unnamed: calls that show nothing are judged, too. Otherwise they are refused.
        metering: knows the limits of callers. None: they have none.
        told: told of each refused call.
    """

    def __init__(
        self,
        judge: Judge | None,
        certificates: PeerJudge | None = None,
        *,
        unnamed: bool = False,
        metering: Metering | None = None,
        told: ToldOfRefusal = lambda _: None,
    ) -> None:
        self._judge = judge
        self._metering = metering
        self._certificates = certificates
        # None: a call without a token is nobody's.
        self._certified = None if certificates is None else CertifiedCalls(self, _OPEN_PATHS)
        self._unnamed = unnamed
        # Whether callers must show tokens now.
        self.on = judge is not None
        # By the tokens' texts. Only valid ones are kept: there are no more than tokens have been made.
        self._shown: dict[Proof, ShownProof] = {}
        self._asking = 0
        # Calls that are being ended, and why.
        self._ending: dict[asyncio.Task[Any], WeftError] = {}
        self._roles: dict[str, frozenset[int] | None] = {}
        self.refused = RefusedCalls(told)

    def behind(self, server: Any) -> Any:
        """The server for generated code that adds servicers: all that is added is behind the edge."""
        return server if self._judge is None else GuardedServer(server, self)

    def guarded(self, inner: grpc.GenericRpcHandler) -> grpc.GenericRpcHandler:
        """The same handlers, behind the edge."""
        return inner if self._judge is None else GuardedHandlers(inner, self)

    def caller(self, context: Any) -> Caller:
        """Who makes a call, for handlers that have to know.

        Raises:
            Unauthenticated: its token has ended meanwhile, or it has none.
        """
        return self.verdict(context).caller

    def verdict(self, context: Any) -> TokenVerdict:
        """As `caller`, and how long that holds.

        Raises:
            Unauthenticated
        """
        if not self.on:
            return _ANYBODY
        pairs: Any = context.invocation_metadata() or ()
        shown = self._shown.get(self._proof_of(context))
        if shown is None:
            raise refusals.token_invalid("it was changed or ended during this call")
        return shown.verdict._replace(caller=shown.caller(shown.namespace(pairs)))

    def check_method(self, context: Any, method: str) -> None:
        """Refuse a method that the caller of a call may not call, for handlers that take methods by name.

        Raises:
            PermissionDenied: OUT_OF_SCOPE, POLICY_DENIED.
            Unauthenticated: as `caller` says.
        """
        self._check(self.caller(context), method, context)

    def method_check(self, context: Any) -> Callable[[str], None]:
        """What refuses methods that the caller of a call may not call, for streams: by what the caller may at that moment.

        Raises:
            Unauthenticated: as `caller` says.

        Raises (from what is returned):
            PermissionDenied: OUT_OF_SCOPE, POLICY_DENIED.
        """
        caller = self.caller(context)
        if not self.on:
            return caller.check_method
        text = self._proof_of(context)

        def check(method: str) -> None:
            shown = self._shown.get(text)
            self._check(caller if shown is None else shown.caller(caller.namespace), method, context)

        return check

    def _check(self, caller: Caller, method: str, context: Any) -> None:
        if (why := caller.denial(method)) is not None:
            self.refused.add(why, method, context.peer(), caller)
            raise why

    @contextlib.contextmanager
    def counting(self, context: Any, method: str) -> Iterator[None]:
        """Count a refusal that a handler itself comes to, by what is in the request."""
        try:
            yield
        except PermissionDenied as why:
            self.refused.add(why, method, context.peer(), self.caller(context))
            raise

    def _proof_of(self, context: Any) -> Proof:
        """What proves who makes a call that was let in."""
        pairs = context.invocation_metadata() or ()
        if self._certified is not None and not shows_own(pairs):
            found = certificate_shown(context)
            if found in self._shown:
                return found
        return self._text(pairs)

    def _text(self, pairs: Pairs) -> str:
        """What a call shows; empty: nothing, where that is judged."""
        if self._unnamed and not shows_any(pairs):
            return ""
        return token_of(pairs)

    # -- a call ---------------------------------------------------------------------------------------------------

    def entered(self, inner: grpc.GenericRpcHandler, details: grpc.HandlerCallDetails) -> Handler:
        """The handler for one call: that of `inner` behind the edge, or a refusal."""
        pairs: Any = details.invocation_metadata or ()
        if self._certified is not None and not shows_own(pairs):
            return self._certified.entered(inner, details)
        try:
            text = self._text(pairs)
            shown = self._shown.get(text)
            if shown is None or not self._is_fresh(shown):
                if text:
                    check_form(text)
                return late_handler(partial(self._ask, inner, details, text))
        except WeftError as refusal:
            if details.method in _OPEN_PATHS and not shows_any(pairs):
                # Of the server as a whole: which namespaces there are is not said.
                return inner.service(placed(details, ""))
            return self.refused.handler(refusal, details.method)
        return self.known(inner, details, text, shown)

    async def _ask(
        self, inner: grpc.GenericRpcHandler, details: grpc.HandlerCallDetails, text: str, context: Any
    ) -> Handler:
        """The handler for a call whose token is not known here."""
        try:
            shown = await self._find(text)
        except WeftError as why:
            self.refused.add(why, details.method, context.peer())
            await self.refused.wait(why)
            raise
        return self.known(inner, details, text, shown)

    def known(
        self, inner: grpc.GenericRpcHandler, details: grpc.HandlerCallDetails, text: Proof, shown: ShownProof
    ) -> Handler:
        """The handler for a call whose token is known."""
        pairs: Any = details.invocation_metadata or ()
        place = shown.namespace(pairs), details.method
        if place[0]:
            details = placed(details, place[0])
        if (handler := inner.service(details)) is None:
            return None
        known = shown.handlers.get(place)
        if known is not None and known[0] is handler:
            return known[1]
        if (why := self.why_not(shown, place)) is not None:
            return self.refused.handler(why, details.method, shown.caller(place[0]))
        inner_handler = handler
        if self._metering is not None:
            inner_handler = self._metering.metered(handler, place[1], shown.caller(place[0]))
        made = with_behaviour(inner_handler, partial(self._run, shown, place, text))
        if len(shown.handlers) >= _KEPT:
            shown.handlers.clear()
        shown.handlers[place] = handler, made
        return made

    def _is_fresh(self, shown: ShownProof) -> bool:
        assert self._judge is not None
        now = self._judge.now()
        return now < shown.verdict.ends_at and now < shown.verdict.fresh_until

    def why_not(self, shown: ShownProof, place: Place) -> WeftError | None:
        namespace, path = place
        try:
            roles = self._roles[path]
        except KeyError:
            roles = roles_of(path)
            # Callers make paths.
            if roles is not None and len(self._roles) < _KEPT:
                self._roles[path] = roles
        return refusal_of(shown.caller(namespace), path, roles)

    async def fresh(self, proof: Proof) -> ShownProof:
        """What is known of a proof now; it is judged if need be.

        Raises:
            Unauthenticated: it is not valid.
            Unavailable: it is not known now.
        """
        shown = self._shown.get(proof)
        return shown if shown is not None and self._is_fresh(shown) else await self._find(proof)

    async def _judged(self, proof: Proof) -> TokenVerdict:
        if isinstance(proof, str):
            assert self._judge is not None
            return await self._judge.judge(proof)
        assert self._certificates is not None
        return await self._certificates.judge_certificate(proof)

    async def _find(self, text: Proof) -> ShownProof:
        assert self._judge is not None
        if self._asking >= MAX_ASKING:
            raise refusals.overloaded("too many calls show tokens that are not known here", retry_after_s=1.0)
        self._asking += 1
        try:
            verdict = await self._judged(text)
        except Unauthenticated as refusal:
            self._end(text, refusal)
            raise
        except Unavailable:
            known = self._shown.get(text)
            if known is None or self._judge.now() >= known.verdict.ends_at:
                raise
            verdict = known.verdict._replace(fresh_until=self._judge.now() + _STALE_S)
        finally:
            self._asking -= 1
        return self._take(text, verdict)

    def _take(self, text: Proof, verdict: TokenVerdict) -> ShownProof:
        """Take what a judge says now of a token."""
        shown = self._shown.get(text)
        if shown is not None and shown.verdict.caller == verdict.caller:
            shown.verdict = verdict
            return shown
        # Another entry: calls whose requests are being read by the old one's handlers are judged again.
        fresh = self._shown[text] = ShownProof(verdict)
        if shown is not None:
            fresh.open = shown.open
            for task, place in list(fresh.open.items()):
                if (why := self.why_not(fresh, place)) is not None:
                    self._cut(task, why)
        return fresh

    async def _run(
        self,
        shown: ShownProof,
        place: Place,
        text: Proof,
        behaviour: Callable[..., Any],
        request: Any,
        context: Any,
    ) -> Any:
        """One call, which ends with its token."""
        if self._shown.get(text) is not shown:
            # While the request was read, the token ended, or was to be judged again.
            try:
                shown = await self._find(text)
                why = self.why_not(shown, place)
            except WeftError as error:
                why = error
            if why is not None:
                self.refused.add(why, place[1], context.peer())
                return await relay.refuse(why, context)
        task = asyncio.current_task()
        assert task is not None
        if isinstance(text, str) and is_jwt(text):
            context = MovedCredential(context, text)
        shown.open[task] = place
        try:
            return await behaviour(request, context)
        except asyncio.CancelledError:
            if (found := self.why_ended(task)) is None:
                raise
            why = found
            task.uncancel()
        finally:
            shown.open.pop(task, None)
            self._ending.pop(task, None)
        return await relay.refuse(why, context)

    # -- later ----------------------------------------------------------------------------------------------------

    async def look_again(self, *, every: bool) -> bool:
        """Judge tokens again that callers have shown here, and end the calls of those that are not valid any more, or may not make them.
        False: some could not be judged, and their calls go on.

        Args:
            every: any of them may have changed. Otherwise those are judged that have ended or are not fresh.
        """
        judged = True
        if self._judge is None:
            return judged
        for text, shown in list(self._shown.items()):
            if not every and self._is_fresh(shown):
                continue
            if every:
                # Limits that handlers have may have changed, too.
                shown.handlers.clear()
            if not shown.open:
                # The next call that shows it asks again. Until it has ended, the last verdict is of use if nobody answers.
                if every or self._judge.now() >= shown.verdict.ends_at:
                    self._shown.pop(text, None)
                continue
            try:
                self._take(text, await self._judged(text))
            except Unauthenticated as refusal:
                self._end(text, refusal)
            except Unavailable:
                # The last verdict holds, as long as the token itself would.
                if self._judge.now() >= shown.verdict.ends_at:
                    caller = shown.verdict.caller
                    self._end(text, refusals.token_expired(caller.token_id or caller.subject))
                else:
                    judged = False
        return judged

    def _end(self, text: Proof, refusal: WeftError) -> None:
        """End a token's open calls."""
        shown = self._shown.pop(text, None)
        if shown is None:
            return
        if shown.open:
            log.info("token.calls_ended", token_id=shown.verdict.caller.token_id, count=len(shown.open))
        for task in list(shown.open):
            self._cut(task, refusal)

    def _cut(self, task: asyncio.Task[Any], refusal: WeftError) -> None:
        self._ending[task] = refusal
        task.cancel()

    def why_ended(self, task: asyncio.Task[Any]) -> WeftError | None:
        """Why the edge has cancelled a call's task, for handlers that answer when they are cancelled. None: it has not."""
        return self._ending.get(task)
