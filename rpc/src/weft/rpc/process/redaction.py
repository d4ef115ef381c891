"""Redaction: secrets do not reach a log, whatever door they come through.

A value is secret by its name (`password`, `authorization`, `x-api-key`, any `-bin` metadata), at any depth, also as the second of a
pair. Numbers with such a name are secret too, except counts (`tokens=12`). A text is searched for the forms in which secrets are
written: URLs with passwords, headers, assignments, bearer tokens, private keys. Bytes and protobuf messages may be payloads: a log
has their size or their type alone. Programs declare further names (`declare_secrets`): the secret fields of their contracts.

Pure, but for the declared names. The time is linear in the length of a text, and of a long text the middle is left out: texts come from anybody.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

REDACTED = "[redacted]"

# Containers within containers.
_DEPTH = 8
# Items of one container.
_ITEMS = 1000
# Braces within braces, of a declared name's value.
_BRACES = 4
# Characters of one text: of a longer one so many from its beginning, and so many from its end. A traceback has its message last.
_HEAD_CHARS, _TAIL_CHARS = 96 * 1024, 32 * 1024

# Words of names. `name` is looked at in lower case and word by word: `apiKey`, `api-key`, `API_KEY`.
_WORDS = frozenset(
    [
        "authorization",
        "authentication",
        "cookie",
        "cookies",
        "credential",
        "credentials",
        "passcode",
        "passphrase",
        "passwd",
        "password",
        "passwords",
        "pwd",
        "secret",
        "secrets",
        "token",
        "apikey",
    ]
)
# Weft's own tokens have ids, which are no secrets: logs name tokens by them.
_PUBLIC = ["token", "id"]
_COUNTED = frozenset({"tokens"})
_PAIRS = frozenset(
    {("api", "key"), ("private", "key"), ("access", "key"), ("signing", "key"), ("session", "key")}
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

# A name that says secret, inside a text. The run before and after it is bounded, so that the search stays linear.
_NAME = (
    r"(?<![A-Za-z0-9])(?:[A-Za-z0-9_.\-]{0,40}?"
    r"(?:(?:authorization|cookie|credential|pass(?:word|wd|phrase|code)|pwd|secret"
    r"|(?:api|private|access|signing|session)[_\-]?key)s?|token)"
    r"(?:[_\-][A-Za-z0-9_.\-]{0,40})?|[A-Za-z0-9_.\-]{1,60}?-bin(?![A-Za-z0-9_\-]))"
)
# A quotation mark, which may be escaped: texts are often the `repr` or the JSON of others.
_MARK = r"\\{0,4}[\"']"
# A quoted text, also one that has been cut off.
_QUOTED = r"\\{0,4}(?:\"(?:[^\"\\]|\\[\s\S])*\\?(?:\"|\Z)|'(?:[^'\\]|\\[\s\S])*\\?(?:'|\Z))"
_SCHEME = r"(?:(?:Bearer|Basic|Digest|Negotiate|Token)[ \t]+)?"
_TEXTS = (
    # -----BEGIN ... PRIVATE KEY----- to its end, or to the end of the text.
    (
        r"(?s)-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)",
        REDACTED,
    ),
    # scheme://user:password@host: all between the first colon and the last @ of the authority.
    (r"(://[^\s/?#@:\"'<>]{0,256}):[^\s/?#\"'<>]{1,1024}@", rf"\1:{REDACTED}@"),
    # A whole header line of cookies.
    (
        rf"(?i)((?:(?<![A-Za-z0-9])|(?<=\\[nrt]))(?:set-)?cookie(?:{_MARK})?[ \t]*:[ \t]*+)(?![\[({{]|b?{_MARK})[^\r\n\"']+",
        rf"\1{REDACTED}",
    ),
    # key: "authorization" value: "..."; key='authorization', value='...'
    (
        (
            rf"(?i)((?:key|name)[ \t]*[=:][ \t]*{_MARK}{_NAME}{_MARK}(?:[,\s]|\\[nrt])*(?:value|text|binary)[ \t]*[=:][ \t]*)"
            rf"(?:b?{_QUOTED}|[^\s,)}}\]]+)"
        ),
        rf"\1'{REDACTED}'",
    ),
    # 'authorization': '...', ("authorization", "...") and password="..."
    (
        rf"(?i)({_NAME}(?:{_MARK})?[ \t]*[,:=][ \t]*)(?:b?{_QUOTED}|[\[(]b?{_QUOTED}(?:, ?b?{_QUOTED})*)",
        rf"\1'{REDACTED}'",
    ),
    # password=..., Authorization: Bearer ..., ?access_token=...
    (
        rf"(?i)({_NAME}(?:{_MARK})?[ \t]*[=:][ \t]*+)(?!{_MARK}|\[redacted\]){_SCHEME}[^\s\"',;&<>)}}\]]+",
        rf"\1{REDACTED}",
    ),
    (
        r"\b((?i:bearer|basic))[ \t]+(?=[a-z._~\-]{0,1000}[A-Z0-9+/=])[A-Za-z0-9+/=._~\-]{8,}",
        rf"\1 {REDACTED}",
    ),
    # JSON web tokens; access keys of well-known services.
    (r"\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]*)?", REDACTED),
    (r"\bweft_[0-9A-Za-z]{20,}", REDACTED),
    (
        r"\b(?:gh[pousr]_\w{20,}|github_pat_\w{20,}|xox[abeoprs]-[A-Za-z0-9\-]{10,}|AKIA[0-9A-Z]{16}|sk-[A-Za-z0-9_\-]{20,})",
        REDACTED,
    ),
)
_SEARCHED = tuple((re.compile(pattern), instead) for pattern, instead in _TEXTS)
# No secret is written without one of these: most texts are searched once only.
_MAYBE = re.compile(
    r"(?i)authorization|cookie|credential|pass|pwd|secret|token|key|-bin|@|bearer|basic|eyJ|gh[pousr]_|github_pat|xox|AKIA|sk-|weft_"
)


class _Declared:
    """The names that were declared, and the search for their values in texts."""

    names: frozenset[str] = frozenset()
    texts: tuple[tuple[re.Pattern[str], str], ...] = ()


def declare_secrets(names: Iterable[str]) -> None:
    """Let values of these names, as they are written, be secret in this process from now on.

    In texts a value is found after its name and ":" or "=", as protobuf, JSON and `repr` write it; a message, a list or a map in
    its braces, up to five within each other.
    """
    more = _Declared.names | {name for name in names if name}
    if more == _Declared.names:
        return
    any_name = "|".join(re.escape(name) for name in sorted(more, key=len, reverse=True))
    name = rf"(?<![A-Za-z0-9_])(?:{any_name})(?![A-Za-z0-9_])(?:{_MARK})?[ \t]*"
    _Declared.texts = (
        (re.compile(rf"({name}[:=]?[ \t]*){_braces(_BRACES)}"), rf"\1{REDACTED}"),
        (
            re.compile(rf"({name}[:=][ \t]*+)(?!\[redacted\])(?:b?{_QUOTED}|[^\s\"',;&<>)}}\]]+)"),
            rf"\1{REDACTED}",
        ),
    )
    _Declared.names = more


def _braces(levels: int) -> str:
    """A pattern of balanced braces or brackets with quoted texts, also cut off."""
    within = rf"b?{_QUOTED}|[^\[\]{{}}\"'\\]++|\\"
    # Deeper ones hide the rest of the text.
    within = rf"{within}|{_braces(levels - 1)}" if levels else rf"{within}|[\[{{][\s\S]*+"
    return rf"(?:\{{(?:{within})*+(?:\}}|\Z)|\[(?:{within})*+(?:\]|\Z))"


def redacted(fields: Mapping[Any, Any]) -> dict[Any, Any]:
    """The fields, without secrets. Values become plain: text, numbers, booleans, None, and lists and dictionaries of these."""
    return _mapping(fields, _DEPTH)


def redacted_text(text: str) -> str:
    """The text, without secrets, and bounded in its length."""
    if (more := len(text) - _HEAD_CHARS - _TAIL_CHARS) > 0:
        text = f"{text[:_HEAD_CHARS]}… {more} more characters …{text[-_TAIL_CHARS:]}"
    text = _without_declared(text)
    if _MAYBE.search(text) is None:
        return text
    for pattern, instead in _SEARCHED:
        text = pattern.sub(instead, text)
    return text


def without_declared(name: str, value: Any) -> Any:
    """A value without what was declared to be secret, and nothing else: for what a program itself puts into traces."""
    if not _Declared.names:
        return value
    if name in _Declared.names:
        return REDACTED
    return _without_declared(value) if isinstance(value, str) else value


def _without_declared(text: str) -> str:
    for pattern, instead in _Declared.texts:
        text = pattern.sub(instead, text)
    return text


def is_secret(name: str) -> bool:
    """Whether a value of this name is secret."""
    if name in _Declared.names:
        return True
    if name.lower().endswith("-bin"):
        # Metadata with bytes: credentials, or a payload.
        return True
    words = [word.lower() for word in _WORD.findall(name[:256])]
    if words == _PUBLIC:
        return False
    return not _WORDS.isdisjoint(words) or not _PAIRS.isdisjoint(itertools.pairwise(words))


def _is_secret_value(name: object, value: object) -> bool:
    if not isinstance(name, str) or value is None or isinstance(value, bool):
        return False
    if is_secret(name):
        return True
    counted = _COUNTED.intersection(word.lower() for word in _WORD.findall(name[:256]))
    return bool(counted) and not isinstance(value, int | float)


def _mapping(fields: Mapping[Any, Any], depth: int) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key, value in fields.items():
        if len(found) >= _ITEMS:
            found["…"] = f"{len(fields) - _ITEMS} more"
            break
        shown = redacted_text(key if isinstance(key, str) else _shown(key))
        found[shown] = REDACTED if _is_secret_value(key, value) else _value(value, depth)
    return found


def _value(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is str:
        return redacted_text(value)
    if value is None or kind in (bool, int, float):
        return value
    if depth and isinstance(value, Mapping):
        return _mapping(value, depth - 1)
    if depth and isinstance(value, list | tuple | AbstractSet):
        return _items(value, depth - 1)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if (message := getattr(kind, "DESCRIPTOR", None)) is not None:
        return f"<{getattr(message, 'full_name', kind.__name__)}>"
    return redacted_text(_shown(value))


def _items(values: Any, depth: int) -> list[Any]:
    if isinstance(values, list | tuple) and len(values) == 2 and _is_secret_value(values[0], values[1]):
        return [values[0], REDACTED]
    found: list[Any] = []
    for value in values:
        if len(found) >= _ITEMS:
            found.append(f"… {len(values) - _ITEMS} more")
            break
        found.append(_value(value, depth))
    return found


def _shown(value: object) -> str:
    return str.__str__(value) if isinstance(value, str) else repr(value)
