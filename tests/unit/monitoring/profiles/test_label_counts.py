"""Labels in the profiles of windows and of what windows add up to, whenever they come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.monitoring import REFERENCE_FILE, Reference
from raymlops.monitoring.profiles.label_counts import label_profile, with_labels
from raymlops.monitoring.profiles.profile import LABEL_COLUMN

START = datetime(2013, 1, 7, tzinfo=UTC)
WEEK, DAY, HOUR = timedelta(days=7), timedelta(days=1), timedelta(hours=1)
CLOSED = START + WEEK + DAY


@pytest.fixture
def world(make_world: Callable[..., Any]) -> Any:
    """A model whose reference holds labels, 0 and 1, and segments by one column."""
    made = make_world(
        label_delay=DAY, late_labels=WEEK, late_labels_every=HOUR, segments={"declared": {"m": ("x > 0",)}}
    )
    made.register(1)
    path = made.home / "1" / REFERENCE_FILE
    classes = pa.array((np.random.default_rng(0).random(4000) < 0.4).astype(int)).cast(pa.string())
    joined = Reference.load(path).joined(Reference.fit(pa.table({LABEL_COLUMN: classes})))
    path.write_bytes(joined.dumps())
    return made


def counted(world: Any, period: Any, segment: str = "") -> dict[str, int]:
    """Labels of each class in a period, by the bins of the reference."""
    bins = Reference.load(world.home / "1" / REFERENCE_FILE).bins(LABEL_COLUMN)
    counts = period.answered(segment).counts[LABEL_COLUMN]
    return {name: int(count) for name, count in zip(bins.labels(), counts, strict=False) if count}


def tally(*tables: pa.Table) -> dict[str, int]:
    return dict(Counter(str(label) for table in tables for label in table["label"].to_pylist()))


def late(labels: pa.Table, at: datetime) -> pa.Table:
    return labels.set_column(3, "event_time", pa.array([at] * labels.num_rows, labels["event_time"].type))


def test_a_windows_parts_hold_their_labels(world: Any) -> None:
    monitor = world.monitor()
    champion, canary = world.events(0, 400), world.events(0, 100, version=2, role="canary")
    labels = [world.labels(events) for events in (champion, canary)]
    for name, table in (("a", champion), ("b", canary)):
        monitor.record_events("m", table, name)
    for name, table in (("a", labels[0].slice(0, 300)), ("b", labels[1])):
        monitor.record_labels("m", table, name)
    monitor.close_windows("m", CLOSED)
    (week,) = monitor.rollup("m")
    assert counted(world, week) == tally(labels[0].slice(0, 300), labels[1])
    inside = np.asarray(champion["x"])[:300] > 0, np.asarray(canary["x"]) > 0
    kept = [
        table.filter(pa.array(mask)) for table, mask in zip((labels[0].slice(0, 300), labels[1]), inside, strict=True)
    ]
    assert counted(world, week, "x > 0") == tally(*kept)
    assert LABEL_COLUMN not in week.answered().problems
    assert week.drift().columns[LABEL_COLUMN].test


def test_late_labels_and_late_rows_add_up_the_same_in_any_order(world: Any) -> None:
    """A label that is said anew replaces; what it replaced is not counted."""
    monitor, events = world.monitor(), world.events(0, 400)
    labels = world.labels(events)
    monitor.record_events("m", events.slice(0, 390), "e")
    monitor.record_labels("m", labels.slice(0, 100), "in time")
    monitor.close_windows("m", CLOSED)
    before = {name: counts.tolist() for name, counts in monitor.rollup("m")[0].answered().counts.items()}
    monitor.record_labels("m", late(labels.slice(100, 200), CLOSED + HOUR), "late")
    monitor.record_events("m", events.slice(390), "late rows")
    monitor.close_windows("m", CLOSED + 2 * HOUR)
    assert counted(world, monitor.rollup("m")[0]) == tally(labels.slice(0, 300))
    flipped = labels.set_column(2, "label", pa.array(1 - np.asarray(labels["label"])))
    monitor.record_labels("m", late(flipped.slice(50, 350), CLOSED + 3 * HOUR), "again")
    monitor.close_windows("m", CLOSED + 4 * HOUR)
    (week,) = monitor.rollup("m")
    assert counted(world, week) == tally(labels.slice(0, 50), flipped.slice(50, 350))
    assert week.late_rows == 10
    after = {name: counts.tolist() for name, counts in week.answered().counts.items()}
    assert {n for n in after if sum(after[n]) != sum(before[n])} == {*before}  # ten rows more, and labels
    assert sum(after["x"]) == 400
    again = world.monitor()
    again.close_windows("m", CLOSED + 8 * DAY)
    assert counted(world, again.rollup("m")[0]) == counted(world, week)


def test_numbers_have_quantiles_and_absent_labels_are_not_missing() -> None:
    rng = np.random.default_rng(1)
    reference = Reference.fit(pa.table({"x": rng.normal(size=900), LABEL_COLUMN: rng.normal(size=900)}))
    rows = reference.profile(pa.table({"x": rng.normal(size=50)}), sketched=True)
    own = label_profile(reference.only(LABEL_COLUMN), ["1.5", None, "2", "no number"], sketched=True)
    profile = with_labels(rows, own)
    assert profile.counts[LABEL_COLUMN].sum() == 3
    assert profile.counts[LABEL_COLUMN][-1] == 1
    assert profile.ranges[LABEL_COLUMN] == (1.5, 2.0)
    assert profile.quantiles[LABEL_COLUMN].rows == 2
    none = with_labels(profile, None)
    assert none.counts[LABEL_COLUMN].sum() == 0
    assert LABEL_COLUMN not in none.problems
    assert none.counts["x"].sum() == 50
