"""The coordinator's settings keep what is secret, and refuse what does not fit together."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from weft.coordinator.settings import CoordinatorSettings

SECRET = "hunter2"


def test_credentials_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEFT_STORE_USERNAME", "weft")
    monkeypatch.setenv("WEFT_STORE_PASSWORD", SECRET)
    settings = CoordinatorSettings(store="redis://host/0")
    assert settings.store_credentials == {"username": "weft", "password": SECRET}
    in_url = CoordinatorSettings(store=f"redis://someone:{SECRET}@host/0")
    for shown in (settings, in_url, settings.store_place, in_url.store_place):
        for text in (str(shown), repr(shown)):
            assert SECRET not in text
            assert "someone" not in text
            assert "username='weft'" not in text


def test_credentials_are_for_a_redis_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEFT_STORE_PASSWORD", SECRET)
    with pytest.raises(ValidationError, match="only a Redis store has credentials") as refused:
        CoordinatorSettings(store="weft.db")
    assert SECRET not in str(refused.value)
    # As a file of variables with nothing behind the sign gives it.
    monkeypatch.setenv("WEFT_STORE_PASSWORD", "")
    assert CoordinatorSettings(store="weft.db").store_credentials == {}


@pytest.mark.parametrize("field", ["store_prefix", "durability"])
def test_errors_of_other_settings_do_not_show_them(field: str) -> None:
    given: dict[str, Any] = {"store": f"redis://:{SECRET}@host/0", "store_password": SECRET, field: "no such"}
    with pytest.raises(ValidationError, match=field) as refused:
        CoordinatorSettings(**given)
    assert SECRET not in str(refused.value)
