"""What a call shows in its metadata: the text of a token or of a ticket, and whether it has the form of one."""

from __future__ import annotations

from collections.abc import Iterable

from weft.rpc import refusals
from weft.rpc.security import tickets, tokens
from weft.rpc.security.jwt_form import is_jwt
from weft.rpc.security.token_metadata import AUTHORIZATION_KEY, TOKEN_KEY

Pairs = Iterable[tuple[str, str | bytes]]

_SCHEME = "bearer "


def token_of(pairs: Pairs) -> str:
    """The token that a call shows.

    Raises:
        Unauthenticated: it shows none, or several, or something else.
    """
    own = [value for key, value in pairs if key == TOKEN_KEY]
    found = own or [value for key, value in pairs if key == AUTHORIZATION_KEY]
    if not found:
        raise refusals.token_missing()
    if len(found) > 1:
        raise refusals.token_invalid("the call has several")
    text = found[0]
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    if not text:
        raise refusals.token_invalid("it is empty")
    if own:
        return text
    if text[: len(_SCHEME)].lower() != _SCHEME:
        raise refusals.token_invalid("the authorization is not of the form `Bearer TOKEN`")
    return text[len(_SCHEME) :].strip()


def check_form(text: str) -> None:
    """Refuse a text that is neither a token nor a ticket.

    Raises:
        Unauthenticated: TOKEN_INVALID; the message says why, without the text.
    """
    if is_jwt(text) or tickets.is_ticket(text):
        # Their proof, which the judge looks at, is of more use than a checksum.
        return
    try:
        tokens.id_of(text)
    except tokens.BadToken as error:
        raise refusals.token_invalid(str(error)) from None


def shows_any(pairs: Pairs) -> bool:
    """Whether a call shows something that might be a token."""
    return any(key in (TOKEN_KEY, AUTHORIZATION_KEY) for key, _ in pairs)
