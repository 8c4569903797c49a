"""Frames at the doors of the monitor's core: as an Arrow table of the same rows, or refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from raymlops.errors import SchemaMismatch
from raymlops.monitoring import DomainClassifier, Holdout, Reference

ROWS = 400
RNG = np.random.default_rng(0)
TABLE = pa.table(
    {
        "x": RNG.normal(size=ROWS),
        "city": RNG.choice(["a", "b"], ROWS),
        "n": RNG.integers(0, 9, ROWS),
        "t": np.arange(ROWS),
    }
)
KINDS: dict[str, Callable[[pa.Table], Any]] = {
    "pandas": lambda table: table.to_pandas(),
    "categories": lambda table: table.to_pandas().astype({"city": "category"}),
    "polars": pl.from_arrow,
    "batches": lambda table: table.to_reader(),
    "views": lambda table: table.set_column(1, "city", table["city"].cast(pa.string_view())),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_is_its_rows(kind: str) -> None:
    make = KINDS[kind]
    reference, classifier = Reference.fit(TABLE), DomainClassifier.fit(TABLE)
    assert Reference.fit(make(TABLE)).dumps() == reference.dumps()
    assert reference.profile(make(TABLE), sketched=True).dumps() == reference.profile(TABLE, sketched=True).dumps()
    assert DomainClassifier.fit(make(TABLE)).compare(make(TABLE)) == classifier.compare(TABLE)
    scores = np.linspace(0, 1, ROWS)
    held = Holdout.fit("binary", make(TABLE), scores.tolist(), [0, 1] * (ROWS // 2))
    assert held.rows.to_pydict() == Holdout.fit("binary", TABLE, scores, np.array([0, 1] * 200)).rows.to_pydict()


TWICE = pa.Table.from_arrays([TABLE["x"], TABLE["x"]], names=["x", "x"])
LISTS = pa.table({"x": TABLE["x"], "t": pa.array([[1]] * ROWS)})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Reference.fit(TWICE), r"reference: column names must be unique, got \['x'\]"),
        (lambda: Reference.fit(TABLE).profile(TWICE), r"window: column names must be unique, got \['x'\]"),
        (lambda: DomainClassifier.fit(TWICE), r"reference: column names must be unique, got \['x'\]"),
        (lambda: DomainClassifier.fit(TABLE).compare([1]), "window must be an Arrow table"),
        (lambda: Holdout.fit("binary", TWICE, np.zeros(ROWS), np.zeros(ROWS)), "holdout: column names must be unique"),
        (lambda: Reference.fit({"x": [1]}), "reference must be an Arrow table"),
        (lambda: Reference.fit(LISTS, event_time="t"), "column 't' must hold timestamps, got list"),
        (lambda: DomainClassifier.fit(LISTS, event_time="t"), "column 't' must hold timestamps, got list"),
    ],
)
def test_what_is_no_table_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(SchemaMismatch, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
