"""A request for a hook, and its body as values for templates and filters. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from weft.rpc import bounded_json, refusals

MAX_BODY_BYTES = 1024 * 1024
MAX_FORM_FIELDS = 1000
_FORM = "application/x-www-form-urlencoded"
_INT64_DIGITS = 19
_INT64 = range(-(2**63), 2**63)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_CHARSET = re.compile(r";\s*charset=\"?([\w.:-]+)", re.IGNORECASE)


class HookRequest(NamedTuple):
    """A request as it came.

    Attributes:
        headers: by lower-case names. Values of a repeated one are joined by ", ".
        query: the parameters of its URL.
    """

    body: bytes
    headers: Mapping[str, str]
    query: Mapping[str, str]


def together(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers by lower-case names."""
    found: dict[str, str] = {}
    for name, value in pairs:
        key = name.lower()
        found[key] = f"{found[key]}, {value}" if key in found else value
    return found


def readable(header: str) -> str:
    """A header's value as text. HTTP servers read bytes that are no UTF-8 as surrogates, which nothing else takes."""
    return header.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def body_of(request: HookRequest) -> Any:
    """The value of a body: of JSON, or of a form. A form with a field "payload" alone, as GitHub sends it, is the JSON in it.

    Raises:
        InvalidArgument: PAYLOAD_MALFORMED.
    """
    kind = request.headers.get("content-type", "")
    text = _text(request.body, kind)
    if kind.partition(";")[0].strip().lower() != _FORM:
        return _json(text)
    try:
        fields = dict(
            parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS)
        )
    except ValueError as error:
        raise _malformed(f"no form: {error}") from None
    return _json(fields["payload"]) if fields.keys() == {"payload"} else fields


def _text(body: bytes, kind: str) -> str:
    found = _CHARSET.search(kind)
    if found is not None and found[1].lower() not in ("utf-8", "utf8", "us-ascii"):
        raise _malformed(f"of the character set {found[1][:32]}, which is not taken: send UTF-8")
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _malformed(f"no UTF-8 (byte {error.start})") from None


def _json(text: str) -> Any:
    try:
        value = bounded_json.loads(text, parse_int=_integer, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise _malformed(f"no JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except bounded_json.TooDeep:
        raise _malformed("nested too deeply") from None
    except ValueError as error:
        raise _malformed(f"no JSON: {error}") from None
    if _SURROGATE.search(text):
        _check_texts(value)
    return value


def _integer(digits: str) -> int | str:
    """A number as a filter and protobuf's JSON take it: one that is larger than 64 bits is a text."""
    if len(digits) <= _INT64_DIGITS + 1 and (number := int(digits)) in _INT64:
        return number
    return digits


def _no_constant(name: str) -> Any:
    raise ValueError(f"there is no {name} in it")


def _check_texts(value: Any) -> None:
    """Refuse texts with half a character, which no message can have."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _malformed("no JSON: a text in it has half a character (a lone surrogate)") from None


def _malformed(why: str) -> Exception:
    return refusals.payload_malformed(f"the request's body is {why}", field="body")
