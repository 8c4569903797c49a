"""A project's table between two instants: what is asked, labelled and pushed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyarrow import parquet

from raymlops.errors import ConfigError, DataError, SchemaMismatch
from raymlops.features import Entity, FeatureView, Field
from raymlops.projects import ProjectRows, project_rows
from raymlops.records.bundles import ProjectData, ProjectSpec

DAY = timedelta(days=1)
START = datetime(2024, 1, 1, tzinfo=UTC)
FIELDS = [Field("user", "string"), Field("spent", "float64")]
VIEWS = [
    FeatureView("events", Entity("row", ["row_id"]), FIELDS),
    FeatureView(
        "outcomes", Entity("row", ["row_id"]), [Field("label", "int64"), Field("asked_at", "timestamp"), *FIELDS]
    ),
]


def project(tmp_path: Path, rows: pa.Table, **changes: object) -> ProjectRows:
    parquet.write_table(rows, tmp_path / "t.parquet")
    data = ProjectData(
        table="t.parquet",
        label="bought",
        event_time="at",
        label_delay="2d",
        classes=("no", "yes"),
        events_view="events",
        outcomes_view="outcomes",
    ).model_copy(update=changes)
    spec = ProjectSpec(name="t", model="t", definitions="t:D", service="t", spine="t:s", data=data)
    return project_rows(tmp_path, spec, VIEWS)


def table(**changes: object) -> pa.Table:
    columns = {
        "at": pa.array([START + 2 * DAY, START, None, START + DAY], pa.timestamp("us", tz="UTC")),
        "user": pa.array(["b", "a", "c", "a"]).dictionary_encode(),
        "spent": [2.5, float("inf"), 1.0, None],
        "bought": ["yes", "no", "no", None],
    }
    return pa.table({**columns, **changes})


def test_rows_are_in_the_order_of_time_and_named_by_their_places(tmp_path: Path) -> None:
    rows = project(tmp_path, table()).rows
    assert rows["row_id"].to_pylist() == ["row-1", "row-3", "row-0"], "a row without a time is none"
    assert rows["label"].to_pylist() == [0, None, 1]
    assert rows["spent"].to_pylist() == [None, None, 2.5], "an infinite number is missing"
    assert rows["user"].type == pa.string()


def test_a_row_is_pushed_after_its_own_time_and_with_its_label_when_that_is_known(tmp_path: Path) -> None:
    found = project(tmp_path, table())
    tick = timedelta(microseconds=1)
    assert found.asked(START, START + DAY)["row_id"].to_pylist() == ["row-1"]
    assert found.pushed(START, START + tick)["events"].num_rows == 0
    pushed = found.pushed(START, START + 2 * DAY + tick)
    assert pushed["events"]["event_time"].to_pylist() == [START + tick, START + DAY + tick]
    assert pushed["outcomes"]["event_time"].to_pylist() == [START + 2 * DAY]
    assert pushed["outcomes"]["asked_at"].to_pylist() == [START]
    everything = found.pushed(START, START + 9 * DAY)
    assert [everything[view].num_rows for view in ("events", "outcomes")] == [3, 2], "no label, no outcome"


def test_intervals_one_after_the_other_push_every_row_once(tmp_path: Path) -> None:
    found = project(tmp_path, table())
    for view in ("events", "outcomes"):
        parts = [found.pushed(START + n * DAY / 3, START + (n + 1) * DAY / 3)[view] for n in range(20)]
        assert pa.concat_tables(parts).equals(found.pushed(START, START + 20 * DAY / 3)[view].combine_chunks())


def test_a_label_without_a_delay_is_known_a_microsecond_after_its_row(tmp_path: Path) -> None:
    found = project(tmp_path, table(), label_delay="0s")
    assert pc.all(pc.greater(found.rows["label_time"], found.rows["asked_at"])).as_py()


def test_a_label_time_that_is_missing_never_comes(tmp_path: Path) -> None:
    told = pa.array([None, START + 3 * DAY, None, None], pa.timestamp("us", tz="UTC"))
    found = project(tmp_path, table(told=told), label_time="told", label_delay="0s")
    assert found.labelled(START, START + 99 * DAY)["row_id"].to_pylist() == ["row-1"]


@pytest.mark.parametrize(
    ("changed", "spec", "error", "said"),
    [
        ({"bought": ["yes", "no", "maybe", None]}, {}, DataError, "must be one of .*'no', 'yes'.*, got 'maybe'"),
        ({"spent": ["a", "b", "c", "d"]}, {}, SchemaMismatch, "column 'spent' must hold float64"),
        ({}, {"label": "gone"}, DataError, "label must be a column"),
        ({}, {"events_view": "nothing"}, ConfigError, "must name views that are defined"),
        ({}, {"label_delay": "soon"}, ConfigError, "label_delay must be whole numbers"),
        ({}, {"table": "none.parquet"}, ConfigError, "is not a file"),
    ],
)  # fmt: skip
def test_a_table_that_is_not_what_the_project_says_is_refused(
    tmp_path: Path, changed: dict[str, object], spec: dict[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        project(tmp_path, table(**changed), **spec)
