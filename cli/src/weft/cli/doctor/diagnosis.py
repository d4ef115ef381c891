"""What `weft doctor` finds: one line each."""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass
from typing import Any


class Level(enum.StrEnum):
    """How bad a finding is."""

    OK = "ok"
    # It works, but perhaps not as meant.
    WARNING = "warning"
    # Something does not work.
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing that was looked at.

    Args:
        subject: what was looked at: a room of the mesh, such as "coordinator" or "queue acme.v1.Billing/Charge".
        text: what was found.
        do: what to do about it; empty for OK.
    """

    level: Level
    subject: str
    text: str
    do: str = ""

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def ok(subject: str, text: str) -> Diagnosis:
    return Diagnosis(Level.OK, subject, text)


def warning(subject: str, text: str, do: str) -> Diagnosis:
    return Diagnosis(Level.WARNING, subject, text, do)


def problem(subject: str, text: str, do: str) -> Diagnosis:
    return Diagnosis(Level.PROBLEM, subject, text, do)
