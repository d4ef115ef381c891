"""The error for a method that does not exist names existing ones."""

from __future__ import annotations

import pytest

from weft.rpc.contracts.names import is_reserved, nearest, unknown_method

KNOWN = ["acme.v1.Research/Summarize", "acme.v1.Research/Translate", "other.v1.Billing/Charge"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("/acme.v1.Research/Summarize", "acme.v1.Research/Summarize"),
        ("acme.v1.Research.Summarize", "acme.v1.Research/Summarize"),
        ("acme.v1.Research/summarize", "acme.v1.Research/Summarize"),
        ("acme.v1.Research/Sumarize", "acme.v1.Research/Summarize"),
        ("acme.v2.Research/Translate", "acme.v1.Research/Translate"),
        ("Charge", "other.v1.Billing/Charge"),
        ("billing/charge", "other.v1.Billing/Charge"),
    ],
)
def test_the_nearest_comes_first(name, meant):
    assert nearest(name, KNOWN)[0] == meant
    assert f"did you mean {meant}" in unknown_method(name, KNOWN)


def test_without_a_near_one_all_are_listed():
    message = unknown_method("nothing/like", KNOWN)
    assert all(name in message for name in KNOWN)
    many = [f"p.S/M{i:03}" for i in range(50)]
    assert "and 40 more" in unknown_method("x.y.z/Quite-Else", many)


def test_when_nothing_is_there():
    assert unknown_method("a/b", []) == "there is no method 'a/b': nothing is hosted yet"


def test_what_is_reserved():
    assert is_reserved("weft.v1.CoordinatorService")
    assert is_reserved("grpc.health.v1.Health")
    assert not is_reserved("weft.v1beta.Thing")
    assert not is_reserved("Thing")
