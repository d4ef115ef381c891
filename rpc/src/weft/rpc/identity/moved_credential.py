"""The context of a call whose JSON web token came as its `authorization`: the rest of the server sees it as `weft-token`.

A token is for one hop: no handler gets it, and it is not stored with a task. An `authorization` in general is the application's; only the edge knows that
this one has proved the caller.
"""

from __future__ import annotations

from typing import Any

from weft.rpc.security.token_metadata import AUTHORIZATION_KEY, TOKEN_KEY

Pairs = tuple[tuple[str, str | bytes], ...]


class MovedCredential:
    """A call's context in all but its metadata.

    Args:
        text: the token.
    """

    def __init__(self, context: Any, text: str) -> None:
        self._context = context
        self._text = text

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def invocation_metadata(self) -> Pairs:
        """The call's metadata, with the token under weft's own key."""
        given: Pairs | None = self._context.invocation_metadata()
        pairs = given or ()
        if any(key == TOKEN_KEY for key, _ in pairs):
            return pairs
        kept = ((key, value) for key, value in pairs if key != AUTHORIZATION_KEY)
        return (*kept, (TOKEN_KEY, self._text))
