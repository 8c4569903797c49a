"""A stranger's table becomes inputs, a label and windows."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raymlops.errors import ConfigError, DataError, NotEnoughRows, RaymlopsError, SchemaMismatch
from raymlops.laboratory.intake.files import read_table
from raymlops.laboratory.intake.table import PreparedTable, prepare
from tests.unit.laboratory.examples import drifting_table

START = datetime(2024, 1, 1, tzinfo=UTC)
DAY_US = 86_400_000_000


def prepared(**columns: object) -> PreparedTable:
    count = len(next(iter(columns.values())))  # type: ignore[arg-type]
    table = pa.table(
        {"at": [START + timedelta(days=k) for k in range(count)], "y": [0.5 * k for k in range(count)]} | columns
    )
    return prepare(table, label="y", event_time="at", window="7d", label_delay="1d")


def input_of(table: PreparedTable, name: str) -> list[float]:
    return table.inputs[:, table.task.inputs.index(name)].tolist()  # type: ignore[no-any-return]


def test_texts_bools_and_instants_become_inputs_and_the_entity_is_none() -> None:
    table = prepare(drifting_table(), label="answer", event_time="at", entity="user", window="7d", label_delay="1d")
    assert table.task.inputs == ("x", "shop", "holiday", "opened", "at_hour", "at_weekday")
    assert (table.task.kind, table.task.binary, table.classes) == ("classifier", True, ("no", "yes"))
    assert table.count == 14
    assert np.isnan(input_of(table, "shop")[0])


def test_a_text_is_the_number_of_its_first_appearance_so_that_what_comes_later_cannot_be_told() -> None:
    found = input_of(prepared(kind=["b", "a", "b", None, "c", "a", "b", "b"]), "kind")
    assert found[:3] + found[4:6] == [0, 1, 0, 2, 1]
    assert np.isnan(found[3])


def test_instants_are_seconds_before_the_row_and_later_ones_are_left_out() -> None:
    before = [START + timedelta(days=k, seconds=-(k % 3)) for k in range(8)]
    after = [START + timedelta(days=k + 1) for k in range(8)]
    table = prepared(before=before, after=after)
    assert input_of(table, "before") == [0, 1, 2, 0, 1, 2, 0]
    assert "column 'after' was left out: it holds instants after the row's own" in table.notes


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("id", list(range(8)), "it numbers the rows"),
        ("same", ["a"] * 8, "it is the same everywhere"),
        ("empty", [None] * 8, "it holds no value"),
        ("list", [[1]] * 8, "its type is list<item: int64>"),
    ],
)
def test_columns_of_no_use_are_left_out_and_named(name: str, values: list[object], why: str) -> None:
    table = prepared(**{name: values})
    assert name not in table.task.inputs
    assert f"column {name!r} was left out: {why}" in table.notes


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1.5, None, 2.5, 3.0, 1.0, 2.0, 1.0, 2.0]).cast(pa.decimal128(5, 2)),
        pa.array(["a", "b", "a", None, "c", "a", "b", "b"]).dictionary_encode(),
        pa.array(["a", "b", "a", None, "c", "a", "b", "b"], pa.large_string()),
        pa.array([timedelta(seconds=k % 3) for k in range(8)]),
        pa.array([date(2023, 1, 1 + k % 3) for k in range(8)]),
        pa.array([k % 2 for k in range(8)], pa.uint8()),
        pa.array([float("inf"), 1, 2, 3, 1, 2, 1, 2]),
    ],
)
def test_other_types_are_inputs(values: pa.Array) -> None:
    assert "other" in prepared(other=values).task.inputs


@pytest.mark.parametrize(
    "column",
    [
        pa.array([START + timedelta(days=k) for k in range(20)], pa.timestamp("ns", tz="Europe/Berlin")),
        pa.array([datetime(2024, 1, 1) + timedelta(days=k) for k in range(20)], pa.timestamp("s")),
        pa.array([date(2024, 1, 1) + timedelta(days=k) for k in range(20)]),
        pa.array([f"{START + timedelta(days=k):%Y-%m-%d}" for k in range(20)]),
        pa.array([f"{START + timedelta(days=k):%m/%d/%Y %H:%M}" for k in range(20)]),
        pa.array([f"{START + timedelta(days=k):%Y%m%d}" for k in range(20)]),
        pa.array([int(f"{START + timedelta(days=k):%Y%m%d}") for k in range(20)]),
        pa.array([1_704_067_200 + 86_400 * k for k in range(20)]),
        pa.array([(1_704_067_200 + 86_400 * k) * 1000 for k in range(20)]),
        pa.array([1_704_067_200.0 + 86_400 * k for k in range(20)]),
    ],
)
def test_instants_come_in_many_forms(column: pa.Array) -> None:
    table = pa.table({"at": column, "x": [k % 3 for k in range(20)], "y": [0.5 * k for k in range(20)]})
    found = prepare(table, label="y", event_time="at", window="7d", label_delay="0s")
    assert (found.known_us == START.timestamp() * 1_000_000 + DAY_US * np.arange(20)).all()


@pytest.mark.parametrize("column", [["then"] * 20, list(range(20)), [True] * 20])
def test_what_is_no_instant_is_refused_by_name(column: list[object]) -> None:
    table = pa.table({"at": column, "x": range(20), "y": range(20)})
    with pytest.raises(SchemaMismatch, match="column 'at' must hold instants"):
        prepare(table, label="y", event_time="at")


@pytest.mark.parametrize(
    ("label", "kind", "classes"),
    [
        ([True, False] * 10, "classifier", ("False", "True")),
        (["b", "a", "c", "a"] * 5, "classifier", ("b", "a", "c")),
        ([3, 1] * 10, "classifier", ("1", "3")),
        ([1.0, 0.0] * 10, "classifier", ("0.0", "1.0")),
        ([0.5 * k for k in range(20)], "regressor", ()),
        (list(range(20)), "regressor", ()),
    ],
)
def test_the_label_says_what_the_task_is(label: list[object], kind: str, classes: tuple[str, ...]) -> None:
    table = pa.table(
        {"at": [START + timedelta(days=k) for k in range(20)], "x": [k % 3 for k in range(20)], "y": label}
    )
    found = prepare(table, label="y", event_time="at", window="7d")
    assert (found.task.kind, found.classes) == (kind, classes)


@pytest.mark.parametrize("label", [[1] * 20, ["a"] * 20, [f"t{k % 60}" for k in range(120)], [[1]] * 20])
def test_a_label_that_cannot_be_learned_is_refused(label: list[object]) -> None:
    count = len(label)
    table = pa.table({"at": [START + timedelta(days=k) for k in range(count)], "x": range(count), "y": label})
    with pytest.raises(DataError, match="label 'y' must"):
        prepare(table, label="y", event_time="at")


def test_rows_without_label_or_instant_are_left_out_and_counted() -> None:
    at = [*(START + timedelta(days=k) for k in range(20)), None]
    table = pa.table({"at": at, "x": [k % 3 for k in range(21)], "y": [None, float("nan"), *range(19)]})
    found = prepare(table, label="y", event_time="at", window="6d", label_delay="0s")
    assert len(found.labels) == 18
    assert "3 rows without a label or an instant were left out" in found.notes
    with pytest.raises(NotEnoughRows, match="no row has both"):
        prepare(table.slice(0, 2), label="y", event_time="at")


def test_rows_stand_in_the_order_in_which_their_labels_came() -> None:
    table = pa.table(
        {
            "at": [START, START + timedelta(days=1), START + timedelta(days=12)],
            "x": [1.0, 2.0, 3.0],
            "y": [0.5, 1.5, 2.5],
            "known": [START + timedelta(days=15), START + timedelta(days=2), START + timedelta(days=12, hours=1)],
        }
    )
    found = prepare(table, label="y", event_time="at", window="7d", label_time="known")
    assert found.labels.tolist() == [1.5, 2.5, 0.5]
    assert found.windows.tolist() == [0, 1, 0]
    assert "known" not in found.task.inputs


def test_a_last_window_that_has_hardly_begun_is_left_out() -> None:
    table = prepared(x=[k % 3 for k in range(16)])
    assert (table.count, len(table.labels)) == (2, 14)
    assert "the last window was left out: the table ends before its middle" in table.notes


def test_a_window_that_nobody_names_is_round_and_makes_at_most_sixty() -> None:
    hours = pa.table(
        {"at": [START + timedelta(hours=k) for k in range(8760)], "x": np.arange(8760) % 5, "y": np.arange(8760) % 2}
    )
    assert prepare(hours, label="y", event_time="at").count == 52  # a year: weeks
    assert prepare(hours.slice(0, 200), label="y", event_time="at").count == 33  # 200 hours: six hours each


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"window": "soon"}, "window must be whole numbers with a unit"),
        ({"window": "0s"}, "window must be longer than 0s"),
        ({"label_delay": "x"}, "label_delay must be whole numbers"),
        ({"label": "z"}, r"columns \['z'\] are not in the table"),
        ({"entity": ["who"]}, r"columns \['who'\] are not in the table"),
        ({"window": "1m"}, "at most 400"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], match: str) -> None:
    given = {"label": "answer", "event_time": "at", **options}
    with pytest.raises(RaymlopsError, match=match):
        prepare(drifting_table(), **given)  # type: ignore[arg-type]


def test_files_and_frames_come_to_the_same(tmp_path: Path) -> None:
    table = drifting_table(weeks=4)
    pq.write_table(table, tmp_path / "t.parquet")
    frame: pd.DataFrame = table.to_pandas()
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_csv(tmp_path / "semicolons.csv", index=False, sep=";")
    found = [
        prepare(given, label="answer", event_time="at", entity="user", window="7d")
        for given in (table, frame, tmp_path / "t.parquet", str(tmp_path / "t.csv"), tmp_path / "semicolons.csv")
    ]
    for other in found[1:]:
        assert other.task == found[0].task
        assert np.allclose(other.inputs, found[0].inputs, equal_nan=True, atol=1e-5)
        assert (other.labels == found[0].labels).all()


def test_a_value_that_comes_late_in_a_csv_file_changes_the_column_not_the_answer(tmp_path: Path) -> None:
    lines = ["at,x"] + [f"2024-01-01,{k}" for k in range(300_000)] + ["2024-01-01,seven"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    assert read_table(tmp_path / "t.csv").schema.field("x").type == pa.string()


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a file"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "t.xlsx").write_text("x")
    with pytest.raises(ConfigError, match=r"must end with \.parquet or \.csv"):
        read_table(tmp_path / "t.xlsx")
    (tmp_path / "t.parquet").write_text("x")
    with pytest.raises(DataError, match="is not a readable table"):
        read_table(tmp_path / "t.parquet")


def test_whatever_the_platform_takes_for_a_table_is_taken() -> None:
    table = drifting_table(weeks=4)
    frame = pl.DataFrame(table)
    for given in (frame, frame.lazy(), table.to_reader()):
        found = prepare(given, label="answer", event_time="at", entity="user", window="7d")
        assert found.task == prepare(table, label="answer", event_time="at", entity="user", window="7d").task


def test_a_frame_with_values_that_no_column_can_hold_is_refused() -> None:
    frame = pd.DataFrame({"at": [START] * 3, "x": [1, "one", 2.0], "y": [0, 1, 0]})
    with pytest.raises(SchemaMismatch, match="column 'x' must hold"):
        prepare(frame, label="y", event_time="at")


def test_names_that_stand_twice_are_refused() -> None:
    table = pa.Table.from_arrays([pa.array([START]), pa.array([1]), pa.array([2])], names=["at", "x", "x"])
    with pytest.raises(DataError, match=r"names must be unique, got \['x'\]"):
        prepare(table, label="x", event_time="at")
