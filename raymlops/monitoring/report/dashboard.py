"""The platform's Grafana dashboard as code: ``python -m raymlops.monitoring.report.dashboard`` prints its JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["ROWS", "Panel", "Query", "dashboard"]

_HEIGHT, _COLUMNS = 8, 24
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Query:
    """One expression, and how its series are called."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One picture of the dashboard."""

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    """Grafana's name of the unit."""
    kind: Literal["timeseries", "stat", "table"] = "timeseries"
    width: int = 8
    """Width in columns; the dashboard has 24."""
    description: str = ""


def _of(title: str, expression: str, legend: str, unit: str = "short", **more: Any) -> Panel:
    return Panel(title, (Query(expression, legend),), unit, **more)


def _quantiles(metric: str, by: str) -> tuple[Query, ...]:
    buckets = f"sum by ({by}, le) (rate({metric}_bucket{{{_MODEL}}}[$__rate_interval]))"
    return tuple(
        Query(f"histogram_quantile({share}, {buckets})", f"{name} " + _legend(by))
        for share, name in ((0.5, "median"), (0.99, "99%"))
    )


def _legend(by: str) -> str:
    return " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))


_MODEL = 'model=~"$model"'
_SERVING = (
    _of("Endpoints that answer", f"raymlops_model_endpoint_answers{{{_MODEL}}}", "{{model}}", kind="stat"),
    _of("Plan served", f"max by (model) (raymlops_model_plan_number{{{_MODEL}}})", "{{model}}", kind="stat"),
    _of("Parts of this page that answer", "raymlops_scrape_up", "{{part}}", kind="stat"),
    _of(
        "Requests",
        f"sum by (model, version) (rate(raymlops_model_infer_requests_total{{{_MODEL}}}[$__rate_interval]))",
        "{{model}} version {{version}}",
        "reqps",
        description="By the version that answered; without a version: nobody did, or it was no prediction.",
    ),
    _of(
        "Failed requests",
        f'sum by (model, code) (rate(raymlops_model_infer_requests_total{{{_MODEL},code!~"2.."}}[$__rate_interval]))',
        "{{model}} {{code}}",
        "reqps",
    ),
    Panel("Latency", _quantiles("raymlops_model_infer_request_duration_seconds", "model, version"), "s"),
    Panel("Latency by stage", _quantiles("raymlops_model_infer_stage_duration_seconds", "model, stage"), "s"),
    _of("Requests under way", f"sum by (model) (raymlops_model_requests_in_flight{{{_MODEL}}})", "{{model}}"),
    _of(
        "Answers of another than the chosen version",
        f"sum by (model, role) (rate(raymlops_model_fallbacks_total{{{_MODEL}}}[$__rate_interval]))",
        "{{model}} {{role}}",
        "reqps",
    ),
    Panel(
        "Prediction events",
        (
            Query(f"sum by (model) (raymlops_model_events_waiting{{{_MODEL}}})", "{{model}} waiting"),
            Query(f"sum by (model) (increase(raymlops_model_events_dropped_total{{{_MODEL}}}[1h]))", "{{model}} lost"),
        ),
    ),
    _of("Versions that are not asked", f"raymlops_model_breaker_open{{{_MODEL}}}", "{{model}} version {{version}}"),
    _of("Rows waiting for a model", f"sum by (model) (raymlops_model_queue_rows{{{_MODEL}}})", "{{model}}"),
)
_MONITORING = (
    _of("Drift alarm", f"raymlops_monitor_drift_alarm{{{_MODEL}}}", "{{model}}", kind="stat"),
    _of("Degraded", f"raymlops_monitor_degraded{{{_MODEL}}}", "{{model}}", kind="stat"),
    _of("Broken data", f'raymlops_monitor_quality{{{_MODEL},verdict="block"}}', "{{model}}", kind="stat"),
    Panel(
        "Performance",
        (
            Query(f"raymlops_monitor_realised_metric{{{_MODEL}}}", "{{model}} {{metric}} version {{version}}"),
            Query(f"raymlops_monitor_reference_metric{{{_MODEL}}}", "{{model}} {{metric}} on the holdout"),
        ),
    ),
    _of(
        "Performance, estimated",
        f"raymlops_monitor_estimated_metric{{{_MODEL}}}",
        "{{model}} {{metric}} version {{version}}",
    ),
    _of(
        "Drift over its threshold",
        f"topk(10, raymlops_monitor_column_drift_score{{{_MODEL}}} / raymlops_monitor_column_drift_threshold > 1)",
        "{{model}} {{column}}",
        description="Of the most important columns; 1 is the threshold.",
    ),
    _of("Rows of the newest window", f"raymlops_monitor_rows{{{_MODEL}}}", "{{model}}"),
    _of(
        "Labelled", f"raymlops_monitor_label_coverage_ratio{{{_MODEL}}}", "{{model}} version {{version}}", "percentunit"
    ),
    _of("Age of the newest window", f"raymlops_monitor_window_age_seconds{{{_MODEL}}}", "{{model}}", "s"),
)
_CONTROL = (
    _of(
        "Decisions",
        "sum by (action) (increase(raymlops_ledger_entries_total[$__range]))",
        "{{action}}",
        kind="table",
        width=8,
    ),
    _of("Problems", f"raymlops_control_problem{{{_MODEL}}}", "{{model}}"),
    _of("Against a retraining", f"raymlops_control_against_retraining{{{_MODEL}}}", "{{model}} {{reason}}"),
    _of("Last turn ago", f"time() - raymlops_control_last_turn_timestamp_seconds{{{_MODEL}}}", "{{model}}", "s"),
    _of("Runs", "raymlops_runs_count", "{{pipeline}} {{status}}"),
    _of("Oldest run under way", "raymlops_runs_under_way_seconds", "{{pipeline}}", "s"),
)
_PLATFORM = (
    _of("Age of features", "raymlops_features_age_seconds", "{{view}}", "s"),
    _of("Rows not online yet", "raymlops_features_online_rows_behind", "{{view}}"),
    _of("Stale views", "raymlops_features_stale", "{{view}}"),
    _of("Ledger intact", "raymlops_ledger_intact", "intact", kind="stat"),
    _of("Disk free", "raymlops_home_disk_free_bytes / raymlops_home_disk_total_bytes", "free", "percentunit"),
    Panel(
        "What the home holds",
        (
            Query("raymlops_home_directory_bytes", "{{directory}}"),
            Query("raymlops_home_metadata_bytes", "metadata"),
        ),
        "bytes",
    ),
    _of("Reading of each part of this page", "raymlops_scrape_seconds", "{{part}}", "s"),
)
ROWS: dict[str, tuple[Panel, ...]] = {
    "Serving": _SERVING,
    "Monitoring": _MONITORING,
    "Decisions and runs": _CONTROL,
    "Features, ledger, disk": _PLATFORM,
}
"""Title of a row -> its panels, in their order."""


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    made: list[dict[str, Any]] = []
    top = 0
    for title, panels in ROWS.items():
        made.append({"type": "row", "title": title, "gridPos": _place(0, top, _COLUMNS, 1), "panels": []})
        top, left = top + 1, 0
        for panel in panels:
            if left + panel.width > _COLUMNS:
                top, left = top + _HEIGHT, 0
            made.append(_panel(panel, left, top))
            left += panel.width
        top += _HEIGHT
    for number, each in enumerate(made, 1):
        each["id"] = number
    return {
        "uid": "raymlops",
        "title": "RayMLOps",
        "tags": ["raymlops"],
        "schemaVersion": 39,
        "editable": True,
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": [_data_source(), _model()]},
        "panels": made,
    }


def _place(left: int, top: int, width: int, height: int) -> dict[str, int]:
    return {"x": left, "y": top, "w": width, "h": height}


def _panel(panel: Panel, left: int, top: int) -> dict[str, Any]:
    instant = panel.kind != "timeseries"
    targets = [
        {
            "refId": chr(ord("A") + place),
            "expr": query.expression,
            "legendFormat": query.legend,
            "datasource": _SOURCE,
            "instant": instant,
            "range": not instant,
        }
        for place, query in enumerate(panel.queries)
    ]
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "gridPos": _place(left, top, panel.width, _HEIGHT),
        "targets": targets,
    }


def _data_source() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _model() -> dict[str, Any]:
    query = "label_values(raymlops_model_endpoint_answers, model)"
    return {
        "name": "model",
        "label": "Model",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": "model"},
        "definition": query,
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(dashboard(), indent=2) + "\n")
