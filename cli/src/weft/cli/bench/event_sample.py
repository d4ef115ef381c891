"""What was measured of events on one store, as keys of the JSON and as a row of the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weft.cli.terminal import output, tables


@dataclass(frozen=True, slots=True)
class EventSample:
    """The figures of one store."""

    # The prefix of its keys in the JSON, such as "events_embedded"; its name in the table.
    prefix: str
    title: str
    # Published and delivered to all live subscribers together, while it lasted.
    published_per_s: float
    delivered_per_s: float
    # From publication to a live subscriber, of the oldest event of each response.
    late_p50_ms: float
    late_p99_ms: float
    # Left out by subscribers that read, and by the one that never reads.
    missed: int
    slow_missed: int
    # Kept events that were read by one subscriber.
    replayed: int
    replayed_per_s: float
    # The most that the coordinator had.
    memory_mib: float
    # CPU time of each kind of process by name, in microseconds for each published event.
    cpu_us: Mapping[str, float]

    @property
    def two_cores_per_s(self) -> float:
        """What two cores without other work could publish and deliver, by the CPU time of all processes."""
        return 2e6 / sum(self.cpu_us.values())

    def figures(self) -> dict[str, float]:
        """Its keys of the JSON."""
        found: dict[str, float] = {
            "per_s": round(self.published_per_s),
            "delivered_per_s": round(self.delivered_per_s),
            "late_p50_ms": round(self.late_p50_ms, 1),
            "late_p99_ms": round(self.late_p99_ms, 1),
            "missed": self.missed,
            "slow_missed": self.slow_missed,
            "replayed": self.replayed,
            "replayed_per_s": round(self.replayed_per_s),
            "memory_mib": round(self.memory_mib, 1),
            "two_cores_per_s": round(self.two_cores_per_s),
            **{f"{name}_cpu_us_per_event": round(used, 1) for name, used in self.cpu_us.items()},
        }
        return {f"{self.prefix}_{name}": value for name, value in found.items()}


def print_events(samples: Sequence[EventSample]) -> None:
    """The table."""
    tables.print_rows(
        (
            tables.Column("events, 100 subscribers"),
            tables.Column("published", right=True),
            tables.Column("delivered", right=True, spare=1),
            tables.Column("late p50", right=True),
            tables.Column("p99", right=True),
            tables.Column("replayed", right=True),
            tables.Column("memory", right=True, spare=1),
            tables.Column("CPU an event", below=True),
        ),
        [
            (
                each.title,
                f"{each.published_per_s:,.0f}/s",
                f"{each.delivered_per_s:,.0f}/s",
                f"{each.late_p50_ms:.0f} ms",
                f"{each.late_p99_ms:.0f} ms",
                f"{each.replayed_per_s:,.0f}/s",
                f"{each.memory_mib:.0f} MiB",
                ", ".join(f"{name} {used:.0f} µs" for name, used in each.cpu_us.items()),
            )
            for each in samples
        ],
        "no events were measured",
    )
    for each in samples:
        output.remark(
            f"{each.title}: {each.missed:,} events were left out by subscribers that read, {each.slow_missed:,} by the one that never"
            f" reads; by its CPU, two cores could do {each.two_cores_per_s:,.0f} events/s"
        )
