"""The failure of a command, without what explains others' errors: that loads the client."""

from __future__ import annotations


class Failure(Exception):
    """A command cannot go on. `hints` are further lines: what to try."""

    def __init__(self, message: str, *hints: str, status: int = 1) -> None:
        super().__init__(message)
        self.hints = hints
        self.status = status


def status_of_child(status: int | None) -> int:
    """The exit status of a command that ends with one of its children: asked wrongly is asked wrongly all the way."""
    return 2 if status == 2 else 1
