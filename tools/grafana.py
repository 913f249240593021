"""The few shapes of Grafana that the dashboards use: variables, panels on a grid of 24 columns, links between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24
SCHEMA = 39
"""The dashboard schema of Grafana 10.3; later ones read it too."""


@dataclass(frozen=True)
class Query:
    """One expression and the legend of its series; `name` is the column of a table."""

    expr: str
    legend: str = ""
    name: str = ""
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """A panel before it has its place. `bounds` are (from, colour) in the unit of the panel."""

    kind: str
    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    width: int = 8
    height: int = 8
    told: str = ""
    bounds: tuple[tuple[float | None, str], ...] = ()
    decimals: int | None = None
    most: float | None = None
    stacked: bool = False
    options: Json = field(default_factory=dict)
    defaults: Json = field(default_factory=dict)
    overrides: tuple[Json, ...] = ()
    transformations: tuple[Json, ...] = ()


@dataclass(frozen=True)
class Section:
    """A row with its panels."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Variable:
    """A choice that fills `$name` in queries, with the values of a label."""

    name: str
    label: str
    query: str
    several: bool = True


@dataclass(frozen=True)
class Dashboard:
    """A whole dashboard."""

    uid: str
    title: str
    told: str
    variables: tuple[Variable, ...]
    sections: tuple[Section, ...]


def stat(title: str, *queries: Query, width: int = 4, height: int = 4, **more: Any) -> Panel:
    """Return a panel that shows one figure, large."""
    options = {
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "textMode": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    return Panel("stat", title, queries, width=width, height=height, options=options, **more)


def lines(title: str, *queries: Query, **more: Any) -> Panel:
    """Return a panel of lines over time, its legend a table with last and largest values."""
    options = {
        "legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return Panel("timeseries", title, queries, options=options, **more)


def table(title: str, *queries: Query, **more: Any) -> Panel:
    """Return a table of the last values, one row for each set of labels."""
    options = {"showHeader": True, "cellHeight": "sm", "footer": {"show": False}}
    return Panel("table", title, queries, options=options, **more)


def column(name: str, *properties: tuple[str, Any]) -> Json:
    """Return what is special about one column of a table."""
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": key, "value": value} for key, value in properties],
    }


def joined(*, hidden: Sequence[str], names: dict[str, str]) -> tuple[Json, ...]:
    """Return the steps that make one table of several queries: merge by labels, hide, rename."""
    organised = {"excludeByName": dict.fromkeys(("Time", *hidden), True), "renameByName": names, "indexByName": {}}
    return ({"id": "merge", "options": {}}, {"id": "organize", "options": organised})


def rendered(made: Dashboard, others: Sequence[Dashboard]) -> Json:
    """Return the dashboard as Grafana imports it."""
    return {
        "uid": made.uid,
        "title": made.title,
        "description": made.told,
        "tags": ["yolofleet"],
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "schemaVersion": SCHEMA,
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [_link(other) for other in others if other.uid != made.uid],
        "templating": {"list": [_datasource(), *(_variable(variable) for variable in made.variables)]},
        "panels": list(_placed(made.sections)),
    }


def _link(other: Dashboard) -> Json:
    return {
        "type": "link",
        "title": other.title.removeprefix("yolofleet / "),
        "tooltip": other.told,
        "url": f"/d/{other.uid}?${{datasource:queryparam}}",
        "icon": "dashboard",
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "asDropdown": False,
        "tags": [],
    }


def _datasource() -> Json:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1}


def _variable(made: Variable) -> Json:
    several = {"multi": True, "includeAll": True, "allValue": ".*"} if made.several else {"multi": False}
    current = {"current": {"selected": True, "text": ["All"], "value": ["$__all"]}} if made.several else {}
    return {
        "name": made.name,
        "label": made.label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": made.query, "refId": made.name},
        "definition": made.query,
        "refresh": 2,
        "sort": 1,
        **several,
        **current,
    }


def _placed(sections: Sequence[Section]) -> Iterator[Json]:
    """Yield all panels from left to right and top to bottom, each section below a row of its own."""
    number, y = 0, 0
    for section in sections:
        number += 1
        yield _row(section, number, y)
        x, y, tallest = 0, y + 1, 0
        for panel in section.panels:
            number += 1
            if x + panel.width > COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            yield _panel(panel, number, {"x": x, "y": y, "w": panel.width, "h": panel.height})
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest


def _row(section: Section, number: int, y: int) -> Json:
    place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
    return {"id": number, "type": "row", "title": section.title, "collapsed": False, "gridPos": place, "panels": []}


def _panel(panel: Panel, number: int, place: Json) -> Json:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.told,
        "datasource": SOURCE,
        "gridPos": place,
        "targets": [_target(query, panel.kind, index) for index, query in enumerate(panel.queries)],
        "options": panel.options,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": [*_dashed(panel), *panel.overrides]},
        "transformations": list(panel.transformations),
    }


def _target(query: Query, kind: str, index: int) -> Json:
    at_once = {"instant": True, "range": False, "format": "table"} if kind == "table" else {"instant": False}
    return {
        "refId": query.name or chr(ord("A") + index),
        "datasource": SOURCE,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        **at_once,
    }


def _defaults(panel: Panel) -> Json:
    steps = [{"value": value, "color": colour} for value, colour in panel.bounds or ((None, "green"),)]
    told: Json = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}, **panel.defaults}
    told |= {"decimals": panel.decimals} if panel.decimals is not None else {}
    if panel.kind != "timeseries":
        return told
    drawn: Json = {"lineWidth": 2, "fillOpacity": 10, "showPoints": "never", "spanNulls": False}
    drawn |= {"stacking": {"mode": "normal"}, "fillOpacity": 40} if panel.stacked else {}
    drawn |= {"thresholdsStyle": {"mode": "dashed"}} if panel.bounds else {}
    most = {"max": panel.most} if panel.most is not None else {}
    return told | {"min": 0, "custom": drawn, "color": {"mode": "palette-classic"}} | most


def _dashed(panel: Panel) -> list[Json]:
    """Return what draws a line that is wanted, not seen, with dashes and nothing below it."""
    style = {"fill": "dash", "dash": [10, 10]}
    made = []
    for index, query in enumerate(panel.queries):
        if query.dashed:
            properties = [{"id": "custom.lineStyle", "value": style}, {"id": "custom.fillOpacity", "value": 0}]
            matcher = {"id": "byFrameRefID", "options": query.name or chr(ord("A") + index)}
            made.append({"matcher": matcher, "properties": properties})
    return made
