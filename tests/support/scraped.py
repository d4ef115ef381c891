"""Figures as prometheus-client's own parsers read them: families by name, and samples by name and labels."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from weft.rpc.telemetry.exposition import OPENMETRICS, PLAIN, encode
from weft.rpc.telemetry.figures import Figures, Reading


class Scraped:
    """One scrape."""

    def __init__(self, text: str, *, openmetrics: bool = True) -> None:
        self.text = text
        found: Iterable[Metric] = (parse_openmetrics if openmetrics else parse_plain)(text)
        self.families = {family.name: family for family in found}

    @classmethod
    def of(cls, source: Figures | Iterable[Reading], *, openmetrics: bool = True) -> Scraped:
        readings = source.read() if isinstance(source, Figures) else source
        kind = OPENMETRICS if openmetrics else PLAIN
        return cls(encode(readings, kind).decode(), openmetrics=openmetrics)

    @property
    def series(self) -> int:
        """Time series: one a sample."""
        return sum(len(family.samples) for family in self.families.values())

    def value(self, name: str, **labels: str) -> float:
        """The value of one sample; 0 if there is none."""
        return sum(
            sample.value
            for family in self.families.values()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


def address_in(log: Path) -> str:
    """Where a process says that its metrics are."""
    found = re.search(r"metrics\.opened.*?(127\.0\.0\.1:\d+)", log.read_text())
    assert found is not None, log.read_text()
    return found[1]


async def scrape(address: str) -> Scraped:
    """Ask an endpoint."""
    request = urllib.request.Request(
        f"http://{address}/metrics", headers={"Accept": "application/openmetrics-text"}
    )

    def ask() -> str:
        with urllib.request.urlopen(request, timeout=20) as answer:
            body: bytes = answer.read()
            return body.decode()

    return Scraped(await asyncio.to_thread(ask))
