"""Random histories against a store and against a simple model: after every step they must agree on everything."""

from __future__ import annotations

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.store.factories import FACTORIES
from tests.store.store_machine import StoreMachine, machine_settings


def _machine(store_kind: str) -> type[StoreMachine]:
    return type(f"StoreMachine_{store_kind}", (StoreMachine,), {"kind": store_kind})


def _run(kind: str, examples: int, steps: int) -> None:
    run_state_machine_as_test(_machine(kind), settings=machine_settings(examples, steps))


@pytest.mark.parametrize("kind", sorted(FACTORIES))
def test_histories_agree_with_the_model(kind: str) -> None:
    _run(kind, examples=40, steps=40)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", sorted(FACTORIES))
def test_many_long_histories_agree_with_the_model(kind: str) -> None:
    # A step costs a Redis store a round trip or several.
    _run(kind, examples=500 if kind == "embedded" else 150, steps=80)
