"""Makes tickets and judges them: for callers that ask for some, and for this coordinator's own calls of agents.

    secret (a row, shared by coordinators) ─► key of one process of an agent ─┬─► Welcome: the agent verifies tickets with it
                                                                               └─► tickets of callers for that process

The secret is replaced after some days. An agent that has the key of the old one asks a coordinator about tickets of the new one.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from weft.coordinator.identity.certificate_rules import holds
from weft.coordinator.identity.token_rules import end_of_text
from weft.coordinator.identity.token_table import TokenTable
from weft.coordinator.store.base import Store
from weft.coordinator.store.table_store import RowPut
from weft.rpc import refusals
from weft.rpc.errors import NotFound
from weft.rpc.identity.caller import ANYBODY, tell_caller, told_caller
from weft.rpc.identity.judges import TokenVerdict
from weft.rpc.security import tickets, tokens
from weft.rpc.times import seconds, timestamp
from weft.v1 import security_pb2

KIND = "ticket-secrets"
_KEY = "secrets"
# A ticket is valid so long, or until its caller's token ends.
TICKET_S = 1800.0
# A secret makes tickets for so long.
SECRET_S = 7 * 86400.0
# Own tickets that are kept: more than a coordinator has agents.
_KEPT = 100_000


class TicketOffice:
    """The tickets of one mesh. `load` comes before all others.

    Args:
        store: has the secrets.
    """

    def __init__(self, store: Store, table: TokenTable) -> None:
        self._store = store
        self._table = table
        self._secrets: Sequence[security_pb2.TicketSecret] = ()

    async def load(self) -> None:
        """Read the secrets; make one, if there is none or it is old.

        Raises:
            Unavailable: the store cannot be read or written.
        """
        (row,) = await self._store.get_rows(KIND, [_KEY])
        stored = (
            security_pb2.TicketSecrets() if row is None else security_pb2.TicketSecrets.FromString(row.value)
        )
        now = self._store.now()
        if not stored.secrets or now - seconds(stored.secrets[0].create_time) >= SECRET_S:
            made = security_pb2.TicketSecret(secret=secrets.token_bytes(32), create_time=timestamp(now))
            # Tickets of the last one end long before there is another one.
            stored = security_pb2.TicketSecrets(secrets=[made, *stored.secrets[:1]])
            expected = 0 if row is None else row.revision
            (result,) = await self._store.put_rows(
                [RowPut(KIND, _KEY, stored.SerializeToString(), None, expected)]
            )
            if not isinstance(result, int):
                # Another coordinator has made one at the same time.
                await self.load()
                return
        self._secrets = tuple(stored.secrets)

    def now(self) -> float:
        return self._store.now()

    def key_of(self, namespace: str, agent: security_pb2.AgentProcess) -> bytes:
        """The key with which a process of an agent in a namespace verifies tickets."""
        return tickets.key_of(self._secrets[0].secret, namespace, agent)

    def ends_at(self, verdict: TokenVerdict) -> float:
        """When tickets end that are made now for a caller."""
        return min(self._store.now() + TICKET_S, verdict.ends_at)

    def make(self, verdict: TokenVerdict, agent: security_pb2.AgentProcess) -> str:
        """A ticket for a caller, for an agent in the namespace of its call."""
        caller = verdict.caller
        claims = security_pb2.Ticket(
            agent=agent,
            namespace=caller.namespace,
            caller=tell_caller(caller),
            create_time=timestamp(self._store.now()),
            expire_time=timestamp(self.ends_at(verdict)),
            text_hash=verdict.text_hash,
        )
        return tickets.signed(claims, self.key_of(caller.namespace, agent))

    def within(self, namespace: str) -> OwnTickets:
        """What the coordinator shows agents in a namespace (empty: the default one), and their keys."""
        return OwnTickets(self, namespace)

    async def judge(self, text: str) -> TokenVerdict:
        """What a ticket is worth now, without the policy.

        Raises:
            Unauthenticated: it is not valid, or its caller's token is not valid any more.
            Unavailable: the store cannot be read.
        """
        claims = self._verified(text)
        now, ends_at = self._store.now(), seconds(claims.expire_time)
        if now >= ends_at:
            raise refusals.ticket_invalid("it has ended")
        caller = told_caller(claims.caller)
        # Callers of other kinds of proof end with their tickets.
        if tokens.is_id(caller.token_id):
            try:
                stored, _ = await self._table.read(caller.token_id)
            except NotFound:
                raise refusals.ticket_invalid("the token that was shown for it is gone") from None
            token = stored.token
            if token.HasField("revoke_time"):
                raise refusals.token_revoked(token.id, shown=True)
            if claims.text_hash:
                ends_at = min(ends_at, end_of_text(stored, claims.text_hash))
            if now >= ends_at or not holds(token, caller.subject, now):
                raise refusals.token_expired(token.id)
            caller = caller._replace(token_name=token.name)
        return TokenVerdict(caller._replace(namespace=claims.namespace), ends_at)

    def _verified(self, text: str) -> security_pb2.Ticket:
        why = tickets.BadTicket("there are no keys")
        try:
            said = tickets.claims_of(text)
            for each in self._secrets:
                try:
                    return tickets.verified(text, tickets.key_of(each.secret, said.namespace, said.agent))
                except tickets.BadTicket as error:
                    why = error
        except tickets.BadTicket as error:
            why = error
        raise refusals.ticket_invalid(str(why)) from None


class OwnTickets:
    """A coordinator's own tickets for the agents of one namespace. It has let its own caller in before it calls an agent."""

    def __init__(self, office: TicketOffice, namespace: str) -> None:
        self._office = office
        self._caller = ANYBODY._replace(namespace=namespace)
        # By agent, with the time until which each is shown.
        self._kept: dict[tuple[str, str], tuple[str, float]] = {}

    def key_of(self, agent_id: str, instance_id: str) -> bytes:
        """The key with which a process of an agent verifies tickets."""
        process = security_pb2.AgentProcess(agent_id=agent_id, instance_id=instance_id)
        return self._office.key_of(self._caller.namespace, process)

    def now(self) -> float:
        return self._office.now()

    def text(self, agent_id: str, instance_id: str) -> str:
        """The ticket for a process of an agent."""
        text, until = self._kept.get((agent_id, instance_id), ("", 0.0))
        now = self._office.now()
        if now >= until:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            process = security_pb2.AgentProcess(agent_id=agent_id, instance_id=instance_id)
            text = self._office.make(TokenVerdict(self._caller), process)
            self._kept[agent_id, instance_id] = text, now + TICKET_S / 2
        return text
