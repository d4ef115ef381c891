"""Random histories against a store and against a simple model: after every step they must agree on everything."""

from __future__ import annotations

import pytest

from tests.store.factories import FACTORIES
from tests.store.store_machine import MANY, StoreMachine, run_histories


@pytest.mark.parametrize("kind", sorted(FACTORIES))
def test_histories_agree_with_the_model(kind: str) -> None:
    run_histories(StoreMachine, kind, examples=40 if kind == "embedded" else 20, steps=40)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", sorted(FACTORIES))
def test_many_long_histories_agree_with_the_model(kind: str) -> None:
    run_histories(StoreMachine, kind, examples=MANY[kind], steps=80)
