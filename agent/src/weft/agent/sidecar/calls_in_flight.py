"""The calls that the app is handling, so that the app's own calls inherit from them.

An app that passes on the metadata of the call that it is handling, or its `weft-parent-id` alone, calls on its behalf.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import Context, copy_context

from weft.rpc.calls.call_context import PARENT_ID_KEY, CallContext, HandledCall
from weft.rpc.calls.metadata import STEP_KEY


class HandledCalls:
    """Every call that the app is handling now, by its id."""

    def __init__(self) -> None:
        self._contexts: dict[str, CallContext] = {}
        # With the context of its handler, in which the agent's clients are.
        self._handled: dict[str, tuple[HandledCall, Context]] = {}

    def begin(self, call: CallContext, handled: HandledCall | None = None) -> None:
        """The app handles a call, until `end`.

        Args:
            handled: the call itself, which knows its steps.
        """
        self._contexts[call.parent_id] = call
        if handled is not None:
            self._handled[call.parent_id] = handled, copy_context()

    def end(self, call: CallContext) -> None:
        # Another attempt at the same task may have begun before this one ended.
        if self._contexts.get(call.parent_id) is call:
            del self._contexts[call.parent_id]
            self._handled.pop(call.parent_id, None)

    def behind(self, pairs: Iterable[tuple[str, str | bytes]]) -> CallContext | None:
        """The call context for a call with this metadata; None if the app is handling no such call."""
        if not self._contexts:
            return None
        parent_id = dict(pairs).get(PARENT_ID_KEY)
        return self._contexts.get(parent_id) if isinstance(parent_id, str) else None

    def step_of(
        self, call: CallContext, method: str, pairs: Iterable[tuple[str, str | bytes]]
    ) -> tuple[tuple[str, str | bytes], ...]:
        """What makes the app's call of a durable method a remembered step of the call that it is handling; empty: it is none."""
        found = self._handled.get(call.parent_id)
        if found is None:
            return ()
        handled, context = found
        asked = any(key == STEP_KEY for key, _ in pairs)
        steps = context.run(lambda: handled.call_steps(asked=asked))
        return () if steps is None else steps.name_of(method, pairs)
