"""A service of the operating system: what it runs, as whom, and with what. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Protocol

from weft.cli.terminal.failure import Failure

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,57}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
COMMANDS = ("agent", "coordinator")
# Longer than an agent gives its running handlers at the end (WEFT_AGENT_DRAIN_GRACE_S, 30).
STOP_S = 40
# Redis has 5 s for an answer: then it is away, which no restart mends. The watchdog must not end a coordinator before it knows that.
LEAST_WATCHDOG_S = 20
# A definition is for everybody to read.
_SECRET = frozenset({"WEFT_TOKEN", "WEFT_AGENT_TOKEN"})


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """What a definition is made of.

    Attributes:
        name: the service is called weft-NAME.
        weft: the words that run weft: the path of a program, and its first arguments.
        words: the weft command: "agent" or "coordinator", and its arguments.
        variables: of its environment.
        token_file: the file that has its token. Empty: it has none.
        folder: where it runs. Empty: in a folder of its own.
        run_as: the system's user. Empty: one of its own, that has no rights.
        for_user: a service of this user alone.
        watchdog_s: the system starts it again if it has not been heard for so long; 0: never.
    """

    name: str
    weft: Sequence[str]
    words: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict)
    token_file: str = ""
    folder: str = ""
    run_as: str = ""
    for_user: bool = False
    watchdog_s: int = 60

    @property
    def service(self) -> str:
        return f"weft-{self.name}"

    def checked(self) -> ServiceSpec:
        """
        Raises:
            Failure: a value cannot be in a definition.
        """
        if not _NAME.fullmatch(self.name):
            raise Failure(
                f"{self.name!r} is not a name of 1 to 58 letters, digits, '_' and '-' that begins with a letter or digit",
                status=2,
            )
        if not self.words or self.words[0] not in COMMANDS:
            raise Failure(
                "say what the service runs: `agent` or `coordinator`, with its arguments, after --", status=2
            )
        if self.words[0] == "coordinator" and 0 < self.watchdog_s < LEAST_WATCHDOG_S:
            raise Failure(
                f"a coordinator needs at least {LEAST_WATCHDOG_S} s to know whether its store is away, and not {self.watchdog_s}",
                "--watchdog-s 0 switches the watchdog off",
                status=2,
            )
        for name in self.variables:
            if not _VARIABLE.fullmatch(name):
                raise Failure(f"{name!r} is not the name of a variable", status=2)
        if found := sorted(_SECRET & self.variables.keys()):
            raise Failure(
                f"{found[0]} would be readable for everybody in the definition",
                "write the token to a file, and name it with --token-file",
                status=2,
            )
        for text in (*self.weft, *self.words, *self.variables.values(), *self._paths):
            if not text.isprintable():
                raise Failure(f"{text!r} has characters that are not printable", status=2)
        return self

    @property
    def _paths(self) -> tuple[str, str, str]:
        return self.token_file, self.folder, self.run_as


class ServiceDefinition(Protocol):
    """How one operating system describes services."""

    @property
    def text(self) -> str:
        """The contents of the file."""
        ...

    @property
    def path(self) -> PurePath:
        """Where the file belongs."""
        ...

    def after_install(self) -> Sequence[Sequence[str]]:
        """The commands that enable and start the service, when the file is there."""
        ...

    def before_uninstall(self) -> Sequence[Sequence[str]]:
        """The commands that stop and disable it."""
        ...

    def after_uninstall(self) -> Sequence[Sequence[str]]:
        """The commands for when the file is gone."""
        ...

    def status(self) -> Sequence[str]:
        """The command that tells how it is."""
        ...
