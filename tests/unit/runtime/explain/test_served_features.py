from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pyarrow as pa
import pytest

from raymlops.errors import DataError
from raymlops.records.plans import ServingPlan
from raymlops.runtime.explain.served_features import rows_by_service, sampled, served_rows

T = datetime(2024, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
INSTANT = pa.timestamp("us", tz="UTC")


def events(*asked: dict[str, Any] | None, role: str = "champion", **more: Any) -> pa.Table:
    count = len(asked)
    columns = {
        "request_id": [f"r{i}" for i in range(count)],
        "row": pa.array([0] * count, pa.int32()),
        "served_at": pa.array([T + i * HOUR for i in range(count)], INSTANT),
        "role": [role] * count,
        "entity": pa.array([None if each is None else orjson.dumps(each).decode() for each in asked], pa.string()),
        **more,
    }
    return pa.table(columns)


def test_what_was_asked_becomes_columns() -> None:
    found = served_rows(events({"k": 1, "origin": "JFK"}, None, {"k": 2, "origin": None, "more": 1.5}))
    assert found.num_rows == 2
    assert found.select(["k", "origin", "more"]).to_pylist() == [
        {"k": 1, "origin": "JFK", "more": None},
        {"k": 2, "origin": None, "more": 1.5},
    ]


def test_shadows_and_events_without_features_are_left_out() -> None:
    assert served_rows(events({"k": 1}, role="shadow")).num_rows == 0
    assert served_rows(events(None, None)).num_rows == 0
    assert served_rows(events({"k": 1}).drop_columns(["entity"])).num_rows == 0


def test_a_key_is_taken_from_the_request_and_not_from_the_columns_of_the_log() -> None:
    """A model may take a key as a number of its own, and a key may be called like a column of the log."""
    log = events({"k": 7, "version": "a", "row": 3, "entity": 5}, k=pa.array([7.0]), version=pa.array([2]))
    found = served_rows(log).select(["k", "version", "row", "entity"])
    assert found.to_pylist() == [{"k": 7, "version": "a", "row": 3, "entity": 5}]
    assert found.schema.field("k").type == pa.int64()


def test_a_key_of_two_types_is_named() -> None:
    with pytest.raises(DataError, match="key 'k' must have one type"):
        served_rows(events({"k": 1}, {"k": "one"}))


def test_a_sample_is_bounded_and_the_same_however_the_rows_come() -> None:
    rows = events(*({"k": i} for i in range(500)))
    drawn = sampled([rows], 40)
    assert drawn.num_rows == 40
    pieces = sampled((rows.slice(start, 33) for start in range(0, 500, 33)), 40)
    backwards = sampled([rows.take(pa.array(range(499, -1, -1)))], 40)
    wanted = sorted(drawn["request_id"].to_pylist())
    assert sorted(pieces["request_id"].to_pylist()) == sorted(backwards["request_id"].to_pylist()) == wanted
    assert sampled([rows], 500) is rows
    assert sampled([], 5).num_rows == 0


def plan(number: int, service: str | None, hours: int, environment: str | None = None) -> ServingPlan:
    at = T + hours * HOUR
    return ServingPlan(model="m", number=number, champion=1, service=service, environment=environment, created_at=at)


def test_rows_are_told_apart_by_the_service_that_was_served() -> None:
    plans = [plan(3, "s@2", 4), plan(1, "s@1", 1), plan(2, "s@1", 2), plan(4, None, 7), plan(5, "s@1", 8)]
    rows = events(*({"k": i} for i in range(10)))
    found = [(served.service, some["request_id"].to_pylist()) for served, some in rows_by_service(plans, rows)]
    # r4, r7 and r8 came just as the service changed; r0 came before the first plan was written down
    assert found == [("s@1", ["r0", "r1", "r2", "r3"]), ("s@2", ["r5", "r6"]), ("s@1", ["r9"])]
    assert list(rows_by_service(plans, rows.slice(0, 0))) == []
    assert list(rows_by_service([], rows)) == []


def test_rows_are_told_apart_by_the_environment_whose_features_were_served() -> None:
    plans = [plan(1, "s@1", 0), plan(2, "s@1", 4, "dev")]
    found = rows_by_service(plans, events(*({"k": i} for i in range(7))))
    assert [(served, some["request_id"].to_pylist()) for served, some in found] == [
        (("s@1", None), ["r0", "r1", "r2", "r3"]),
        (("s@1", "dev"), ["r5", "r6"]),
    ]
