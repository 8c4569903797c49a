from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from raymlops.clock import ManualClock
from raymlops.config.monitoring import MonitoringConfig
from raymlops.errors import ConfigError
from raymlops.metadata import MetadataService
from raymlops.monitoring.alerts.alarm import AlarmRule
from raymlops.records.plans import ServingPlan
from raymlops.records.windows import WindowRecord
from raymlops.runtime.actors.metrics_server import MetricsPage, MetricsServer, ReplicaFigures
from raymlops.serving.answering.metrics import ServingMetrics

START = datetime(2026, 1, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def metadata(tmp_path: Path) -> Iterator[MetadataService]:
    service = MetadataService(tmp_path / "metadata.db")
    yield service
    service.close()


def close_window(metadata: MetadataService, number: int) -> None:
    start = START + number * HOUR
    record = WindowRecord(model="churn", start=start, end=start + HOUR, champion=1, rows=number)
    metadata.windows.put_window(record, b"")


def values(text: str) -> dict[str, float]:
    families = text_string_to_metric_families(text)
    return {s.name: s.value for family in families for s in family.samples if s.labels.get("quality") in (None, "ok")}


def test_each_scrape_reads_what_closed_since(metadata: MetadataService) -> None:
    metadata.plans.put_plan(ServingPlan(model="churn", number=1, champion=1, created_at=START))
    config = MonitoringConfig(late_labels=HOUR, label_delay=HOUR, window=HOUR)
    clock = ManualClock(START)
    page = MetricsPage(metadata, clock, config, lambda _: AlarmRule())
    server = MetricsServer("127.0.0.1", 0, page.render)
    try:
        url = f"http://127.0.0.1:{server.port}"
        assert requests.get(f"{url}/metrics", timeout=10).text == ""
        for number in range(9):
            close_window(metadata, number)
            clock.advance_to(START + (number + 1) * HOUR)
            answer = requests.get(f"{url}/metrics", timeout=10)
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            found = values(answer.text)
            assert found["raymlops_monitor_rows"] == number
            assert found["raymlops_monitor_windows_total"] == number + 1
        assert requests.get(f"{url}/", timeout=10).status_code == 404
    finally:
        server.close()


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"metrics cannot be served on 127.0.0.1:{port}: "):
            MetricsServer("127.0.0.1", port, str)


def replica_metrics(replies: int) -> ServingMetrics:
    metrics = ServingMetrics()
    for _ in range(replies):
        metrics.replied(200, 3, 0.002)
    metrics.replied(429, None, 0.0)
    return metrics


def test_one_page_holds_every_replica_in_the_form_prometheus_reads() -> None:
    figures = ReplicaFigures()
    for replica, replies in (("one", 2), ("two", 5)):
        figures.put("churn", replica, list(replica_metrics(replies).families()))
    families = {family.name: family for family in text_string_to_metric_families(figures.render())}
    requests_total = families["raymlops_model_infer_requests"]
    assert requests_total.type == "counter"
    found = {(s.labels["replica"], s.labels["code"]): (s.labels["version"], s.value) for s in requests_total.samples}
    assert found == {
        ("one", "200"): ("3", 2),
        ("one", "429"): ("", 1),
        ("two", "200"): ("3", 5),
        ("two", "429"): ("", 1),
    }
    durations = families["raymlops_model_infer_request_duration_seconds"]
    assert durations.type == "histogram"
    buckets = [s.value for s in durations.samples if s.name.endswith("_bucket") and s.labels["replica"] == "two"]
    assert buckets == sorted(buckets)
    assert (buckets[0], buckets[-1]) == (0, 5)
    assert {s.labels["model"] for family in families.values() for s in family.samples} == {"churn"}


def test_a_replica_that_went_silent_leaves_the_page() -> None:
    figures = ReplicaFigures(keep_s=10)
    for replica, at_s in (("old", 0.0), ("new", 8.0)):
        figures.put("churn", replica, list(replica_metrics(1).families()), at_s)
    page = figures.render(12.0)
    assert 'replica="new"' in page
    assert 'replica="old"' not in page
    assert figures.render(100.0) == ""


def test_windows_that_one_model_cannot_show_hide_no_other(
    metadata: MetadataService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for model in ("a", "churn"):
        metadata.plans.put_plan(ServingPlan(model=model, number=1, champion=1, created_at=START))
    close_window(metadata, 3)
    whole = metadata.windows.list_windows

    def fail(model: str, *more: object) -> object:
        if model == "a":
            raise OverflowError("date value out of range")
        return whole(model, *more)

    monkeypatch.setattr(metadata.windows, "list_windows", fail)
    page = MetricsPage(metadata, ManualClock(START + 9 * HOUR), MonitoringConfig(), lambda _: AlarmRule())
    assert values(page.render())["raymlops_monitor_rows"] == 3
    assert "windows of a could not be read for the metrics page" in caplog.text


def test_a_clock_that_was_set_back_shows_the_windows_of_now(metadata: MetadataService) -> None:
    metadata.plans.put_plan(ServingPlan(model="churn", number=1, champion=1, created_at=START))
    clock = ManualClock(START + 90_000 * HOUR)
    page = MetricsPage(metadata, clock, MonitoringConfig(), lambda _: AlarmRule())
    close_window(metadata, 80_000)
    assert values(page.render())["raymlops_monitor_rows"] == 80_000
    clock._now = START + 9 * HOUR
    close_window(metadata, 3)
    assert values(page.render())["raymlops_monitor_rows"] == 3


def test_a_page_that_cannot_be_made_is_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    def render() -> str:
        raise KeyError("x")

    server = MetricsServer("127.0.0.1", 0, render)
    try:
        assert requests.get(f"http://127.0.0.1:{server.port}/metrics", timeout=10).status_code == 500
    finally:
        server.close()
    assert "the metrics page could not be made" in caplog.text
