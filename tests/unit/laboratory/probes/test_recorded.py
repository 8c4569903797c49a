"""A served model's record as a table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from raymlops.errors import DataError, NotEnoughRows
from raymlops.laboratory.probes.recorded import EVENT_TIME, KNOWN, LABEL, recorded_table

AT = datetime(2024, 1, 1, tzinfo=UTC)


def events() -> pa.Table:
    return pa.table(
        {
            "request_id": ["a", "a", "b", "a"],
            "row": pa.array([0, 1, 0, 0], pa.int32()),
            "event_time": [AT, AT, AT + timedelta(days=1), AT],
            "role": ["champion", "champion", "champion", "shadow"],
            "x": [1.0, 2.0, 3.0, 1.0],
        }
    )


def labels(*texts: str) -> pa.Table:
    return pa.table(
        {
            "request_id": pa.array(["a", "b", "b", "z"][: len(texts)], pa.string()),
            "row": pa.array([0, 0, 0, 0][: len(texts)], pa.int32()),
            "label": pa.array(texts, pa.string()),
            "event_time": pa.array(
                [AT + timedelta(days=n + 2) for n in range(len(texts))], pa.timestamp("us", tz="UTC")
            ),
        }
    )


def test_each_labelled_row_counts_once_with_the_label_that_came_first() -> None:
    found = recorded_table(events(), labels("1", "0", "1", "1"), ["x"], regression=False).sort_by("x")
    assert found["x"].to_pylist() == [1.0, 3.0]
    assert found[LABEL].to_pylist() == ["1", "0"]
    assert found[EVENT_TIME].to_pylist() == [AT, AT + timedelta(days=1)]
    assert found[KNOWN].to_pylist() == [AT + timedelta(days=2), AT + timedelta(days=3)]


def test_labels_of_a_regression_are_values() -> None:
    assert recorded_table(events(), labels("1.5"), ["x"], regression=True)[LABEL].to_pylist() == [1.5]
    with pytest.raises(DataError, match="labels of a regression must be numbers"):
        recorded_table(events(), labels("much"), ["x"], regression=True)


def test_a_record_without_labels_or_inputs_is_refused() -> None:
    with pytest.raises(NotEnoughRows, match="no prediction that was recorded has a label"):
        recorded_table(events(), labels(), ["x"], regression=False)
    with pytest.raises(DataError, match=r"inputs \['y'\] were not recorded"):
        recorded_table(events(), labels("1"), ["y"], regression=False)


@pytest.mark.parametrize("seed", range(5))
def test_rows_have_one_order_whatever_order_requests_were_answered_in(seed: int) -> None:
    """Whoever draws a sample from the rows, with one seed, must draw the same rows again."""
    count = 5000
    ids = [f"r{number}" for number in range(count)]
    events = pa.table(
        {
            "request_id": ids,
            "row": pa.array([0] * count, pa.int32()),
            "event_time": [AT + timedelta(minutes=number % 7) for number in range(count)],
            "x": [float(number) for number in range(count)],
        }
    )
    labels = pa.table(
        {
            "request_id": ids,
            "row": pa.array([0] * count, pa.int32()),
            "label": ["1"] * count,
            "event_time": [AT + timedelta(days=1)] * count,
        }
    )
    draw = np.random.default_rng(seed)
    shuffled = [table.take(pa.array(draw.permutation(count))) for table in (events, labels)]
    found = recorded_table(*shuffled, ["x"], regression=False)
    assert found.equals(recorded_table(events, labels, ["x"], regression=False))
    assert found[EVENT_TIME].to_pylist() == sorted(found[EVENT_TIME].to_pylist())
