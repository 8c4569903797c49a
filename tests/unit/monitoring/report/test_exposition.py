from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from raymlops.monitoring.alerts.alarm import AlarmRule
from raymlops.monitoring.report.exposition import ModelHistory, exposition
from raymlops.records.windows import ColumnDrift, EstimatedPerformance, Performance, WindowRecord

START = datetime(2026, 1, 5, tzinfo=UTC)
DAY = timedelta(days=1)
HOSTILE = 'a"b\\c\nd{e="f"} 1\n<script>\ud800'


def column(score: float = 0.2, importance: float | None = None, **more: Any) -> ColumnDrift:
    return ColumnDrift(score=score, threshold=0.1, p_value=0.0, drifted=score > 0.1, importance=importance, **more)


def window(day: int, **changes: Any) -> WindowRecord:
    base: dict[str, Any] = {"model": "churn", "champion": 3, "rows": 100}
    return WindowRecord(**{**base, "start": START + day * DAY, "end": START + (day + 1) * DAY, **changes})


def history(*windows: WindowRecord) -> ModelHistory:
    found = ModelHistory()
    for each in windows:
        found.add(each, AlarmRule())
    return found


def parsed(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample, as Prometheus's own parser reads it."""
    families = list(text_string_to_metric_families(text))
    assert all(family.documentation and family.type in {"gauge", "counter"} for family in families)
    samples = [sample for family in families for sample in family.samples]
    values = {
        (sample.name.removeprefix("raymlops_monitor_"), tuple(sorted(sample.labels.items()))): sample.value
        for sample in samples
    }
    assert len(values) == len(samples)
    return values


def of(values: dict[tuple[str, tuple[tuple[str, str], ...]], float], name: str, **labels: str) -> float:
    return values[name, tuple(sorted({"model": "churn", **labels}.items()))]


def test_the_newest_window_is_exposed() -> None:
    performance = Performance(
        rows=100, labelled_rows=40, metrics={"auc": 0.8, "mean": float("nan")}, intervals={"auc": (0.7, 0.9)}
    )
    estimated = EstimatedPerformance(
        rows=100, metrics={"auc": 0.81}, intervals={"auc": (0.75, 0.85)}, method="recalibrated", effective_rows=90
    )
    newest = window(
        2, rows=120, errors=2, fallbacks=3, labels_unknown=4, quality="warn", drifted=True, degraded=True,
        columns={"x": column(0.3, 0.5), "y": column(0.05)}, prediction_drift=column(0.4), performance={3: performance},
        estimated={3: estimated}, reference_metrics={"auc": 0.85},
    )  # fmt: skip
    values = parsed(
        exposition({"churn": history(window(0), window(1, drifted=True), newest)}, START + 3 * DAY + DAY / 2, 10)
    )
    assert of(values, "rows") == 120
    assert (of(values, "errors"), of(values, "fallbacks"), of(values, "unknown_labels")) == (2, 3, 4)
    assert [of(values, "quality", verdict=v) for v in ("ok", "warn", "block")] == [0, 1, 0]
    assert [of(values, "windows_total", quality=v) for v in ("ok", "warn", "block")] == [2, 1, 0]
    assert of(values, "drifted_windows_total") == 2
    assert (of(values, "drift_alarm"), of(values, "degraded"), of(values, "drifted_columns")) == (1, 1, 1)
    assert of(values, "window_age_seconds") == 43200
    assert of(values, "window_end_timestamp_seconds") == (START + 3 * DAY).timestamp()
    assert of(values, "column_drift_score", column="x", kind="input") == 0.3
    assert of(values, "column_drift_threshold", column="x", kind="input") == 0.1
    assert of(values, "column_drift_score", column="score", kind="prediction") == 0.4
    assert of(values, "column_importance_ratio", column="x", kind="input") == 0.5
    assert of(values, "realised_metric", metric="auc", version="3") == 0.8
    assert str(of(values, "realised_metric", metric="mean", version="3")) == "nan"
    assert of(values, "estimated_metric_low", metric="auc", version="3") == 0.75
    assert of(values, "reference_metric", metric="auc") == 0.85
    assert of(values, "label_coverage_ratio", version="3") == 0.4


def test_realised_metrics_are_those_of_the_newest_window_that_has_labels() -> None:
    with_labels = Performance(rows=100, labelled_rows=40, metrics={"auc": 0.8})
    without = Performance(rows=100, labelled_rows=0, metrics={})
    windows = window(0, performance={3: with_labels}, degraded=True), window(1, performance={3: without})
    values = parsed(exposition({"churn": history(*windows)}, START, 0))
    assert of(values, "realised_metric", metric="auc", version="3") == 0.8
    assert of(values, "degraded") == 1
    assert of(values, "label_coverage_ratio", version="3") == 0


def test_a_window_read_again_is_not_counted_again() -> None:
    late = Performance(rows=100, labelled_rows=40, metrics={"auc": 0.7})
    found = history(window(0), window(1))
    for each in (window(0), window(1, performance={3: late})):
        found.add(each, AlarmRule())
    values = parsed(exposition({"churn": found}, START, 0))
    assert of(values, "windows_total", quality="ok") == 2
    assert of(values, "realised_metric", metric="auc", version="3") == 0.7


def test_hostile_names_stay_names() -> None:
    hostile = window(0, columns={HOSTILE: column(0.3, 0.5)})
    text = exposition({HOSTILE: history(hostile)}, START, 5)
    labels = {dict(key)["model"] for _, key in parsed(text)}
    assert labels == {HOSTILE.replace("\ud800", "?")}
    text.encode()


def test_columns_are_bounded_and_the_order_is_stable() -> None:
    columns = {f"c{number}": column(importance=number / 200) for number in range(200)}
    found = history(window(0, columns=columns))
    text = exposition({"b": found, "a": found}, START, 3)
    shown = [line.split('column="')[1].split('"')[0] for line in text.splitlines() if "_column_drifted{" in line]
    assert shown == ["c199", "c198", "c197"] * 2
    assert text == exposition({"a": found, "b": found}, START, 3)
    helps = [line.split()[2] for line in text.splitlines() if line.startswith("# HELP")]
    assert len(helps) == len(set(helps))


@pytest.mark.parametrize("histories", [{}, {"churn": ModelHistory()}])
def test_nothing_closed_is_an_empty_page(histories: dict[str, ModelHistory]) -> None:
    assert exposition(histories, START, 5) == ""


def test_infinite_scores_are_numbers_too() -> None:
    values = parsed(exposition({"churn": history(window(0, columns={"x": column(float("inf"))}))}, START, 5))
    assert of(values, "column_drift_score", column="x", kind="input") == float("inf")
