"""The identity part of a coordinator: the edge in front of its doors, the tokens behind it, and their upkeep."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from weft.coordinator.access.policy_judge import PolicyJudge
from weft.coordinator.access.policy_source import PolicySource
from weft.coordinator.caller_limits.call_metering import CallMetering
from weft.coordinator.caller_limits.open_metering import OpenMetering
from weft.coordinator.identity.agent_binding import admit_agent
from weft.coordinator.identity.authority_table import KIND as AUTHORITY
from weft.coordinator.identity.certificate_judge import CertificateJudge
from weft.coordinator.identity.certificate_service import CertificateService
from weft.coordinator.identity.first_operator import make_first_operator
from weft.coordinator.identity.identity_news import IdentityNews
from weft.coordinator.identity.makers import Makers
from weft.coordinator.identity.own_authority import OwnAuthority
from weft.coordinator.identity.ticket_office import KIND as SECRETS
from weft.coordinator.identity.ticket_office import TicketOffice
from weft.coordinator.identity.token_service import TokenService
from weft.coordinator.identity.token_table import KIND, TokenTable
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.base import Store
from weft.rpc.identity.caller import Caller
from weft.rpc.identity.edge import Edge
from weft.rpc.identity.http_door import HttpDoor
from weft.rpc.identity.refused_calls import RefusedCalls
from weft.rpc.process.logs import get_logger
from weft.rpc.security.tls import Tls
from weft.v1 import session_pb2

log = get_logger(__name__)

# Tokens that callers have shown are judged again so often, whatever the store has told.
RECHECK_S = 30.0
# Tokens that have ended long ago are deleted so often, and the age of the tickets' secret is looked at.
FORGET_S = 600.0


class Identity:
    """Who may call this coordinator.

    Args:
        news: told of calls that are refused, and of what happens to the checks of callers.

    Raises:
        InvalidArgument: the policy file cannot be used.
    """

    def __init__(self, store: Store, settings: CoordinatorSettings, news: IdentityNews) -> None:
        self._news = news
        self._table = TokenTable(store)
        self._file = settings.first_token_file
        # Makes certificates. None: there is none.
        self._authority = OwnAuthority(store, settings) if settings.ca == "auto" else None
        self._known: CertificateJudge | None = None
        if self._authority is not None or settings.tls_client_ca:
            self._known = CertificateJudge(self._table, automatic=self._authority is not None)
        policy, limits = PolicySource(settings.policy, news.policy_read), settings.caller_limits
        self._judge = judge = PolicyJudge(self._table, policy, self._known, limits)
        checked = settings.tokens == "on"
        self.metering = CallMetering(judge.limits_of_namespace)
        self.edge = Edge(
            judge if checked else None,
            judge if checked and self._known else None,
            metering=self.metering,
            told=news.refused,
        )
        self.metering.caller_of = self.edge.caller
        # Callers have limits, and nobody is asked who calls.
        self._meters_open = bool(limits) and not checked
        self._office = TicketOffice(store, self._table)
        self.service = TokenService(
            self._table, judge, self.edge, self._office, takes_subjects=self._authority is None
        )
        self.certificates = CertificateService(self._table, self.edge, self._authority)
        # The tickets of this mesh. None: agents ask for nothing.
        self.tickets = self._office if self.edge.on else None
        self._changed = False
        self._secrets_at_s = 0.0
        self._recheck_at_s = 0.0
        self._forget_at_s = 0.0

    def guarded(self, handlers: grpc.GenericRpcHandler) -> grpc.GenericRpcHandler:
        """The handlers of a port, behind the edge or, where nobody is asked who calls, behind the limits of callers."""
        if self._meters_open:
            door = OpenMetering(handlers, self.metering, self._judge.limited)
            self.metering.caller_of = door.caller
            return door
        return self.edge.guarded(handlers)

    def http_door(self) -> HttpDoor:
        """Lets requests for metrics in by their tokens."""
        return HttpDoor(self._judge, "metrics", self._news.refused)

    def refused_hooks(self) -> RefusedCalls:
        """Keeps, and tells, what requests for hooks were not signed."""
        return RefusedCalls(self._news.refused)

    @property
    def table(self) -> TokenTable:
        """The tokens."""
        return self._table

    def makers(self, namespace: str) -> Makers:
        """Judges who gave orders in a namespace (empty: the default one)."""
        return Makers(self._table, self._judge, self.edge, namespace)

    def rows_changed(self, kind: str) -> bool:
        """Some coordinator has changed rows of a kind. True: these are tokens or the like, and `keep_house` looks at them."""
        if kind == KIND:
            self._changed = True
            if self._known is not None:
                self._known.tokens_changed()
        elif kind == SECRETS:
            self._secrets_at_s = 0.0
        elif kind == AUTHORITY and self._authority is not None:
            self._authority.row_changed()
        return kind in (KIND, SECRETS, AUTHORITY)

    @property
    def tls(self) -> Tls | None:
        """The certificates that it makes itself; None: it makes none."""
        return None if self._authority is None else self._authority.tls

    @property
    def pin(self) -> str:
        """By which others recognise the authority; empty: there is none."""
        return "" if self._authority is None else self._authority.present.pin

    def follow_pin(self, changed: Callable[[], None]) -> None:
        """Call this whenever there is another pin."""
        if self._authority is not None:
            self._authority.pin_changed = changed

    def close(self) -> None:
        if self._authority is not None:
            self._authority.close()

    async def admit(self, caller: Caller, hello: session_pb2.Hello) -> None:
        """Let an agent in.

        Raises:
            PermissionDenied: OUT_OF_SCOPE, TOKEN_USED_UP.
            Unavailable: the store cannot be read or written.
        """
        await admit_agent(self._table, caller, hello)

    async def start(self) -> None:
        """Make the first operator's token if it is needed, and certificates. The store is open.

        Raises:
            FirstTokenError
            AuthorityError
            Unavailable
        """
        if self._authority is not None:
            await self._authority.start()
        if self.edge.on:
            if made := await make_first_operator(self._table, self._file):
                self._news.first_operator(made)
            await self._office.load()
        elif await self._table.any():
            log.warning(
                "tokens.not_checked",
                effect="there are tokens, and this coordinator asks for none (--tokens on)",
            )

    async def keep_house(self, now_s: float) -> bool:
        """Follow the policy, and end the calls of tokens that are not valid any more. True: tokens or the policy have changed since
        the last time."""
        if self._authority is not None:
            await self._authority.keep_house()
        if self._judge.look():
            self._changed = True
        changed = self._changed
        if self.edge.on:
            every = changed or now_s >= self._recheck_at_s
            if every:
                self._changed, self._recheck_at_s = False, now_s + RECHECK_S
            try:
                await self.edge.look_again(every=every)
            except BaseException:
                self._changed = changed
                raise
            if now_s >= self._secrets_at_s:
                await self._office.load()
                self._secrets_at_s = now_s + FORGET_S
        if now_s >= self._forget_at_s:
            self._forget_at_s = now_s + FORGET_S
            await self._table.forget_ended()
        return changed
