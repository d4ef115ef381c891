"""The first operator's token: made by a coordinator that asks for tokens and finds no valid one of an operator in its store."""

from __future__ import annotations

import os
from pathlib import Path

from weft.coordinator.identity.token_rules import new_token
from weft.coordinator.identity.token_table import TokenTable
from weft.rpc.identity.caller import OPERATOR
from weft.rpc.process.logs import get_logger
from weft.rpc.security import tokens
from weft.v1 import security_pb2

log = get_logger(__name__)

_COMMENT = "the first operator, made at start"


class FirstTokenError(Exception):
    """The file of the first operator's token cannot be written."""


async def make_first_operator(table: TokenTable, path: Path) -> str:
    """Make an operator's token and write it to a file that only this user can read, unless an operator has a valid token.

    Returns its id; empty: none was made.

    Raises:
        FirstTokenError
        Unavailable: the store cannot be written.
    """
    if await table.has_operator():
        return ""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        # Before the token is stored: one that nobody can read would keep the next start from making another.
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: ASYNC230, PTH123
            request = security_pb2.CreateTokenRequest(role=OPERATOR, comment=_COMMENT)
            token = new_token(request, tokens.generate_id(), "", table.now())
            file.write(f"{await table.create(token)}\n")
        partial.replace(path)
    except OSError as error:
        raise FirstTokenError(
            f"cannot write the first operator's token to {path}: {error.strerror}. Choose another place with --operator-token-file PATH"
        ) from None
    finally:
        partial.unlink(missing_ok=True)
    log.warning("token.first_operator", file=str(path), token_id=token.id, role="operator")
    return token.id
