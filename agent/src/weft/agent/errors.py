"""Errors of an agent's own program, as opposed to errors of a call."""

from __future__ import annotations

from weft.rpc.errors import FailedPrecondition, InvalidArgument


class HostingError(InvalidArgument):
    """A servicer or function cannot be hosted as it stands; the message says what to change."""


class LoadError(InvalidArgument):
    """`module:object` does not lead to an agent."""


class ProgramError(LoadError):
    """The module or the factory of `module:object` raised; the message has the error, its file and its line."""


class SettingsError(InvalidArgument):
    """A setting has a wrong value: an argument, a flag or an environment variable."""


# Exit status of a process that its supervisor shall start again: EX_TEMPFAIL of <sysexits.h>.
RESTART_STATUS = 75


class OverrunError(FailedPrecondition):
    """Handlers that ignore their cancellation use too many slots: the agent has ended, and should be started again."""


class HookError(FailedPrecondition):
    """An on_start function raised, so the agent has not started; the message has the error, the agent's log its traceback."""


class ListenError(InvalidArgument):
    """The direct server cannot listen on its address."""


class SandboxError(FailedPrecondition):
    """A sandbox cannot be made on this machine; the message says what is missing."""
