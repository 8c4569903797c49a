"""Whatever is handed to references and domain classifiers: a result, or one line that says why not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.errors import DataError, RaymlopsError, SchemaMismatch
from raymlops.monitoring import DomainClassifier, Reference

N = 600
COLUMNS: dict[str, Any] = {
    "list": [[1.0]] * N,
    "map": pa.array([[("a", 1)]] * N, pa.map_(pa.string(), pa.int64())),
    "struct": [{"a": 1}] * N,
    "null": pa.nulls(N),
    "binary": [b"x"] * N,
    "bool": [True, False] * (N // 2),
    "date": [date(2020, 1, 1)] * N,
    "naive": [datetime(2020, 1, 1) + timedelta(hours=hour) for hour in range(N)],
    "instant": [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(N)],
    "duration": pa.array([1] * N, pa.duration("s")),
    "decimal": [Decimal("1.5")] * N,
    "float16": pa.array(np.ones(N, np.float16)),
    "uint64": pa.array([2**64 - 1] * N, pa.uint64()),
    "categories": pa.array(["x", "y"] * (N // 2)).dictionary_encode(),
    "view": pa.array(["x", "y"] * (N // 2), pa.string_view()),
    "runs": pa.RunEndEncodedArray.from_arrays([N], [1.0]),
    "infinite": [float("inf")] * N,
}
DRAWN = np.random.default_rng(0).normal(size=N)
DOORS: dict[str, Callable[[pa.Table, str], Any]] = {
    "reference": lambda table, _: Reference.fit(table),
    "reference by time": lambda table, name: Reference.fit(table, event_time=name),
    "reference by windows": lambda table, name: Reference.fit(table, event_time=name, window=timedelta(days=1)),
    "window": lambda table, name: Reference.fit(table.select(["drawn"])).profile(
        table.select([name]).rename_columns(["drawn"])
    ),
    "classifier": lambda table, _: DomainClassifier.fit(table),
    "classifier by time": lambda table, name: DomainClassifier.fit(table, event_time=name),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_of_any_type_is_taken_or_refused_in_one_line(door: str, name: str) -> None:
    table = pa.table({name: COLUMNS[name], "drawn": DRAWN})
    try:
        found = DOORS[door](table, name)
    except RaymlopsError as error:
        refusal = str(error)
    else:
        refusal = ""
        assert found is not None
    assert "\n" not in refusal
    timed = "by" in door
    assert (refusal != "") is (timed and name not in {"naive", "instant"})


def test_what_is_no_table_is_refused() -> None:
    reference = Reference.fit(pa.table({"x": DRAWN}))
    for door in (Reference.fit, DomainClassifier.fit, reference.profile):
        for given in (None, "rows", {"x": [1.0]}, [1.0]):
            with pytest.raises(SchemaMismatch, match="must be an Arrow table, a pandas or polars frame"):
                door(given)  # type: ignore[operator]
        with pytest.raises(SchemaMismatch, match=r"column names must be unique, got \['x'\]"):
            door(pa.Table.from_arrays([pa.array(DRAWN)] * 2, names=["x", "x"]))  # type: ignore[operator]
    with pytest.raises(SchemaMismatch, match="columns must be a list of names, got 'x'"):
        Reference.fit(pa.table({"x": DRAWN}), "x")
    with pytest.raises(DataError, match=r"a window must be a Profile, as profile\(table\) gives it, got Table"):
        reference.compare(pa.table({"x": DRAWN}))  # type: ignore[arg-type]
