from __future__ import annotations

import decimal
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.tables import content
from raymlops.tables.content import content_digest

T = datetime(2024, 3, 1, tzinfo=UTC)
COLUMNS = {
    "i": pa.array([1, None, 3], pa.int32()),
    "f": pa.array([0.5, None, -0.0]),
    "b": pa.array([True, False, None]),
    "s": pa.array(["a", None, ""]),
    "large": pa.array(["a", "bc", None], pa.large_string()),
    "bytes": pa.array([b"a", None, b""]),
    "t": pa.array([T, None, T + timedelta(days=1)], pa.timestamp("us", tz="UTC")),
    "d": pa.array([date(2024, 3, 1), None, None]),
    "coded": pa.array(["a", "b", None]).dictionary_encode(),
    "many": pa.array([[1], [], None]),
    "decimal": pa.array([decimal.Decimal("1.5"), None, decimal.Decimal(0)]),
    "none": pa.nulls(3),
}
TABLE = pa.table(COLUMNS)
GOLDEN = "6f79708e73c62494b9031c2148f9772e54e0cdd9474ff64df6732ce022979da4"


def test_a_digest_is_for_ever() -> None:
    """It is part of manifests: other code that gives another one breaks all of them."""
    assert content_digest(TABLE) == GOLDEN


@given(cuts=st.lists(st.integers(0, 3), max_size=4), before=st.integers(0, 2), batch=st.integers(1, 4))
def test_how_a_table_is_held_does_not_matter(cuts: list[int], before: int, batch: int) -> None:
    edges = [0, *sorted(cuts), 3]
    parts = [TABLE.slice(low, high - low) for low, high in pairwise(edges)]
    padded = pa.concat_tables([TABLE.slice(0, before), *parts]).slice(before)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content, "_BATCH_ROWS", batch)
        whole = content_digest(TABLE)
        assert content_digest(padded) == whole
    assert content_digest(padded) == content_digest(TABLE)


def test_what_lies_under_a_null_does_not_matter() -> None:
    other = pa.Array.from_buffers(
        pa.int64(), 2, [pa.py_buffer(b"\x01"), pa.py_buffer(b"\x01" + b"\x00" * 7 + b"\x09" * 8)]
    )
    assert content_digest(pa.table({"a": other})) == content_digest(pa.table({"a": pa.array([1, None], pa.int64())}))


@pytest.mark.parametrize("name", [name for name in COLUMNS if name != "none"])
def test_every_value_matters(name: str) -> None:
    place = TABLE.column_names.index(name)
    for order in ([1, 0, 2], [0, 0, 2], [0, 1, 1]):
        changed = TABLE.set_column(place, name, TABLE[name].take(pa.array(order)))
        assert (content_digest(changed) == content_digest(TABLE)) == changed.equals(TABLE)


def test_names_types_and_order_matter() -> None:
    one = pa.table({"a": pa.array([1], pa.int64()), "b": pa.array([1], pa.int64())})
    others = [
        one.rename_columns(["a", "c"]),
        one.select(["b", "a"]),
        one.set_column(0, "a", pa.array([1], pa.int32())),
        one.slice(0, 0),
        pa.table({"a": ["", "ab"]}),
        pa.table({"a": ["a", "b"]}),
        pa.table({"a": ["ab", ""]}),
    ]
    digests = {content_digest(table) for table in [one, *others]}
    assert len(digests) == 1 + len(others)
