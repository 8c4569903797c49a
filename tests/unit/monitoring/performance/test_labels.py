from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.monitoring.performance.labels import join_labels, label_text

KEYS = st.tuples(st.sampled_from(["a", "b", "c", "d"]), st.integers(0, 2))


def events(keys: list[tuple[str, int]]) -> pa.Table:
    return pa.table(
        {
            "request_id": pa.array([key for key, _ in keys], pa.string()),
            "row": pa.array([row for _, row in keys], pa.int32()),
        }
    )


def labels(entries: list[tuple[tuple[str, int], str]]) -> pa.Table:
    return events([key for key, _ in entries]).append_column("label", pa.array([x for _, x in entries], pa.string()))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(KEYS, max_size=12),
    st.lists(st.tuples(KEYS, st.sampled_from("01")), max_size=12),
    st.lists(KEYS, max_size=4),
)
def test_the_last_label_wins_and_nothing_is_lost(
    made: list[tuple[str, int]], came: list[tuple[tuple[str, int], str]], known: list[tuple[str, int]]
) -> None:
    joined = join_labels(events(made), labels(came), events(known))
    newest = dict(came)
    assert joined.labels == [newest.get(key) for key in made]
    assert joined.duplicates == len(came) - len(newest)
    assert joined.contradictory == sum(text != newest[key] for key, text in came)
    assert joined.unknown == len(set(newest) - set(made) - set(known))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((1, 1.0, True, "1", "1.0", "true", "True", np.int64(1), np.float32(1), np.True_), "1"),
        ((0, False, "False"), "0"),
    ],
)
def test_one_class_has_one_text(values: tuple[object, ...], text: str) -> None:
    assert {label_text(value) for value in values} == {text}


def test_other_labels_stay_as_they_are() -> None:
    assert [label_text(value) for value in ("late", 2.5, "Yes", -3, "1.0.0")] == ["late", "2.5", "Yes", "-3", "1.0.0"]
