"""Frames have the dtypes, the categories and the missing markers of the caller's own, whatever is in a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from raymlops.errors import SchemaMismatch
from raymlops.flavors.frames import Frames, GivenRows, columns_of_frame

NAN = float("nan")
COLUMNS: dict[str, Any] = {
    "str": pd.Series(["a", None, "b"], dtype="str"),
    "objects with None": pd.Series(["a", None, "b"], dtype=object),
    "objects with NaN": pd.Series(["a", NAN, "b"], dtype=object),
    "truths among objects": pd.Series([True, None, False], dtype=object),
    "string": pd.Series(["a", None, "b"], dtype="string"),
    "Arrow's strings": pd.Series(["a", None, "b"], dtype=pd.ArrowDtype(pa.string())),
    "Int64": pd.Series([1, None, 2**40], dtype="Int64"),
    "Float64": pd.Series([1.5, None, 2.0], dtype="Float64"),
    "boolean": pd.Series([True, None, False], dtype="boolean"),
    "Arrow's integers": pd.Series([1, None, 3], dtype=pd.ArrowDtype(pa.int64())),
    "bool": pd.Series([True, False, True]),
    "int8": pd.Series([1, 2, 3], dtype="int8"),
    "float32": pd.Series([0.1, NAN, 3.0], dtype="float32"),
    "categories": pd.Series(pd.Categorical(["a", None, "b"], categories=["z", "b", "a"], ordered=True)),
    "numbered categories": pd.Series(pd.Categorical([7, None, 3], categories=[7, 3, 9])),
    "categories that are truths": pd.Series(pd.Categorical([True, None, False])),
    "categories that are floats": pd.Series(pd.Categorical([0.5, None, 1.5])),
}


def made(values: pd.Series, asked: Any = None, *, extended: bool = False) -> Any:
    given = GivenRows.of(pd.DataFrame({"x": values}))
    frames = Frames(given.first(["x"], 16).table, missing=NAN, extended=extended)
    columns = columns_of_frame(pd.DataFrame({"x": values})) if asked is None else {"x": asked}
    return frames.frame(columns)["x"]


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_column_comes_back_as_it_was(kind: str) -> None:
    values = COLUMNS[kind]
    pd.testing.assert_series_equal(made(values), values, check_names=False)
    for row in range(3):
        asked = columns_of_frame(pd.DataFrame({"x": values}))["x"][row : row + 1]
        alone = made(values, asked)
        expected = values.iloc[[row]].reset_index(drop=True)
        pd.testing.assert_series_equal(alone, expected, check_names=False)
        if values.dtype == object and not isinstance(expected[0], str):
            assert alone[0] is expected[0] or (alone[0] != alone[0] and expected[0] != expected[0])


def test_the_marker_is_told_also_where_the_first_rows_have_none_missing() -> None:
    late = pd.Series(["a"] * 40 + [None], dtype=object)
    assert made(late, np.array([None], dtype=object))[0] is None


@pytest.mark.parametrize("extended", [True, False])
def test_an_unseen_category_is_unknown_or_missing(extended: bool) -> None:
    found = made(COLUMNS["categories"], np.array(["a", "new", None], dtype=object), extended=extended)
    assert found.tolist()[:2] == (["a", "new"] if extended else ["a", NAN]) or (not extended and pd.isna(found[1]))
    assert pd.isna(found[2])
    assert found.cat.categories[:3].tolist() == ["z", "b", "a"]


def test_a_number_that_a_dtype_does_not_hold_is_not_altered() -> None:
    assert made(COLUMNS["int8"], np.array([300.0])).tolist() == [300.0]
    assert made(COLUMNS["Int64"], np.array([1.5])).tolist() == [1.5]
    assert pd.isna(made(COLUMNS["int8"], np.array([NAN]))[0])


def test_what_is_no_table_is_refused_in_a_line() -> None:
    with pytest.raises(SchemaMismatch, match="example must be a table of Arrow or a frame of pandas, got dict"):
        GivenRows.of({"x": [1]})
    with pytest.raises(SchemaMismatch, match=r"input 'x' must hold numbers, bools or texts, all of one kind"):
        GivenRows.of(pd.DataFrame({"x": pd.Series(["a", 1], dtype=object)}))
    with pytest.raises(SchemaMismatch, match=r"name each column once, got \['x'\]"):
        GivenRows.of(pd.DataFrame([[1, 2]], columns=["x", "x"]))
