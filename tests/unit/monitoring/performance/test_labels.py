from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.errors import DataError, SchemaMismatch
from raymlops.monitoring.performance.labels import join_labels, name_labels
from raymlops.records.learning.labels import label_text
from raymlops.records.learning.signatures import ColumnSpec, Signature

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
    [((1, 1.0, True, "1", "true", "True", np.int64(1), np.float32(1), np.True_), "1"), ((0, False, "False"), "0")],
)
def test_one_class_has_one_text(values: tuple[object, ...], text: str) -> None:
    assert {label_text(value) for value in values} == {text}


def test_other_labels_stay_as_they_are() -> None:
    assert [label_text(value) for value in ("late", 2.5, "Yes", -3)] == ["late", "2.5", "Yes", "-3"]


INPUTS = (ColumnSpec(name="x", dtype="FP64"),)
BINARY = Signature(task="classifier", inputs=INPUTS, classes=(0, 1))


def said(values: list[object], signature: Signature = BINARY, **options: Any) -> list[str | None]:
    table = pa.table({"request_id": ["a"] * len(values), "label": values})
    return list(name_labels(table, signature, **options)["label"].to_pylist())


@pytest.mark.parametrize("values", [[1, 0], [1.0, 0.0], [True, False], ["1", "0"], ["true", "False"]])
def test_a_label_that_names_a_class_is_kept_as_its_text(values: list[object]) -> None:
    assert said(values) == ["1", "0"]


@pytest.mark.parametrize(("value", "shown"), [("1.0", "'1.0'"), ("yes", "'yes'"), (2, "2"), ("", "''"), (0.5, "0.5")])
def test_a_label_that_names_no_class_is_refused_with_both(value: object, shown: str) -> None:
    with pytest.raises(DataError, match=re.escape(f"one of the classes [0, 1], got {shown}")):
        said([value])


def test_what_a_label_stands_for_may_be_declared() -> None:
    assert said(["yes", "no", "1.0", "1", None], declared={"yes": 1, "no": 0, "1.0": True}) == [
        "1",
        "0",
        "1",
        "1",
        None,
    ]
    named = Signature(task="classifier", inputs=INPUTS, classes=("late", "on time"))
    assert said([True, False], named, declared={True: "late", False: "on time"}) == ["late", "on time"]


def test_a_declaration_must_be_of_a_class() -> None:
    with pytest.raises(DataError, match=re.escape("label 'yes' must stand for one of the classes [0, 1], got 2")):
        said(["yes"], declared={"yes": 2})
    with pytest.raises(DataError, match="nothing can be declared"):
        said([1.0], Signature(task="regressor", inputs=INPUTS), declared={"yes": 1})


def test_labels_of_a_regressor_are_numbers() -> None:
    value = Signature(task="regressor", inputs=INPUTS)
    assert said([2.5, 3.0], value) == ["2.5", "3"]
    assert said(["2.5"], value) == ["2.5"]
    for odd in (["soon"], [float("nan")], [True], [[1.0]]):
        with pytest.raises(DataError, match="must be a finite number"):
            said(odd, value)


def test_what_is_no_table_of_labels_is_refused() -> None:
    with pytest.raises(SchemaMismatch, match=r"labels must be an Arrow table, .* got dict"):
        name_labels({"label": [1]}, BINARY)  # type: ignore[arg-type]
    with pytest.raises(SchemaMismatch, match="must have the column 'label'"):
        name_labels(pa.table({"request_id": ["a"]}), BINARY)
