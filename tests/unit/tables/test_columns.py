"""Frames that others made: the right table, or one line that says what is wrong."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from raymlops.errors import ConfigError, DataError, SchemaMismatch
from raymlops.tables.columns import as_table, in_kind_of, to_pandas

T = datetime(2024, 3, 1, 12, tzinfo=UTC)
TABLE = pa.table({"k": ["a", None], "i": [1, 2], "f": [0.5, None], "b": [True, None], "t": [T, None]})


class Stream:
    """What exports itself as a stream of Arrow, and is nothing else."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


class Interchange:
    """What has the dataframe interchange protocol alone."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __dataframe__(self, nan_as_null: bool = False, allow_copy: bool = True) -> object:
        return self._table.__dataframe__(nan_as_null, allow_copy)


KINDS: dict[str, Any] = {
    "table": lambda table: table,
    "batch": lambda table: table.combine_chunks().to_batches()[0],
    "reader": lambda table: table.to_reader(),
    "dataset": ds.dataset,
    "scanner": lambda table: ds.dataset(table).scanner(),
    "pandas": lambda table: table.to_pandas(),
    "pandas, nullable": lambda table: table.to_pandas().convert_dtypes(),
    "pandas, of Arrow": lambda table: table.to_pandas(types_mapper=pd.ArrowDtype),
    "pandas, of objects": lambda table: table.to_pandas(types_mapper=pd.ArrowDtype).astype(object),
    "polars": pl.from_arrow,
    "polars, lazy": lambda table: pl.from_arrow(table).lazy(),  # type: ignore[union-attr]
    "stream": Stream,
    "interchange": Interchange,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_frame_is_the_same_table(kind: str) -> None:
    given = KINDS[kind](TABLE.select(["i", "f"]) if kind == "interchange" else TABLE)
    found = as_table("rows", given)
    assert isinstance(found, pa.Table)
    assert found.to_pydict() == TABLE.select(found.column_names).to_pydict()
    assert found.column_names == TABLE.column_names or kind == "interchange"


@pytest.mark.parametrize("kind", ["pandas", "pandas, nullable", "polars", "table", "batch"])
def test_the_same_kind_is_given_back(kind: str) -> None:
    given = KINDS[kind](TABLE)
    found = in_kind_of(given, TABLE)
    assert type(found) is (pa.Table if kind == "batch" else type(given))
    assert as_table("rows", found).to_pydict() == TABLE.to_pydict()


class Lazy(Stream):
    """A frame that narwhals knows, and cannot make of a table."""

    _implementation = nw.Implementation.DUCKDB

    def __narwhals_lazyframe__(self) -> Lazy:
        return self

    def _with_version(self, version: object) -> Lazy:
        return self


def test_a_kind_that_cannot_be_made_of_a_table_is_given_back_as_arrow() -> None:
    table = pa.table({"a": [1]})
    assert in_kind_of(Lazy(table), table) is table


def test_pandas_gets_integers_as_they_are() -> None:
    large = pa.table({"i": [2**53 + 1, None], "u": pa.array([2**64 - 1, None], pa.uint64()), "full": [2**53 + 1, 1]})
    frame = to_pandas(large)
    assert as_table("rows", frame).to_pydict() == large.to_pydict()
    assert frame["full"].dtype == np.int64


CATEGORIES = pd.DataFrame({"c": pd.Categorical(["b", None, "b"], categories=["a", "b"])})


def test_categories_and_nested_values_come_as_they_are() -> None:
    assert as_table("rows", CATEGORIES)["c"].to_pylist() == ["b", None, "b"]
    codes = pl.DataFrame({"c": pl.Series(["b", None], dtype=pl.Categorical), "s": ["x", "y"]})
    found = as_table("rows", codes)
    assert (found["c"].to_pylist(), found.schema.field("c").metadata) == (["b", None], None)
    assert not pa.types.is_string_view(as_table("rows", Stream(pa.table(codes))).schema.field("s").type)
    nested = pd.DataFrame({"l": [[1, 2], None], "d": [date(2024, 3, 1), None], "n": [Decimal("1.5"), None]})
    assert as_table("rows", nested).to_pylist()[0] == {"l": [1, 2], "d": date(2024, 3, 1), "n": Decimal("1.5")}


_DATE_AND_TIME = pd.Index([date(2024, 3, 1), datetime(2024, 3, 1, 5)], dtype=object)
REFUSED: dict[str, tuple[Any, str]] = {
    "nothing": (None, "got NoneType"),
    "rows": ([{"a": 1}], "got list"),
    "a mapping": ({"a": [1]}, "got dict"),
    "an array": (np.zeros((2, 2)), "got ndarray"),
    "a series": (pd.Series([1]), "got a Series that is none"),
    "a series of polars": (pl.Series([1]), "got a Series that is none"),
    "numbers for names": (pd.DataFrame(np.zeros((1, 2))), "column names must be texts, got 0 of int"),
    "columns on two levels": (
        pd.DataFrame({("a", "b"): [1]}),
        r"column names must be texts, got \('a', 'b'\) of tuple",
    ),
    "a column twice": (pd.DataFrame([[1, 2]], columns=["x", "x"]), r"unique, got \['x'\] more than once"),
    "a column twice in Arrow": (
        pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"]),
        r"unique, got \['x'\] more than once",
    ),
    "numbers and texts": (
        pd.DataFrame({"x": [1, "a"]}),
        "column 'x' must hold values of one kind that Arrow has, got object",
    ),
    "integers that floats round": (pd.DataFrame({"x": [2**53 + 1, 0.5]}, dtype=object), "column 'x' must hold"),
    "objects": (pd.DataFrame({"x": [object()]}), "column 'x' must hold values of one kind"),
    "complex numbers": (
        pd.DataFrame({"x": [1j]}),
        "column 'x' must hold values of one kind that Arrow has, got complex128",
    ),
    "sparse columns": (pd.DataFrame({"x": pd.array([1], dtype="Sparse[int]")}), "column 'x' must hold.*Sparse"),
    "integers of no type": (pd.DataFrame({"a": [1], "x": [10**30]}), "column 'x' must hold .* too large"),
    "half a character": (pd.DataFrame({"a": [1], "x": ["\ud800"]}, dtype=object), "column 'x' must hold .* surrogates"),
    "objects of polars": (pl.DataFrame({"x": [object()]}, schema={"x": pl.Object}), "column 'x' must be of a type"),
    "large integers of polars": (
        pl.DataFrame({"x": [1]}, schema={"x": pl.Int128}),
        "column 'x' must be of a type that Arrow has, got Int128",
    ),
    "times of both kinds": (
        pd.DataFrame({"t": [T, T.replace(tzinfo=None)]}, dtype=object),
        "column 't' must hold times with a zone or times without one, got both",
    ),
    "times of both kinds, reversed": (
        pd.DataFrame({"t": [T.replace(tzinfo=None), None, T]}, dtype=object),
        "column 't' must hold times with a zone or times without one, got both",
    ),
    "a time among dates": (
        pd.DataFrame({"t": [date(2024, 3, 1), None, datetime(2024, 3, 1, 5)]}, dtype=object),
        "column 't' must hold dates or times, got both",
    ),
    "a bool among floats": (
        pd.DataFrame({"x": [1.5, None, True]}, dtype=object),
        "column 'x' must hold numbers or bools, got both",
    ),
    "a bool of NumPy among floats": (
        pd.DataFrame({"x": [1.5, np.True_]}, dtype=object),
        "column 'x' must hold",
    ),
    "a time among the dates of categories": (
        pd.DataFrame({"t": pd.Categorical([0, 1], categories=[0, 1]).rename_categories(_DATE_AND_TIME)}),
        "column 't' must hold dates or times, got both",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_table_is_refused_in_one_line(what: str) -> None:
    given, message = REFUSED[what]
    with pytest.raises(SchemaMismatch, match=rf"^rows(:| must be an Arrow table).*{message}") as caught:
        as_table("rows", given)
    assert "\n" not in str(caught.value)


NAIVE = pa.array([datetime(2024, 3, 1, 13), None], pa.timestamp("us"))


def test_codes_have_one_dictionary_of_plain_values() -> None:
    """Categories that were put together from parts, have a missing one among them, or are intervals of a cut."""
    parts = [pa.array(texts).dictionary_encode() for texts in (["a", "b"], ["c", None, "b"])]
    found = as_table("rows", pa.table({"x": pa.chunked_array(parts)}))["x"]
    assert found.type == parts[0].type
    assert found.to_pylist() == ["a", "b", "c", None, "b"]
    assert {tuple(chunk.dictionary.to_pylist()) for chunk in found.chunks} == {("a", "b", "c")}

    codes = pa.array(np.arange(100, dtype=np.int8))
    many = [pa.DictionaryArray.from_arrays(codes, [f"{part}{code}" for code in range(100)]) for part in "ab"]
    found = as_table("rows", pa.table({"x": pa.chunked_array(many)}))["x"]
    assert found.combine_chunks().to_pylist() == [f"{part}{code}" for part in "ab" for code in range(100)]

    missing = pa.DictionaryArray.from_arrays(pa.array([1, 0, None], pa.int8()), pa.array([None, "a"]))
    assert as_table("rows", pa.table({"x": missing}))["x"].type == pa.string()
    assert as_table("rows", pa.table({"x": missing}))["x"].to_pylist() == ["a", None, None]

    cut = as_table("rows", pd.DataFrame({"x": pd.cut([1.0, 5.0], 2)}))
    assert not pa.types.is_dictionary(cut["x"].type)

    pairs = as_table("rows", pd.DataFrame({"x": pd.Categorical([(1, 2), None, (3, 4)])}))
    assert pairs["x"].type == pa.list_(pa.int64())
    assert pairs["x"].to_pylist() == [[1, 2], None, [3, 4]]


@pytest.mark.parametrize("kind", ["table", "pandas", "pandas, of objects", "polars"])
def test_naive_times_get_the_declared_zone(kind: str) -> None:
    given = KINDS[kind](pa.table({"t": NAIVE, "aware": [T, None]}))
    found = as_table("rows", given, time_zone="Europe/Berlin")
    assert found["t"].to_pylist() == found["aware"].to_pylist() == [T, None]
    assert as_table("rows", given)["t"].to_pylist() == NAIVE.to_pylist()


@pytest.mark.parametrize(("hour", "day"), [(2, datetime(2024, 3, 31)), (2, datetime(2024, 10, 27))])
def test_a_time_that_is_not_once_in_its_zone_is_named(hour: int, day: datetime) -> None:
    times = pa.table({"t": [day, day.replace(hour=hour, minute=30)]})
    with pytest.raises(
        DataError, match=rf"'t' must hold times that Europe/Berlin has once.*{day:%Y-%m-%d} 02:30.* row 1"
    ):
        as_table("rows", times, time_zone="Europe/Berlin")
    assert as_table("rows", times, time_zone="UTC")["t"].type.tz == "UTC"


@pytest.mark.parametrize("zone", ["Mars", "", "2h", 5, "../etc/passwd"])
def test_a_zone_that_is_none_is_refused(zone: Any) -> None:
    with pytest.raises(ConfigError, match="rows: time_zone must be a name such as 'Europe/Berlin' or 'UTC', got"):
        as_table("rows", TABLE, time_zone=zone)


def test_nanoseconds_are_rounded_when_told_to() -> None:
    fine = pa.table({"t": pa.array([1_499, 1_501, None], pa.timestamp("ns", "UTC"))})
    assert as_table("rows", fine).equals(fine)
    found = as_table("rows", fine, round_times=True)["t"]
    assert (found.type, found.cast(pa.int64()).to_pylist()) == (pa.timestamp("us", "UTC"), [1, 2, None])
