from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
from rich.console import Console

from raymlops.cli.monitoring.monitor_report import render_alerts, render_periods, render_report
from raymlops.monitoring import MonitorReport, Reference
from raymlops.monitoring.windows.rollup import PeriodProfile
from raymlops.monitoring.windows.window_profiles import Part
from raymlops.records.people.alerts import Alert, AlertStatus, Delivery
from raymlops.records.people.reasons import Reason
from raymlops.records.windows import ColumnDrift, EstimatedPerformance, MultivariateDrift, Performance, WindowRecord

START = datetime(2026, 1, 5, tzinfo=UTC)
DAY = timedelta(days=1)


def shown(renderable: object) -> str:
    console = Console(width=160, force_terminal=False)
    with console.capture() as capture:
        console.print(renderable, highlight=False)
    return capture.get()


def window(day: int) -> WindowRecord:
    columns = {
        name: ColumnDrift(score=score, threshold=0.1, p_value=0.0, drifted=score > 0.1, importance=importance)
        for name, score, importance in (("[red]age", 0.2, 0.6), ("pay", 0.4, 0.01), ("calm", 0.01, 0.3))
    }
    return WindowRecord(
        model="churn", start=START + day * DAY, end=START + (day + 1) * DAY, champion=2, rows=1234, drifted=True,
        quality="warn", quality_reasons=("pay: 12% missing",), columns=columns, degraded=True,
        degraded_reason="log loss 0.5 against 0.4", reference_metrics={"log_loss": 0.4},
        performance={
            2: Performance(
                rows=100, labelled_rows=40, metrics={"log_loss": 0.5}, intervals={"log_loss": (0.45, 0.55)}
            )
        },
        estimated={
            2: EstimatedPerformance(rows=100, metrics={"log_loss": 0.48}, method="recalibrated", effective_rows=9)
        },
    )  # fmt: skip


def test_three_answers_stand_apart_above_what_explains_them() -> None:
    text = shown(render_report(MonitorReport("churn", START, tuple(window(day) for day in range(12)))))
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0] == "churn, 12 windows to 2026-01-17 00:00 UTC, champion v2"
    assert [" ".join(line.split()) for line in lines[1:4]] == [
        "Is the data broken? suspected pay: 12% missing",
        "Has the data moved? yes since 07 Jan 2026 00:00: 2 of 3 columns, most of all [red]age, pay",
        "Is the model worse? yes log loss 0.5 against 0.4; 40 of 100 rows are labelled (40%)",
    ]
    explaining = [line.split()[0] for line in lines[7:9]]
    assert explaining == ["[red]age", "pay"]
    assert "calm" not in text
    newest = lines[-1].split()
    assert newest[:4] == ["2026-01-16", "00:00", "v2", "1,234"]
    assert newest[4:] == ["40%", "0.5000", "[0.450,", "0.550]", "0.4000", "0.4800", "warn", "drift", "(2)", "worse"]
    assert sum("v2" in line for line in lines[1:]) == 10


def test_the_rest_of_the_columns_is_counted() -> None:
    text = shown(render_report(MonitorReport("churn", START, (window(0),)), columns=1))
    assert "and 1 more" in text


def test_several_columns_together_have_a_line() -> None:
    together = MultivariateDrift(
        score=0.71, threshold=0.6, p_value=0.001, drifted=True, importances={"[red]age": 0.7, "pay": 0.3}
    )
    told = window(0).model_copy(update={"multivariate": together})
    lines = [
        " ".join(line.split()) for line in shown(render_report(MonitorReport("churn", START, (told,)))).splitlines()
    ]
    assert "several columns together 0.7100 0.6000 0.001 drift [red]age 70%, pay 30%" in lines
    calm = told.model_copy(update={"multivariate": together.model_copy(update={"drifted": False})})
    text = shown(render_report(MonitorReport("churn", START, (calm,))))
    assert "[red]age 70%" not in text
    assert "Beside single columns" in text
    assert "Beside single columns" not in shown(render_report(MonitorReport("churn", START, (window(0),))))


def test_nothing_closed_is_said() -> None:
    assert shown(render_report(MonitorReport("churn", START, ()))) == "churn: no window has been closed yet\n"


def test_alerts_come_with_their_deliveries() -> None:
    alert = Alert(
        key="k", model="churn", cause="drift", state="raised", severity="warning", at=START, summary="churn: [b] moved"
    )
    late = Delivery(alert=alert, endpoint="pager", attempts=3, due_at=START, problem="answered 503")
    done = Delivery(alert=alert, endpoint="chat", state="delivered", attempts=1, due_at=START)
    text = shown(render_alerts([AlertStatus(alert=alert, deliveries=(done, late)), AlertStatus(alert=alert)]))
    assert "drift raised" in text
    assert "churn: [b] moved" in text
    assert "chat delivered, pager pending after 3: answered 503" in text
    assert "to nobody" in text


def test_periods_name_what_has_moved() -> None:
    rng = np.random.default_rng(0)
    reference = Reference.fit(pa.table({"x": rng.normal(size=4000), "[red]y": rng.normal(size=4000)}))
    calm = reference.profile(pa.table({"x": rng.normal(size=900), "[red]y": rng.normal(size=900)}))
    moved = reference.profile(pa.table({"x": rng.normal(size=900), "[red]y": rng.normal(1, 1, 900)}))
    periods = [
        PeriodProfile(START + n * DAY, START + (n + 1) * DAY, 3, 24, n, {Part(3, "champion"): profile}, reference)
        for n, profile in enumerate([calm, moved])
    ]
    first, second = shown(render_periods(periods)).splitlines()[1:]
    assert first.split()[-4:] == ["24", "900", "0", "nothing"]
    assert second.split()[-4:] == ["24", "900", "1", "[red]y"]
    assert shown(render_periods(periods, "x > 0")).splitlines()[1].split()[-2:] == ["0", "-"]


REASONS = (
    Reason(kind="features_differ", text="v__x in 40% of [bold]rows", remedy="`raymlops features audit s`", until=START),
    Reason(kind="paused", text="the loop is paused", remedy="`raymlops control resume churn`"),
)


def test_what_stands_against_a_retraining_is_in_every_form_of_the_report() -> None:
    for windows in ((), (window(0),)):
        report = MonitorReport(model="churn", created_at=START, windows=windows, reasons=REASONS)
        text = shown(render_report(report))
        assert "What stands against a retraining now" in text
        assert "v__x in 40% of [bold]rows" in text
        assert "2026-01-05 00:00" in text
        page = report.html()
        assert "What stands against a retraining?" in page
        assert "the loop is paused" in page
        assert "`raymlops control resume churn`" in page
        told = report.to_dict()["against_retraining"]
        assert [(one["kind"], one["until"]) for one in told] == [
            ("features_differ", told[0]["until"]),
            ("paused", None),
        ]


def test_where_nothing_stands_against_a_retraining_it_says_so() -> None:
    free = MonitorReport(model="churn", created_at=START, windows=(window(0),), reasons=())
    assert "Nothing: one may start." in free.html()
    assert free.to_dict()["against_retraining"] == []
    unasked = MonitorReport(model="churn", created_at=START, windows=(window(0),))
    assert "against a retraining" not in unasked.html() + shown(render_report(unasked))
    assert unasked.to_dict()["against_retraining"] is None
