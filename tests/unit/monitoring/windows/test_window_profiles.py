from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.errors import ConfigError, NotFoundError, StaleWrite
from raymlops.monitoring import Profile, Reference
from raymlops.monitoring.windows.window_profiles import Part, frozen_segments, profile_parts
from raymlops.records.plans import ServingPlan, Trial

START = datetime(2013, 1, 7, tzinfo=UTC)
WEEK, DAY = timedelta(days=7), timedelta(days=1)
CLOSED = START + 4 * WEEK + DAY


def fill(world: Any, monitor: Any, *weeks: int, **more: Any) -> pa.Table:
    for week in weeks:
        events = world.events(week, 400, **more)
        monitor.record_events("m", events, f"{week}-{more}")
        monitor.record_labels("m", world.labels(events), f"labels-{week}-{more}")
    return events


def whole(world: Any, *tables: pa.Table) -> Profile:
    """The profile of rows counted at once."""
    reference = Reference.load(world.home / "1" / "reference.bin")
    parts = profile_parts(reference, pa.concat_tables(tables, promote_options="permissive"))
    return parts[Part(1, "champion")]


def test_windows_add_up_to_the_profile_of_their_rows(world: Any) -> None:
    world.register(1)
    monitor = world.monitor()
    tables = [fill(world, monitor, week) for week in range(4)]
    monitor.close_windows("m", CLOSED)
    (month,) = monitor.rollup("m", START, START + 4 * WEEK)
    assert (month.windows, month.late_rows, month.champion) == (4, 0, 1)
    assert month.answered() == whole(world, *tables)
    assert month.answered().quantiles["x"].rows == 1600
    assert pickle.loads(pickle.dumps(month)) == month  # as an actor answers
    assert month.drift().drifted is False
    weeks = monitor.rollup("m", START, START + 4 * WEEK, WEEK)
    assert [week.start for week in weeks] == [START + n * WEEK for n in range(4)]
    assert [week.answered() for week in weeks] == [whole(world, table) for table in tables]
    described = month.to_dict()["segments"][""]
    assert described["rows"] == 1600
    assert abs(described["quantiles"]["x"]["0.5"]) < 0.15


def test_roles_versions_and_segments_are_kept_apart(make_world: Callable[..., Any]) -> None:
    world = make_world(segments={"declared": {"m": ("kind", "x > 0 and y > 0", "nothing > 1")}})
    world.register(1)
    monitor = world.monitor()
    fill(world, monitor, 0)
    fill(world, monitor, 0, version=2, role="canary", shift=2.0)
    fill(world, monitor, 0, version=3, role="shadow", shift=4.0)
    monitor.close_windows("m", START + WEEK + DAY)
    (period,) = monitor.rollup("m", START, START + WEEK)
    rows = {part: profile.rows for part, profile in period.parts.items() if not part.segment}
    assert rows == {Part(1, "champion"): 400, Part(2, "canary"): 400, Part(3, "shadow"): 400}
    segments = {part.segment for part in period.parts if part.segment}
    assert len(segments) == 7
    assert sum(period.answered(f"kind = 'k{i}'").rows for i in range(6)) == 800
    assert period.answered().rows == 800
    assert period.answered().counts["score"].sum() == 400  # another model's scores are no drift
    stored = Profile.loads(world.metadata.windows.get_profile("m", START))
    assert {name: counts.tolist() for name, counts in period.answered().counts.items()} == {
        name: counts.tolist() for name, counts in stored.counts.items()
    }
    with pytest.raises(NotFoundError, match="no rows were answered in segment 'x'"):
        period.answered("x")


def test_segments_mean_the_same_in_every_window() -> None:
    rng = np.random.default_rng(0)
    table = pa.table({"x": rng.normal(size=4000), "flag": rng.integers(0, 2, 4000), "k": rng.integers(0, 9, 4000)})
    table = table.set_column(2, "k", table["k"].cast(pa.string()))
    reference = Reference.fit(table)
    found = frozen_segments(["x", "flag", "k", "x > 1"], reference)
    assert len(found) == 4 + 2 + 6 + 1
    rows = table.append_column("error", pa.nulls(4000, pa.string()))
    rows = rows.append_column("version", pa.array([1] * 4000)).append_column("role", pa.array(["champion"] * 4000))
    parts = profile_parts(reference, rows, found)
    quarters = [parts[Part(1, "champion", segment)].rows for segment in found[:4]]
    assert sum(quarters) == 4000
    assert min(quarters) > 600
    assert frozen_segments(["x"] * 100, reference)[49:] == [found[1]]


def test_late_rows_add_and_leave_the_verdict(world: Any) -> None:
    world.register(1)
    monitor = world.monitor()
    first = fill(world, monitor, 0, 1)
    (judged, _) = monitor.close_windows("m", START + 2 * WEEK + DAY)
    profile = world.metadata.windows.get_profile("m", START)
    late = world.events(0, 100, shift=3.0)
    monitor.record_events("m", late, "late")
    monitor.close_windows("m", START + 2 * WEEK + DAY)
    monitor.record_events("m", late, "late")
    again = world.monitor()
    again.close_windows("m", START + 2 * WEEK + DAY)
    later = world.events(0, 50, shift=-3.0)
    again.record_events("m", later, "later")
    again.close_windows("m", START + 2 * WEEK + DAY)
    week, after = again.rollup("m", START, START + 2 * WEEK, WEEK)
    assert (week.late_rows, after.late_rows) == (150, 0)
    assert week.answered().rows == 550
    assert after.answered() == whole(world, first)
    assert again.report("m").late_rows == {START: 150}
    assert again.report("m").to_dict()["late_rows"] == {START.isoformat(): 150}
    assert world.metadata.windows.list_windows("m")[0].columns == judged.columns
    assert world.metadata.windows.list_windows("m")[0].rows == 400
    assert world.metadata.windows.get_profile("m", START) == profile


def test_a_crash_loses_no_late_row_and_counts_none_twice(world: Any) -> None:
    world.register(1)
    monitor = world.monitor()
    tables = [fill(world, monitor, 0)]
    put = world.metadata.windows.put_window

    def die(*args: Any) -> None:
        raise KeyboardInterrupt

    world.metadata.windows.put_window = die
    with pytest.raises(KeyboardInterrupt):
        monitor.close_windows("m", START + WEEK + DAY)
    world.metadata.windows.put_window = put
    tables.append(world.events(0, 100))
    world.monitor().record_events("m", tables[-1], "between")
    restarted = world.monitor()
    restarted.close_windows("m", START + WEEK + DAY)
    (week,) = restarted.rollup("m", START, START + WEEK)
    assert week.late_rows == 0
    assert week.answered() == whole(world, *tables)
    tables.append(world.events(0, 70))
    restarted.record_events("m", tables[-1], "after")
    add = world.metadata.profiles.add_late_profiles
    world.metadata.profiles.add_late_profiles = die
    with pytest.raises(KeyboardInterrupt):
        restarted.close_windows("m", START + WEEK + DAY)
    world.metadata.profiles.add_late_profiles = add
    for _ in range(2):
        world.monitor().close_windows("m", START + WEEK + DAY)
    (week,) = restarted.rollup("m", START, START + WEEK)
    assert week.late_rows == 70
    assert week.answered() == whole(world, *tables)


def test_two_monitors_do_not_add_the_same_rows(world: Any) -> None:
    world.register(1)
    monitor = world.monitor()
    fill(world, monitor, 0)
    monitor.close_windows("m", START + WEEK + DAY)
    monitor.record_events("m", world.events(0, 10), "late")
    marks = world.metadata.profiles.profile_marks
    world.metadata.profiles.profile_marks = lambda model: {"batches": 0}
    with pytest.raises(StaleWrite):
        monitor.close_windows("m", START + WEEK + DAY)
    world.metadata.profiles.profile_marks = marks


def test_periods_of_two_champions_stay_apart(world: Any) -> None:
    world.register(1)
    world.register(2, shift=1.0)
    monitor = world.monitor()
    fill(world, monitor, 0)
    fill(world, monitor, 1, version=2, shift=1.0)
    monitor.close_windows("m", START + 2 * WEEK + DAY)
    one, two = monitor.rollup("m", START, START + 2 * WEEK)
    assert [(period.champion, period.windows, period.answered().rows) for period in (one, two)] == [
        (1, 1, 400),
        (2, 1, 400),
    ]
    (world.home / "2" / "reference.bin").unlink()
    unreadable = world.monitor().rollup("m", START, START + 2 * WEEK)[1]
    assert unreadable.drift() is None
    assert unreadable.to_dict()["segments"][""]["rows"] == 400


def test_without_a_reference_there_are_no_profiles(world: Any) -> None:
    world.register(1, reference=False)
    monitor = world.monitor()
    fill(world, monitor, 0)
    monitor.close_windows("m", START + WEEK + DAY)
    monitor.record_events("m", world.events(0, 10), "late")
    monitor.close_windows("m", START + WEEK + DAY)
    assert monitor.rollup("m", START, START + WEEK) == []


def test_nothing_that_is_needed_is_removed(world: Any) -> None:
    world.register(1)
    monitor = world.monitor()
    monitor.maintain("m", START)
    assert world.tables.maintained == [("predictions/m", None), ("labels/m", None)]
    fill(world, monitor, 0, 1)
    world.tables.maintained.clear()
    late = START + 500 * DAY
    monitor.maintain("m", late)
    assert world.tables.maintained[0][1] == START - WEEK  # the window that has not been closed
    monitor.close_windows("m", START + 2 * WEEK + DAY)
    monitor.maintain("m", late)
    assert world.tables.maintained[2:] == [("predictions/m", START + WEEK), ("labels/m", START + WEEK)]
    world.metadata.champion = 1
    monitor.close_windows("m", late)
    monitor.maintain("m", late)
    assert world.tables.maintained[4][1] == START + 100 * DAY
    world.metadata.plan = ServingPlan(
        model="m", number=1, champion=1, trial=Trial(version=2), created_at=START + 400 * DAY
    )
    monitor.maintain("m", late + 5000 * DAY)
    assert world.tables.maintained[6] == ("predictions/m", None)
    assert len(world.metadata.kept) == 2
    world.metadata.plan = None
    monitor.maintain("m", late + 5000 * DAY)
    assert world.metadata.kept == []


def test_rows_that_come_while_a_window_closes_are_late(world: Any) -> None:
    world.register(1)
    monitor = world.monitor()
    tables = [fill(world, monitor, 0), world.events(0, 30)]
    marks = world.tables.marks

    def marks_then_rows(name: str) -> dict[str, int]:
        taken: dict[str, int] = marks(name)
        world.tables.append(name, tables[1], ingest_id="meanwhile")
        return taken

    world.tables.marks = marks_then_rows
    (record,) = monitor.close_windows("m", START + WEEK + DAY)
    assert record.rows == 400
    world.tables.marks = marks
    monitor.close_windows("m", START + WEEK + DAY)
    (week,) = monitor.rollup("m", START, START + WEEK)
    assert week.late_rows == 30
    assert week.answered() == whole(world, *tables)


def test_without_bounds_periods_are_counted_from_the_anchor(world: Any) -> None:
    world.register(1)
    monitor = world.monitor()
    assert monitor.rollup("m", every=WEEK) == []
    for week in range(3):
        fill(world, monitor, week)
    monitor.close_windows("m", CLOSED)
    fortnights = monitor.rollup("m", every=2 * WEEK)
    assert [period.windows for period in fortnights] == [1, 2] or [period.windows for period in fortnights] == [2, 1]
    assert all((period.end - world.config.anchor) % (2 * WEEK) == timedelta(0) for period in fortnights[:-1])
    assert [period.windows for period in monitor.rollup("m")] == [3]
    with pytest.raises(ConfigError, match="a period must be made of whole windows of 7 days"):
        monitor.rollup("m", every=timedelta(days=1))
