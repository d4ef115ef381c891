"""Tests of agents and clients, without processes: handlers alone, and a mesh in the test's own process.

    from weft.testing import run_handler

    async def test_greet() -> None:
        reply = await run_handler(Greeter().Greet, GreetRequest(name="Ada"))
        assert reply.text == "Hello Ada"

`run_handler`, `run_handler_sync`, `handler_outcome`
    run one handler, without any mesh.

Nothing is imported before it is used: pytest loads the plugin in every run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weft.testing.handler_outcomes import HandlerOutcome, handler_outcome, run_handler, run_handler_sync
    from weft.testing.unit_run import HandlerTask

# Name -> the module that has it.
_PLACES = {
    "HandlerOutcome": "handler_outcomes",
    "HandlerTask": "unit_run",
    "handler_outcome": "handler_outcomes",
    "run_handler": "handler_outcomes",
    "run_handler_sync": "handler_outcomes",
}

__all__ = ["HandlerOutcome", "HandlerTask", "handler_outcome", "run_handler", "run_handler_sync"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
