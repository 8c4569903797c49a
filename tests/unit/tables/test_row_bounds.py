from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.tables.delta import DeltaTables
from raymlops.tables.row_bounds import row_bounds

START = datetime(2013, 1, 1, tzinfo=UTC)
FILES, ROWS = 6, 4
INSTANT = pa.timestamp("us", tz="UTC")


def at(microseconds: int) -> datetime:
    return START + timedelta(microseconds=microseconds)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tables of the same rows: one whose log keeps what it keeps by default, one with the extremes of a few."""
    root = tmp_path_factory.mktemp("tables")
    rng = np.random.default_rng(0)
    wide, narrow = DeltaTables(root / "wide"), DeltaTables(root / "narrow", skip_by=("at",))
    for number in range(FILES):
        times = [at(number * 2500 + int(offset)) for offset in rng.integers(0, 4000, ROWS)]
        times[0] = None if number == 3 else times[0]
        rows = pa.table({**{f"x{i}": rng.normal(size=ROWS) for i in range(34)}, "at": pa.array(times, INSTANT)})
        for tables in (wide, narrow):
            tables.append("t", rows, ingest_id=str(number))
    return root


bound = st.none() | st.integers(-2000, 20_000)
number = st.none() | st.integers(-3, FILES * ROWS + 3)


@given(start=bound, end=bound, after=number, until=number)
@settings(max_examples=30, deadline=None)
def test_files_are_skipped_that_hold_no_row_and_no_others(
    home: Path, start: int | None, end: int | None, after: int | None, until: int | None
) -> None:
    """Bounds within the millisecond that the log rounds to, and rows without an instant, are no exception."""
    rows = DeltaTables(home / "wide").read("t", columns=["at", "_seq"]).to_pylist()
    wanted = [
        row["_seq"]
        for row in rows
        if (start is None or (row["at"] is not None and row["at"] >= at(start)))
        and (end is None or (row["at"] is not None and row["at"] < at(end)))
        and (after is None or row["_seq"] > after)
        and (until is None or row["_seq"] <= until)
    ]
    for kind in ("wide", "narrow"):
        found = DeltaTables(home / kind).read(
            "t",
            columns=["_seq"],
            start=None if start is None else at(start),
            end=None if end is None else at(end),
            time_column="at",
            after_sequence=after,
            until_sequence=until,
        )
        assert found["_seq"].to_pylist() == wanted


def test_a_log_of_few_extremes_lets_a_read_open_few_files(home: Path) -> None:
    files = row_bounds("at", at(12_000), None, None, None).files
    kept = {}
    for kind in ("wide", "narrow"):
        with DeltaTables(home / kind).opened("t") as handle:
            kept[kind] = len(handle.file_uris(file_pruning_predicate=files))
    assert kept["narrow"] < kept["wide"] == FILES  # the default keeps those of the first 32 columns
    newest = max((home / "narrow" / "t" / "_delta_log").glob("*.json"))
    added = next(json.loads(line)["add"] for line in newest.read_text().splitlines() if '"add"' in line)
    assert json.loads(added["stats"])["maxValues"].keys() == {"at", "_seq"}


def test_without_bounds_all_rows_are_wanted() -> None:
    assert row_bounds("at", None, None, None, None) == (None, None)
    assert (
        row_bounds('a "b"', at(0), None, 3, None).files == '"a ""b""" >= \'2013-01-01T00:00:00+00:00\' AND "_seq" > 3'
    )
