"""What strangers send to webhooks: signatures, bodies, headers; and the templates of operators."""

from __future__ import annotations

import base64
import json

from tests.fuzz.target import joined, parts_of, target, text_of
from weft.coordinator.hooks import hook_request, hook_signatures, hook_template
from weft.coordinator.hooks.hook_filter import HookFilter
from weft.coordinator.hooks.outgoing_url import check_address, check_host, place_of
from weft.rpc.errors import Unauthenticated
from weft.v1 import hook_pb2

_SECRET = "whsec_" + base64.b64encode(b"a secret that no input has").decode()
_KINDS = [kind for kind in hook_pb2.HookKind.values() if kind]
_SIGNING = hook_pb2.HookSigning(time_header="x-time", id_header="x-id", content="{id}.{time}.{body}")
_HEADERS = (
    b"x-hub-signature-256\x00sha256=00",
    b"x-gitlab-token\x00a\x00idempotency-key\x00k",
    b"stripe-signature\x00t=1700000000,v1=ab,v1=cd,v0=ef",
    b"webhook-id\x00m\x00webhook-timestamp\x001700000000\x00webhook-signature\x00v1,AAAA v1a,BB",
    b"x-signature\x00ab\x00x-time\x001\x00x-id\x00i",
)
_BODIES = (
    b"{}",
    b'{"a": {"b": [1, "x", null]}, "n": 18446744073709551616}',
    b"a=1&b=%C3%A4",
    b"payload=%7B%7D",
    b"[" * 200,
)


@target(
    "weft/coordinator/hooks/hook_signatures",
    seeds=lambda: [
        joined(bytes([kind]), headers, body)
        for kind, headers in zip(_KINDS, _HEADERS, strict=True)
        for body in _BODIES[:2]
    ],
)
def signed_request(data: bytes) -> None:
    """No input has a right signature."""
    kind, headers, body = parts_of(data, 3)
    texts = headers.decode("utf-8", "surrogateescape").split("\0")
    pairs = zip(texts[::2], texts[1::2], strict=False)
    request = hook_request.HookRequest(body, hook_request.together(pairs), {})
    hook = hook_pb2.IncomingHook(kind=_KINDS[sum(kind) % len(_KINDS)], signing=_SIGNING)
    try:
        hook_signatures.verified(request, hook, [_SECRET], 1_700_000_000.0)
    except Unauthenticated:
        return
    raise AssertionError("it was taken for signed")


@target(
    "weft/coordinator/hooks/hook_request",
    "weft/coordinator/hooks/hook_filter",
    seeds=lambda: [
        joined(kind, body)
        for body in _BODIES
        for kind in (b"application/json", b"application/x-www-form-urlencoded")
    ],
)
def hook_body(data: bytes) -> None:
    kind, body = parts_of(data, 2)
    read = hook_request.body_of(hook_request.HookRequest(body, {"content-type": text_of(kind)}, {}))
    assert HookFilter("body.a.b[0] == 1 && size(headers) == 0").matches(read, {}, {}) in {True, False}


@target(
    "weft/coordinator/hooks/hook_template",
    seeds=lambda: [
        joined(b'{"a": "${body.a.b.1}", "b": ["x ${headers.x-y}", "$${", "${delivery}"]}', body)
        for body in _BODIES[:3]
    ],
)
def template_of_a_hook(data: bytes) -> None:
    """What is filled in is a value, whatever it is."""
    text, body = parts_of(data, 2)
    template = hook_template.Template(text_of(text), "template")
    read = hook_request.body_of(hook_request.HookRequest(body, {}, {}))
    filled = template.filled({"body": read, "headers": {}, "query": {}, "delivery": "d"})
    assert filled.keys() <= template.form.keys()
    json.dumps(filled)


@target(
    "weft/coordinator/hooks/outgoing_url",
    seeds=lambda: [
        b"https://hooks.example.com:8443/a?b=c",
        b"http://[::ffff:127.0.0.1]/",
        b"https://2130706433/",
        b"https://user@example.com/#x",
    ],
)
def url_of_a_hook(data: bytes) -> None:
    """A host is never one that nobody has allowed, and what is no address is none that may be reached."""
    place = place_of(text_of(data))
    assert place.host
    assert 0 < place.port < 65536
    check_host(place, ["*.example.com"])
    assert place.host.endswith(".example.com")
    check_address(place, place.host, ())
