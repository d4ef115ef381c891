"""Scripts for shells, made of words: each word is quoted here, so that no value can become a command. Pure.

PowerShell and POSIX shells take any printable text in single quotes; what differs is how they write the quote itself.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

# PowerShell takes each of these for a single quote.
_POWERSHELL_QUOTES = re.compile("(['\u2018\u2019\u201a\u201b])")
# What needs no quotes, and is no keyword, parameter or expression: a word such as agent or worker-1.yaml.
_POWERSHELL_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")


class PosixScript:
    """Lines for sh."""

    def __init__(self) -> None:
        self._lines = ["set -eu"]

    def export(self, variables: Mapping[str, str]) -> None:
        """Set variables for the commands after it. Names are those of variables."""
        self._lines.extend(f"export {name}={shlex.quote(value)}" for name, value in variables.items())

    def run(self, words: Sequence[str], **variables: str) -> None:
        """Run a command.

        Args:
            variables: for this command alone. They are not in the list of processes.
        """
        before = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
        self._lines.append(" ".join([*before, *map(shlex.quote, words)]))

    def run_last(self, words: Sequence[str]) -> None:
        """Run a command in the place of the shell."""
        self._lines.append(f"exec {shlex.join(words)}")

    def write_secret(self, path: str, text: str) -> None:
        """Write a text to a new file for this user alone. The text is not in the list of processes: printf is the shell's own."""
        place = shlex.quote(path)
        self._lines.append(f"(umask 077 && rm -f -- {place} && printf '%s\\n' {shlex.quote(text)} > {place})")

    @property
    def text(self) -> str:
        return "\n".join(self._lines) + "\n"


def powershell(text: str) -> str:
    """A word for PowerShell."""
    if _POWERSHELL_WORD.fullmatch(text):
        return text
    return "'" + _POWERSHELL_QUOTES.sub(r"\1\1", text) + "'"
