"""The ledger: a file outside the mesh where the agents record the start and the end of each attempt.

One line for each: "start|end AGENT FILE". A line is written by one call, so it stays when its agent is killed.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

# The environment variable that names the file to the agents.
LEDGER = "WEFT_DEMO_LEDGER"


class LedgerWriter:
    """Appends an agent's lines to the ledger."""

    def __init__(self) -> None:
        self._file = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, fact: str, agent_id: str, file_name: str) -> None:
        os.write(self._file, f"{fact} {agent_id} {file_name}\n".encode())


@dataclass(slots=True)
class Ledger:
    """The counts of the ledger."""

    # Started and ended attempts, by agent and by file.
    begun_by: Counter[str] = field(default_factory=Counter)
    ended_by: Counter[str] = field(default_factory=Counter)
    begun: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)

    @classmethod
    def read(cls, path: Path) -> Ledger:
        found = cls()
        for line in path.read_text().splitlines():
            fact, agent_id, file_name = line.split(" ", 2)
            by_agent, by_file = (
                (found.begun_by, found.begun) if fact == "start" else (found.ended_by, found.ended)
            )
            by_agent[agent_id] += 1
            by_file[file_name] += 1
        return found

    @property
    def re_runs(self) -> int:
        """Attempts after the first one of each file."""
        return self.begun.total() - len(self.begun)

    @property
    def duplicates(self) -> int:
        """Attempts that ended after another attempt at the same file had ended: repeated work."""
        return self.ended.total() - len(self.ended)
