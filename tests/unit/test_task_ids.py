"""Task ids say when they were made."""

from __future__ import annotations

import pytest

from weft.coordinator.store.task_ids import FRESH_S, format_id, is_fresh, least_number_at

NOW = 1_800_000_000.0


@pytest.mark.parametrize("suffix", ["", "0001"], ids=["embedded", "redis"])
def test_a_fresh_id_is_a_new_one(suffix: str) -> None:
    def made_at(at: float) -> str:
        return f"{format_id(least_number_at(at))}{suffix}"

    assert is_fresh(made_at(NOW), NOW)
    assert is_fresh(made_at(NOW - FRESH_S + 1), NOW)
    assert not is_fresh(made_at(NOW - FRESH_S - 1), NOW)
    # The clock was set back since.
    assert is_fresh(made_at(NOW + 60), NOW)


@pytest.mark.parametrize("text", ["", "x", "0" * 16, "f" * 16, "-000000000000001", "ABCDEF0123456789"])
def test_what_is_no_id_is_not_fresh(text: str) -> None:
    assert not is_fresh(text, NOW)
