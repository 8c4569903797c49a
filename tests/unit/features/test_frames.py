"""Foreign frames at every door of the feature store: the right rows, or one of our errors in one line."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raymlops.clock import ManualClock
from raymlops.errors import ConfigError, DataError, RaymlopsError, SchemaMismatch
from raymlops.features import (
    Entity,
    FeatureReader,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    point_in_time_join,
)
from raymlops.tables.columns import as_table
from tests.support.examples import examples

T = datetime(2024, 3, 1, 12, tzinfo=UTC)
VIEW = FeatureView(
    "v",
    Entity("e", ["k"]),
    [Field("i", "int64"), Field("f", "float64"), Field("s", "string"), Field("b", "bool"), Field("t", "timestamp")],
)
ROWS: dict[str, list[Any]] = {
    "k": ["a", "b"],
    "event_time": [T, T],
    "i": [2**53 + 1, None],
    "f": [0.1, None],
    "s": ["007", None],
    "b": [True, None],
    "t": [T, None],
}
NUMBERS = count()
KINDS: dict[str, Callable[[pa.Table], Any]] = {
    "arrow": lambda table: table,
    "pandas": lambda table: table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get),
    "pandas of Arrow": lambda table: table.to_pandas(types_mapper=pd.ArrowDtype),
    "pandas of objects": lambda table: table.to_pandas(types_mapper=pd.ArrowDtype).astype(object),
    "polars": pl.from_arrow,
    "lazy": lambda table: pl.from_arrow(table).lazy(),  # type: ignore[union-attr]
}


class World:
    """A store with one view, and its reader."""

    def __init__(self, root: Path) -> None:
        clock = ManualClock(T + timedelta(days=1))
        self.store = FeatureStore(root, clock=clock)
        self.store.apply(VIEW, FeatureService("s", [f"v:{name}" for name in "ifsbt"]))
        self.store.push("v", pa.table(ROWS), ingest_id="first")
        self.reader = FeatureReader(root, clock=clock)

    def close(self) -> None:
        self.reader.close()
        self.store.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("frames"))
    yield made
    made.close()


def feature_rows(table: Any) -> list[dict[str, Any]]:
    return [{name: row[f"v__{name}"] for name in "ifsbt"} for row in as_table("rows", table).to_pylist()]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_frame_is_taken_and_given_back(kind: str, world: World, tmp_path: Path) -> None:
    given_rows, expected = KINDS[kind](pa.table(ROWS)), [{n: ROWS[n][row] for n in "ifsbt"} for row in range(2)]
    store = FeatureStore(tmp_path, clock=ManualClock(T))
    store.apply(VIEW)
    store.ingest("v", given_rows)
    stored = FeatureReader(tmp_path).table("v").to_pylist()
    store.close()
    assert [{name: row[name] for name in ROWS} for row in stored] == pa.table(ROWS).to_pylist()
    spine = KINDS[kind](pa.table({"k": ["a", "b"], "event_time": [T, T], "label": [0, 1]}))
    joined = point_in_time_join(spine, [VIEW], {"v": given_rows}, as_given=True)
    built = world.reader.training_set("s", spine, name="t")
    answered = world.reader.online("s", KINDS[kind](pa.table({"k": ["a", "b"]})), T, as_given=True)
    assert type(joined) is type(answered)
    assert isinstance(joined, {"arrow": pa.Table, "lazy": pl.DataFrame}.get(kind, type(spine)))
    assert feature_rows(built.table()) == expected
    assert feature_rows(built.to_polars()) == feature_rows(joined) == feature_rows(answered) == expected
    assert built.to_pandas()["v__i"].tolist() == [2**53 + 1, pd.NA]


def test_whole_floats_are_integers_and_others_are_refused(world: World) -> None:
    at = [T + timedelta(hours=1)]
    row = {"k": ["c"], "event_time": at, "f": [1], "s": ["x"], "b": [True], "t": at}
    for value, fits in ((3.0, True), (float("nan"), True), (Decimal("3.00"), True), (1.5, False), (2.0**53, False)):
        table = pa.table({**row, "i": pa.array([value])})
        if fits:
            world.store.ingest("v", table)
        else:
            with pytest.raises(SchemaMismatch, match="column 'i' must fit int64"):
                world.store.ingest("v", table)
    assert world.reader.table("v")["i"].to_pylist()[2:] == [3, None, 3]
    with pytest.raises(SchemaMismatch, match="column 'f' must fit float64"):
        world.store.ingest("v", pa.table({**row, "i": [1], "f": [Decimal(2**53 + 1)]}))


def test_a_frame_with_a_missing_key_still_finds_the_others(tmp_path: Path) -> None:
    view = FeatureView("n", Entity("e", ["k"]), [Field("x", "float64")])
    store = FeatureStore(tmp_path, clock=ManualClock(T))
    store.apply(view, FeatureService("n", ["n:x"]))
    store.push("n", pd.DataFrame({"k": [1, 2], "event_time": [T, T], "x": [0.5, 1.5]}), ingest_id="one")
    spine = pd.DataFrame({"k": [2, None], "event_time": [T, T]})
    assert spine["k"].dtype == np.float64
    reader = FeatureReader(tmp_path)
    assert reader.training_set("n", spine, name="t").table()["n__x"].to_pylist() == [1.5, None]
    assert reader.online("n", spine, T)["n__x"].to_pylist() == [1.5, None]
    assert point_in_time_join(spine, [view], {"n": reader.table("n")})["n__x"].to_pylist() == [1.5, None]
    reader.close()
    store.close()


def test_times_are_read_as_they_are_declared(tmp_path: Path) -> None:
    naive = pd.DataFrame({"k": ["a"], "event_time": [datetime(2024, 3, 1, 13)], "x": [0.5]})
    declared = FeatureView("declared", Entity("e", ["k"]), [Field("x", "float64")], time_zone="Europe/Berlin")
    plain = FeatureView("plain", Entity("e", ["k"]), [Field("x", "float64")])
    store = FeatureStore(tmp_path, clock=ManualClock(T))
    store.apply(declared, plain, FeatureService("s", ["plain:x"]))
    reader = FeatureReader(tmp_path)
    with pytest.raises(
        SchemaMismatch, match=r"must be a tz-aware timestamp, got timestamp.*: time_zone= names the zone"
    ):
        store.ingest("plain", naive)
    store.push("plain", naive, ingest_id="zone", time_zone="Europe/Berlin")
    store.ingest("declared", naive)
    store.ingest("declared", naive, ingest_id="other", time_zone="UTC")
    assert reader.table("plain")["event_time"].to_pylist() == [T]
    assert reader.table("declared")["event_time"].to_pylist() == [T, T + timedelta(hours=1)]
    spine = naive.drop(columns="x")
    built = reader.training_set("s", spine, name="t", time_zone="Europe/Berlin").table()
    assert (built["event_time"].to_pylist(), built["plain__x"].to_pylist()) == ([T], [0.5])
    joined = point_in_time_join(spine, [declared], {"declared": naive}, time_zone="Europe/Berlin")
    assert joined["declared__x"].to_pylist() == [0.5]
    with pytest.raises(ConfigError, match="view 'bad': time_zone must be a name such as"):
        FeatureView("bad", Entity("e", ["k"]), [Field("x", "float64")], time_zone="Mars")
    fine = pa.table(
        {"k": ["a"], "event_time": pa.array([1_709_294_400_000_000_999], pa.timestamp("ns", "UTC")), "x": [2.0]}
    )
    with pytest.raises(SchemaMismatch, match="round_times=True rounds to microseconds"):
        store.ingest("plain", fine)
    store.ingest("plain", fine, round_times=True)
    assert reader.table("plain")["event_time"].to_pylist()[1] == T + timedelta(microseconds=1)
    reader.close()
    store.close()


def test_columns_that_a_view_does_not_have_are_left_out_when_told(world: World) -> None:
    wider = pa.table({**{name: values[:1] for name, values in ROWS.items()}, "more": [1], "__index": [2]})
    with pytest.raises(SchemaMismatch, match=r"columns \['more', '__index'\] are not declared.*extra_columns='ignore'"):
        world.store.ingest("v", wider)
    assert world.store.ingest("v", wider, ingest_id="wider", extra_columns="ignore").rows == 1
    with pytest.raises(ConfigError, match="extra_columns must be one of"):
        world.store.ingest("v", wider, extra_columns="some")  # type: ignore[arg-type]


def test_a_spine_and_entities_may_come_as_files(tmp_path: Path) -> None:
    view = FeatureView("n", Entity("e", ["zip"]), [Field("x", "float64")])
    store = FeatureStore(tmp_path / "store", clock=ManualClock(T))
    store.apply(view, FeatureService("n", ["n:x"]))
    store.push("n", pa.table({"zip": ["02116", "94105"], "event_time": [T, T], "x": [0.5, 1.5]}), ingest_id="one")
    reader = FeatureReader(tmp_path / "store")
    spine = tmp_path / "spine.csv"
    spine.write_text("zip,event_time,label,note\n94105,2024-03-01T12:00:00Z,1,05\n2116,2024-03-01 13:00+01:00,0,\n")
    built = reader.training_set("n", spine, name="t").table()
    assert built.drop_columns(["event_time"]).to_pylist() == [
        {"zip": "94105", "label": 1, "note": "05", "n__x": 1.5},
        {"zip": "2116", "label": 0, "note": None, "n__x": None},
    ]
    assert reader.online("n", spine, T)["n__x"].to_pylist() == [1.5, None]
    spine.write_text("zip,event_time\n94105,noon\n")
    with pytest.raises(DataError, match=r"spine\.csv: column 'event_time' must be text of timestamp.*'noon' in row 0"):
        reader.training_set("n", spine, name="t")
    reader.close()
    store.close()


def parquet(path: Path, **columns: Any) -> None:
    pq.write_table(pa.table({"k": ["a"], "event_time": [T], **columns}), path)


def test_files_of_a_spine_have_the_same_columns_in_whatever_order(world: World, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("k,event_time,label\na,2024-03-01T12:00:00Z,1\n")
    (tmp_path / "b.csv").write_text("label,event_time,k\n2,2024-03-01T12:00:00Z,b\n")
    joined = world.reader.training_set("s", tmp_path, name="t").table()
    assert (joined["k"].to_pylist(), joined["label"].to_pylist()) == (["a", "b"], [1, 2])
    (tmp_path / "b.csv").write_text("label,event_time,key\n2,2024-03-01T12:00:00Z,b\n")
    with pytest.raises(DataError, match=r"b\.csv must have the columns of the files before, .*'k'.*got .*'key'"):
        world.reader.training_set("s", tmp_path, name="t")


def test_files_of_a_spine_have_the_same_types(world: World, tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", label=[1])
    parquet(tmp_path / "b.parquet", label=pa.array([None], pa.null()))
    assert world.reader.training_set("s", tmp_path, name="t").table()["label"].to_pylist() == [1, None]
    parquet(tmp_path / "b.parquet", label=[0.5])
    with pytest.raises(SchemaMismatch, match=r"spine: the files of .* must have the same types: .*label"):
        world.reader.training_set("s", tmp_path, name="t")


@pytest.mark.parametrize("zone", ["No/Where", 1])
def test_a_zone_of_a_file_must_be_one(zone: Any, world: World, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("k,event_time\na,2024-03-01T12:00:00\n")
    with pytest.raises(ConfigError, match="spine: time_zone must be a name such as"):
        world.reader.training_set("s", tmp_path, name="t", time_zone=zone)


NUMBERS_AND_TEXTS: list[Any] = [True, 1, -1, 2**53 + 1, 2**70, 0.5, float("nan"), float("inf"), "", "a", "1", "02116"]
TIMES: list[Any] = [T, date(2024, 3, 1), datetime(2024, 3, 1), datetime(1, 1, 1), timedelta(1), T.time(), pd.NaT]
OTHERS: list[Any] = [None, b"a", Decimal("1.5"), Decimal(2**60), [1], [], {"a": 1}, {}, (1, 2), pd.NA, 1j, object()]
OF_LIBRARIES: list[Any] = [
    T.astimezone(timezone(timedelta(hours=1))),
    pd.Timestamp(1, unit="ns"),
    pd.Interval(0, 1),
    pd.Period("2024", "D"),
    np.float32(1),
    np.uint64(2**63),
    np.datetime64("2024-03-01"),
]
ODD_VALUES = st.sampled_from([*NUMBERS_AND_TEXTS, *TIMES, *OTHERS, *OF_LIBRARIES])
CONVERSIONS: list[Callable[[dict[str, list[Any]]], Any]] = [
    pa.table,
    lambda columns: pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()}),
    pd.DataFrame,
    lambda columns: pd.DataFrame(columns).convert_dtypes(),
    lambda columns: pd.DataFrame({name: pd.Categorical(values) for name, values in columns.items()}),
    lambda columns: pl.DataFrame(columns, strict=False),
    lambda columns: pl.DataFrame({name: pl.Series(values, dtype=pl.Object) for name, values in columns.items()}),
]


@st.composite
def odd_frames(draw: st.DrawFn) -> Any:
    """A frame with a few columns of odd values, by a library that agrees to make it."""
    columns = {name: list(values) for name, values in ROWS.items()}
    for name in draw(st.lists(st.sampled_from([*ROWS, "label", "v__i", "", "é"]), unique=True, max_size=3)):
        value = draw(ODD_VALUES)
        columns[name] = [value, value if draw(st.booleans()) else draw(ODD_VALUES)]
    for name in draw(st.lists(st.sampled_from([*ROWS]), max_size=2)):
        columns.pop(name, None)
    for conversion in (draw(st.sampled_from(CONVERSIONS)), *CONVERSIONS):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return conversion(columns)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
    return columns


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frame=odd_frames(), zone=st.sampled_from([None, "Europe/Berlin", "Mars"]), rounded=st.booleans())
def test_whatever_comes_is_taken_or_refused_in_one_line(
    frame: Any, zone: str | None, rounded: bool, world: World
) -> None:
    reading: Any = {"time_zone": zone, "round_times": rounded}
    doors: dict[str, Callable[[], Any]] = {
        "ingest": lambda: world.store.ingest(
            "v", frame, ingest_id=f"odd {next(NUMBERS)}", on_invalid="quarantine", **reading
        ),
        "training set": lambda: world.reader.training_set("s", frame, name="t", **reading).table(),
        "online": lambda: world.reader.online("s", frame, T, **reading),
        "join": lambda: point_in_time_join(frame, [VIEW], {"v": pa.table(ROWS)}, **reading),
        "its table": lambda: point_in_time_join(
            pa.table({"k": ["a"], "event_time": [T]}), [VIEW], {"v": frame}, **reading
        ),
    }
    refusals: list[str] = []
    for door, call in doors.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = call()
        except RaymlopsError as error:
            refusals.append(str(error))
            continue
        if door in {"training set", "online", "join"}:
            assert result.num_rows == 2, door
            assert result["v__i"].type == pa.int64(), door
    assert not [refusal for refusal in refusals if "\n" in refusal]
