"""The demo's report: the verdict, tables and JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from corpus.v1 import corpus_pb2
from weft.cli.demo.corpus import SourceFile
from weft.cli.demo.demo_run import DemoRecord
from weft.cli.demo.expected_results import digest
from weft.cli.demo.ledger import Ledger
from weft.cli.terminal import output, tables

_MOST_NAMED = 5


@dataclass(frozen=True)
class DemoReport:
    """Compares the client's results with the ledger and with a direct computation."""

    files: Sequence[SourceFile]
    record: DemoRecord
    ledger: Ledger
    # The digest of the expected response, by file name.
    expected: Mapping[str, str]

    @cached_property
    def succeeded(self) -> int:
        """Number of files whose task succeeded."""
        return sum(tasks[0].succeeded for tasks in self.record.delivered.values())

    @cached_property
    def lost(self) -> int:
        """Number of files without an outcome."""
        return len(self.files) - len(self.record.delivered)

    @cached_property
    def tasks_per_s(self) -> float:
        return len(self.files) / self.record.duration_s

    @cached_property
    def faults(self) -> list[str]:
        """Differences from the expected results; empty if the run is right."""
        found: list[str] = []
        if self.lost:
            found.append(f"{self.lost} files have no result")
        if len(self.files) != self.record.recorded:
            found.append(f"the coordinator has {self.record.recorded} tasks, not {len(self.files)}")
        for index, tasks in sorted(self.record.delivered.items()):
            name = self.files[index].name
            if len(tasks) > 1:
                found.append(f"{name}: its result was delivered {len(tasks)} times")
            if (error := tasks[0].error()) is not None:
                found.append(f"{name}: {error.code.name}: {error.message}")
            elif digest(tasks[0].response) != self.expected.get(name):
                found.append(f"{name}: its result differs from the direct computation")
        return found

    def figures(self) -> dict[str, float]:
        """The figures of the line of JSON."""
        return {
            "tasks": len(self.files),
            "succeeded": self.succeeded,
            "lost": self.lost,
            "duplicates": self.ledger.duplicates,
            "tasks_per_s": round(self.tasks_per_s, 1),
            "recovered_agent_s": round(self.record.recovered_agent_s, 2),
            "recovered_coordinator_s": round(self.record.recovered_coordinator_s, 2),
            "crashes_overlapped": int(self.record.crashes_overlapped),
        }

    def print_tables(self) -> None:
        """Print the tables for people."""
        results = Counter(tasks[0].agent_id for tasks in self.record.delivered.values())
        ledger = self.ledger
        rows = [
            (
                agent_id,
                f"{results[agent_id]:,}",
                f"{ledger.begun_by[agent_id]:,}",
                f"{ledger.ended_by[agent_id]:,}",
                "killed after one third" if agent_id == self.record.killed_agent else "",
            )
            for agent_id in sorted(ledger.begun_by)
        ]
        total = (f"{len(self.record.delivered):,}", f"{ledger.begun.total():,}", f"{ledger.ended.total():,}")
        tables.print_rows(
            (
                tables.Column("agent"),
                tables.Column("results", right=True),
                tables.Column("attempts started", right=True),
                tables.Column("ended", right=True),
                tables.Column(""),
            ),
            [*rows, ("total", *total, "")],
            "no agent ran an attempt",
        )
        record = self.record
        for figure, meaning in (
            (f"{len(self.files):,}", f"files of the standard library: {self._contents()}"),
            (f"{self.succeeded:,}", "tasks succeeded"),
            (f"{self.lost:,}", "lost"),
            (f"{ledger.re_runs:,}", "attempts run again after the crashes"),
            (f"{ledger.duplicates:,}", "of them repeated a finished attempt (tasks run at least once)"),
            (f"{self.tasks_per_s:,.0f}", f"tasks/s, including the crashes ({record.duration_s:.1f} s)"),
            (
                f"{record.recovered_agent_s:.1f} s",
                f"until other agents ran the killed agent's tasks{self._overlap()}",
            ),
            (
                f"{record.recovered_coordinator_s:.1f} s",
                "from the kill of the coordinator to the next result",
            ),
        ):
            output.line(f"{figure:>8}  {meaning}")

    def print_verdict(self) -> None:
        if not self.faults:
            output.line(f"Right: all {len(self.files):,} results equal those of a direct computation.")
            return
        output.remark(f"WRONG: {len(self.faults):,} differences")
        for fault in self.faults[:_MOST_NAMED]:
            output.remark(f"  {fault}")

    def _overlap(self) -> str:
        if not self.record.crashes_overlapped:
            return ""
        return ": the coordinator was killed meanwhile; its recovery adds up to 5 s"

    def _contents(self) -> str:
        """The totals of the analyses."""
        lines = functions = broken = 0
        for tasks in self.record.delivered.values():
            figures = corpus_pb2.AnalyzeResponse.FromString(tasks[0].response)
            lines += figures.lines.total
            functions += len(figures.functions)
            broken += figures.HasField("fault")
        return f"{lines:,} lines, {functions:,} functions; {broken} do not parse"
