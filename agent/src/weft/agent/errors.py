"""What can be wrong with an agent's own program, as opposed to a call: said when it is written, not when it runs."""

from __future__ import annotations

from weft.rpc.errors import InvalidArgument


class HostingError(InvalidArgument):
    """A servicer or function cannot be hosted as it stands; the message says what to change."""


class LoadError(InvalidArgument):
    """`module:object` does not lead to an agent."""


class ListenError(InvalidArgument):
    """The direct server cannot have its address."""
