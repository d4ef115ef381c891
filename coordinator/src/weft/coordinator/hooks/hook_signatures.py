"""Who sent a request: the signatures of each kind of hook, and by what a repeat is known. Pure.

    request ─► signature over what is signed, by any secret that is right now ─► signed time within the tolerance ─► delivery

A delivery's identity is made of signed content alone. An id in a header that is not signed would let whoever has seen one request send it
again under another id.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from weft.coordinator.hooks.hook_request import HookRequest
from weft.rpc import bounded_json, refusals
from weft.v1 import hook_pb2

DEFAULT_TOLERANCE_S = 300.0
DEFAULT_HEADER = "x-signature"
STANDARD_PREFIX = "whsec_"
# Signatures that one request may show: senders show several while they change their secret.
_MOST_SHOWN = 8
_MAX_ID_CHARS = 256
_CONTENT = "content "
_SECONDS = re.compile(r"[0-9]{1,12}")


class Signed(NamedTuple):
    """What a right signature says: by what a repeat is known, and when it was sent; None: that is not signed."""

    identity: str
    sent_s: float | None

    @property
    def is_content(self) -> bool:
        """All that is signed is the identity, a signed time too."""
        return self.identity.startswith(_CONTENT)


Verify = Callable[[HookRequest, Sequence[str], hook_pb2.HookSigning], Signed]


def verified(
    request: HookRequest,
    hook: hook_pb2.IncomingHook,
    secrets: Sequence[str],
    now_s: float,
    tolerance_s: float = DEFAULT_TOLERANCE_S,
) -> Signed:
    """What the signature of a request says.

    Args:
        secrets: those that are right now.

    Raises:
        Unauthenticated: HOOK_SIGNATURE_INVALID: it is missing or wrong; HOOK_REQUEST_STALE: it was signed too long ago, or in the future.
    """
    signed = _KINDS[hook.kind](request, secrets, hook.signing)
    if signed.sent_s is not None and abs(now_s - signed.sent_s) > tolerance_s:
        raise refusals.hook_request_stale(now_s - signed.sent_s, tolerance_s)
    return signed


def delivery_id(identity: str) -> str:
    """An identity as a part of ids."""
    # What is signed may be no text.
    return hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def standard_key(secret: str) -> bytes:
    """The key in a secret of Standard Webhooks.

    Raises:
        ValueError: it is none.
    """
    text = secret.removeprefix(STANDARD_PREFIX)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("it is not base64") from None


def standard_signature(secret: str, message_id: str, time_s: int, body: bytes) -> str:
    """The header `webhook-signature` of a message, by one secret."""
    made = hmac.digest(standard_key(secret), f"{message_id}.{time_s}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(made).decode()}"


# -- kinds -------------------------------------------------------------------------------------------------------------


def _github(request: HookRequest, secrets: Sequence[str], _signing: hook_pb2.HookSigning) -> Signed:
    shown = request.headers.get("x-hub-signature-256", "")
    _check(secrets, [shown.removeprefix("sha256=")], lambda secret: _hex(secret, request.body))
    return Signed(f"body {_digest(request.body)}", None)


def _gitlab(request: HookRequest, secrets: Sequence[str], signing: hook_pb2.HookSigning) -> Signed:
    signers = [secret for secret in secrets if secret.startswith(STANDARD_PREFIX)]
    if signers and "webhook-signature" in request.headers:
        return _standard(request, signers, signing)
    tokens = [secret for secret in secrets if not secret.startswith(STANDARD_PREFIX)]
    _check(tokens, [request.headers.get("x-gitlab-token", "")], lambda secret: secret)
    # Nothing is signed: whoever has the token can send anything.
    given = request.headers.get("idempotency-key", "")[:_MAX_ID_CHARS]
    return Signed(f"id {given}" if given else f"body {_digest(request.body)}", None)


def _stripe(request: HookRequest, secrets: Sequence[str], _signing: hook_pb2.HookSigning) -> Signed:
    parts = [
        each.strip().partition("=") for each in request.headers.get("stripe-signature", "").split(",")[:16]
    ]
    times = [value for name, _, value in parts if name == "t"]
    if len(times) != 1:
        raise _unsigned()
    content = _sent(times[0]) + b"." + request.body
    shown = [value for name, _, value in parts if name == "v1"]
    _check(secrets, shown, lambda secret: _hex(secret, content))
    return Signed(_stripe_id(request.body), _time(times[0]))


def _stripe_id(body: bytes) -> str:
    """The event's id: it stays when Stripe sends the event again, with another time."""
    try:
        found = bounded_json.loads(body)
    except ValueError:
        found = None
    given = found.get("id") if isinstance(found, dict) else None
    return f"id {given}" if isinstance(given, str) and given else f"body {_digest(body)}"


def _standard(request: HookRequest, secrets: Sequence[str], _signing: hook_pb2.HookSigning) -> Signed:
    headers = request.headers
    message_id, time = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    content = _sent(f"{message_id}.{time}.") + request.body
    shown = [each[3:] for each in headers.get("webhook-signature", "").split() if each.startswith("v1,")]

    def made(secret: str) -> str:
        return base64.b64encode(hmac.digest(standard_key(secret), content, "sha256")).decode()

    _check(secrets, shown, made)
    if not message_id:
        raise _unsigned()
    return Signed(f"id {message_id}", _time(time))


def _generic(request: HookRequest, secrets: Sequence[str], signing: hook_pb2.HookSigning) -> Signed:
    headers = request.headers
    shown = headers.get((signing.header or DEFAULT_HEADER).lower(), "")
    if not shown.startswith(signing.prefix):
        raise _unsigned()
    time = headers.get(signing.time_header.lower(), "") if signing.time_header else ""
    given = headers.get(signing.id_header.lower(), "") if signing.id_header else ""
    form = content_form(signing)
    content = _filled(form, {"body": request.body, "time": _sent(time), "id": _sent(given)})
    digest = "sha512" if signing.digest == hook_pb2.HOOK_DIGEST_SHA512 else "sha256"
    in_base64 = signing.encoding == hook_pb2.HOOK_ENCODING_BASE64

    def made(secret: str) -> str:
        mac = hmac.digest(secret.encode(), content, digest)
        return base64.b64encode(mac).decode() if in_base64 else mac.hex()

    _check(secrets, [shown.removeprefix(signing.prefix)], made, fold=not in_base64)
    sent_s = _time(time) if signing.time_header else None
    if given and "{id}" in form:
        return Signed(f"id {given}", sent_s)
    return Signed(f"{_CONTENT}{_digest(content)}", sent_s)


def content_form(signing: hook_pb2.HookSigning) -> str:
    """What a generic hook's signature is made over, as `HookSigning.content`."""
    return signing.content or ("{time}.{body}" if signing.time_header else "{body}")


_KINDS: Mapping[int, Verify] = {
    hook_pb2.HOOK_KIND_GITHUB: _github,
    hook_pb2.HOOK_KIND_GITLAB: _gitlab,
    hook_pb2.HOOK_KIND_STRIPE: _stripe,
    hook_pb2.HOOK_KIND_STANDARD: _standard,
    hook_pb2.HOOK_KIND_GENERIC: _generic,
}


# -- their parts -------------------------------------------------------------------------------------------------------


def _check(
    secrets: Sequence[str], shown: Iterable[str], made: Callable[[str], str], *, fold: bool = False
) -> None:
    """Refuse a request unless one of the shown signatures is made by one of the secrets. Takes as long for a wrong one as for a right one.

    Args:
        fold: capital digits are the same.
    """
    right = False
    given = [_sent(each.lower() if fold else each) for each in list(shown)[:_MOST_SHOWN]]
    for secret in secrets:
        expected = made(secret).encode()
        for each in given:
            right |= hmac.compare_digest(each, expected)
    if not right:
        raise _unsigned()


def _hex(secret: str, content: bytes) -> str:
    return hmac.digest(secret.encode(), content, "sha256").hex()


def _filled(form: str, values: Mapping[str, bytes]) -> bytes:
    return b"".join(
        values[part[1:-1]] if part in ("{body}", "{time}", "{id}") else part.encode()
        for part in re.split(r"(\{(?:body|time|id)\})", form)
    )


def _sent(text: str) -> bytes:
    """The bytes of a header as they came: HTTP servers read those that are no UTF-8 as surrogates."""
    return text.encode("utf-8", "surrogateescape")


def _time(text: str) -> float:
    if not _SECONDS.fullmatch(text):
        raise _unsigned()
    return float(text)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _unsigned() -> Exception:
    return refusals.hook_signature_invalid()
