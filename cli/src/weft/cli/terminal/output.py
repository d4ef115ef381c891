"""Output: results go to stdout, remarks to stderr.

Printed text may come from other people: its control characters are made visible (`weft.rpc.visible`), so that the terminal
does not execute them. Only `Styled` parts have a style, and only on a terminal. Other modules of `weft.cli` do not write to
the standard streams, apart from the exceptions that a test lists.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, TextIO

from weft.rpc.visible import in_json, one_line, visible

_STYLES: Mapping[str, str] = MappingProxyType(
    {
        "bold": "1",
        "dim": "2",
        "red": "31",
        "green": "32",
        "yellow": "33",
        "blue": "34",
        "magenta": "35",
        "cyan": "36",
    }
)


@dataclass(frozen=True, slots=True)
class Styled:
    """Text with a style: words such as "bold red"."""

    text: str
    style: str


# The text of one line; several parts if they have different styles.
StyledText = str | Styled | Sequence["str | Styled"]


def parts_of(words: StyledText) -> Iterable[str | Styled]:
    return (words,) if isinstance(words, str | Styled) else words


def plain(words: StyledText) -> str:
    """The text without styles, as one line."""
    if isinstance(words, str):
        return one_line(words)
    if isinstance(words, Styled):
        return one_line(words.text)
    return "".join(one_line(part if isinstance(part, str) else part.text) for part in words)


def show(document: Any, text: str, *, as_json: bool) -> None:
    """Print the document as JSON, or the text."""
    line(json_text(document) if as_json else text)


def json_text(document: Any, *, indent: int | None = None) -> str:
    """JSON text without control characters. Numbers that JSON does not have are strings: "NaN", "Infinity"."""
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=indent)
    except ValueError:
        text = json.dumps(_with_finite_numbers(document), ensure_ascii=False, indent=indent)
    return in_json(text)


def line(words: StyledText) -> None:
    """Print one line on stdout and flush: a reader at the other end of a pipe must not wait."""
    _write(sys.stdout, styled(words, sys.stdout))


def block(text: str) -> None:
    """Print a text of several lines on stdout."""
    _write(sys.stdout, visible(text))


def remark(text: str) -> None:
    """Print on stderr, for people: never part of the result. Lines after the first are indented."""
    _write(sys.stderr, visible(text).replace("\n", "\n  "))


def prompt(text: str) -> None:
    """Print a question on stderr; the user answers on the same line."""
    sys.stderr.write(one_line(text))
    sys.stderr.flush()


def styled(words: StyledText, stream: TextIO) -> str:
    """The text for a stream, with styles if the stream shows them."""
    if isinstance(words, str) or not has_styles(stream):
        return plain(words)
    return "".join(_with_style(part) for part in parts_of(words))


def has_styles(stream: TextIO) -> bool:
    """Whether the stream is a terminal that shows styles."""
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def _with_style(part: str | Styled) -> str:
    if isinstance(part, str):
        return one_line(part)
    numbers = ";".join(_STYLES[word] for word in part.style.split())
    return f"\x1b[{numbers}m{one_line(part.text)}\x1b[0m" if numbers else one_line(part.text)


class LastLine(Protocol):
    """A line that stays the last one of the terminal: `weft.cli.terminal.progress_line`."""

    def hide(self) -> None: ...
    def show_again(self) -> None: ...


# At most one.
last_lines: list[LastLine] = []


def _write(stream: TextIO, text: str) -> None:
    if not last_lines or not stream.isatty():
        _write_plain(stream, text)
        return
    last_lines[-1].hide()
    _write_plain(stream, text)
    last_lines[-1].show_again()


def _write_plain(stream: TextIO, text: str) -> None:
    stream.write(text + "\n")
    stream.flush()


def _with_finite_numbers(value: Any) -> Any:
    match value:
        case dict():
            return {key: _with_finite_numbers(item) for key, item in value.items()}
        case list() | tuple():
            return [_with_finite_numbers(item) for item in value]
        case float() if math.isnan(value):
            return "NaN"
        case float() if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        case _:
            return value
