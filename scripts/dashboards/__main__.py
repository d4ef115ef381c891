"""Write Grafana's dashboards in deploy/observability: `python -m scripts.dashboards` (or `--check` to compare only)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts.dashboards.fleet import FLEET
from scripts.dashboards.form import written
from scripts.dashboards.methods import METHODS
from scripts.dashboards.one_agent import AGENT
from scripts.dashboards.store import STORE

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "observability" / "grafana" / "dashboards"
PAGES = (FLEET, METHODS, AGENT, STORE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when a committed dashboard is stale")
    check = parser.parse_args().check
    stale = False
    for page in PAGES:
        path = FOLDER / f"{page.name}.json"
        if not check:
            path.write_text(written(page))
        elif not path.exists() or path.read_text() != written(page):
            print(f"{path.name} is stale: run `make settings`", file=sys.stderr)
            stale = True
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
