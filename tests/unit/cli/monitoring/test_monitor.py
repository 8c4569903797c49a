from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from raymlops.cli.monitoring import monitor as commands
from raymlops.monitoring import Reference
from raymlops.monitoring.windows.rollup import PeriodProfile
from raymlops.monitoring.windows.window_profiles import Part

START = datetime(2026, 1, 5, tzinfo=UTC)
WEEK = timedelta(weeks=1)


class Monitor:
    """Two weeks of a model named ``churn``."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        reference = Reference.fit(pa.table({"x": rng.normal(size=2000)}))
        profile = reference.profile(pa.table({"x": rng.normal(size=500)}))
        parts = {Part(1, "champion"): profile, Part(1, "champion", "x > 0"): profile}
        self.periods = [
            PeriodProfile(START + n * WEEK, START + (n + 1) * WEEK, 1, 7, 0, parts, reference) for n in (0, 1)
        ]
        self.asked: list[timedelta | None] = []

    def rollup(self, name: str, *, every: timedelta | None = None) -> list[PeriodProfile]:
        self.asked.append(every)
        return self.periods if name == "churn" else []


@pytest.fixture
def monitor(monkeypatch: pytest.MonkeyPatch) -> Monitor:
    fake = Monitor()

    @contextmanager
    def platform(config: object = None) -> Iterator[Any]:
        yield SimpleNamespace(monitor=fake)

    monkeypatch.setattr(commands, "platform", platform)
    return fake


def test_windows_are_added_up_by_day_or_week(monitor: Monitor) -> None:
    shown = CliRunner().invoke(commands.app, ["profile", "churn", "--by", "week", "--segment", "x > 0"])
    assert shown.exit_code == 0, shown.output
    assert "2026-01-12 00:00" in shown.output
    told = CliRunner().invoke(commands.app, ["profile", "churn", "--by", "day", "--json"])
    assert [period["windows"] for period in json.loads(told.output)] == [7, 7]
    assert json.loads(told.output)[0]["segments"]["x > 0"]["rows"] == 500
    assert monitor.asked == [WEEK, timedelta(days=1)]


def test_what_cannot_be_added_up_is_said(monitor: Monitor) -> None:
    nobody = CliRunner().invoke(commands.app, ["profile", "nobody", "--by", "day"])
    assert nobody.exit_code == 1
    assert CliRunner().invoke(commands.app, ["profile", "churn", "--by", "month"]).exit_code == 2
