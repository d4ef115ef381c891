"""The calls that the app is handling, so that the app's own calls inherit from them.

An app that passes on the metadata of the call that it is handling, or its `weft-parent-id` alone, calls on its behalf.
"""

from __future__ import annotations

from collections.abc import Iterable

from weft.rpc.calls.call_context import PARENT_ID_KEY, CallContext


class HandledCalls:
    """Every call that the app is handling now, by its id."""

    def __init__(self) -> None:
        self._contexts: dict[str, CallContext] = {}

    def begin(self, call: CallContext) -> None:
        """The app handles a call, until `end`."""
        self._contexts[call.parent_id] = call

    def end(self, call: CallContext) -> None:
        # Another attempt at the same task may have begun before this one ended.
        if self._contexts.get(call.parent_id) is call:
            del self._contexts[call.parent_id]

    def behind(self, pairs: Iterable[tuple[str, str | bytes]]) -> CallContext | None:
        """The call context for a call with this metadata; None if the app is handling no such call."""
        if not self._contexts:
            return None
        parent_id = dict(pairs).get(PARENT_ID_KEY)
        return self._contexts.get(parent_id) if isinstance(parent_id, str) else None
