r"""Makes text from other processes harmless for a terminal.

A terminal obeys control characters: escape sequences clear the screen, set the title and hide text, and bidi controls change
the order in which text is shown. Names, messages, details and payloads come from anybody who can submit a task. So each
such character is shown by its number instead: "\x1b", "\u202e".
"""

from __future__ import annotations

import re

# C0, DEL and C1 controls; the line and paragraph separators; bidi controls; lone surrogates; annotations; invisible tags.
_CONTROLS = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"
    r"\ud800-\udfff\ufff9-\ufffb\U000e0000-\U000e007f"
)
_ANY = re.compile(f"[{_CONTROLS}]")
_ANY_OR_BREAK = re.compile(f"[{_CONTROLS}\n\t]")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str) -> str:
    """The text, with each control character shown by its number, except line breaks and tabs."""
    return _ANY.sub(_number, text)


def one_line(text: str) -> str:
    """The text as one line: each control character is shown, line breaks and tabs too."""
    return _ANY_OR_BREAK.sub(_number, text)


def in_json(text: str) -> str:
    """JSON text with control characters as JSON escapes: its value stays the same."""
    return _ANY.sub(_json_escape, text)


def _number(found: re.Match[str]) -> str:
    char = found[0]
    number = ord(char)
    if char in _NAMED:
        return _NAMED[char]
    if number <= 0xFF:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def _json_escape(found: re.Match[str]) -> str:
    number = ord(found[0])
    if number <= 0xFFFF:
        return f"\\u{number:04x}"
    above = number - 0x10000
    return f"\\u{0xD800 + (above >> 10):04x}\\u{0xDC00 + (above & 0x3FF):04x}"
