"""A scenario's runs as one row: a line of JSON with flat keys, or a row of the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from tests.chaos.harness.run import Outcome

_COLUMNS = (
    "fault",
    "store",
    "runs",
    "tasks",
    "lost tasks",
    "lost results",
    "duplicates per million",
    "stale refused",
    "stale accepted",
    "first claim s",
    "recovered s",
)


@dataclass(frozen=True, slots=True)
class Row:
    """The runs of one fault on one store."""

    fault: str
    store: str
    outcomes: Sequence[Outcome]
    # The store does not promise to keep what this fault may take: what is lost is measured, and no fault of weft.
    unpromised: bool = False

    @property
    def broken(self) -> bool:
        """A promise was not kept."""
        return any(
            each.stale_accepted
            or each.strangers
            or each.misdated
            or each.overruns
            or (
                not self.unpromised
                and (
                    each.lost_tasks
                    or each.lost_results
                    or each.unexplained
                    or each.double_ticks
                    or each.lost_ticks
                    or each.group_faults
                    or each.cache_faults
                    or each.event_faults
                    or each.pool_faults
                    or each.graph_faults
                )
            )
            for each in self.outcomes
        )

    def figures(self) -> dict[str, str | int | float | bool | None]:
        """Sums, and of times the longest; null: no run has one (first claim), or some run never got there."""
        tasks = sum(each.tasks for each in self.outcomes)
        again = sum(each.duplicates for each in self.outcomes)
        claims = [each.first_claim_s for each in self.outcomes if each.first_claim_s is not None]
        recoveries = [each.recovered_s for each in self.outcomes if each.recovered_s is not None]
        return {
            "fault": self.fault,
            "store": self.store,
            "runs": len(self.outcomes),
            "tasks": tasks,
            "lost_tasks": sum(each.lost_tasks for each in self.outcomes),
            "lost_results": sum(each.lost_results for each in self.outcomes),
            "duplicates_per_million": round(again * 1_000_000 / tasks) if tasks else 0,
            "stale_refused": sum(each.stale_refused for each in self.outcomes),
            "stale_accepted": sum(each.stale_accepted for each in self.outcomes),
            "first_claim_s": round(max(claims), 2) if claims else None,
            "recovered_s": round(max(recoveries), 2) if len(recoveries) == len(self.outcomes) else None,
            "unexplained_duplicates": sum(each.unexplained for each in self.outcomes),
            "strangers": sum(each.strangers for each in self.outcomes),
            "misdated": sum(each.misdated for each in self.outcomes),
            "ticks": sum(each.ticks for each in self.outcomes),
            "double_ticks": sum(each.double_ticks for each in self.outcomes),
            "lost_ticks": sum(each.lost_ticks for each in self.outcomes),
            "groups": sum(each.groups for each in self.outcomes),
            "group_faults": sum(each.group_faults for each in self.outcomes),
            "cached": sum(each.cached for each in self.outcomes),
            "cache_faults": sum(each.cache_faults for each in self.outcomes),
            "events": sum(each.events for each in self.outcomes),
            "event_faults": sum(each.event_faults for each in self.outcomes),
            "pool_faults": sum(each.pool_faults for each in self.outcomes),
            "graph_faults": sum(each.graph_faults for each in self.outcomes),
            "overruns": sum(each.overruns for each in self.outcomes),
            "promised": not self.unpromised,
        }


def print_table(rows: Sequence[Row]) -> None:
    """All rows, for people."""
    table = Table(box=box.SIMPLE_HEAD)
    for number, heading in enumerate(_COLUMNS):
        left = number < 2
        table.add_column(heading, justify="left" if left else "right", no_wrap=left)
    for row in rows:
        figures = list(row.figures().values())[: len(_COLUMNS)]
        table.add_row(*map(_cell, figures), style="red" if row.broken else None)
    Console(width=None if Console().is_terminal else 160).print(table)


def _cell(figure: str | float | None) -> str:
    if figure is None:
        return "–"
    return f"{figure:,}" if isinstance(figure, int) else str(figure)
