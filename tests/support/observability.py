"""What deploy/observability has, read: dashboards, rules, and the queries in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml  # type: ignore[import-untyped, unused-ignore]

from tests.support.processes import ROOT

FOLDER = ROOT / "deploy" / "observability"
RULES = FOLDER / "prometheus" / "rules.yaml"
DASHBOARDS = sorted((FOLDER / "grafana" / "dashboards").glob("*.json"))
_COMPARED = re.compile(r"^(.*?)\s(?:[<>]=?|==|!=)\s*[\d.]+$", re.DOTALL)


class DashboardQuery(NamedTuple):
    """A query of a dashboard, and where it is."""

    place: str
    expr: str


class Rule(NamedTuple):
    """A rule: a record or an alert."""

    name: str
    expr: str
    alert: bool
    about: dict[str, Any]

    @property
    def left(self) -> str:
        """Of an alert: what is compared with its threshold."""
        found = _COMPARED.match(self.expr)
        assert found is not None, self.expr
        return found[1]


def read(path: Path) -> Any:
    """A YAML or JSON file."""
    return yaml.safe_load(path.read_text())


def rules() -> list[Rule]:
    return [
        Rule(rule.get("alert") or rule["record"], rule["expr"], "alert" in rule, rule)
        for group in read(RULES)["groups"]
        for rule in group["rules"]
    ]


def dashboards() -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text()) for path in DASHBOARDS}


def panels(dashboard: Any) -> list[Any]:
    """Its panels without the headings."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries() -> Iterator[DashboardQuery]:
    for name, dashboard in dashboards().items():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                yield DashboardQuery(f"{name}: {panel['title']} {target['refId']}", target["expr"])
