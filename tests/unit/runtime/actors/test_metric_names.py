"""The dashboard and the alert rules ask for metrics that the page has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from raymlops.config.serving import BreakerConfig
from raymlops.control import ControlStatus
from raymlops.metadata import MetadataService
from raymlops.monitoring.alerts.alarm import AlarmRule
from raymlops.monitoring.report.dashboard import ROWS, dashboard
from raymlops.monitoring.report.exposition import ModelHistory, exposition
from raymlops.records.people.discovery import FeatureFreshness
from raymlops.records.people.reasons import Reason
from raymlops.records.runs import RunCount, RunStatus
from raymlops.records.serving.endpoints import EndpointStatus
from raymlops.records.windows import ColumnDrift, EstimatedPerformance, Performance, WindowRecord
from raymlops.runtime.actors.control_metrics import control_families, endpoint_families
from raymlops.runtime.actors.metrics_parts import Part, PartedPage
from raymlops.runtime.actors.metrics_server import ReplicaFigures, page_of_families
from raymlops.runtime.actors.platform_metrics import LedgerPage, disk_page, features_page, runs_page
from raymlops.serving.answering.breaker import Breakers
from raymlops.serving.answering.metrics import ServingMetrics, breaker_families, family_of

ROOT = Path(__file__).parents[4]
NOW = datetime(2026, 1, 5, tzinfo=UTC)
OF_A_TARGET = {"up"}
"""What Prometheus itself says of what it scrapes."""


def windows() -> str:
    column = ColumnDrift(score=0.2, threshold=0.1, p_value=0.0, drifted=True, importance=0.5)
    performance = Performance(
        rows=9, labelled_rows=9, metrics={"auc": 0.8}, intervals={"auc": (0.7, 0.9)}, label_lean=0.1
    )
    estimated = EstimatedPerformance(
        rows=9, metrics={"auc": 0.8}, intervals={"auc": (0.7, 0.9)}, method="recalibrated", effective_rows=9
    )
    history = ModelHistory()
    window = WindowRecord(
        model="m", start=NOW, end=NOW, champion=1, rows=9, columns={"x": column}, prediction_drift=column,
        performance={1: performance}, estimated={1: estimated}, reference_metrics={"auc": 0.8},
    )  # fmt: skip
    history.add(window, AlarmRule())
    return exposition({"m": history}, NOW, 5)


def replicas() -> str:
    metrics, breakers = ServingMetrics(), Breakers(BreakerConfig())
    metrics.replied(200, 1, 0.01)
    metrics.staged(0, 1, 2, 3)
    metrics.rows[1] += 1
    metrics.fallbacks[1, "backup"] += 1
    metrics.candidate_fallbacks[2] += 1
    breakers.trip(1, "tried")
    # the endpoint's own levels, which tests/unit/serving/answering/test_metrics.py reads of a whole one
    own = ("requests_in_flight", "queue_rows", "plan_number", "events_waiting", "events_dropped_total")
    families = [*metrics.families(), *breaker_families(breakers, {1})]
    families += [family_of(name, "counter" if name.endswith("_total") else "gauge", "x", 1.0) for name in own]
    figures = ReplicaFigures()
    figures.put("m", "r", families)
    return figures.render()


@pytest.fixture
def names(tmp_path: Path) -> Iterator[set[str]]:
    metadata = MetadataService(tmp_path / "metadata.db")
    metadata.ledger.append_entry("m", "deploy", "why", key="1")
    view = FeatureFreshness(
        view="v@1",
        table="t",
        table_version=1,
        ingested_at=NOW,
        online_rows_behind=0,
        age_s=1.0,
        ttl_s=2.0,
        verdict="fresh",
    )
    run = RunCount(pipeline="p", status=RunStatus.RUNNING, runs=1, oldest_at=NOW, newest_at=NOW)
    reasons = (Reason(kind="cooldown", text="x", remedy="y"),)
    status = ControlStatus(model="m", last_turn_at=NOW, reasons=reasons)
    endpoint = EndpointStatus(model="m", plan=1, champion=1, replicas=1)
    texts = {
        "windows": windows(),
        "replicas": replicas(),
        "endpoints": page_of_families("raymlops_model", [({"model": "m"}, of) for of in endpoint_families(endpoint)]),
        "control": page_of_families("raymlops_control", [({"model": "m"}, of) for of in control_families(status)]),
        "features": features_page([view], NOW),
        "runs": runs_page([run], NOW),
        "ledger": LedgerPage(metadata.ledger).render(),
        "disk": disk_page(tmp_path),
    }
    page = PartedPage([Part(name, lambda text=text: text) for name, text in texts.items()], 60).render()
    yield {sample.name for family in text_string_to_metric_families(page) for sample in family.samples}
    metadata.close()


def asked_for(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:raymlops_\w+|up)\b", re.sub(r'"[^"]*"', "", expression)))


def test_the_dashboard_asks_for_what_there_is(names: set[str]) -> None:
    wanted = set().union(
        *(asked_for(query.expression) for panels in ROWS.values() for panel in panels for query in panel.queries)
    )
    assert len(wanted) > 25
    assert wanted - names == set()


def test_the_rules_ask_for_what_there_is(names: set[str]) -> None:
    groups = yaml.safe_load((ROOT / "configs" / "prometheus" / "rules.yml").read_text())["groups"]
    wanted = set().union(*(asked_for(rule["expr"]) for group in groups for rule in group["rules"]))
    assert len(wanted) > 20
    assert wanted - names - OF_A_TARGET == set()


def test_the_committed_dashboard_is_the_one_that_the_code_makes() -> None:
    made = dashboard()
    assert json.loads((ROOT / "configs" / "grafana" / "raymlops.json").read_text()) == made
    panels = [panel for panel in made["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in made["panels"]}) == len(made["panels"])
    assert [panel["title"] for panel in panels] == [panel.title for row in ROWS.values() for panel in row]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
