"""Tokens of outside issuers: their form, signature, keys, claims, and the file that trusts them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from tests.support.outside_issuer import AUDIENCE, OutsideIssuer
from weft.coordinator.access import issuer_keys
from weft.coordinator.access.access_file import parse_policy
from weft.coordinator.access.jwt_issuer import JwtIssuer
from weft.coordinator.access.jwt_judge import JwtJudge
from weft.coordinator.access.jwt_signature import JwtFault, read_keys, taken_apart
from weft.coordinator.access.policy_entries import PolicyFault
from weft.rpc.errors import Unauthenticated, Unavailable
from weft.rpc.identity.caller import AGENT, CLIENT, OPERATOR
from weft.rpc.identity.scope import Scope
from weft.rpc.security.jwt_form import MAX_CHARS, is_jwt
from weft.rpc.security.secret_text import SecretText
from weft.rpc.security.token_source import TokenSource

POLICY = """
[[issuers]]
name = "corp"
issuer = "{issuer}"
audiences = ["weft"]
{more}

[[issuers.grants]]
claim = "groups"
values = ["mesh-ops"]
role = "operator"

[[issuers.grants]]
claim = "kubernetes.io.pod.name"
values = ["*"]
role = "agent"
agent_ids = ["{{kubernetes.io.pod.name}}"]

[[issuers.grants]]
role = "client"
methods = ["acme.{{sub}}.*"]
"""


@pytest.fixture(scope="module")
def issuer() -> Iterator[OutsideIssuer]:
    with OutsideIssuer() as made:
        made.add_key("one")
        made.add_key("big", "RSA2048")
        made.add_key("weak", "RSA1024")
        made.add_key("hidden", publish=False)
        yield made


def trusted(issuer: OutsideIssuer, more: str = "", folder: Path = Path()) -> JwtIssuer:
    (found,) = parse_policy(POLICY.format(issuer=issuer.url, more=more), folder / "policy.toml").issuers
    return found


def judge_of(issuer: JwtIssuer, now: float | None = None) -> JwtJudge:
    judge = JwtJudge(time.time if now is None else lambda: now)
    judge.trust((issuer,))
    return judge


async def why(judge: JwtJudge, text: str) -> str:
    with pytest.raises(Unauthenticated) as refused:
        await judge.judge(text)
    assert refused.value.reason_name == "JWT_INVALID"
    # The message has no part of the token.
    assert not any(part in refused.value.message for part in text.split(".") if len(part) > 8)
    return refused.value.message


# -- claims -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "role", "scope"),
    [
        ({}, CLIENT, Scope(methods=("acme.alice.*",))),
        ({"groups": ["x", "mesh-ops"]}, OPERATOR, Scope()),
        ({"groups": "mesh-ops"}, OPERATOR, Scope()),
        ({"kubernetes.io": {"pod": {"name": "w-1"}}}, AGENT, Scope(agent_ids=("w-1",))),
        ({"groups": [["mesh-ops"], {"mesh-ops": 1}, True, None]}, CLIENT, Scope(methods=("acme.alice.*",))),
    ],
)
async def test_claims_become_a_role_and_a_scope(
    issuer: OutsideIssuer, claims: dict[str, Any], role: int, scope: Scope
) -> None:
    verdict = await judge_of(trusted(issuer)).judge(issuer.sign(**claims))
    caller = verdict.caller
    assert (caller.role, caller.scope, caller.subject, caller.token_id) == (role, scope, "jwt:corp:alice", "")
    assert verdict.ends_at > time.time() + 600


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"aud": "other"}, "another audience than weft (aud)"),
        ({"aud": None}, "another audience"),
        ({"aud": ["other", 1, None]}, "another audience"),
        ({"exp": None}, "no time exp"),
        ({"exp": 1_000_000 - 31}, "expired 31 s ago (exp)"),
        ({"nbf": 1_000_000 + 31}, "valid 1 s from now (nbf): compare the clocks"),
        ({"iat": 1_000_000 + 300}, "issued 270 s from now (iat): compare the clocks"),
        ({"sub": None}, "subject (sub)"),
        ({"sub": "a\nb"}, "subject (sub)"),
        ({"sub": "x" * 257}, "subject (sub)"),
        ({"sub": "*"}, "claim sub has characters that a scope cannot have"),
        ({"kubernetes.io": {"pod": {"name": ["a", "b"]}}}, "must be one text"),
        ({"iss": "https://other.example"}, "no issuer of that name (iss)"),
        ({"iss": 3}, "an issuer (iss)"),
    ],
)
async def test_claims_that_are_refused(issuer: OutsideIssuer, claims: dict[str, Any], reason: str) -> None:
    now = 1_000_000.0
    judge = judge_of(trusted(issuer), now)
    given = {"iat": now, "exp": now + 10, **claims}
    text = issuer.sign(**given) if given.get("iss") != 3 else jwt.encode({"iss": "x"}, "s" * 32, "HS256")
    if given.get("iss") == 3:
        reason = "no issuer of that name (iss)"
    assert reason in await why(judge, text)


async def test_clocks_may_differ_a_little(issuer: OutsideIssuer) -> None:
    now = 1_000_000.0
    for claims in ({"exp": now - 29, "iat": now}, {"exp": now + 9, "iat": now + 29, "nbf": now + 29}):
        await judge_of(trusted(issuer), now).judge(issuer.sign(**claims))
    five_minutes = judge_of(trusted(issuer, "leeway_s = 300"), now)
    await five_minutes.judge(issuer.sign(exp=now + 600, iat=now + 300))
    assert "compare the clocks" in await why(
        judge_of(trusted(issuer), now), issuer.sign(exp=now + 600, iat=now + 300)
    )


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["pod", "name", "a"]), inner, max_size=3)
        ),
        max_leaves=9,
    ),
    st.sampled_from(["exp", "nbf", "iat", "aud", "sub", "groups", "kubernetes.io"]),
)
def test_no_claim_is_too_odd(value: Any, name: str) -> None:
    (issuer,) = parse_policy(
        POLICY.format(issuer="https://login.example", more=""), Path("policy.toml")
    ).issuers
    claims = {"aud": "weft", "exp": 10.0, "sub": "alice", name: value}
    try:
        issuer.check_claims(claims, 1.0)
        issuer.caller(claims)
    except JwtFault:
        return


# -- signatures and keys ----------------------------------------------------------------------------------------------


async def test_signatures_that_prove_nothing(issuer: OutsideIssuer) -> None:
    judge = judge_of(trusted(issuer))
    good = issuer.sign()
    head, body, signature = good.split(".")
    await judge.judge(good)
    other = json.dumps({"iss": issuer.url, "sub": "mallory"}).encode().hex()
    for text in (
        f"{head}.{body}.{signature[:-4]}AAAA",
        f"{head}.{body}x.{signature}",
        f"{head}.{other}.{signature}",
        "eyJ.e.x",
    ):
        await why(judge, text)
    # Signed by somebody else with the id of a real key.
    assert "signature" in await why(judge, issuer.sign("hidden", head={"kid": "one"}))
    assert "not among the keys" in await why(judge, issuer.sign("hidden"))
    # A weak key is none, and neither is one for another algorithm.
    assert "not among the keys" in await why(judge, issuer.sign("weak", "RS256"))
    assert "algorithm (alg)" in await why(judge, issuer.sign("big", "PS256"))
    await judge.judge(issuer.sign("big", "RS256"))
    assert "names no key" in await why(judge, issuer.sign(head={"kid": ""}))
    # An extension that must be understood, and is not.
    await why(judge, issuer.sign(head={"crit": ["exp"]}))


async def test_the_public_key_is_no_shared_secret(issuer: OutsideIssuer) -> None:
    """Whoever knows the public key could sign with it, if the token chose how it is verified."""
    judge = judge_of(trusted(issuer))
    public = issuer.private["one"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    claims = {"iss": issuer.url, "aud": AUDIENCE, "sub": "mallory", "exp": time.time() + 60}
    forged = jwt.api_jws.PyJWS()
    forged._algorithms["HS256"].prepare_key = lambda key: key  # type: ignore[attr-defined]
    hmac = forged.encode(json.dumps(claims).encode(), public, "HS256", headers={"kid": "one"})
    assert "algorithm (alg)" in await why(judge, hmac)
    none = jwt.encode(claims, None, "none", headers={"kid": "one"})  # type: ignore[arg-type]
    assert not is_jwt(none)
    assert "algorithm (alg)" in await why(judge, none)


async def test_an_issuer_rotates_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    with OutsideIssuer() as issuer:
        issuer.add_key("one")
        judge = judge_of(trusted(issuer))
        for _ in range(3):
            await judge.judge(issuer.sign())
        # The discovery document, and the keys.
        assert issuer.asked == 2
        issuer.add_key("two")
        # Unknown keys are looked for, at most once in a while.
        assert "not among the keys" in await why(judge, issuer.sign("two"))
        assert issuer.asked == 2
        monkeypatch.setattr(issuer_keys, "PAUSE_S", 0.0)
        await judge.judge(issuer.sign("two"))
        assert issuer.asked == 4
        # It is away: the last keys stay for a day.
        issuer.status = 503
        issuer.add_key("three")
        assert "not among the keys" in await why(judge, issuer.sign("three"))
        await judge.judge(issuer.sign("two"))
        monkeypatch.setattr(issuer_keys, "KEPT_S", 0.0)
        with pytest.raises(Unavailable) as unavailable:
            await judge.judge(issuer.sign("two"))
        assert unavailable.value.reason_name == "ISSUER_UNAVAILABLE"
        issuer.status = 200
        await judge.judge(issuer.sign("three"))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (302, None),
        (404, None),
        (200, b"x"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"keys": []}'),
        (200, b'{"keys": 1}'),
        (200, b"[" * 100_000),
        (200, b" " * 1_048_577),
    ],
)
async def test_answers_that_are_no_keys(
    issuer: OutsideIssuer, status: int, body: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    asked = issuer.asked
    judge = judge_of(trusted(issuer, f'keys = "{issuer.keys_url}"'))
    issuer.status, issuer.body = status, body
    try:
        with pytest.raises(Unavailable):
            await judge.judge(issuer.sign())
    finally:
        issuer.status, issuer.body = 200, None
    assert issuer.asked == asked + 1
    assert "issuer.keys_not_read" in caplog.text


async def test_keys_in_a_file_are_followed(issuer: OutsideIssuer, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    judge = judge_of(trusted(issuer, 'keys = "keys.json"', tmp_path))
    with pytest.raises(Unavailable):
        await judge.judge(issuer.sign())
    file.write_text(json.dumps({"keys": issuer.published[1:]}))
    assert "not among the keys" in await why(judge, issuer.sign())
    file.write_text(json.dumps({"keys": issuer.published}))
    await judge.judge(issuer.sign())
    file.write_text("{}")
    await judge.judge(issuer.sign())


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["keys", "kty", "crv", "x", "n", "alg"]), inner, max_size=4)
        ),
        max_leaves=12,
    ).map(lambda found: json.dumps({"keys": found}).encode())
)
def test_any_document_is_keys_or_a_fault(document: bytes) -> None:
    with pytest.raises(JwtFault):
        read_keys(document)


@given(st.text(max_size=60) | st.text("eyJ.abc", max_size=30).map("eyJ".__add__))
def test_any_text_is_a_token_or_a_fault(text: str) -> None:
    is_jwt(text)
    with pytest.raises(JwtFault):
        taken_apart(text)


def test_a_program_may_show_one(issuer: OutsideIssuer, tmp_path: Path) -> None:
    text = issuer.sign()
    assert is_jwt(text)
    assert not is_jwt(text + "." + text)
    assert not is_jwt("eyJ" + "a" * MAX_CHARS + ".a.a")
    assert TokenSource(SecretText(text)).text() == text
    file = tmp_path / "token"
    file.write_text(text + "\n")
    assert TokenSource(file=file).text() == text


# -- the file ---------------------------------------------------------------------------------------------------------

_ISSUER = '[[issuers]]\nname = "corp"\nissuer = "https://login.example"\naudiences = ["weft"]\n'
_GRANT = '[[issuers.grants]]\nrole = "client"\n'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (_ISSUER, "it has no grants"),
        (_ISSUER + _GRANT.replace("client", "king"), "role is 'king'"),
        (_ISSUER + _GRANT.replace('role = "client"', ""), "role is missing"),
        (_ISSUER + _GRANT + 'labels = ["zone"]', "must have `key=value`"),
        (_ISSUER.replace("corp", "c p") + _GRANT, "name is 'c p'"),
        (_ISSUER.replace('audiences = ["weft"]', "") + _GRANT, "audiences is missing"),
        (_ISSUER + 'keys = "http://keys.example"\n' + _GRANT, "keys must begin with https://"),
        (_ISSUER.replace("https", "http") + _GRANT, "issuer must begin with https://"),
        (_ISSUER.replace("https://login.example", "corp") + _GRANT, "keys is missing"),
        (_ISSUER + 'algorithms = ["HS256"]\n' + _GRANT, "algorithms has 'HS256'"),
        (_ISSUER + 'algorithms = ["none"]\n' + _GRANT, "algorithms has 'none'"),
        (_ISSUER + "leeway_s = 3600\n" + _GRANT, "leeway_s must be 0 to 600"),
        (_ISSUER + "leeway_s = true\n" + _GRANT, "leeway_s must be whole seconds"),
        (_ISSUER + _GRANT + 'values = ["x"]\n', "values are those of a claim"),
        (_ISSUER + _GRANT + 'claim = "x"\n', "values is missing"),
        (_ISSUER + _GRANT + _ISSUER + _GRANT, "two have the same name"),
    ],
)
def test_a_wrong_issuer_is_refused(text: str, reason: str) -> None:
    with pytest.raises(PolicyFault) as fault:
        parse_policy(text, Path("policy.toml"))
    assert reason in str(fault.value)
