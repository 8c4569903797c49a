from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from raymlops.clock import ManualClock
from raymlops.config.alerts import AlertsConfig, WebhookConfig
from raymlops.errors import StorageError
from raymlops.metadata import MetadataService
from raymlops.monitoring.alerts.alert_follower import LEDGER, AlertFollower
from raymlops.monitoring.alerts.alert_rules import AlertRule
from raymlops.records.people.alerts import AlertCursor
from raymlops.records.plans import ServingPlan
from raymlops.records.windows import WindowRecord

START = datetime(2026, 1, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
CONFIG = AlertsConfig(webhooks=(WebhookConfig(name="hook", url="https://example.org"),))


class Cut(Exception):
    """The process was killed here."""


def block(metadata: MetadataService, model: str, number: int, quality: str = "block") -> None:
    start = START + number * HOUR
    record = WindowRecord(model=model, start=start, end=start + HOUR, champion=1, rows=1, quality=quality)
    metadata.windows.put_window(record, b"")


@pytest.fixture
def metadata(tmp_path: Path) -> Any:
    service = MetadataService(tmp_path / "metadata.db")
    for model in ("a", "b", "c"):
        service.plans.put_plan(ServingPlan(model=model, number=1, champion=1, created_at=START))
    yield service
    service.close()


def follower(metadata: MetadataService) -> AlertFollower:
    return AlertFollower(metadata, ManualClock(START), CONFIG, lambda _: AlertRule(), HOUR)


@pytest.mark.parametrize("cut", range(5))
@pytest.mark.parametrize("written", [False, True])
def test_a_first_start_that_is_cut_off_anywhere_sends_no_history(
    metadata: MetadataService, cut: int, written: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for model in ("a", "b", "c"):
        block(metadata, model, 0)
    metadata.ledger.append_entry("a", "roll_back", "long ago", {}, key="old")
    puts, put_alerts = [], metadata.alerts.put_alerts

    def cut_off(cursor: AlertCursor, *more: Any) -> None:
        puts.append(cursor.source)
        if len(puts) > cut and not written:
            raise Cut
        put_alerts(cursor, *more)
        if len(puts) > cut:
            raise Cut

    monkeypatch.setattr(metadata.alerts, "put_alerts", cut_off)
    if cut < 4:
        with pytest.raises(Cut):
            follower(metadata).step()
    else:
        assert follower(metadata).step() == 4
    monkeypatch.undo()
    follower(metadata).step()
    assert len(metadata.alerts.list_alerts()) == 4
    assert metadata.alerts.list_deliveries() == []
    for model in ("a", "b", "c"):
        block(metadata, model, 1, "ok")
    metadata.ledger.append_entry("a", "roll_back", "now", {}, key="new")
    follower(metadata).step()
    told = [(one.alert.model, one.alert.cause, one.alert.state) for one in metadata.alerts.list_deliveries()]
    assert told == [*((model, "quality", "cleared") for model in "abc"), ("a", "rolled_back", "happened")]


def test_reading_again_adds_nothing(metadata: MetadataService) -> None:
    first = follower(metadata)
    first.step()
    block(metadata, "a", 0)
    assert [first.step(), first.step(), follower(metadata).step()] == [1, 0, 0]
    cursor = metadata.alerts.find_cursor("a")
    assert cursor is not None
    assert cursor.until == START + HOUR
    assert metadata.alerts.find_cursor(LEDGER) == AlertCursor(source=LEDGER)


def test_a_store_that_fails_moves_nothing(metadata: MetadataService, monkeypatch: pytest.MonkeyPatch) -> None:
    following = follower(metadata)
    following.step()
    block(metadata, "a", 0)

    def full(*arguments: Any) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(metadata.alerts, "put_alerts", full)
    with pytest.raises(StorageError):
        following.step()
    monkeypatch.undo()
    assert following.step() == 1


def test_a_model_that_cannot_be_read_holds_up_no_other(
    metadata: MetadataService, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_windows = metadata.windows.list_windows

    def broken(model: str, *more: Any) -> list[WindowRecord]:
        if model == "a":
            raise StorageError("stored WindowRecord cannot be read")
        return list_windows(model, *more)

    monkeypatch.setattr(metadata.windows, "list_windows", broken)
    following = follower(metadata)
    with pytest.raises(StorageError):
        following.step()
    assert metadata.alerts.find_cursor(LEDGER) is None  # history is not over before every model has been read
    monkeypatch.undo()
    following.step()
    monkeypatch.setattr(metadata.windows, "list_windows", broken)
    for model in ("a", "b"):
        block(metadata, model, 0)
    metadata.ledger.append_entry("a", "roll_back", "now", {}, key="new")
    with pytest.raises(StorageError):
        following.step()
    assert [one.alert.key.split("/")[:2] for one in metadata.alerts.list_deliveries()] == [
        ["b", "quality"],
        ["a", "rolled_back"],
    ]


def test_what_nobody_foresaw_about_one_model_holds_up_no_other(
    metadata: MetadataService, monkeypatch: pytest.MonkeyPatch
) -> None:
    following = follower(metadata)
    following.step()
    for model in ("a", "b", "c"):
        block(metadata, model, 0)
    whole = metadata.windows.list_windows

    def fail(model: str, *more: Any) -> Any:
        if model == "a":
            raise OverflowError("date value out of range")
        return whole(model, *more)

    with monkeypatch.context() as patched:
        patched.setattr(metadata.windows, "list_windows", fail)
        with pytest.raises(OverflowError):
            following.step()
    assert [alert.model for alert in metadata.alerts.list_alerts()] == ["b", "c"]
    assert following.step() == 1


def test_windows_of_a_clock_that_was_set_back_keep_no_alert_back(metadata: MetadataService) -> None:
    platform = ManualClock(START + 90_000 * HOUR)
    following = AlertFollower(metadata, ManualClock(START), CONFIG, lambda _: AlertRule(), HOUR, platform)
    following.step()
    block(metadata, "a", 80_000, "ok")
    following.step()
    platform._now = START + HOUR
    following.step()
    platform.advance_to(START + 2 * HOUR)
    block(metadata, "a", 1)
    assert following.step() == 1
    platform.advance_to(START + 3 * HOUR)
    block(metadata, "a", 2, "ok")
    assert following.step() == 1
    assert [alert.state for alert in metadata.alerts.list_alerts()] == ["raised", "cleared"]


def test_lost_events_are_told_once_per_episode(metadata: MetadataService) -> None:
    following = follower(metadata)
    following.step()
    entry = metadata.ledger.append_entry(
        "a", "events_lost", "9 rows", {"replica": "r", "rows": 9}, key="events_lost/a/r/9"
    )
    assert metadata.ledger.append_entry("a", "events_lost", "9 rows", {}, key="events_lost/a/r/9") == entry
    assert (following.step(), following.step()) == (1, 0)
    (alert,) = metadata.alerts.list_alerts()
    assert (alert.cause, alert.state, alert.severity) == ("events_lost", "happened", "critical")
    assert alert.summary == "a: events lost: 9 rows"
    assert len(metadata.alerts.pending_deliveries("hook")) == 1
