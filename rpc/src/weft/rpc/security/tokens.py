"""The form of tokens: made, taken apart and hashed here, and nowhere else. Pure, apart from chance.

    weft_ 3fKq9ZpL0aBc 7Yx…(43)  9Qm2Ta
          id (12)      secret    checksum of all before it

The id names a token in lists and logs. The checksum tells a text that was cut or mistyped from a token that is not valid, without
a question to anybody. Of the secret's 43 characters 32 bytes are random.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib

PREFIX = "weft_"
ID_CHARS = 12
SECRET_CHARS = 43
CHECKSUM_CHARS = 6
TOKEN_CHARS = len(PREFIX) + ID_CHARS + SECRET_CHARS + CHECKSUM_CHARS
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID = re.compile(rf"[0-9A-Za-z]{{{ID_CHARS}}}")
_FORM = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{TOKEN_CHARS - len(PREFIX)}}}")


class BadToken(ValueError):
    """A text is no token; the message says why, and has nothing of the text."""


def generate_id() -> str:
    """A new token's id."""
    return "".join(secrets.choice(_DIGITS) for _ in range(ID_CHARS))


def generate(token_id: str) -> str:
    """A new text of the token with this id."""
    body = PREFIX + token_id + _base62(int.from_bytes(secrets.token_bytes(32)), SECRET_CHARS)
    return body + _checksum(body)


def is_id(text: str) -> bool:
    """Whether a text has the form of a token's id."""
    return _ID.fullmatch(text) is not None


def id_of(text: str) -> str:
    """The id in a token's text.

    Raises:
        BadToken: it is no token, or a part of one.
    """
    if not text.startswith(PREFIX):
        raise BadToken(f"it does not begin with {PREFIX}")
    if len(text) != TOKEN_CHARS:
        raise BadToken(f"it has {len(text)} characters instead of {TOKEN_CHARS}")
    if not _FORM.fullmatch(text):
        raise BadToken("it has other characters than letters and digits")
    if text[-CHECKSUM_CHARS:] != _checksum(text[:-CHECKSUM_CHARS]):
        raise BadToken("its checksum is wrong: a part was changed or left out")
    return text[len(PREFIX) : len(PREFIX) + ID_CHARS]


def digest(text: str) -> bytes:
    """What is stored of a token's text. The text has 256 random bits, so that a plain hash hides it."""
    return hashlib.sha256(text.encode()).digest()


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), CHECKSUM_CHARS)


def _base62(number: int, chars: int) -> str:
    found = []
    for _ in range(chars):
        number, digit = divmod(number, len(_DIGITS))
        found.append(_DIGITS[digit])
    return "".join(reversed(found))
