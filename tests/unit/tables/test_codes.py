from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from raymlops.tables.codes import coded_where_few

FEW = [f"text {row % 7}" for row in range(2000)]
MANY = [f"key {row}" for row in range(2000)]


@pytest.mark.parametrize(
    ("texts", "few"),
    [
        (FEW, True),
        ([None, *FEW], True),
        (MANY, False),
        (sorted(MANY * 100), False),  # whose first texts are few
        ([None] * 50, False),
        (["one"], False),
        ([], False),
    ],
)
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_texts_become_codes_where_they_are_few(texts: list[str | None], few: bool, kind: Any) -> None:
    array = pa.array(texts, kind)
    no_rows = pa.array([], kind)
    for column in (array, pa.chunked_array([array]), pa.chunked_array([no_rows, array, array.slice(3)], kind)):
        found = coded_where_few(column)
        assert pa.types.is_dictionary(found.type) == few
        assert found.to_pylist() == column.to_pylist()


def test_other_columns_are_left_as_they_are() -> None:
    for column in (pa.array([1, 1, 1]), pa.array([b"a"] * 9), pa.array(FEW).dictionary_encode(), pa.nulls(9)):
        assert coded_where_few(column) is column
    assert coded_where_few(pa.chunked_array([], pa.string())).type == pa.string()
