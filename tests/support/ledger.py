"""The ledger: a file outside the mesh, in which the probe's handlers record each run.

One line a fact: `start|end|cancelled TEXT ATTEMPT AGENT TIME`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import until


@dataclass(frozen=True, slots=True)
class Fact:
    """One line."""

    event: str
    text: str
    attempt: int
    agent_id: str
    time_s: float


class Ledger:
    """Reads a ledger; `path` goes into `ProbeRequest.ledger`."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._file = path

    def facts(self, event: str | None = None, text: str | None = None) -> list[Fact]:
        """The facts so far, in order, without a line that is still being written."""
        if not self._file.exists():
            return []
        lines = self._file.read_text().split("\n")[:-1]
        facts = []
        for line in lines:
            kind, rest = line.split(" ", 1)
            words, attempt, agent_id, time_s = rest.rsplit(" ", 3)
            facts.append(Fact(kind, words, int(attempt), agent_id, float(time_s)))
        return [f for f in facts if event in {None, f.event} and text in {None, f.text}]

    async def until(
        self,
        event: str,
        text: str | None = None,
        *,
        count: int = 1,
        where: Callable[[Fact], bool] = lambda _: True,
        timeout_s: float = 20.0,
    ) -> list[Fact]:
        """Wait until `count` facts of this kind are written, and return them."""

        def found() -> list[Fact]:
            return [fact for fact in self.facts(event, text) if where(fact)]

        await until(lambda: len(found()) >= count, f"{count} x '{event} {text or '*'}'", timeout_s=timeout_s)
        return found()
