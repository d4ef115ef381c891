"""Write the tables of docs/how-to/metrics.md from the metrics: `python scripts/metrics_table.py` (or `--check` to compare only)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from weft.rpc.telemetry.agent_metrics import AGENT_METRICS, SIDECAR_METRICS
from weft.rpc.telemetry.balancer_metrics import BALANCER_METRICS
from weft.rpc.telemetry.call_figures import RPC_METRICS
from weft.rpc.telemetry.coordinator_metrics import COORDINATOR_METRICS
from weft.rpc.telemetry.exposition import sample_name
from weft.rpc.telemetry.figures import MetricSpec
from weft.rpc.telemetry.host_metrics import HOST_METRICS
from weft.rpc.telemetry.process_metrics import PROCESS_METRICS

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "how-to" / "metrics.md"
# The page up to here is written by hand.
MARK = "## All metrics\n"

GROUPS: dict[str, tuple[MetricSpec, ...]] = {
    "Coordinators": COORDINATOR_METRICS,
    "Agents": AGENT_METRICS,
    "Sidecars, besides": SIDECAR_METRICS,
    "Processes: coordinators, agents and sidecars": PROCESS_METRICS,
    "Hosts of agents": HOST_METRICS,
    "Calls, at coordinators and agents": RPC_METRICS,
    "Direct calls made, at coordinators and agents": BALANCER_METRICS,
}


def tables() -> str:
    """All tables, with their headings."""
    text = MARK + "\nWritten by `make settings`. At Prometheus / by OTLP.\n"
    for title, specs in GROUPS.items():
        text += f"\n### {title}\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n"
        text += "".join(f"| {' | '.join(row(spec))} |\n" for spec in specs)
    return text


def row(spec: MetricSpec) -> tuple[str, str, str, str]:
    labels = ", ".join(f"`{label}`" for label in spec.labels)
    return f"`{sample_name(spec)}` / `{spec.name}`", spec.kind, labels, spec.text


def page() -> str:
    """The page with fresh tables."""
    return PAGE.read_text().partition(MARK)[0] + tables()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when the committed page is stale")
    fresh = page()
    if not parser.parse_args().check:
        PAGE.write_text(fresh)
    elif PAGE.read_text() != fresh:
        print(f"{PAGE.relative_to(ROOT)} is stale: run `make settings`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
