"""Signatures of hooks: the providers' own examples, what is refused, and by what a repeat is known."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import pytest

from weft.coordinator.hooks.hook_request import HookRequest, together
from weft.coordinator.hooks.hook_signatures import Signed, delivery_id, standard_signature, verified
from weft.rpc.errors import Unauthenticated
from weft.v1 import hook_pb2 as pb

GITHUB, GITLAB, STRIPE = pb.HOOK_KIND_GITHUB, pb.HOOK_KIND_GITLAB, pb.HOOK_KIND_STRIPE
STANDARD, GENERIC = pb.HOOK_KIND_STANDARD, pb.HOOK_KIND_GENERIC
NOW = 1_700_000_000.0
KEY = "whsec_" + base64.b64encode(b"a secret that nobody knows").decode()


def check(
    kind: Any,
    body: bytes,
    headers: dict[str, str],
    *secrets: str,
    now: float = NOW,
    signing: dict[str, Any] | None = None,
) -> Signed:
    hook = pb.IncomingHook(kind=kind, signing=signing)
    return verified(HookRequest(body, together(headers.items()), {}), hook, secrets, now)


def refused(reason: str, *args: Any, **named: Any) -> None:
    with pytest.raises(Unauthenticated) as error:
        check(*args, **named)
    assert error.value.reason_name == reason


# -- the providers' own examples -----------------------------------------------------------------------------------------


def test_the_example_of_github() -> None:
    """docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries"""
    signed = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    found = check(GITHUB, b"Hello, World!", {"X-Hub-Signature-256": signed}, "It's a Secret to Everybody")
    assert found.sent_s is None


def test_the_example_of_slack_as_a_generic_hook() -> None:
    """api.slack.com/authentication/verifying-requests-from-slack"""
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar"
        b"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com"
        b"%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10"
        b"d2c447fce8b6703c"
    )
    headers = {
        "X-Slack-Request-Timestamp": "1531420618",
        "X-Slack-Signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    }
    signing = {
        "header": "X-Slack-Signature",
        "prefix": "v0=",
        "time_header": "X-Slack-Request-Timestamp",
        "content": "v0:{time}:{body}",
    }
    secret = "8f742231b10e8888abcd99yyyzzz85a5"
    found = check(GENERIC, body, headers, secret, now=1531420700, signing=signing)
    assert found.sent_s == 1531420618
    refused("HOOK_REQUEST_STALE", GENERIC, body, headers, secret, now=1531420618 + 301, signing=signing)


def test_standard_webhooks_as_their_own_library_signs() -> None:
    """The example of docs.svix.com/receiving/verifying-payloads/how-manual, where the rules come from."""
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    message_id, at = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
    signature = standard_signature(secret, message_id, at, body)
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1a,xx {signature}",
    }
    assert check(STANDARD, body, headers, secret, now=at + 10) == Signed(f"id {message_id}", at)
    # GitLab signs the same way, where it has a signing token.
    assert check(GITLAB, body, headers, secret, now=at - 10) == Signed(f"id {message_id}", at)


# -- each kind -----------------------------------------------------------------------------------------------------------


def stripe(body: bytes, at: int, *secrets: str, scheme: str = "v1") -> dict[str, str]:
    made = [hmac.digest(secret.encode(), b"%d." % at + body, "sha256").hex() for secret in secrets]
    return {"Stripe-Signature": ",".join([f"t={at}", *(f"{scheme}={each}" for each in made)])}


def test_stripe() -> None:
    body = json.dumps({"id": "evt_1", "type": "charge.succeeded"}).encode()
    first = check(STRIPE, body, stripe(body, int(NOW), "whsec_one"), "whsec_one")
    again = check(STRIPE, body, stripe(body, int(NOW) + 60, "whsec_one"), "whsec_one", now=NOW + 61)
    assert first.identity == again.identity == "id evt_1"
    # While secrets are changed, both sides may have two.
    check(STRIPE, body, stripe(body, int(NOW), "old", "new"), "new")
    check(STRIPE, body, stripe(body, int(NOW), "new"), "old", "new")
    wrong = "HOOK_SIGNATURE_INVALID"
    refused(wrong, STRIPE, body, stripe(body, int(NOW), "other"), "whsec_one")
    refused(wrong, STRIPE, body + b" ", stripe(body, int(NOW), "whsec_one"), "whsec_one")
    refused(wrong, STRIPE, body, stripe(body, int(NOW), "whsec_one", scheme="v0"), "whsec_one")
    changed = {"Stripe-Signature": stripe(body, int(NOW), "s")["Stripe-Signature"].replace("t=1", "t=2")}
    refused(wrong, STRIPE, body, changed, "s")
    twice = {"Stripe-Signature": stripe(body, int(NOW), "s")["Stripe-Signature"] + f",t={int(NOW)}"}
    refused(wrong, STRIPE, body, twice, "s")
    refused(wrong, STRIPE, body, {"Stripe-Signature": "t=\udcff,v1=ab"}, "s")
    refused("HOOK_REQUEST_STALE", STRIPE, body, stripe(body, int(NOW) - 400, "s"), "s")
    refused("HOOK_REQUEST_STALE", STRIPE, body, stripe(body, int(NOW) + 400, "s"), "s")


def test_a_repeat_for_github_is_known_by_its_body_whatever_its_headers_say() -> None:
    body = b'{"action": "opened"}'
    signature = "sha256=" + hmac.digest(b"secret", body, "sha256").hex()
    seen = {
        check(
            GITHUB,
            body,
            {"X-Hub-Signature-256": signature, "X-GitHub-Delivery": delivery, "X-GitHub-Event": event},
            "secret",
        ).identity
        for delivery, event in (("1", "push"), ("2", "push"), ("3", "pull_request"))
    }
    assert len(seen) == 1


def test_gitlab_by_token() -> None:
    first = check(GITLAB, b"{}", {"X-Gitlab-Token": "token", "Idempotency-Key": "a"}, "token")
    other = check(GITLAB, b"{}", {"X-Gitlab-Token": "token", "Idempotency-Key": "b"}, "token")
    assert first.identity != other.identity
    refused("HOOK_SIGNATURE_INVALID", GITLAB, b"{}", {"X-Gitlab-Token": "tokem"}, "token")
    refused("HOOK_SIGNATURE_INVALID", GITLAB, b"{}", {"X-Gitlab-Token": ""}, "token")
    # A signing token is a key: who shows it has not signed.
    key = "whsec_" + base64.b64encode(b"k" * 24).decode()
    refused("HOOK_SIGNATURE_INVALID", GITLAB, b"{}", {"X-Gitlab-Token": key}, key)


@pytest.mark.parametrize("encoding", [pb.HOOK_ENCODING_HEX, pb.HOOK_ENCODING_BASE64])
@pytest.mark.parametrize("digest", ["sha256", "sha512"])
def test_generic(encoding: Any, digest: str) -> None:
    content = b"17|1700000000|body"
    mac = hmac.digest(b"key", content, digest)
    shown = base64.b64encode(mac).decode() if encoding == pb.HOOK_ENCODING_BASE64 else mac.hex().upper()
    signing = {
        "encoding": encoding,
        "digest": pb.HookDigest.Value(f"HOOK_DIGEST_{digest.upper()}"),
        "time_header": "X-Time",
        "id_header": "X-Id",
        "content": "{id}|{time}|{body}",
    }
    headers = {"X-Signature": shown, "X-Time": "1700000000", "X-Id": "17"}
    assert check(GENERIC, b"body", headers, "key", signing=signing) == Signed("id 17", 1700000000)
    refused("HOOK_SIGNATURE_INVALID", GENERIC, b"body", headers | {"X-Id": "18"}, "key", signing=signing)
    # An id that is not signed is not what a repeat is known by.
    unsigned = {"id_header": "X-Id"}
    mac = hmac.digest(b"key", b"body", "sha256")
    seen = {
        check(GENERIC, b"body", {"X-Signature": mac.hex(), "X-Id": each}, "key", signing=unsigned).identity
        for each in "ab"
    }
    assert len(seen) == 1


@pytest.mark.parametrize("kind", [GITHUB, GITLAB, STRIPE, STANDARD, GENERIC])
def test_without_a_signature_or_a_secret(kind: Any) -> None:
    refused("HOOK_SIGNATURE_INVALID", kind, b"{}", {}, KEY)
    refused("HOOK_SIGNATURE_INVALID", kind, b"", {})


def test_ids_that_are_no_text() -> None:
    """Bytes of a header that are no UTF-8, and halves of characters in a signed body, still make a delivery's id."""
    assert len({delivery_id(each) for each in ("id ?", "id \udcff", "id \ud800")}) == 3
    at, secret = int(NOW), "whsec_" + base64.b64encode(b"a key of sixteen").decode()
    headers = {
        "webhook-id": "a?",
        "webhook-timestamp": str(at),
        "webhook-signature": standard_signature(secret, "a?", at, b"{}"),
    }
    assert check(STANDARD, b"{}", headers, secret).identity == "id a?"
    refused("HOOK_SIGNATURE_INVALID", STANDARD, b"{}", {**headers, "webhook-id": "a\udcff"}, secret)
