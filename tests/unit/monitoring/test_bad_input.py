"""What is wrong with a window is isolated, reported, and disturbs nothing else: from the log to the page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.records.windows import WindowRecord

START = datetime(2013, 1, 7, tzinfo=UTC)
WEEK, DAY = timedelta(days=7), timedelta(days=1)
ROWS = 500

Change = Callable[[pa.Table], pa.Table]


def put(name: str, values: Any) -> Change:
    """Events with one column's values replaced, or added."""

    def change(events: pa.Table) -> pa.Table:
        column = values if isinstance(values, pa.Array) else pa.array(values)
        if name not in events.column_names:
            return events.append_column(name, column)
        return events.set_column(events.column_names.index(name), name, column)

    return change


BAD: dict[str, tuple[Change, str, str]] = {
    "all missing": (put("x", pa.nulls(ROWS, pa.float64())), "x", "missing"),
    "all NaN": (put("x", np.full(ROWS, np.nan)), "x", "missing"),
    "without a type": (put("x", pa.nulls(ROWS, pa.float64()).cast(pa.float32())), "x", "missing"),
    "constant": (put("x", np.full(ROWS, 0.25)), "x", "frozen"),
    "all infinite": (put("x", np.full(ROWS, np.inf)), "x", "infinite"),
    "of both infinities": (put("x", np.where(np.arange(ROWS) % 2, np.inf, -np.inf)), "x", "infinite"),
    "new column": (put("z", np.arange(ROWS, dtype=float)), "z", "new"),
    "dropped column": (lambda events: events.drop_columns(["x"]), "x", "dropped"),
    "changed type": (put("x", pa.array([f"t{i % 7}" for i in range(ROWS)])), "x", "type changed"),
    "text became numbers": (put("kind", np.arange(ROWS, dtype=float)), "kind", "type changed"),
    "unseen categories": (put("kind", pa.array([f"new{i}" for i in range(ROWS)])), "kind", "never seen"),
    "huge values": (put("x", np.full(ROWS, 1e300) * np.linspace(0.9, 1, ROWS)), "x", "range"),
}


def fill(world: Any, monitor: Any, week: int, change: Change | None = None) -> None:
    events = world.events(week, ROWS)
    labels = world.labels(events)
    monitor.record_events("m", events if change is None else change(events), f"e{week}")
    monitor.record_labels("m", labels, f"l{week}")


def closed(world: Any, change: Change | None) -> tuple[Any, list[WindowRecord]]:
    """Three windows, the middle one changed."""
    monitor = world.monitor()
    world.rng = np.random.default_rng(5)
    for week in range(3):
        fill(world, monitor, week, change if week == 1 else None)
    return monitor, monitor.close_windows("m", START + 3 * WEEK + DAY)


@pytest.mark.parametrize("what", BAD)
def test_a_bad_column_is_named_and_the_others_are_judged_as_ever(
    what: str, make_world: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    change, column, word = BAD[what]
    config = {"label_delay": DAY}
    world, twin = make_world(**config), make_world(**config)
    twin.home = tmp_path_factory.mktemp("twin")
    for each in (world, twin):
        each.register(1)
    monitor, found = closed(world, change)
    _, expected = closed(twin, None)
    assert found[0] == expected[0]
    assert found[2] == expected[2], "the window after is untouched"
    bad, good = found[1], expected[1]
    assert bad.quality in {"warn", "block"}
    assert any(column in reason and word in reason for reason in bad.quality_reasons), bad.quality_reasons
    assert not any(
        name in reason for reason in bad.quality_reasons for name in {"y", "kind"} - {column} if f"{name}:" in reason
    )
    for name in {"x", "y", "kind"} - {column}:
        assert bad.columns[name].score == good.columns[name].score
    assert bad.performance == good.performance
    assert (bad.prediction_drift is None) == (good.prediction_drift is None)
    page = monitor.report("m").html()
    assert column in page
    assert monitor.report("m").to_dict()["windows"][1]["quality"] == bad.quality


@pytest.mark.parametrize("rows", [0, 1])
def test_windows_of_no_rows_and_of_one(world: Any, rows: int) -> None:
    world.register(1)
    world.metadata.champion = 1
    monitor = world.monitor()
    fill(world, monitor, 0)
    if rows:
        events = world.events(1, 1)
        monitor.record_events("m", events, "one")
        monitor.record_labels("m", world.labels(events), "one")
    monitor.record_events("m", world.events(1, 0), "none")
    monitor.record_labels("m", world.labels(world.events(1, 1)).slice(0, 0), "no labels")
    fill(world, monitor, 2)
    first, small, last = monitor.close_windows("m", START + 3 * WEEK + DAY)
    assert (first.rows, small.rows, last.rows) == (ROWS, rows, ROWS)
    assert small.drifted is False
    assert small.degraded is False
    assert (small.quality == "block") is (rows == 0)
    assert last.quality == "ok"
    assert monitor.report("m").html()


def test_labels_that_fit_nothing_or_each_other(world: Any) -> None:
    """Unknown, twice, contradictory, of no class: each counted, the right ones joined all the same."""
    world.register(1)
    monitor, events = world.monitor(), world.events(0, ROWS)
    labels = world.labels(events)
    monitor.record_events("m", events, "e")
    monitor.record_labels("m", labels, "l")
    unknown = labels.slice(0, 7).set_column(0, "request_id", pa.array([f"nobody-{i}" for i in range(7)]))
    other_row = labels.slice(7, 3).set_column(1, "row", pa.array([9] * 3, pa.int32()))
    twice = labels.slice(20, 5)
    flipped = pa.array(1 - np.asarray(labels.slice(30, 4)["label"]))
    contradictory = labels.slice(30, 4).set_column(2, "label", flipped)
    no_class = labels.slice(40, 2).set_column(2, "label", pa.array(["maybe", ""]))
    for number, batch in enumerate([unknown, other_row, twice, contradictory, no_class]):
        monitor.record_labels("m", batch, f"odd {number}")
    fill(world, monitor, 1)
    found, following = monitor.close_windows("m", START + 2 * WEEK + DAY)
    assert found.labels_unknown == 10
    assert found.labels_duplicate == 5 + 4 + 2
    assert found.labels_contradictory == 4 + 2
    assert found.performance[1].labelled_rows == ROWS - 2
    assert any("2 labels are none of the classes" in reason for reason in found.quality_reasons)
    assert following.quality == "ok"
    assert (following.labels_unknown, following.labels_duplicate) == (0, 0)


def test_mixed_types_are_refused_as_they_come_and_kept_apart_once_there(world: Any) -> None:
    """Arrow has no mixed columns: two replicas may send numbers and texts of one input, in batches of their own."""
    world.register(1)
    monitor = world.monitor()
    events = world.events(0, ROWS)
    texts = put("kind", pa.array(np.arange(ROWS) % 3))(events)
    monitor.record_events("m", events.slice(0, ROWS // 2), "texts")
    monitor.record_events("m", texts.slice(ROWS // 2), "numbers")
    monitor.record_labels("m", world.labels(events), "l")
    (found,) = monitor.close_windows("m", START + WEEK + DAY)
    assert found.rows == ROWS
    assert any("kind" in reason for reason in found.quality_reasons)
    assert found.performance[1].labelled_rows == ROWS
