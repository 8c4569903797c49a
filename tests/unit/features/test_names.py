"""Names that real tables have: they work from the definition to the answer, or are refused when they are declared."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from raymlops.clock import ManualClock
from raymlops.errors import ConfigError
from raymlops.features import (
    Entity,
    FeatureReader,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    WindowAggregate,
    point_in_time_join,
)

T = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = [
    "Unit Price",
    "capital.gain",
    "X",
    "Größe",
    "a:b",
    "a@1",
    "(a, b); {c}",
    "a/b",
    'a"b',
    "1x",
    "日本",
    "..",
    "x__y",
    "[0]",
]


def view_of(field: str = "x", key: str = "k", event_time: str = "at") -> FeatureView:
    total = WindowAggregate("total", "sum", field, timedelta(hours=1))
    entity = Entity("e", [key])
    return FeatureView("v", entity, [Field(field, "float64")], event_time=event_time, aggregates=[total])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("part", ["field", "key", "event_time"])
def test_a_name_works_from_the_definition_to_the_answer(name: str, part: str, tmp_path: Path) -> None:
    view = view_of(**{part: name if part == "field" else f"{name} of {part}"})
    (field,), (key,) = view.fields, view.keys
    store = FeatureStore(tmp_path, clock=ManualClock(T))
    store.apply(view, FeatureService("s", [f"v:{field.name}", "v@1:total"]))
    rows = pa.table({key: ["a"], view.event_time: [T], field.name: [1.5]})
    store.push("v", rows, ingest_id="one")
    reader = FeatureReader(tmp_path, clock=ManualClock(T))
    spine = pa.table({key: ["a"], "event_time": [T]})
    built = reader.training_set("s", spine, name="t")
    expected = {f"v__{field.name}": 1.5, "v__total": 1.5}
    assert built.table().drop_columns(spine.column_names).to_pylist() == [expected]
    assert reader.rebuild(built.manifest).table().equals(built.table())
    assert reader.online("s", pa.table({key: ["a"]}), T).drop_columns([key]).to_pylist() == [expected]
    joined = point_in_time_join(spine, [view], {"v": rows})
    assert joined.drop_columns(spine.column_names).to_pylist() == [expected]
    reader.close()
    store.close()


@pytest.mark.parametrize("name", ["", "_x", " x", "x ", "a\nb", "a\tb", "a\x00b", "a\u200bb"])
@pytest.mark.parametrize("part", ["field", "key", "event_time"])
def test_a_name_that_cannot_work_is_refused_when_it_is_declared(name: str, part: str) -> None:
    with pytest.raises(ConfigError, match="a column name must be"):
        view_of(**{part: name})


@pytest.mark.parametrize("names", [("x", "X", "at"), ("x", "k", "K"), ("AT", "k", "at"), ("TOTAL", "k", "at")])
def test_names_that_a_table_does_not_tell_apart_are_refused(names: tuple[str, str, str]) -> None:
    with pytest.raises(ConfigError, match="column names must differ by more than the case of letters"):
        view_of(*names)


@pytest.mark.parametrize("name", ["my view", "a.b", "a__b", "x:y", "a@1", ""])
def test_views_and_services_have_plain_names(name: str) -> None:
    with pytest.raises(ConfigError, match="view name must be made of letters, digits and single underscores"):
        FeatureView(name, "e", [Field("x", "float64")])
    with pytest.raises(ConfigError, match="service name must be made of letters, digits and single underscores"):
        FeatureService(name, ["v:x"])
