"""What a reader answers without rows; the values of runs are in test_runs, all functions in test_laws."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from raymlops.features import Entity, FeatureView, Field, WindowAggregate
from raymlops.features.run_reader import ViewReader

FUNCTIONS: list[Any] = ["count", "sum", "mean", "std", "min", "max", "last"]


def test_an_unknown_entity_has_no_events() -> None:
    aggregates = [WindowAggregate(function, function, "x", timedelta(hours=1)) for function in FUNCTIONS]
    view = FeatureView("v", Entity("e", ["k"]), [Field("x", "float64")], aggregates=aggregates)
    assert ViewReader(view, [*FUNCTIONS, "x"]).read(None, 0) == ((0, None, None, None, None, None, None, None), None)
