from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.clock import ManualClock, to_us
from raymlops.errors import DataError, SchemaMismatch
from raymlops.features import Entity, FeatureReader, FeatureService, FeatureStore, FeatureView, Field, calendar, elapsed
from raymlops.features.definitions.dates import calendar_parts
from raymlops.tables.columns import INSTANT

T = datetime(2024, 3, 1, 12, tzinfo=UTC)
BORN = [datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), datetime(2024, 2, 29, 6, tzinfo=UTC), None]


@given(st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)))
def test_parts_are_those_of_the_calendar(when: datetime) -> None:
    found = calendar_parts({"at": np.array([when, None], dtype="datetime64[us]")})
    said = {name: int(values[0]) for name, values in found.items()}
    expected = {"hour": when.hour, "weekday": when.weekday(), "day": when.day, "month": when.month, "year": when.year}
    assert said == expected
    assert all(np.isnan(values[1]) for values in found.values())


def test_training_and_serving_have_the_same_numbers(tmp_path: Path) -> None:
    users = FeatureView("users", Entity("user", ["user"]), [Field("born", "timestamp")])
    parts, age = calendar("birth", "users:born"), elapsed("age", "users:born", "asked")
    service = FeatureService("ages", ["birth:hour", "birth:weekday", "birth:year", "age:days"])
    with closing(FeatureStore(tmp_path, clock=ManualClock(T))) as store:
        store.apply(users, parts, age, service)
        times = pa.array([T - timedelta(hours=1)] * 3, INSTANT)
        rows = pa.table({"user": ["a", "b", "c"], "event_time": times, "born": pa.array(BORN, INSTANT)})
        store.push("users", rows, ingest_id="users")
        with closing(FeatureReader(tmp_path, clock=ManualClock(T))) as reader:
            plan = reader.plan("ages")
            asked = [{"user": user, "asked": "2024-03-01T13:30:00+01:30"} for user in ("a", "b", "c")]
            online = plan.table(plan.read(asked, [to_us(T)] * 3)).to_pylist()
            instants = pa.array([T] * 3, INSTANT)
            spine = pa.table({"user": ["a", "b", "c"], "event_time": instants, "asked": instants})
            offline = reader.training_set("ages", spine, name="ages").table()
            assert offline.select(list(plan.feature_columns)).to_pylist() == online
            assert online[1] == {"birth__hour": 6, "birth__weekday": 3, "birth__year": 2024, "age__days": 1.25}
            assert set(online[2].values()) == {None}
            with pytest.raises(DataError, match="'asked' must be an ISO 8601 instant"):
                plan.read([{"user": "a", "asked": "soon"}], [to_us(T)])
            with pytest.raises(SchemaMismatch, match="'asked' must hold tz-aware instants"):
                plan.read([{"user": "a", "asked": "2024-03-01T12:00:00"}], [to_us(T)])
