"""A table that is counted part by part comes to what it comes to in memory, however it is cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from raymlops.errors import ConfigError, DataError, NotEnoughRows, NotFoundError, SchemaMismatch
from raymlops.monitoring.profiles.fitting import Cells, PartCounts
from raymlops.monitoring.profiles.reference import Reference
from raymlops.records.scoring import Part
from raymlops.scoring.sources import RowSource, cut_parts, find_source
from raymlops.scoring.table_profiles import TableRows, fit_reference, profile_table
from tests.support.each_part import in_process

ROWS = 4000
DAY = timedelta(days=1)


def table_of(rows: int = ROWS, seed: int = 0) -> pa.Table:
    """Columns of every kind; in order of time; neighbours are alike."""
    chance = np.random.default_rng(seed)
    walk = np.cumsum(chance.normal(size=rows))
    walk[chance.random(rows) < 0.05] = np.nan
    at_us = np.sort(chance.integers(0, 30 * 86_400_000_000, rows))
    return pa.table(
        {
            "walk": walk,
            "few": pa.array(chance.integers(0, 5, rows), pa.int16()),
            "city": pa.array(chance.choice([*"abcdefgh", None], rows), pa.string()),
            "user": pa.array([f"u{number}" for number in chance.integers(0, 10**6, rows)]),
            "wild": np.where(chance.random(rows) < 0.01, np.inf, chance.normal(size=rows)),
            "tags": pa.array([["x"]] * rows, pa.list_(pa.field("element", pa.string()))),  # as Parquet names it
            "at": pa.array(at_us, pa.timestamp("us", tz="UTC")),
        }
    )


def cut(table: pa.Table, folder: Path, group_rows: int, part_rows: int, block_rows: int, files: int = 3) -> TableRows:
    folder.mkdir(exist_ok=True)
    for stale in folder.iterdir():
        stale.unlink()
    bounds = np.linspace(0, table.num_rows, files + 1).astype(int)
    for number, (first, last) in enumerate(pairwise(bounds)):
        rows = table.slice(first, last - first)
        parquet.write_table(rows, folder / f"{number}.parquet", row_group_size=group_rows)
    return opened(str(folder), part_rows, block_rows)


def opened(named: str, part_rows: int = 1000, block_rows: int = 300, **options: str) -> TableRows:
    source = find_source(named, options or None)
    parts = cut_parts(RowSource(source, options or None).row_groups(), part_rows)
    return TableRows(source, parts, block_rows, options or None)


def backwards(function: Callable[[Any, Part], Any], shared: Any, parts: Sequence[Part], /) -> Iterator[Any]:
    """The parts end in another order than they began in."""
    yield from in_process(function, shared, parts[::-1])


WAYS: list[dict[str, Any]] = [
    {"columns": ["walk", "few", "city", "user", "wild", "tags"]},
    {"event_time": "at", "window": DAY},
    {"event_time": "at", "window": 20 * DAY, "importances": {"walk": 3.0, "few": 1.0}},
    {"event_time": "at"},
]


@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.integers(90, 900), st.integers(1, 1500), st.integers(30, 700), st.sampled_from(WAYS))
def test_a_table_that_fits_the_sample_comes_to_the_reference_that_it_has_in_memory(
    tmp_path_factory: pytest.TempPathFactory, group_rows: int, part_rows: int, block_rows: int, way: dict[str, Any]
) -> None:
    whole = table_of(1200)
    table = cut(whole, tmp_path_factory.getbasetemp() / "cut", group_rows, part_rows, block_rows)
    found = fit_reference(table, backwards, **way)
    wanted = Reference.fit(whole, **way)
    assert found.dumps() == wanted.dumps()
    profile, in_memory = profile_table(table, found, backwards), wanted.profile(whole)
    assert profile.dumps() == in_memory.dumps()
    assert found.compare(profile) == wanted.compare(in_memory)


@pytest.mark.parametrize("way", WAYS)
def test_a_larger_table_comes_to_one_reference_however_it_is_cut(tmp_path: Path, way: dict[str, Any]) -> None:
    whole = table_of()
    fitted = [
        fit_reference(cut(whole, tmp_path / "cut", *sizes), each_part, sample_rows=700, **way)
        for sizes, each_part in (
            ((ROWS, ROWS, ROWS, 1), in_process),
            ((100, 250, 90, 3), backwards),
            ((211, 1, 60, 7), in_process),
        )
    ]
    assert len({reference.digest for reference in fitted}) == 1
    (reference, *_) = fitted
    assert reference.rows == ROWS
    assert int(reference.counts("city").sum()) == ROWS  # all rows are counted, not the sample alone
    in_memory = Reference.fit(whole, **way)
    assert reference.columns == in_memory.columns
    assert reference.skipped == in_memory.skipped
    drift = reference.compare(reference.profile(table_of(seed=1)))
    assert [name for name, column in drift.columns.items() if column.problem] == []


def test_bins_of_a_sample_lie_where_those_of_all_rows_do(tmp_path: Path) -> None:
    whole = table_of()
    table = cut(whole, tmp_path / "cut", 500, 1000, 300)
    sampled = fit_reference(table, in_process, sample_rows=1000, columns=["wild"])
    shares = sampled.counts("wild")[1:-3] / ROWS  # without the ends, beyond which the sample held nothing
    assert shares == pytest.approx(np.full(shares.size, 1 / shares.size), abs=0.03)


def test_rows_need_no_order_where_stretches_are_cut_by_time(tmp_path: Path) -> None:
    whole = table_of(1500)
    mixed = whole.take(pa.array(np.random.default_rng(1).permutation(1500)))
    found = fit_reference(cut(mixed, tmp_path / "cut", 100, 300, 70), in_process, event_time="at", window=DAY)
    assert found.dumps() == Reference.fit(mixed, event_time="at", window=DAY).dumps()


def test_a_delta_table_is_profiled_at_a_version(tmp_path: Path) -> None:
    whole, path = table_of(900).drop_columns(["tags"]), str(tmp_path / "delta")
    write_deltalake(path, whole)
    write_deltalake(path, table_of(100, seed=1).drop_columns(["tags"]), mode="append")
    reference = fit_reference(opened(f"{path}@v0"), in_process, event_time="at", window=DAY)
    assert reference.dumps() == Reference.fit(whole, event_time="at", window=DAY).dumps()
    assert profile_table(opened(path), reference, in_process).rows == 1000


def test_what_cannot_be_fitted_is_refused_with_its_reason(tmp_path: Path) -> None:
    table = cut(table_of(500), tmp_path / "cut", 100, 200, 50)
    with pytest.raises(SchemaMismatch, match=r"columns \['speed'\] are not in the reference table"):
        fit_reference(table, in_process, columns=["speed"])
    with pytest.raises(SchemaMismatch, match="column 'walk' must hold timestamps, got double"):
        fit_reference(table, in_process, event_time="walk")
    holes = table_of(500).set_column(6, "at", pa.nulls(500, pa.timestamp("us", tz="UTC")))
    with pytest.raises(DataError, match="column 'at' must not be null"):
        fit_reference(cut(holes, tmp_path / "cut", 100, 200, 50), in_process, event_time="at", window=DAY)
    empty = cut(table_of(0), tmp_path / "cut", 100, 200, 50, files=1)
    for call in (lambda: fit_reference(empty, in_process), lambda: profile_table(empty, REFERENCE, in_process)):
        with pytest.raises(NotEnoughRows, match="must have at least 1 row, got 0 of "):
            call()
    with pytest.raises(ConfigError, match="does not exist"):
        find_source(str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="is no Delta table: it has no version 3"):
        find_source(f"{tmp_path / 'cut'}@v3")
    write_deltalake(str(tmp_path / "delta"), pa.table({"x": [1]}))
    with pytest.raises(NotFoundError, match="version must be 0 to 0, got 3"):
        find_source(f"{tmp_path / 'delta'}@v3")


REFERENCE = Reference.fit(pa.table({"walk": [1.0, 2.0]}))

cells = st.builds(
    lambda first, counts: Cells(first, np.array(counts, dtype=np.int64).reshape(-1, 2)),
    st.integers(0, 9),
    st.lists(st.integers(0, 9), min_size=1, max_size=5).map(lambda some: [*some, *some]),
)


@given(cells, cells, cells)
def test_counts_add_up_in_any_order(first: Cells, second: Cells, third: Cells) -> None:
    parts = [PartCounts(1, {"x": each}, {}) for each in (first, second, third)]
    sums = [parts[0] + (parts[1] + parts[2]), (parts[2] + parts[0]) + parts[1]]
    spread = [one.cells["x"].spread(20).tolist() for one in sums]
    assert spread[0] == spread[1] == np.sum([each.spread(20) for each in (first, second, third)], axis=0).tolist()
    assert {one.rows for one in sums} == {3}
