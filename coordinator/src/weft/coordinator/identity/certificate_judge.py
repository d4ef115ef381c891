"""Judges the certificates of callers, where ports verify them: a `weft.rpc.identity.judges.PeerJudge`."""

from __future__ import annotations

from weft.coordinator.identity.certificate_rules import fitting, verdict_of_certificate
from weft.coordinator.identity.token_table import TokenTable
from weft.rpc.errors import NotFound
from weft.rpc.identity.judges import TokenVerdict
from weft.rpc.security import tokens
from weft.rpc.security.peer_identity import PeerCertificate
from weft.v1 import security_pb2

# A subject that no known token fits has the tokens read again, at most so often.
LOOK_S = 1.0


class CertificateJudge:
    """The judge.

    Args:
        automatic: the ports trust the mesh's own authority alone, whose certificates name the token that they stand for.
    """

    def __init__(self, table: TokenTable, *, automatic: bool) -> None:
        self._table = table
        self._automatic = automatic
        # Tokens for which certificates stand. None: they must be read.
        self._tokens: list[security_pb2.Token] | None = None
        self._read_at_s = 0.0

    def tokens_changed(self) -> None:
        """Read tokens again when they are needed."""
        self._tokens = None

    async def judge_certificate(self, shown: PeerCertificate) -> TokenVerdict:
        """
        Raises:
            Unauthenticated: it stands for no valid token.
            Unavailable: the store cannot be read.
        """
        find = self._named if self._automatic else self._fitting
        return verdict_of_certificate(await find(shown), shown, self._table.now())

    async def _named(self, shown: PeerCertificate) -> security_pb2.Token | None:
        if not tokens.is_id(shown.common_name):
            return None
        try:
            stored, _ = await self._table.read(shown.common_name)
        except NotFound:
            return None
        return stored.token

    async def _fitting(self, shown: PeerCertificate) -> security_pb2.Token | None:
        found = None if self._tokens is None else fitting(self._tokens, shown.subject)
        if found is None and (self._tokens is None or self._table.now() >= self._read_at_s + LOOK_S):
            self._read_at_s = self._table.now()
            self._tokens = [token async for token in self._table.every() if token.subjects]
            found = fitting(self._tokens, shown.subject)
        return found
