"""How long the check of a message by its rules takes, estimated before it is made: a caller must not block its server.

The library's check holds the interpreter, and cannot be interrupted. Its time grows with the messages and ruled elements in a
message, and with the square of a list that a rule copies by CEL's `map` or `filter`: 10,000 numbers, a request of 10 kB, take 12 s
and 1.7 GB there. CEL itself stops after 10,000 elements for each rule; patterns are RE2's, linear.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from weft.rpc.contracts.rule_options import RuledTypes

# The longest check of a request, by this estimate.
MAX_CHECK_US = 500_000.0
# Microseconds for a message with rules of its own, for another, for an element of a ruled list, for the square of a list.
RULED_US = 5.0
OTHER_US = 1.0
ELEMENT_US = 1.0
SQUARE_US = 0.05
# The least bytes of a message in a message.
_LEAST_MESSAGE_BYTES = 2


class CheckCost:
    """The cost of checks of one message type."""

    def __init__(self, ruled: RuledTypes) -> None:
        self._lists = {each.full_name: lists for each, lists in ruled.lists.items()}
        self._square_us = SQUARE_US if ruled.makes_lists else 0.0
        # A message of so few bytes never costs too much.
        self.free_bytes = int(MAX_CHECK_US / (RULED_US / _LEAST_MESSAGE_BYTES))
        if ruled.makes_lists:
            self.free_bytes = min(self.free_bytes, int((MAX_CHECK_US / SQUARE_US) ** 0.5))

    def may_exceed(self, size_bytes: int) -> bool:
        """Whether a message of this size may cost too much."""
        return size_bytes > self.free_bytes

    def excess(self, message: Message) -> str:
        """Why the check of a message would take too long; empty: it would not."""
        cost_us = 0.0
        waiting = [message]
        while waiting:
            current = waiting.pop()
            lists = self._lists.get(current.DESCRIPTOR.full_name)
            cost_us += OTHER_US if lists is None else RULED_US
            for field, value in current.ListFields():
                if not field.is_repeated:
                    if field.message_type is not None:
                        waiting.append(value)
                    continue
                cost_us += len(value) ** 2 * self._square_us
                if lists is not None and field.name in lists:
                    cost_us += len(value) * ELEMENT_US
                if cost_us <= MAX_CHECK_US:
                    waiting += _inner(field, value)
            if cost_us > MAX_CHECK_US:
                return self._told()
        return ""

    def _told(self) -> str:
        lists = ", or its lists are long and a rule copies them (map, filter)" if self._square_us else ""
        return (
            f"its check by the rules of its contract would take more than about {MAX_CHECK_US / 1e6:g} s: it has very many inner"
            f" messages{lists}; send several smaller ones, or set the method's option check_rules to false"
        )


def _inner(field: Any, value: Any) -> list[Message]:
    """The messages in a list or a map."""
    if field.message_type is None:
        return []
    if not field.message_type.GetOptions().map_entry:
        return list(value)
    held = field.message_type.fields_by_name["value"].message_type
    if held is None:
        return []
    try:
        return list(value.values())
    except UnicodeDecodeError:
        # Of proto2: no entry of a map with a key that is not UTF-8 can be read, and no rule of them checked.
        return []
