"""How a dashboard looks, as Grafana's JSON: panels flow from left to right and down, 24 columns wide."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

COLUMNS = 24
# The form of the JSON: that of Grafana 10.1; newer ones read it.
SCHEMA_VERSION = 38
_HEIGHTS = {"stat": 4, "timeseries": 8, "bargauge": 8}
_WIDTHS = {"stat": 3, "timeseries": 8, "bargauge": 8}
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_COLOURS = ("green", "orange", "red")

Kind = Literal["stat", "timeseries", "bargauge"]


class Query(NamedTuple):
    """A query, and the name of its series; `{{label}}` is put in."""

    expr: str
    legend: str = ""


class Panel(NamedTuple):
    """One panel.

    Args:
        text: what it shows, and what is bad; shown on the panel's i.
        unit: as Grafana names it: "short", "s", "ops", "bytes", "percentunit".
        limits: values from which it is orange, and red; with one limit: red.
        least: the lower limit, below which it is red, in place of `limits`.
        most: of its axis.
        width: columns; 0: as the kind has it.
    """

    title: str
    text: str
    unit: str
    queries: Sequence[Query]
    kind: Kind = "timeseries"
    limits: tuple[float, ...] = ()
    least: float | None = None
    most: float | None = None
    stacked: bool = False
    width: int = 0


class Row(NamedTuple):
    """A heading, and the panels below it."""

    title: str
    panels: Sequence[Panel]


class Variable(NamedTuple):
    """What a reader chooses: the values of a label of a metric."""

    name: str
    label: str
    metric: str
    of: str
    text: str
    several: bool = True


class Page(NamedTuple):
    """A dashboard."""

    name: str
    title: str
    text: str
    variables: Sequence[Variable]
    rows: Sequence[Row]


def dashboard(page: Page) -> dict[str, Any]:
    """The JSON of a dashboard."""
    return {
        "uid": f"weft-{page.name}",
        "title": f"weft: {page.title}",
        "description": page.text,
        "tags": ["weft"],
        "timezone": "browser",
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        # Panels share the crosshair.
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "links": [_link()],
        "templating": {"list": [_datasource(), *map(_variable, page.variables)]},
        "annotations": {"list": []},
        "panels": list(_panels(page.rows)),
    }


def _link() -> dict[str, Any]:
    return {
        "title": "weft",
        "type": "dashboards",
        "tags": ["weft"],
        "asDropdown": False,
        "includeVars": False,
        "keepTime": True,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "the other dashboards of weft",
        "url": "",
    }


def _datasource() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "description": "The Prometheus that scrapes the mesh.",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "includeAll": False,
        "multi": False,
        "hide": 0,
    }


def _variable(variable: Variable) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": variable.name,
        "label": variable.label,
        "description": variable.text,
        "type": "query",
        "datasource": _DATASOURCE,
        "query": f"label_values({variable.metric}, {variable.of})",
        # At each change of the time range.
        "refresh": 2,
        "sort": 1,
        "includeAll": variable.several,
        "multi": variable.several,
        "hide": 0,
    }
    if variable.several:
        found |= {"allValue": ".*", "current": {"selected": True, "text": "All", "value": "$__all"}}
    return found


def _panels(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for row in rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
            "panels": [],
        }
        top += 1
        left = height = 0
        for panel in row.panels:
            width = panel.width or _WIDTHS[panel.kind]
            if left + width > COLUMNS:
                left, top, height = 0, top + height, 0
            number += 1
            place = {"x": left, "y": top, "w": width, "h": _HEIGHTS[panel.kind]}
            yield {"id": number, "gridPos": place, **_panel(panel)}
            left, height = left + width, max(height, _HEIGHTS[panel.kind])
        top += height


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": _DATASOURCE,
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": _options(panel),
        "targets": [_target(query, number, panel) for number, query in enumerate(panel.queries)],
    }


def _target(query: Query, number: int, panel: Panel) -> dict[str, Any]:
    return {
        "refId": chr(ord("A") + number),
        "datasource": _DATASOURCE,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "editorMode": "code",
        "range": panel.kind == "timeseries",
        "exemplar": panel.kind == "timeseries" and "_bucket" in query.expr,
        "instant": panel.kind != "timeseries",
    }


def _field(panel: Panel) -> dict[str, Any]:
    field: dict[str, Any] = {"unit": panel.unit, "min": 0, "thresholds": _thresholds(panel)}
    if panel.most is not None:
        field["max"] = panel.most
    if panel.kind != "timeseries":
        return field | {"color": {"mode": "thresholds"}}
    field["color"] = {"mode": "palette-classic"}
    field["custom"] = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 30 if panel.stacked else 8,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if panel.limits or panel.least is not None else "off"},
    }
    return field


def _thresholds(panel: Panel) -> dict[str, Any]:
    if panel.least is not None:
        steps = [{"value": None, "color": "red"}, {"value": panel.least, "color": "green"}]
    else:
        colours = ("green", "red") if len(panel.limits) == 1 else _COLOURS
        values = (None, *panel.limits)
        steps = [{"value": value, "color": colour} for value, colour in zip(values, colours, strict=False)]
    return {"mode": "absolute", "steps": steps}


def _options(panel: Panel) -> dict[str, Any]:
    reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    if panel.kind == "stat":
        return {
            "colorMode": "background" if panel.limits or panel.least is not None else "value",
            "graphMode": "area",
            "justifyMode": "auto",
            "orientation": "auto",
            "textMode": "auto",
            "reduceOptions": reduce,
        }
    if panel.kind == "bargauge":
        return {
            "displayMode": "basic",
            "orientation": "horizontal",
            "showUnfilled": True,
            "reduceOptions": reduce,
        }
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def written(page: Page) -> str:
    """The text of a dashboard's file."""
    return json.dumps(dashboard(page), indent=2) + "\n"
