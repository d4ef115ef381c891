"""What the identity part of a coordinator tells: the audit listens."""

from __future__ import annotations

from typing import Protocol

from weft.coordinator.access.policy_news import PolicyNews
from weft.rpc.identity.refused_calls import RefusedCall


class IdentityNews(Protocol):
    """Who is told."""

    def refused(self, call: RefusedCall) -> None:
        """A call was refused for who made it."""
        ...

    def policy_read(self, news: PolicyNews) -> None:
        """Another policy is in force, or cannot be."""
        ...

    def first_operator(self, token_id: str) -> None:
        """The first operator's token was made."""
        ...
