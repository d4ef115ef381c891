"""The form of tokens and the scopes that limit them: pure rules."""

from __future__ import annotations

import pickle
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.coordinator.calls.call_options import from_metadata
from weft.rpc.calls import metadata, relay
from weft.rpc.identity.scope import Scope, fits
from weft.rpc.security import tokens
from weft.rpc.security.secret_text import SecretText

TOKEN = tokens.generate("abcDEF012345")


def test_a_token_has_its_id_and_a_hash() -> None:
    token_id = tokens.generate_id()
    text = tokens.generate(token_id)
    assert tokens.id_of(text) == token_id
    assert tokens.is_id(token_id)
    assert len(text) == tokens.TOKEN_CHARS == 66
    assert re.fullmatch(r"weft_[0-9A-Za-z]{61}", text)
    assert text != tokens.generate(token_id)
    assert tokens.digest(text) != tokens.digest(tokens.generate(token_id))
    assert len(tokens.digest(text)) == 32


@given(st.integers(0, tokens.TOKEN_CHARS - 1), st.characters())
def test_a_changed_token_is_none(at: int, letter: str) -> None:
    changed = TOKEN[:at] + letter + TOKEN[at + 1 :]
    if changed != TOKEN:
        with pytest.raises(tokens.BadToken) as refused:
            tokens.id_of(changed)
        assert TOKEN[17:60] not in str(refused.value)


@given(st.one_of(st.text(max_size=100), st.integers(0, 65).map(lambda end: TOKEN[:end])))
def test_other_texts_are_no_tokens(text: str) -> None:
    with pytest.raises(tokens.BadToken):
        tokens.id_of(text)


@pytest.mark.parametrize(
    "text",
    ["", "weft_", "x" * 10_240, "weft_" + "0" * 61, "WEFT_" + TOKEN[5:], f" {TOKEN}", f"{TOKEN}\n"],
    # The token is another one in each process.
    ids=["empty", "head", "long", "zeros", "upper", "space", "line"],
)
def test_texts_that_look_like_tokens(text: str) -> None:
    with pytest.raises(tokens.BadToken):
        tokens.id_of(text)


def test_a_secret_does_not_print() -> None:
    secret = SecretText(TOKEN)
    assert (
        TOKEN
        not in f"{secret} {secret!r} {[secret]} {secret.__dict__ if hasattr(secret, '__dict__') else ''}"
    )
    assert secret.reveal() == TOKEN
    assert secret == SecretText(TOKEN)
    assert secret != SecretText("other")
    assert not SecretText("")
    with pytest.raises(TypeError):
        pickle.dumps(secret)


# -- scopes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "text", "fitting"),
    [
        ("a", "a", True),
        ("a", "ab", False),
        ("*", "", True),
        ("acme.*", "acme.v1.S/M", True),
        ("acme.*", "acmeevil.v1.S/M", False),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("a*b*c", "aXbXbYc", True),
        ("*b*b", "b", False),
        ("a.b", "aXb", False),
        ("[a]?", "[a]?", True),
        ("[a]?", "ax", False),
        ("", "", True),
        ("", "a", False),
    ],
)
def test_patterns(pattern: str, text: str, fitting: bool) -> None:
    assert fits(pattern, text) is fitting


@given(st.text("ab*", max_size=8), st.text("ab", max_size=8))
def test_patterns_fit_as_expressions_do(pattern: str, text: str) -> None:
    expression = ".*".join(map(re.escape, pattern.split("*")))
    assert fits(pattern, text) is (re.fullmatch(expression, text) is not None)


def test_a_hostile_pattern_is_matched_in_time() -> None:
    began_s = time.process_time()
    assert not fits("*a" * 256 + "b", "a" * 100_000)
    assert time.process_time() - began_s < 1.0


LABELS = {"agent.id": "w-1", "version": "2", "host": "h", "zone": "eu"}


@pytest.mark.parametrize(
    ("scope", "beyond"),
    [
        (Scope(), None),
        (Scope(agent_ids=("w-*",), hosts=("a.S/*",), labels=("zone=*",)), None),
        (Scope(agent_ids=("x-*", "w-2")), ("agent_ids", "w-1")),
        (Scope(hosts=("a.S/M",)), ("hosts", "a.S/N")),
        (Scope(labels=("zone=us", "tier=*")), ("labels", "zone=eu")),
        # Methods limit calls, not what is hosted.
        (Scope(methods=("other.*",)), None),
    ],
)
def test_a_hello_within_and_beyond_a_scope(scope: Scope, beyond: tuple[str, str] | None) -> None:
    assert scope.beyond("w-1", ["a.S/M", "a.S/N"], LABELS) == beyond


def test_an_empty_scope_has_every_method() -> None:
    assert Scope().has_method("any.S/M")
    assert Scope(methods=("a.*",)).has_method("a.S/M")
    assert not Scope(methods=("a.*",)).has_method("b.S/M")


class _Shown:
    """A call's context: its metadata alone."""

    def __init__(self, *pairs: tuple[str, str]) -> None:
        self._pairs = pairs

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._pairs


def test_a_token_goes_one_hop() -> None:
    """Handlers, stored tasks and other agents do not get it; an application's own authorization passes."""
    app = (("authorization", "Bearer of-an-app"), ("x-id", "7"))
    for own in (
        ("weft-token", TOKEN),
        ("authorization", f"Bearer {TOKEN}"),
        ("authorization", f"bearer {TOKEN[:20]}"),
    ):
        context: Any = _Shown(own, *app)
        assert relay.passed_on(context) == app
        assert relay.passed_on(context, tokens=True) == (own, *app)
        assert [(each.key, each.value.decode()) for each in metadata.to_proto((own, *app))] == list(app)
        assert TOKEN[17:60] not in str(from_metadata((own, *app)))
