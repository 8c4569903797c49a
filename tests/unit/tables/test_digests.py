from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.tables import digests
from raymlops.tables.digests import RowsDigest, rows_digest

T = datetime(2024, 1, 1, tzinfo=UTC)
VALUES = st.lists(
    st.tuples(
        st.one_of(st.none(), st.text(max_size=3)),
        st.one_of(st.none(), st.integers(-5, 5)),
        st.one_of(st.none(), st.floats(width=32)),
        st.one_of(st.none(), st.booleans()),
    ),
    max_size=12,
)


def table_of(values: list[tuple[Any, ...]]) -> pa.Table:
    types = (pa.string(), pa.int64(), pa.float64(), pa.bool_())
    columns = list(zip(*values, strict=True)) or [()] * 4
    return pa.table(
        {f"c{place}": pa.array(column, kind) for place, (column, kind) in enumerate(zip(columns, types, strict=True))}
    )


@given(values=VALUES, cuts=st.lists(st.integers(0, 12), max_size=3))
def test_it_depends_on_the_rows_alone(values: list[tuple[Any, ...]], cuts: list[int]) -> None:
    """Not on where tables end, on chunks, nor on the order of rows and columns: blocks of a Dataset have none."""
    table = table_of(values)
    assert rows_digest(table_of(values[::-1])) == rows_digest(table)
    digest = RowsDigest()
    places = sorted({0, *(min(cut, len(values)) for cut in cuts), len(values)})
    for first, last in zip([0, *places], [*places, len(values)], strict=True):
        digest.update(table.slice(first, last - first))
    assert digest.short() == rows_digest(table)
    assert rows_digest(table.select(["c3", "c1", "c0", "c2"])) == rows_digest(table)
    for nulls in ("mask", "encode"):
        coded = table["c0"].dictionary_encode(null_encoding=nulls)
        assert rows_digest(table.set_column(0, "c0", coded)) == rows_digest(table)
    assert 0 <= digest.short() < 2**62


@given(one=VALUES, other=VALUES)
def test_other_rows_have_another(one: list[tuple[Any, ...]], other: list[tuple[Any, ...]]) -> None:
    # told apart by their text: a NaN is not equal to itself, and -0.0 is to 0.0
    same = sorted(map(repr, one)) == sorted(map(repr, other))
    assert (rows_digest(table_of(one)) == rows_digest(table_of(other))) == same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["ab", "c"], ["a", "bc"]),
        ([None], [""]),
        (["", "", "a"], ["a", ""]),
        (["a\x00"], ["a"]),
        (["ab"], ["ba"]),
    ],
)
def test_texts_do_not_run_together(one: list[str | None], other: list[str | None]) -> None:
    digests = {rows_digest(pa.table({"c": pa.array(values, pa.string())})) for values in (one, other)}
    assert len(digests) == 2


def test_every_type_has_bytes() -> None:
    columns = {
        "at": pa.array([T, None], pa.timestamp("us", "UTC")),
        "day": pa.array([T.date(), None], pa.date32()),
        "kind": pa.array(["a", None]).dictionary_encode(),
        "raw": pa.array([b"a", None], pa.binary()),
        "many": pa.array([[1, 2], None], pa.list_(pa.int64())),
        "nothing": pa.nulls(2),
    }
    table = pa.table(columns)
    assert rows_digest(table) == rows_digest(pa.concat_tables([table.slice(0, 1), table.slice(1)]))
    for name in columns:
        changed = table.set_column(table.column_names.index(name), name, table[name].take(pa.array([1, 1])))
        assert (rows_digest(changed) == rows_digest(table)) == (name == "nothing")


def test_values_belong_to_their_rows_and_columns() -> None:
    one = pa.table({"a": [1, 2], "b": [1, 2]})
    assert rows_digest(one) != rows_digest(pa.table({"a": [1, 2], "b": [2, 1]}))
    assert rows_digest(pa.table({"a": [1], "b": [2]})) != rows_digest(pa.table({"a": [2], "b": [1]}))
    assert rows_digest(pa.table({"a": [1, 1]})) != rows_digest(pa.table({"a": [1]}))
    assert rows_digest(pa.table({"a": [1, 1, 2]})) != rows_digest(pa.table({"a": [1, 2, 2]}))


@given(st.lists(st.none() | st.text("aé日b", max_size=12), max_size=20), st.integers(0, 3), st.integers(0, 3))
def test_texts_are_summed_byte_by_byte(texts: list[str | None], before: int, many: int) -> None:
    """However they are summed at once: digests are in the logs of tables, and must stay what they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digests, "_MANY_BYTES", many or 2048)
        patch.setattr(digests, "_PLACES", many or 64)
        padded = pa.array(["x"] * before + texts, pa.large_string()).slice(before)
        found = digests._of_texts(padded)
    expected = []
    for text in texts:
        content = (text or "").encode()
        total = len(content)
        for place, byte in enumerate(content, 1):
            mixed = (place * 0x9E3779B97F4A7C15) % 2**64
            mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
            mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) % 2**64
            total += (byte + 1) * (mixed ^ (mixed >> 31))
        expected.append(total % 2**64)
    assert found.tolist() == expected


def test_digests_that_are_in_logs_are_still_those_of_their_rows() -> None:
    texts = pa.array([None if row % 11 == 0 else f"text {row % 7}" for row in range(3000)])
    table = pa.table({"few": texts, "many": [f"key {row * row}" for row in range(3000)], "number": range(3000)})
    assert rows_digest(table) == 1_236_003_595_977_361_535
