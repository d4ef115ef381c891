"""Encryption of bodies: AES-256-GCM in frames, so that a large one is never in memory twice. The form is in payload.proto.

Each payload has a key of its own, made of the file's key and 32 random bytes: no number of payloads wears the file's key out.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FRAME_BYTES = 1024 * 1024
TAG_BYTES = 16


class Tampered(Exception):
    """A frame was changed, moved or cut off, or the key or the header is another one."""


def seal(key: bytes, salt: bytes, head: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The body, encrypted, in frames."""
    cipher = _cipher(key, salt)
    for number, (frame, last) in enumerate(_frames(pieces, FRAME_BYTES)):
        yield cipher.encrypt(_nonce(number, last=last), frame, head)


def unseal(key: bytes, salt: bytes, head: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The decrypted body, in frames. What was yielded is authentic; the whole is when this ends.

    Raises:
        Tampered: from the frame on that is not as it was.
    """
    cipher = _cipher(key, salt)
    for number, (frame, last) in enumerate(_frames(pieces, FRAME_BYTES + TAG_BYTES)):
        try:
            yield cipher.decrypt(_nonce(number, last=last), frame, head)
        except InvalidTag:
            raise Tampered from None


def request_digest(key: bytes, method: str, message: bytes) -> bytes:
    """A digest by which equal requests are known, and which tells nothing else without the key."""
    made = hmac.new(hmac.digest(key, b"weft digest", "sha256"), method.encode() + b"\0", hashlib.sha256)
    made.update(message)
    return made.digest()


def _cipher(key: bytes, salt: bytes) -> AESGCM:
    return AESGCM(hmac.digest(key, b"weft payload" + salt, "sha256"))


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(8, "big") + (b"\0\0\0\1" if last else b"\0\0\0\0")


def _frames(pieces: Iterable[bytes], size: int) -> Iterator[tuple[bytes, bool]]:
    """The pieces, put together anew, each with whether it is the last; one, empty, if there are none."""
    waiting = bytearray()
    for piece in pieces:
        if not waiting and len(piece) <= size:
            waiting += piece
            continue
        view = memoryview(piece)
        while len(waiting) + len(view) > size:
            room = size - len(waiting)
            waiting += view[:room]
            view = view[room:]
            yield bytes(waiting), False
            waiting.clear()
        waiting += view
    yield bytes(waiting), True
