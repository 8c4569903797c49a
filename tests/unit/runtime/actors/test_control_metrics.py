from __future__ import annotations

from datetime import UTC, datetime

from prometheus_client.parser import text_string_to_metric_families

from raymlops.control import ControlStatus
from raymlops.records.people.reasons import Reason
from raymlops.runtime.actors.control_metrics import control_families
from raymlops.runtime.actors.metrics_server import page_of_families

T = datetime(2026, 1, 1, tzinfo=UTC)


def test_what_the_loop_does_is_on_the_metrics_page() -> None:
    reasons = (Reason(kind="paused", text="x", remedy="y"), Reason(kind="cooldown", text="x", remedy="y"))
    stuck = ControlStatus(model="m", last_turn_at=T, turn_taken_s=61.0, problem="x", failed_turns=3, reasons=reasons)
    statuses = (stuck, ControlStatus(model="new"))
    page = page_of_families(
        "raymlops_control", [({"model": of.model}, family) for of in statuses for family in control_families(of)]
    )
    samples = {
        (sample.name, sample.labels["model"], sample.labels.get("reason")): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    assert samples["raymlops_control_last_turn_timestamp_seconds", "m", None] == T.timestamp()
    assert samples["raymlops_control_failed_turns_total", "m", None] == 3
    assert samples["raymlops_control_turn_seconds", "m", None] == 61
    assert [samples["raymlops_control_problem", model, None] for model in ("m", "new")] == [1, 0]
    assert samples["raymlops_control_against_retraining", "m", "cooldown"] == 1
    assert ("raymlops_control_last_turn_timestamp_seconds", "new", None) not in samples
