"""Where things stand in a run; that they are found there is in test_run_batch."""

from __future__ import annotations

import struct
from datetime import timedelta

from raymlops.features import Entity, FeatureView, Field, WindowAggregate
from raymlops.features.online.runs import RunLayout

FIELDS = [Field("x", "float64"), Field("s", "string"), Field("b", "bool"), Field("n", "int64"), Field("t", "timestamp")]
HOUR = timedelta(hours=1)


def test_struct_and_numpy_agree_on_the_size_of_header_and_row() -> None:
    aggregates = [WindowAggregate("m", "mean", "x", HOUR), WindowAggregate("d", "std", "n", 2 * HOUR)]
    for of in ([], aggregates):
        layout = RunLayout(FeatureView("v", Entity("e", ["k"]), FIELDS, aggregates=of))
        assert struct.calcsize(layout.header_format) == layout.header.itemsize
        for fields in ([], [1], [0, 1, 2, 3, 4]):
            assert struct.calcsize("<" + layout.row_format(fields)) == layout.record.itemsize


def test_only_summed_fields_have_sums_and_only_deviations_squares() -> None:
    aggregates = [
        WindowAggregate("m", "mean", "x", HOUR),
        WindowAggregate("total", "sum", "x", 2 * HOUR),
        WindowAggregate("d", "std", "n", HOUR),
        WindowAggregate("l", "last", "s", 5 * HOUR),
    ]
    layout = RunLayout(FeatureView("v", Entity("e", ["k"]), FIELDS, aggregates=aggregates))
    assert [(part.field, part.squares) for part in layout.sums] == [(0, False), (3, False), (3, True)]
    assert layout.window_us == 5 * 60 * 60 * 10**6
