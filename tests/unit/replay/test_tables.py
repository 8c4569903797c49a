"""What a replay plays: rows by when they became known, and tables that are refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from raymlops.errors import DataError, SchemaMismatch
from raymlops.replay import ReplayTables, ViewRows
from raymlops.replay.tables import between

START = datetime(2026, 1, 1, tzinfo=UTC)
HOURS = [START + timedelta(hours=hour) for hour in range(6)]
TABLES = ReplayTables(
    requests=pa.table({"request_id": ["a", "b", "c"], "at": HOURS[:3], "size": [1, 2, 3]}),
    labels=pa.table({"request_id": ["a", "c"], "known_at": HOURS[3:5], "label": [0, 1]}),
    views={},
)


def test_rows_are_taken_from_the_start_up_to_the_end_that_is_left_out() -> None:
    table = pa.table({"at": HOURS, "n": range(6)})
    assert between(table, "at", HOURS[1], HOURS[3])["n"].to_pylist() == [1, 2]
    assert between(table, "at", None, HOURS[2])["n"].to_pylist() == [0, 1]
    assert between(table, "at", HOURS[5] + timedelta(seconds=1), HOURS[5] + timedelta(days=1)).num_rows == 0
    assert between(table, "at", HOURS[3], HOURS[3]).num_rows == 0


def test_rows_of_a_view_may_become_known_at_another_time_than_they_are_dated_with() -> None:
    rows = pa.table({"key": ["a", "b"], "event_time": [HOURS[0], HOURS[1]]})
    dated = ViewRows(rows, "event_time")
    later = ViewRows(rows, pa.chunked_array([pa.array([HOURS[3], HOURS[4]])]))
    assert dated.between(HOURS[0], HOURS[1])["key"].to_pylist() == ["a"]
    assert later.between(HOURS[0], HOURS[4])["key"].to_pylist() == ["a"]
    assert later.between(None, HOURS[5])["key"].to_pylist() == ["a", "b"]


def test_sound_tables_pass() -> None:
    TABLES.check()


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"requests": TABLES.requests.drop_columns(["at"])}, SchemaMismatch, r"requests .* got none of \['at'\]"),
        ({"labels": TABLES.labels.drop_columns(["label"])}, SchemaMismatch, r"labels .* got none of \['label'\]"),
        (
            {
                "requests": TABLES.requests.set_column(
                    1, "at", pa.array([each.replace(tzinfo=None) for each in HOURS[:3]])
                )
            },
            SchemaMismatch,
            "'at' must be tz-aware instants",
        ),
        ({"labels": TABLES.labels.slice(0, 0)}, DataError, "labels of a replay must have at least one row"),
        ({"requests": TABLES.requests.take([1, 0, 2])}, DataError, "sorted by 'at'"),
        (
            {"requests": TABLES.requests.set_column(0, "request_id", pa.array(["a", "b", "a"]))},
            DataError,
            "distinct ids, got 1 that come again",
        ),
    ],
)
def test_tables_that_cannot_be_replayed_are_refused(
    changed: dict[str, pa.Table], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        replace(TABLES, **changed).check()
