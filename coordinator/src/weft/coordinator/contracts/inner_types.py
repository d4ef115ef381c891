"""Message types and the types within them: which of them have a property, themselves or at any depth."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from google.protobuf.descriptor import Descriptor


def has_required_field(message_type: Descriptor) -> bool:
    """Whether a type has a proto2 required field of its own."""
    return any(field.is_required for field in message_type.fields)


def types_holding(roots: Iterable[Descriptor], has_it: Callable[[Descriptor], bool]) -> set[str]:
    """The message types, of the roots and all inner types, for which `has_it` is true, also at any depth."""
    waiting = list({root.full_name: root for root in roots}.values())
    seen = {root.full_name for root in waiting}
    users: dict[str, set[str]] = {}
    holding: set[str] = set()
    while waiting:
        user = waiting.pop()
        if has_it(user):
            holding.add(user.full_name)
        for field in user.fields:
            if (message := field.message_type) is not None:
                users.setdefault(message.full_name, set()).add(user.full_name)
                if message.full_name not in seen:
                    seen.add(message.full_name)
                    waiting.append(message)
    spreading = list(holding)
    while spreading:
        reached = users.get(spreading.pop(), set()) - holding
        holding |= reached
        spreading += reached
    return holding
