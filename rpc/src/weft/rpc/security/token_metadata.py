"""The metadata in which callers show their tokens."""

from __future__ import annotations

# The second is an application's own header, too: where a call has both, it is left to the application.
TOKEN_KEY = "weft-token"  # noqa: S105
AUTHORIZATION_KEY = "authorization"
_BEARER = "bearer weft_"


def shows_token(key: str, value: str | bytes) -> bool:
    """Whether an entry shows a token of weft's own. It is for one hop: no handler gets it, and it is never stored."""
    if key == AUTHORIZATION_KEY:
        text = value if isinstance(value, str) else value.decode("latin-1")
        return text[: len(_BEARER)].lower() == _BEARER
    return key == TOKEN_KEY
