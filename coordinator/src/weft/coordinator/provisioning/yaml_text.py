"""Documents in YAML, made of values: each text is quoted here unless it is a plain word. Pure.

A quoted text is in double quotes, whose escapes are the same in all versions of YAML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

Value = str | int | bool | Mapping[str, "Value"] | Sequence["Value"]

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
# Words that some version of YAML takes for something else than a text.
_TAKEN = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def yaml_text(*documents: Value) -> str:
    """Documents, one after another."""
    return "---\n".join("\n".join(_lines(each)) + "\n" for each in documents)


def _lines(value: Value) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            yield from _entry(f"{_text(key)}:", each)
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        for each in value:
            first, *rest = _lines(each)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
    else:
        yield _scalar(value)


def _entry(head: str, value: Value) -> Iterator[str]:
    if isinstance(value, str | int) or not value:
        yield f"{head} {_scalar(value)}"
        return
    yield head
    yield from (f"  {line}" for line in _lines(value))


def _scalar(value: Value) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return _text(value)
        case Mapping():
            return "{}"
        case _:
            return "[]"


def _text(text: str) -> str:
    if _WORD.fullmatch(text) and text.lower() not in _TAKEN:
        return text
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char.isprintable():
        return char
    number = ord(char)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
