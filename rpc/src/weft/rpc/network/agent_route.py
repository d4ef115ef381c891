"""How a process reaches agents' own ports: by its TLS, and with tickets."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from weft.rpc.network.channel import Route

if TYPE_CHECKING:
    from weft.rpc.security.channel_credentials import ChannelSecurity


class Tickets(Protocol):
    """This process' tickets for agents (see `weft.rpc.security.tickets`)."""

    def text(self, agent_id: str, instance_id: str) -> str:
        """The ticket for a process of an agent, for the next call; empty: none is needed, or there is none."""
        ...


class AgentTicket(NamedTuple):
    """What calls to one process of an agent show."""

    tickets: Tickets
    agent_id: str
    instance_id: str

    @property
    def is_bearer(self) -> bool:
        """No: it is of use at its receiver alone, and not for long."""
        return False

    @property
    def renewable(self) -> bool:
        return True

    def text(self) -> str:
        return self.tickets.text(self.agent_id, self.instance_id)


class AgentRoute(NamedTuple):
    """How a process reaches agents.

    Attributes:
        security: its TLS. None: connections are plain.
        tickets: None: its calls show nothing.
    """

    security: ChannelSecurity | None = None
    tickets: Tickets | None = None

    def to(self, agent_id: str, instance_id: str, tls_name: str) -> Route:
        """The route to one process of an agent.

        Args:
            tls_name: the name in its certificate; empty: its port has no TLS.
        """
        shown = None if self.tickets is None else AgentTicket(self.tickets, agent_id, instance_id)
        return Route(security=self.security if tls_name else None, token=shown)


PLAIN = AgentRoute()
