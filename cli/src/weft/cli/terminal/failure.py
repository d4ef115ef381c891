"""The failure of a command. In a module of its own: `failures`, which explains other errors, imports the client."""

from __future__ import annotations


class Failure(Exception):
    """A command cannot go on. `hints` are further lines that say what to do."""

    def __init__(self, message: str, *hints: str, status: int = 1) -> None:
        super().__init__(message)
        self.hints = hints
        self.status = status


def system_reason(error: Exception) -> str:
    """The reason of a failed system call, such as "No such file or directory", without its number and file."""
    return getattr(error, "strerror", None) or str(error)


def status_of_child(status: int | None) -> int:
    """The exit status of a command whose child has exited: 2 (wrong usage) stays 2."""
    return 2 if status == 2 else 1
