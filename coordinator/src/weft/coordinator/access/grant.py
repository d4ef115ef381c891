"""What the policy file grants to callers whom the mesh does not know by tokens of its own."""

from __future__ import annotations

from typing import NamedTuple

from weft.rpc.identity.caller import Caller
from weft.rpc.identity.scope import ANY, Scope
from weft.v1 import access_pb2


class Grant(NamedTuple):
    """A role, and how far it goes."""

    role: access_pb2.Role
    scope: Scope = ANY

    def caller(self, subject: str) -> Caller:
        """The caller with this grant."""
        return Caller(self.role, self.scope, subject=subject)
