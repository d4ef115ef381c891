"""A text that does not print: tokens, passwords, keys."""

from __future__ import annotations

import hmac


class SecretText:
    """A secret. Its text is read by `reveal` alone: no message, log or traceback has it by accident."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself, for the one place that needs it."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return "SecretText('**********')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretText) and hmac.compare_digest(
            self._text.encode(errors="surrogatepass"), other._text.encode(errors="surrogatepass")
        )

    def __hash__(self) -> int:
        return hash((SecretText, self._text))

    def __reduce__(self) -> str:
        raise TypeError("a secret cannot be pickled")
