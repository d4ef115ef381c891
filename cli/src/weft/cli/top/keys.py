"""Keys from the bytes that a terminal sends. Pure."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

# What terminals send -> names. Printable characters are their own names.
_SEQUENCES = {
    b"\x1b[A": "up",
    b"\x1bOA": "up",
    b"\x1b[B": "down",
    b"\x1bOB": "down",
    b"\x1b[5~": "page up",
    b"\x1b[6~": "page down",
    b"\x1b[H": "home",
    b"\x1bOH": "home",
    b"\x1b[1~": "home",
    b"\x1b[F": "end",
    b"\x1bOF": "end",
    b"\x1b[4~": "end",
    b"\x1b[Z": "back tab",
}
_BYTES = {
    b"\t": "tab",
    b"\r": "enter",
    b"\n": "enter",
    b"\x7f": "backspace",
    b"\x08": "backspace",
    b"\x03": "quit",
    b"\x1a": "suspend",
    b"\x0c": "redraw",
}


class KeyDecoder:
    """Turns what was read into names of keys. Half a character waits for its rest."""

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8")("replace")

    def keys(self, read: bytes) -> Iterator[str]:
        """The keys of one read. A terminal sends the bytes of a key together: an escape at the end is the key Escape."""
        while read:
            if read[:1] == b"\x1b":
                length = _length(read)
                name = _SEQUENCES.get(read[:length], "escape" if length == 1 else "")
                read = read[length:]
                if name:
                    yield name
                continue
            first, read = read[:1], read[1:]
            if first in _BYTES:
                yield _BYTES[first]
            elif (text := self._text.decode(first)) and text.isprintable():
                yield text


def _length(read: bytes) -> int:
    """How many bytes an escape sequence has, known or not."""
    if read[1:2] == b"O":
        return 3
    if read[1:2] != b"[":
        return 1
    for at in range(2, len(read)):
        if 0x40 <= read[at] <= 0x7E:
            return at + 1
    return len(read)
