"""What a reader answers without rows; the values of runs are in test_run_batch, all functions in test_laws."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from raymlops.features import Entity, FeatureView, Field, WindowAggregate
from raymlops.features.online.run_reader import ViewReader

FUNCTIONS: list[Any] = ["count", "sum", "mean", "std", "min", "max", "last", "distinct"]


def test_an_unknown_entity_has_no_events() -> None:
    aggregates = [WindowAggregate(function, function, "x", timedelta(hours=1)) for function in FUNCTIONS]
    view = FeatureView("v", Entity("e", ["k"]), [Field("x", "float64")], aggregates=aggregates)
    reader = ViewReader(view, [*FUNCTIONS, "x"])
    assert reader.read([None, None], [0, 1]) == (
        [[0, 0], *[[None, None]] * 6, [0, 0], [None, None]],
        [None, None],
    )
    assert reader.read([], []) == ([[]] * 9, [])
