from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from raymlops.monitoring.performance.estimate_checks import check_estimates
from raymlops.records.windows import EstimatedPerformance, Performance, WindowRecord

START, WEEK = datetime(2013, 1, 7, tzinfo=UTC), timedelta(days=7)


def window(week: int, estimate: float, realised: float, *, labelled: int = 100, reach: float = 0.02) -> WindowRecord:
    return WindowRecord(
        model="m",
        start=START + week * WEEK,
        end=START + (week + 1) * WEEK,
        champion=1,
        rows=100,
        performance={
            1: Performance(
                rows=100,
                labelled_rows=labelled,
                metrics={"auc": realised},
                intervals={"auc": (realised - 0.1, realised + 0.1)},
            )
        },
        estimated={
            1: EstimatedPerformance(
                rows=100,
                metrics={"auc": estimate, "brier": 0.2},
                intervals={"auc": (estimate - reach, estimate + reach)},
                method="recalibrated",
                effective_rows=1000,
            )
        },
    )


def test_errors_are_summed_up() -> None:
    (check,) = check_estimates([window(0, 0.80, 0.79), window(1, 0.80, 0.85), window(2, 0.80, 0.81)])
    assert (check.metric, check.windows) == ("auc", 3)
    assert check.mean_error == pytest.approx(-0.05 / 3)
    assert check.mean_absolute_error == pytest.approx(0.07 / 3)
    assert check.covered == pytest.approx(2 / 3)
    assert check.to_dict()["windows"] == 3


def test_half_labelled_windows_are_allowed_their_own_chance() -> None:
    assert check_estimates([window(0, 0.80, 0.85, labelled=50)])[0].covered == 1.0
    assert check_estimates([window(0, 0.80, 0.85, labelled=49)]) == ()


def test_nothing_to_compare_is_no_check() -> None:
    bare = window(0, 0.8, 0.8).model_copy(update={"estimated": {}})
    unlabelled = window(1, 0.8, 0.8).model_copy(update={"performance": {}})
    assert check_estimates([bare, unlabelled]) == ()
