"""Columns that are carried over: the same values in types that Delta tables have, or a refusal before the first row."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyarrow import parquet

from raymlops.errors import DataError, SchemaMismatch

World = Any

ROWS = 300
NAMES = ["a b", "a;b", "a,b", "{a}", "(a)", "a=b", "a\tb", "a\nb", "a.b", "`a", " ", "日本", "a/b", "a%20b", '"a"', "É"]


def several(values: list[Any], dtype: pa.DataType) -> pa.Array:
    """As many rows as needed, nulls among them."""
    return pa.array([*values, None] * ROWS, dtype).slice(0, ROWS)


def extension(dtype: Any, storage: pa.Array) -> pa.Array:
    return pa.ExtensionArray.from_storage(dtype, storage)


def distant(unit: str) -> list[dt.datetime]:
    times = [dt.datetime(1970, 1, 1, 0, 0, 0, 5), dt.datetime(2020, 2, 29, 23, 59, 59)]
    return times if unit == "ns" else [*times, dt.datetime(9999, 12, 31), dt.datetime(1, 1, 1)]


KEPT = {
    "uint8": several([0, 255], pa.uint8()),
    "uint16": several([0, 2**16 - 1], pa.uint16()),
    "uint32": several([0, 2**32 - 1], pa.uint32()),
    "uint64": several([0, 2**64 - 1], pa.uint64()),
    "int64": several([-(2**63), 2**63 - 1], pa.int64()),
    "float16": several([0.5, 65504.0], pa.float16()),
    "float64": several([0.1, 1e-323, -0.0, float("inf")], pa.float64()),
    "bool": several([True, False], pa.bool_()),
    "date32": several([dt.date(1, 1, 1), dt.date(9999, 12, 31)], pa.date32()),
    "naive us": several(distant("us"), pa.timestamp("us")),
    "naive ns": several(distant("ns"), pa.timestamp("ns")),
    "zoned us": several(distant("ns"), pa.timestamp("us", "Europe/Berlin")),
    "zoned ns": several(distant("ns"), pa.timestamp("ns", "+02:00")),
    "decimal32": several([Decimal("1.25")], pa.decimal32(5, 2)),
    "decimal128": several([Decimal("9" * 38)], pa.decimal128(38, 0)),
    "decimal256": several([Decimal("9" * 36 + ".99")], pa.decimal256(38, 2)),
    "text": several(["", "é\0", "00017"], pa.string()),
    "large text": several(["a"], pa.large_string()),
    "text view": several(["a", "longer than twelve bytes"], pa.string_view()),
    "bytes": several([b"\xff\0"], pa.binary()),
    "bytes view": several([b"\xff\0"], pa.binary_view()),
    "fixed bytes": several([b"\xff\0"], pa.binary(2)),
    "dictionary": several(["x", "y"], pa.string()).dictionary_encode(),
    "dictionary of numbers": several([7, 9], pa.uint32()).dictionary_encode(),
    "list": several([[1], [], [None, 2]], pa.list_(pa.uint8())),
    "large list": several([[1.5], []], pa.large_list(pa.float16())),
    "fixed list": pa.array([[1.5, 2.5]] * ROWS, pa.list_(pa.float32(), 2)),
    "list of categories": several([["x"], ["y", None]], pa.list_(pa.dictionary(pa.int32(), pa.string()))),
    "struct": several([{"x": 1, "t": distant("ns")[1]}], pa.struct([("x", pa.uint32()), ("t", pa.timestamp("ns"))])),
    "map": several([[("a", 1)], []], pa.map_(pa.string(), pa.uint8())),
    "null": pa.nulls(ROWS),
    "uuid": extension(pa.uuid(), several([b"0123456789abcdef"], pa.binary(16))),
    "json": extension(pa.json_(), several(["{}"], pa.string())),
    "tensor": extension(
        pa.fixed_shape_tensor(pa.float32(), [2]), pa.array([[1.0, 2.0]] * ROWS, pa.list_(pa.float32(), 2))
    ),
}
REFUSED = {
    "time32": several([dt.time(1)], pa.time32("ms")),
    "time64": several([dt.time(1)], pa.time64("ns")),
    "duration": several([dt.timedelta(1)], pa.duration("us")),
    "wide decimal": several([Decimal(1)], pa.decimal256(40, 0)),
    "list view": several([[1]], pa.list_view(pa.int64())),
    "list of times": several([[dt.time(1)]], pa.list_(pa.time64("us"))),
    "struct of durations": several([{"d": dt.timedelta(1)}], pa.struct([("d", pa.duration("s"))])),
    "struct of one name": several([{"x": 1, "X": 2}], pa.struct([("x", pa.int64()), ("X", pa.int64())])),
}


def with_column(world: World, name: str, column: pa.Array) -> Path:
    return Path(world.table(world.rows(ROWS).append_column(name, column)))


def plain(values: list[Any]) -> list[Any]:
    """As Python has them, without a zone: an instant is the same in all of them."""
    return [value.astimezone(dt.UTC) if isinstance(value, dt.datetime) and value.tzinfo else value for value in values]


def test_values_come_out_as_they_went_in(world: World) -> None:
    rows = world.rows(ROWS)
    for kind, column in KEPT.items():
        rows = rows.append_column(kind, column)
    job = world.job(world.table(rows), columns=list(KEPT))
    assert job.check().verdict != "block"
    job.run(world.in_process(job))
    output = job.plan.output
    scored, by_pandas, by_polars = world.scored(), DeltaTable(output).to_pandas(), pl.read_delta(output).sort("_row")
    for kind, column in KEPT.items():
        wanted = plain((column.storage if isinstance(column, pa.ExtensionArray) else column).to_pylist())
        assert plain(scored[kind].to_pylist()) == wanted, kind
        assert by_pandas[kind].isna().to_list() == [value is None for value in wanted], kind
        assert by_polars[kind].is_null().to_list() == [value is None for value in wanted], kind
        if kind != "map":  # of which polars makes lists of structs
            assert plain(by_polars[kind].to_arrow().to_pylist()) == wanted, kind
    again = world.job(world.table(rows, name="more.parquet"), columns=list(KEPT), mode="append")
    again.run(world.in_process(again))
    assert world.scored().num_rows == 2 * ROWS


@pytest.mark.parametrize("kind", REFUSED)
def test_what_delta_tables_lack_is_refused_when_the_job_is_made(world: World, kind: str) -> None:
    path = with_column(world, "c", REFUSED[kind])
    with pytest.raises(SchemaMismatch, match=r"rows\.parquet: column 'c(\.\w+)?' is .*: leave it out"):
        world.job(path, columns=["c"])
    world.job(path, columns=["user"]).check()


def test_names_come_out_as_they_went_in(world: World) -> None:
    rows = world.rows(ROWS)
    for number, name in enumerate(NAMES):
        rows = rows.append_column(name, pa.array(range(number, number + ROWS)))
    job = world.job(world.table(rows), columns=NAMES)
    job.run(world.in_process(job))
    assert world.scored().column_names[: len(NAMES)] == NAMES
    by_polars = pl.read_delta(job.plan.output).sort("_row")
    for number, name in enumerate(NAMES):
        assert world.scored()[name].to_pylist() == list(range(number, number + ROWS))
        assert by_polars[name].to_list() == list(range(number, number + ROWS))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Prediction", r"column 'Prediction' has the name of the output's own 'prediction'"),
        ("_ROW", r"column '_ROW' has the name of the output's own '_row'"),
        ("User", r"columns \['user', 'User'\] have one name in a Delta table"),
        ("", r"columns must have names without NUL, got \[''\]"),
        ("a\0b", r"columns must have names without NUL, got \['a\\x00b'\]"),
    ],
)
def test_names_that_a_delta_table_does_not_tell_apart_are_refused(world: World, name: str, told: str) -> None:
    path = with_column(world, name, pa.array(range(ROWS)))
    with pytest.raises(SchemaMismatch, match=rf"rows\.parquet: {told}"):
        world.job(path, columns=["user", name])


def test_a_name_that_is_there_twice_is_refused(world: World) -> None:
    rows = world.rows(ROWS)
    doubled = pa.table([*rows.columns, rows["a"]], names=[*rows.column_names, "a"])
    with pytest.raises(SchemaMismatch, match=r"column names must be unique, got \['a'\] more than once"):
        world.job(world.table(doubled))


@pytest.mark.parametrize("kind", ["naive ns", "struct", "seconds"])
def test_instants_that_no_microsecond_holds_are_refused_before_the_first_row(world: World, kind: str) -> None:
    """Also in rows that no sample holds."""
    at = ROWS - 3
    numbers = np.arange(ROWS) * 1000
    numbers[at] += 2**61 if kind == "seconds" else 1
    column = pa.array(numbers, pa.int64()).cast(pa.timestamp("ms" if kind == "seconds" else "ns"))
    if kind == "struct":
        column = pa.StructArray.from_arrays([column], names=["t"])
    job = world.job(with_column(world, "c", column), columns=["c"])
    with pytest.raises(DataError, match=r"rows 2\d0 to 299: column 'c' must hold times in whole microseconds"):
        job.check()
    with pytest.raises(DataError, match="column 'c' must hold times in whole microseconds"):
        job.run(world.in_process(job))
    assert not Path(job.plan.output).exists()


@pytest.mark.parametrize("finer_ns", [0, 1])
def test_instants_of_96_bits(world: World, finer_ns: int) -> None:
    """Spark's and Impala's: as nanoseconds 9999-12-31 would be 1816, as microseconds the rest would be lost."""
    path = world.root / "rows.parquet"
    times = pa.array([dt.datetime(9999, 12, 31), None, *[dt.datetime(2020, 1, 1)] * (ROWS - 2)], pa.timestamp("us"))
    if finer_ns:
        times = pa.array([1_600_000_000_000_000_001] * ROWS, pa.timestamp("ns"))
    rows = world.rows(ROWS).append_column("seen", times)
    parquet.write_table(rows, path, use_deprecated_int96_timestamps=True)
    job = world.job(path, columns=["seen"])
    if finer_ns:
        with pytest.raises(DataError, match="column 'seen' holds instants finer than microseconds"):
            job.check()
        return
    job.run(world.in_process(job))
    assert world.scored()["seen"].to_pylist() == times.to_pylist()


def test_naive_times_replace_what_had_none(world: World) -> None:
    first = world.job(world.table(world.rows(ROWS), name="plain.parquet"), columns=["user"])
    first.run(world.in_process(first))
    job = world.job(with_column(world, "c", KEPT["naive us"]), columns=["c"], mode="overwrite")
    job.run(world.in_process(job))
    assert world.scored()["c"].to_pylist() == KEPT["naive us"].to_pylist()
    assert world.scored(0)["user"].to_pylist() == world.rows(ROWS)["user"].to_pylist()


@pytest.mark.parametrize("rule", ["partitions", "constraint", "no null"])
def test_rules_of_a_table_that_is_there_are_not_broken_unseen(world: World, rule: str) -> None:
    job = world.job(world.table(world.rows(ROWS), name="first.parquet"), columns=["user"])
    job.run(world.in_process(job))
    rows, output = world.scored(), job.plan.output
    if rule == "constraint":
        DeltaTable(output).alter.add_constraint({"few": "user < 100"})
    else:
        fields = [pa.field("user", pa.int64(), nullable=False), *list(rows.schema)[1:]]
        by = ["user"] if rule == "partitions" else None
        options = {"schema_mode": "overwrite", "partition_by": by}
        write_deltalake(output, rows.cast(pa.schema(fields)), mode="overwrite", **options)
    second = world.job(world.table(world.rows(ROWS)), columns=["user"], mode="append")
    with pytest.raises(SchemaMismatch, match=r"delta.constraints.few|partitions by \['user'\]|takes no null in"):
        second.check()
