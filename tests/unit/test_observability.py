"""deploy/observability: dashboards as Grafana needs them, rules as operators need them, and no metric that does not exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from scripts import metrics_table
from scripts.dashboards.__main__ import FOLDER, PAGES
from scripts.dashboards.form import written
from tests.support import observability
from tests.support.pages import anchors
from tests.support.processes import ROOT
from weft.rpc.telemetry.exposition import sample_name

DASHBOARDS = observability.dashboards()
ALERTS = [rule for rule in observability.rules() if rule.alert]
RECORDS = {rule.name for rule in observability.rules() if not rule.alert}
SPECS = {sample_name(spec): spec for specs in metrics_table.GROUPS.values() for spec in specs}
# A metric, or a record: with an underscore or a colon, and not a function.
NAME = re.compile(r"(?<![\w:\"$])[a-z][a-z0-9]*(?:[_:][a-z0-9_:]+)+(?![\w(:]|\s*\()")
LABELS = re.compile(r"\{([^{}]*)\}")
BY = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^()]*)\)")
# Labels that Prometheus adds.
ADDED = {"job", "instance", "le"}
EXPRESSIONS = [*observability.queries(), *((rule.name, rule.expr) for rule in observability.rules())]


def metrics_in(expr: str) -> set[str]:
    """The names of metrics and records of an expression."""
    return set(NAME.findall(BY.sub("", LABELS.sub("", expr)))) - {"histogram_quantile"}


def spec_of(name: str) -> Any:
    return SPECS.get(name) or SPECS.get(re.sub(r"_(bucket|count|sum)$", "", name))


def labels_in(expr: str) -> Iterator[str]:
    for matchers in LABELS.findall(expr):
        yield from re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)
    for names in BY.findall(expr):
        yield from (name.strip() for name in names.split(","))


@pytest.mark.parametrize(("place", "expr"), EXPRESSIONS, ids=[place for place, _ in EXPRESSIONS])
def test_metrics_and_labels_of_queries_exist(place: str, expr: str) -> None:
    found = metrics_in(expr) - {"up"}
    assert found or "up{" in expr
    assert {name for name in found if name not in RECORDS and spec_of(name) is None} == set()
    known = ADDED | {
        label.replace(".", "_") for name in found if name not in RECORDS for label in spec_of(name).labels
    }
    if found & RECORDS:
        known |= {"method", "outcome", "reason", "state"}
    assert set(labels_in(expr)) <= known


def test_dashboards_are_fresh() -> None:
    assert {path.stem for path in observability.DASHBOARDS} == {page.name for page in PAGES}
    for page in PAGES:
        assert (FOLDER / f"{page.name}.json").read_text() == written(page), "run `make settings`"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_whole(name: str) -> None:
    dashboard = DASHBOARDS[name]
    assert dashboard["uid"] == f"weft-{name}"
    assert len({each["uid"] for each in DASHBOARDS.values()}) == len(DASHBOARDS)
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert "datasource" in variables
    for panel in observability.panels(dashboard):
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        refs = [target["refId"] for target in panel["targets"]]
        assert refs
        assert len(set(refs)) == len(refs)
        for each in (panel, *panel["targets"]):
            assert each["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            used = set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval"}
            assert used <= variables
            assert not re.search(r"\d+\.\d+\.\d+\.\d+|localhost", target["expr"])


@pytest.mark.parametrize("name", DASHBOARDS)
def test_grafana_knows_each_field(name: str) -> None:
    """By the types that Grafana generates from its schema: they keep the fields that they know, and drop others."""
    register_default_plugins()
    assert list(unknown(DASHBOARDS[name], as_grafana_has_it(DASHBOARDS[name]))) == []


def test_an_unknown_field_is_found() -> None:
    dashboard = {"title": "x", "panels": [{"type": "stat", "titel": "x"}], "uid": "x"}
    assert list(unknown(dashboard, as_grafana_has_it(dashboard))) == [".panels[0].titel"]


def as_grafana_has_it(dashboard: Any) -> Any:
    return json.loads(json.dumps(Dashboard.from_json(dashboard), cls=JSONEncoder))


def unknown(given: Any, kept: Any, place: str = "") -> Iterator[str]:
    """What is not kept. Empty values may be left out."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            if key in kept:
                yield from unknown(value, kept[key], f"{place}.{key}")
            elif value not in ([], None, "", False):
                yield f"{place}.{key}"
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from unknown(one, other, f"{place}[{number}]")
    elif given != kept:
        yield place


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_do_not_overlap(name: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARDS[name]["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, (panel["title"], taken.get((x, y)))
                taken[x, y] = panel["title"]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_says_what_to_do(alert: observability.Rule) -> None:
    assert alert.left
    assert alert.about["labels"]["severity"] in ("critical", "warning")
    notes = alert.about["annotations"]
    assert notes["summary"].endswith(".")
    path, _, anchor = notes["runbook_url"].partition("#")
    page = ROOT / path
    assert anchor == alert.name.lower()
    assert anchor in anchors(page)
    section = page.read_text().split(f"## {alert.name}\n")[1].split("\n## ")[0]
    for part in ("**Means:**", "**Look:**", "**Do:**"):
        assert part in section


def test_the_page_of_alerts_has_no_other() -> None:
    page = (ROOT / "docs" / "how-to" / "alerts.md").read_text()
    assert re.findall(r"^## (Weft\w+)$", page, re.MULTILINE) == [alert.name for alert in ALERTS]


def test_each_alert_has_a_unit_test() -> None:
    tests = observability.read(ROOT / "tests" / "support" / "rules_test.yaml")["tests"]
    assert sorted(test["name"] for test in tests) == sorted(alert.name for alert in ALERTS)
