"""Lets HTTP requests in by the token that they show, as an edge lets calls in: for the port of metrics, whose requests come in threads."""

from __future__ import annotations

import asyncio
import contextlib
import time
from concurrent import futures
from typing import NamedTuple

from weft.rpc import refusals
from weft.rpc.errors import PermissionDenied, Unauthenticated, WeftError
from weft.rpc.identity.caller import OBSERVER, OPERATOR, Caller, role_name
from weft.rpc.identity.judges import Judge, TokenVerdict
from weft.rpc.identity.refused_calls import RefusedCall, RefusedCalls, ToldOfRefusal
from weft.rpc.identity.shown_text import check_form, token_of
from weft.rpc.network.agent_ports import stays_here
from weft.rpc.security.tls import Tls
from weft.rpc.security.token_metadata import AUTHORIZATION_KEY

# The judge is asked again after this time, and has so long to answer. If it does not, its last answer holds until the token ends.
FRESH_S = 2.0
TIMEOUT_S = 2.0
# Valid tokens that are kept: scrapers are few.
_KEPT = 64


class DeniedRequest(NamedTuple):
    """The answer to a request that is not let in."""

    status: int
    text: str


def asks_scrapers(address: str, tls: Tls | None, *, insecure: bool, members: bool = False) -> bool:
    """Whether who asks for metrics must show a token, where callers must: not on this machine, and not who shows a certificate.

    Args:
        address: of the metrics; empty: there are none.
        tls: of the process.
        insecure: it was told to do without checks.
        members: each client and agent has a certificate, so that it does not say who may read metrics.
    """
    by_certificate = (
        address.startswith("https://") and tls is not None and bool(tls.client_ca) and not members
    )
    return bool(address) and not (insecure or by_certificate or stays_here(address.removeprefix("https://")))


class HttpDoor:
    """Judges requests. From any thread, once it is open.

    Args:
        judge: belongs to the event loop on which the door is opened.
        what: what is behind it, for messages, such as "metrics".
        told: told of each refused request, on the judge's event loop.
    """

    def __init__(self, judge: Judge, what: str, told: ToldOfRefusal = lambda _: None) -> None:
        self._judge = judge
        self._what = what
        self._loop: asyncio.AbstractEventLoop | None = None
        # By the token's text: what it is worth, and until when that is fresh, by the monotonic clock.
        self._known: dict[str, tuple[TokenVerdict, float]] = {}
        self._told = told
        self.refused = RefusedCalls(self._tell)

    def open(self) -> None:
        """Judge from now on. On the judge's event loop."""
        self._loop = asyncio.get_running_loop()

    def refusal(self, authorization: str, peer: str = "") -> DeniedRequest | None:
        """Why a request is not let in. None: it is. Not on the judge's event loop.

        Args:
            authorization: its header; empty: it has none.
            peer: where it comes from, an address without its port.
        """
        caller: Caller | None = None
        try:
            text = token_of([(AUTHORIZATION_KEY, authorization)] if authorization else [])
            check_form(text)
            caller = self._verdict(text).caller
            if caller.role not in (OBSERVER, OPERATOR):
                raise refusals.role_needed(self._what, role_name(caller.role), "observer, operator")
            if caller.scope.namespaces:
                # They are of all namespaces that there are.
                raise refusals.out_of_scope("namespaces", "*")
        except WeftError as error:
            self.refused.add(error, self._what, f"http:{peer}:0", caller)
            status = 503
            if isinstance(error, Unauthenticated):
                status = 401
            elif isinstance(error, PermissionDenied):
                status = 403
            return DeniedRequest(status, error.message)
        return None

    def _tell(self, refused: RefusedCall) -> None:
        # A loop that has ended takes nothing more.
        with contextlib.suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._told, refused)

    def _verdict(self, text: str) -> TokenVerdict:
        known = self._known.get(text)
        if known is not None and time.monotonic() < known[1]:
            return known[0]
        if self._loop is None:
            raise refusals.callers_unknown("it has just started")
        asked = asyncio.run_coroutine_threadsafe(self._judge.judge(text), self._loop)
        try:
            verdict = asked.result(TIMEOUT_S)
        except (Unauthenticated, PermissionDenied):
            self._known.pop(text, None)
            raise
        except (WeftError, futures.TimeoutError, RuntimeError) as error:
            asked.cancel()
            if known is not None and self._judge.now() < known[0].ends_at:
                return known[0]
            raise refusals.callers_unknown(f"nobody tells: {error}") from None
        if len(self._known) >= _KEPT:
            self._known.clear()
        self._known[text] = verdict, time.monotonic() + FRESH_S
        return verdict
