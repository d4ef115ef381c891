"""Tokens as rows of the store's table: by id, changed by compare-and-set; and their judge, for the edge."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from weft.coordinator.identity.token_rules import forget_at, is_valid, use, verdict_of
from weft.coordinator.store.base import Store
from weft.coordinator.store.table_store import (
    RowConflict,
    RowDelete,
    RowPut,
    TableRow,
    TooManyRows,
    every_row,
)
from weft.rpc import refusals
from weft.rpc.identity.caller import OPERATOR
from weft.rpc.identity.judges import TokenVerdict
from weft.rpc.security import tickets, tokens
from weft.v1 import security_pb2

KIND = "token"
# How often a change is tried when others change the token at the same time.
_TRIES = 16

# Changes the given token; false: nothing is to be changed. May be called several times.
Change = Callable[[security_pb2.StoredToken], bool]


class TokenTable:
    """The tokens of a store. A `weft.rpc.identity.edge.Judge`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def now(self) -> float:
        return self._store.now()

    async def judge(self, text: str) -> TokenVerdict:
        """
        Raises:
            Unauthenticated: the token is not valid.
            Unavailable: the store cannot be read.
        """
        if tickets.is_ticket(text):
            raise refusals.ticket_invalid("it is for the port of one agent, and no coordinator takes it")
        (row,) = await self._store.get_rows(KIND, [tokens.id_of(text)])
        stored = None if row is None else _stored(row)
        return verdict_of(stored, tokens.digest(text), self._store.now())

    async def read(self, token_id: str) -> tuple[security_pb2.StoredToken, int]:
        """A token, and its row's revision.

        Raises:
            InvalidArgument: the id cannot be one.
            NotFound: TOKEN_NOT_FOUND.
        """
        if not tokens.is_id(token_id):
            raise refusals.invalid_field(
                f"id must be a token's id, {tokens.ID_CHARS} letters and digits", field="id"
            )
        (row,) = await self._store.get_rows(KIND, [token_id])
        if row is None:
            raise refusals.token_not_found(token_id)
        return _stored(row), row.revision

    async def create(self, token: security_pb2.Token, text: str = "") -> str:
        """Store a new token; returns its text. Empty: certificates stand for it.

        Args:
            text: the text, if it has been made already.

        Raises:
            Overloaded: there are too many tokens.
        """
        stored = security_pb2.StoredToken(token=token)
        if not token.subjects:
            text = text or tokens.generate(token.id)
            stored.hashes.add(sha256=tokens.digest(text))
        (result,) = await self._store.put_rows([_put(stored, 0)])
        if isinstance(result, TooManyRows):
            raise refusals.overloaded(
                f"there are {result.limit} tokens, the most that are allowed: revoke some"
            )
        if isinstance(result, RowConflict):
            raise refusals.overloaded("another token has this id; try again", retry_after_s=0.1)
        return text

    async def change(self, token_id: str, change: Change) -> security_pb2.Token:
        """Change a token; returns it as it is then.

        Raises:
            InvalidArgument: the id cannot be one.
            NotFound: TOKEN_NOT_FOUND.
            Overloaded: others change it at the same time, again and again.
        """
        for _ in range(_TRIES):
            stored, revision = await self.read(token_id)
            if not change(stored):
                return stored.token
            (result,) = await self._store.put_rows([_put(stored, revision)])
            if not isinstance(result, RowConflict | TooManyRows):
                return stored.token
        raise refusals.overloaded("others change this token at the same time; try again", retry_after_s=0.5)

    async def use(self, token_id: str, agent_id: str) -> None:
        """Note that an agent joins with a token.

        Raises:
            PermissionDenied: TOKEN_USED_UP.
        """
        await self.change(token_id, lambda stored: use(stored.token, agent_id))

    async def page(self, limit: int, cursor: str) -> tuple[Sequence[security_pb2.Token], str]:
        """Some tokens by id, and the cursor of the next page."""
        page = await self._store.list_rows(KIND, limit=limit, cursor=cursor)
        return [_stored(row).token for row in page.rows], page.cursor

    async def every(self) -> AsyncIterator[security_pb2.Token]:
        """Every token."""
        async for row in every_row(self._store, KIND):
            yield _stored(row).token

    async def has_operator(self) -> bool:
        """Whether some operator's token is valid."""
        now = self._store.now()
        async for token in self.every():
            if token.role == OPERATOR and is_valid(token, now):
                return True
        return False

    async def any(self) -> bool:
        """Whether there are tokens, valid or not."""
        return bool((await self._store.list_rows(KIND, limit=1)).rows)

    async def forget_ended(self) -> None:
        """Delete tokens that have ended long ago."""
        due = await self._store.due_rows(KIND, 100)
        if due.rows:
            await self._store.delete_rows([RowDelete(KIND, row.key, row.revision) for row in due.rows])


def _stored(row: TableRow) -> security_pb2.StoredToken:
    return security_pb2.StoredToken.FromString(row.value)


def _put(stored: security_pb2.StoredToken, expected: int) -> RowPut:
    token = stored.token
    return RowPut(KIND, token.id, stored.SerializeToString(), forget_at(token), expected)
