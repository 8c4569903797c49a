from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from raymlops.errors import DataError, ModelVersionNotFound, SchemaMismatch, StorageError
from raymlops.monitoring import DOMAIN_FILE, REFERENCE_FILE, DomainClassifier, Profile
from raymlops.records.learning.signatures import Signature
from raymlops.records.plans import ServingPlan

START = datetime(2013, 1, 7, tzinfo=UTC)
WEEK, DAY = timedelta(days=7), timedelta(days=1)


def fill(world: Any, monitor: Any, *weeks: int, **more: Any) -> None:
    for week in weeks:
        events = world.events(week, 400, **more)
        monitor.record_events("m", events, f"events-{week}")
        monitor.record_labels("m", world.labels(events), f"labels-{week}")


def test_windows_close_once_labels_have_had_time(world: Any) -> None:
    world.register(1)
    monitor = world.monitor()
    fill(world, monitor, 0, 1)
    assert monitor.close_windows("m", START + WEEK + DAY - timedelta(microseconds=1)) == []
    closed = monitor.close_windows("m", START + WEEK + DAY)
    assert [(record.start, record.end, record.rows) for record in closed] == [(START, START + WEEK, 400)]
    assert closed[0].performance[1].labelled_rows == 400
    assert monitor.close_windows("m", START + WEEK + DAY) == []
    assert [record.start for record in monitor.close_windows("m", START + 3 * WEEK)] == [START + WEEK]


def test_windows_stand_on_the_grid_of_the_anchor(world: Any) -> None:
    world.register(1)
    monitor = world.monitor()
    monitor.record_events("m", world.events(0, 400).slice(200), "late start")
    closed = monitor.close_windows("m", START + WEEK + DAY)
    assert closed[0].start == START
    assert closed[0].start.weekday() == 0


def test_a_restarted_monitor_goes_on_where_it_stopped(world: Any) -> None:
    world.register(1)
    monitor = world.monitor()
    fill(world, monitor, 0, 1, 2)
    whole = monitor.close_windows("m", START + 2 * WEEK + DAY)
    stored = dict(world.metadata.closed)
    again = world.monitor()
    assert again.close_windows("m", START + 2 * WEEK + DAY) == []
    assert [record.start for record in again.close_windows("m", START + 4 * WEEK)] == [START + 2 * WEEK]
    del world.metadata.closed["m", START + WEEK], world.metadata.closed["m", START + 2 * WEEK]
    repeated = world.monitor().close_windows("m", START + 3 * WEEK + DAY)  # later, and with the same result
    assert repeated[0] == whole[1]
    assert world.metadata.closed["m", START + WEEK] == stored["m", START + WEEK]


def test_the_instant_of_closing_does_not_matter(world: Any) -> None:
    world.register(1)
    monitor = world.monitor()
    events = world.events(0, 400)
    monitor.record_events("m", events, "e")
    monitor.record_labels("m", world.labels(events, delay=timedelta(days=4)), "l")
    monitor.close_windows("m", START + WEEK + DAY)
    on_time = world.metadata.closed.pop(("m", START))
    world.monitor().close_windows("m", START + WEEK + 20 * DAY)
    assert world.metadata.closed["m", START] == on_time
    assert 0 < on_time[0].performance[1].labelled_rows < 400


def test_a_repeated_batch_changes_nothing(world: Any) -> None:
    world.register(1)
    monitor = world.monitor()
    events = world.events(0, 400)
    assert monitor.record_events("m", events, "e") == monitor.record_events("m", events, "e") == 400
    labels = world.labels(events)
    assert monitor.record_labels("m", labels, "l") == monitor.record_labels("m", labels, "l") == 400
    record = monitor.close_windows("m", START + WEEK + DAY)[0]
    assert record.rows == 400
    assert record.labels_duplicate == 0


def test_windows_without_traffic_are_said_to_be_empty(world: Any) -> None:
    world.register(1)
    world.metadata.champion = 1
    monitor = world.monitor()
    fill(world, monitor, 0, 2)
    closed = monitor.close_windows("m", START + 3 * WEEK + DAY)
    assert [record.rows for record in closed] == [400, 0, 400]
    assert closed[1].quality == "block"
    assert closed[1].champion == 1


def test_a_model_without_events_has_no_windows(world: Any) -> None:
    assert world.monitor().close_windows("nobody", START + 9 * WEEK) == []
    report = world.monitor().report("nobody")
    assert report.windows == ()
    assert "No window has been closed yet" in report.html()


def test_without_any_champion_windows_wait(world: Any) -> None:
    monitor = world.monitor()
    monitor.record_events("m", world.events(0, 100, version=2, role="shadow"), "e")
    assert monitor.close_windows("m", START + 2 * WEEK) == []
    world.metadata.plan = ServingPlan(model="m", number=1, champion=1, created_at=START)
    world.register(1)
    assert [record.champion for record in monitor.close_windows("m", START + WEEK + DAY)] == [1]


def test_earlier_events_that_come_later_open_an_earlier_window(world: Any) -> None:
    world.register(1)
    monitor = world.monitor()
    monitor.record_events("m", world.events(3, 100), "later")
    assert monitor.close_windows("m", START) == []
    monitor._schedule._next.clear()
    monitor.record_events("m", world.events(1, 100), "earlier")
    assert [record.start for record in monitor.close_windows("m", START + 2 * WEEK + DAY)] == [START + WEEK]


def test_a_promoted_champion_brings_its_own_reference(world: Any) -> None:
    world.register(1)
    world.register(2, shift=1.0)
    monitor = world.monitor()
    fill(world, monitor, 0, shift=1.0)
    fill(world, monitor, 1, shift=1.0, version=2)
    first, second = monitor.close_windows("m", START + 2 * WEEK + DAY)
    assert (first.champion, first.drifted) == (1, True)
    assert (second.champion, second.drifted) == (2, False)


def test_a_missing_or_corrupt_reference_does_not_stop_the_monitor(world: Any) -> None:
    version = world.register(1)
    path = world.home / "1" / REFERENCE_FILE
    assert version.path == str(path.parent)
    whole = path.read_bytes()
    monitor = world.monitor()
    fill(world, monitor, 0, 1, 2)
    path.write_bytes(whole[:100])
    corrupt = monitor.close_windows("m", START + WEEK + DAY)[0]
    assert "the reference of version 1 cannot be read" in corrupt.quality_reasons[0]
    path.unlink()
    missing = monitor.close_windows("m", START + 2 * WEEK + DAY)[0]
    assert "version 1 has no reference.bin" in missing.quality_reasons[0]
    path.write_bytes(whole)
    assert monitor.close_windows("m", START + 3 * WEEK + DAY)[0].columns


def test_an_unregistered_champion_is_said(world: Any) -> None:
    monitor = world.monitor()
    fill(world, monitor, 0)
    record = monitor.close_windows("m", START + WEEK + DAY)[0]
    assert record.performance == {}
    assert "version 1 is not registered" in record.quality_reasons[0]


def test_the_stored_profile_is_the_windows(world: Any) -> None:
    world.register(1)
    monitor = world.monitor()
    fill(world, monitor, 0)
    monitor.close_windows("m", START + WEEK + DAY)
    profile = Profile.loads(world.metadata.windows.get_profile("m", START))
    assert profile.rows == 400
    assert profile.counts["score"].sum() == 400


@pytest.mark.parametrize("missing", ["request_id", "served_at", "score", "role"])
def test_events_without_a_column_are_refused(world: Any, missing: str) -> None:
    monitor = world.monitor()
    with pytest.raises(SchemaMismatch, match=missing):
        monitor.record_events("m", world.events(0, 10).drop_columns([missing]), "e")
    assert world.tables.tables == {}


def test_wrong_values_are_refused(world: Any) -> None:
    monitor, events = world.monitor(), world.events(0, 10)
    with pytest.raises(DataError, match="request_id must not be null, got 10 nulls"):
        monitor.record_events("m", events.set_column(0, "request_id", pa.nulls(10, pa.string())), "e")
    naive = events["event_time"].cast(pa.timestamp("us"))
    with pytest.raises(SchemaMismatch, match="event_time must be tz-aware instants, got timestamp"):
        monitor.record_events("m", events.set_column(2, "event_time", naive), "e")
    labels = world.labels(events)
    with pytest.raises(SchemaMismatch, match="row must be int32"):
        monitor.record_labels("m", labels.set_column(1, "row", pa.array(["x"] * 10)), "l")
    with pytest.raises(DataError, match="label must not be null, got 1 nulls"):
        monitor.record_labels("m", labels.set_column(2, "label", pa.array([None] + [1] * 9)), "l")
    with pytest.raises(SchemaMismatch, match="label"):
        monitor.record_labels("m", labels.drop_columns(["label"]), "l")
    assert world.tables.tables == {}


@pytest.mark.parametrize("kind", [int, float, bool, str])
def test_labels_of_any_type_are_kept_as_one_text(world: Any, kind: Callable[[int], Any]) -> None:
    monitor = world.monitor()
    labels = world.labels(world.events(0, 2)).set_column(2, "label", pa.array([kind(1), kind(1)]))
    monitor.record_labels("m", labels.append_column("more", labels["row"]), "l")
    kept = monitor.labels("m", START)
    assert kept.column_names == ["request_id", "row", "label", "event_time"]
    assert set(kept["label"].to_pylist()) <= {"1"}


def test_what_the_controller_reads(world: Any) -> None:
    world.register(1)
    world.register(2, signature=Signature(task="classifier", inputs=(), classes=("a", "b", "c")))
    world.register(3, signature=Signature(task="regressor", inputs=()))
    monitor = world.monitor()
    assert monitor.events("m", START, START + WEEK).num_rows == 0
    assert monitor.labels("m", START).num_rows == 0
    fill(world, monitor, 0, 1)
    assert monitor.events("m", START, START + WEEK).num_rows == 400
    assert monitor.labels("m", START + WEEK).num_rows > 400
    assert [monitor.scoring("m", version) for version in (1, 2, 3)] == [
        ("binary", "1"),
        ("multiclass", None),
        ("regressor", None),
    ]
    with pytest.raises(ModelVersionNotFound):
        monitor.scoring("m", 9)


def test_threads_may_record_and_close_at_once(world: Any) -> None:
    world.register(1)
    monitor = world.monitor()
    parts = [world.events(0, 400).slice(i * 40, 40) for i in range(10)]
    threads = [
        threading.Thread(target=monitor.record_events, args=("m", part, f"e{i}")) for i, part in enumerate(parts)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    closed: list[Any] = []
    closers = [
        threading.Thread(target=lambda: closed.extend(monitor.close_windows("m", START + WEEK + DAY))) for _ in range(4)
    ]
    for thread in closers:
        thread.start()
    for thread in closers:
        thread.join()
    assert [record.rows for record in closed] == [400]


def test_other_windows_and_delays(make_world: Callable[..., Any]) -> None:
    world = make_world(label_delay=timedelta(0))
    world.config = world.config.model_copy(update={"window": timedelta(hours=6)})
    world.register(1)
    monitor = world.monitor()
    monitor.record_events("m", world.events(0, 400), "e")
    closed = monitor.close_windows("m", START + DAY)
    assert [record.end - record.start for record in closed] == [timedelta(hours=6)] * 4
    assert [record.rows for record in closed] == [14, 15, 14, 14]


def test_several_columns_are_judged_together_where_the_champion_has_a_sample(world: Any) -> None:
    """An older version has none, which is no fault; one that cannot be read is a warning that names it."""
    world.register(1)
    monitor = world.monitor()
    for week in range(4):
        fill(world, monitor, week)
    sample = world.home / "1" / DOMAIN_FILE
    (older,) = monitor.close_windows("m", START + WEEK + DAY)
    assert older.multivariate is None
    assert older.quality == "ok"
    sample.write_bytes(b"ARROW1 and no more")
    (broken,) = monitor.close_windows("m", START + 2 * WEEK + DAY)
    assert broken.multivariate is None
    assert broken.quality == "warn"
    assert broken.quality_reasons[0].startswith("the sample of version 1 cannot be read")
    assert broken.columns.keys() == older.columns.keys()
    sample.write_bytes(DomainClassifier.fit(world.events(9, 4000).select(["x", "y", "kind"])).dumps())
    (found,) = monitor.close_windows("m", START + 3 * WEEK + DAY)
    assert found.quality == "ok"
    assert found.multivariate is not None
    assert not found.multivariate.drifted
    assert monitor.report("m").windows[2].multivariate == found.multivariate


def test_a_sample_that_is_not_asked_for_is_not_read(make_world: Any) -> None:
    world = make_world(label_delay=DAY, drift={"multivariate": "off"})
    world.register(1)
    (world.home / "1" / DOMAIN_FILE).write_bytes(b"broken")
    monitor = world.monitor()
    fill(world, monitor, 0)
    (found,) = monitor.close_windows("m", START + WEEK + DAY)
    assert (found.multivariate, found.quality) == (None, "ok")


class TestUnjudged:
    """A window that cannot be judged, whatever is raised, does not keep those behind it from closing."""

    def close(self, monitor: Any) -> list[Any]:
        return list(monitor.close_windows("m", START + 3 * WEEK + DAY))

    @pytest.mark.parametrize("error", [KeyError("x"), OverflowError("date"), DataError("a label has no number")])
    def test_it_is_called_broken_at_the_third_try(
        self, world: Any, error: Exception, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.register(1)
        world.metadata.plan = ServingPlan(model="m", number=1, champion=1, created_at=START)
        monitor = world.monitor()
        fill(world, monitor, 0, 1, 2)
        whole = monitor._close

        def fail(model: str, start: datetime, *more: Any) -> Any:
            if start == START + WEEK:
                raise error
            return whole(model, start, *more)

        monkeypatch.setattr(monitor, "_close", fail)
        for _ in range(2):
            with pytest.raises(type(error)):
                self.close(monitor)
        closed = self.close(monitor)
        assert [(window.start - START) // WEEK for window in closed] == [1, 2]
        assert (closed[0].quality, closed[1].rows) == ("block", 400)
        assert "the window could not be judged" in closed[0].quality_reasons[0]
        assert len(monitor.report("m").windows) == 3
        assert monitor.report("m").html()

    def test_where_trying_again_may_help_it_is_tried_again_for_ever(
        self, world: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.register(1)
        world.metadata.plan = ServingPlan(model="m", number=1, champion=1, created_at=START)
        monitor = world.monitor()
        fill(world, monitor, 0)

        def fail(*_: Any) -> Any:
            raise StorageError("the disk is full")

        with monkeypatch.context() as patched:
            patched.setattr(monitor, "_close", fail)
            for _ in range(9):
                with pytest.raises(StorageError):
                    self.close(monitor)
        assert [window.rows for window in self.close(monitor)] == [400, 0, 0]
