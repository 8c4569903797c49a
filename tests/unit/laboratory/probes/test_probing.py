"""Probes of a served model: what is kept, what is fitted on, and that each window only adds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from raymlops.clock import to_us
from raymlops.errors import NotEnoughRows, StorageError
from raymlops.laboratory.probes import probe_grid
from raymlops.laboratory.probes.probe_files import ProbeFolder
from raymlops.laboratory.probes.probe_grid import ProbeGrid
from raymlops.laboratory.probes.probing import Probing
from raymlops.laboratory.probes.recorded import EVENT_TIME, KNOWN, LABEL
from raymlops.laboratory.recipe import Recipe
from raymlops.laboratory.weighing import weigh_probed
from raymlops.records.record import sha256_of

ANCHOR = datetime(2024, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
GRID = ProbeGrid(
    inputs=("x", "shop"), texts=frozenset({"shop"}), regression=False, anchor=ANCHOR, length=DAY, max_rows=400
)


def rows(day: int, *, turned: bool = False, count: int = 300, label_delay: timedelta = timedelta(0)) -> pa.Table:
    """A day in which the label follows ``x``, or its opposite."""
    rng = np.random.default_rng(day)
    x = rng.normal(size=count)
    at = [ANCHOR + day * DAY + DAY * k / count for k in range(count)]
    return pa.table(
        {
            "x": x,
            "shop": pa.array([None if k % 9 == 0 else f"shop {(k + day) % 5}" for k in range(count)]),
            LABEL: pa.array(["1" if (value > 0) != turned else "0" for value in x]),
            EVENT_TIME: pa.array(at),
            KNOWN: pa.array([each + label_delay for each in at]),
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> ProbeFolder:
    return ProbeFolder.made(tmp_path / "probes")


def probing(folder: ProbeFolder) -> Probing:
    found = Probing(folder, GRID)
    found.take_history(ANCHOR + 8 * DAY, lambda: pa.concat_tables([rows(day) for day in range(8)]))
    return found


def test_a_break_shows_as_regret_of_the_probes_before_it_and_pays(folder: ProbeFolder) -> None:
    for day in range(8, 12):
        found = probing(folder).probe(ANCHOR + day * DAY, rows(day, turned=day >= 10), ANCHOR + (day + 1) * DAY)
    assert found.regrets[-1] == 0.0
    assert found.regrets[0] > 0.2 > abs(found.regrets[-3] - found.regrets[0])
    standing = weigh_probed(folder.shown(), trained_at=ANCHOR + 8 * DAY, price=0.05)
    assert standing is not None
    assert standing.pays
    assert standing.age_windows == 4


def test_the_later_half_of_the_history_is_probed_before_the_first_live_window(folder: ProbeFolder) -> None:
    probing(folder).probe(ANCHOR + 8 * DAY, rows(8), ANCHOR + 9 * DAY)
    assert [window.start for window in folder.shown()] == [ANCHOR + day * DAY for day in (4, 5, 6, 7, 8)]


def test_a_window_adds_one_fit_and_changes_nothing_that_stands(folder: ProbeFolder, tmp_path: Path) -> None:
    probing(folder).probe(ANCHOR + 8 * DAY, rows(8), ANCHOR + 9 * DAY)
    before = folder.shown()
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "probes").glob("probe-*.npz")}
    probing(folder).probe(ANCHOR + 9 * DAY, rows(9), ANCHOR + 10 * DAY)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "probes").glob("probe-*.npz")}
    assert folder.shown()[:-1] == before
    assert {name: after[name] for name in kept} == kept
    assert set(after) - set(kept) == {f"probe-{to_us(ANCHOR + 9 * DAY)}.npz"}


def test_a_probe_that_was_fitted_ahead_is_the_one_that_its_window_would_fit(tmp_path: Path) -> None:
    ahead, late = ProbeFolder.made(tmp_path / "ahead"), ProbeFolder.made(tmp_path / "late")
    for folder in (ahead, late):
        one = probing(folder)
        one.probe(ANCHOR + 8 * DAY, rows(8), ANCHOR + 9 * DAY)
        if folder is ahead:
            one.prepare(ANCHOR + 9 * DAY)
        one.probe(ANCHOR + 9 * DAY, rows(9), ANCHOR + 10 * DAY)
    assert ahead.shown() == late.shown()


def test_what_stands_does_not_depend_on_a_restart_in_between(tmp_path: Path) -> None:
    whole, parts = ProbeFolder.made(tmp_path / "whole"), ProbeFolder.made(tmp_path / "parts")
    one = probing(whole)
    for day in (8, 9):
        one.probe(ANCHOR + day * DAY, rows(day), ANCHOR + (day + 1) * DAY)
        probing(parts).probe(ANCHOR + day * DAY, rows(day), ANCHOR + (day + 1) * DAY)
    assert whole.shown() == parts.shown()


def test_a_probe_does_not_see_labels_that_had_not_come_by_its_window(folder: ProbeFolder) -> None:
    one = probing(folder)
    one.probe(ANCHOR + 8 * DAY, rows(8, turned=True, label_delay=3 * DAY), ANCHOR + 9 * DAY)
    late = one.probe(ANCHOR + 9 * DAY, rows(9, turned=True), ANCHOR + 10 * DAY)
    assert late.loss > 1.0  # it was fitted on the time before the turn alone
    assert one.probe(ANCHOR + 12 * DAY, rows(12, turned=True), ANCHOR + 13 * DAY).loss < late.loss


def test_the_rows_of_a_training_set_take_the_place_of_what_was_recorded_before_its_end(folder: ProbeFolder) -> None:
    one = probing(folder)
    one.probe(ANCHOR + 8 * DAY, rows(8, turned=True), ANCHOR + 9 * DAY)
    one.take_history(ANCHOR + 9 * DAY, lambda: pa.concat_tables([rows(day) for day in range(9)]))
    # as if day 8 had not been turned: only the newer training set says so
    assert one.probe(ANCHOR + 9 * DAY, rows(9), ANCHOR + 10 * DAY).loss < 0.2


def test_a_training_set_that_is_not_newer_is_not_read(folder: ProbeFolder) -> None:
    probing(folder)

    def read() -> pa.Table:
        raise AssertionError("read again")

    for days in (8, 7):  # the same, and an older one that a former champion comes back with
        Probing(folder, GRID).take_history(ANCHOR + days * DAY, read)


def test_too_few_rows_are_told_and_leave_what_stands(folder: ProbeFolder) -> None:
    one = probing(folder)
    one.probe(ANCHOR + 8 * DAY, rows(8), ANCHOR + 9 * DAY)
    before = folder.shown()
    with pytest.raises(NotEnoughRows, match="probes need 50 labelled rows in the window from 2024-01-10"):
        one.probe(ANCHOR + 9 * DAY, rows(9, count=20), ANCHOR + 10 * DAY)
    assert folder.shown() == before
    with pytest.raises(NotEnoughRows, match="a probe needs 50 labelled rows, got 0"):
        Probing(ProbeFolder.made(Path(folder._path) / "new"), GRID).probe(ANCHOR, rows(0), ANCHOR + DAY)


def test_a_class_that_comes_later_is_scored_by_probes_that_never_saw_it(folder: ProbeFolder) -> None:
    one = probing(folder)
    one.probe(ANCHOR + 8 * DAY, rows(8), ANCHOR + 9 * DAY)
    third = rows(9).set_column(2, LABEL, pa.array(["2"] * 300))
    found = one.probe(ANCHOR + 9 * DAY, third, ANCHOR + 10 * DAY)
    assert np.isfinite(found.regrets).all()
    assert found.loss > 3.0


def test_values_are_probed_by_their_squared_error(tmp_path: Path) -> None:
    grid = ProbeGrid(("x",), frozenset(), True, ANCHOR, DAY, 400)
    one = Probing(ProbeFolder.made(tmp_path / "values"), grid)
    days = [rows(day).set_column(2, LABEL, rows(day)["x"]) for day in range(6)]
    one.take_history(ANCHOR + 5 * DAY, lambda: pa.concat_tables(days[:5]))
    assert one.probe(ANCHOR + 5 * DAY, days[5], ANCHOR + 6 * DAY).loss < 0.1


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    folder = ProbeFolder.made(tmp_path / "probes")
    (tmp_path / "probes" / "shown.json").write_text("[{")
    with pytest.raises(StorageError, match=r"shown\.json cannot be read"):
        folder.shown()
    (tmp_path / "probes" / "probe-1.npz").write_bytes(b"PK broken")
    with pytest.raises(StorageError, match=r"probe-1\.npz cannot be read"):
        folder.probe(1)


def test_the_format_of_probes_grows_with_their_recipe() -> None:
    # where this fails, _FORMAT of probe_grid must grow, or probes of two recipes are compared
    made_of = sha256_of({**vars(Recipe()), "params": dict(Recipe().params)})
    assert (probe_grid._FORMAT, made_of[:8]) == (1, "4e7fc640")


def test_another_grid_has_another_folder() -> None:
    assert GRID.digest == ProbeGrid(**{**vars(GRID), "texts": frozenset({"shop"})}).digest
    assert GRID.digest != ProbeGrid(**{**vars(GRID), "length": 2 * DAY}).digest


def test_a_window_of_many_rows_is_sampled_and_counts_for_all_of_them(folder: ProbeFolder) -> None:
    one = probing(folder)
    found = one.probe(ANCHOR + 8 * DAY, rows(8, count=1000), ANCHOR + 9 * DAY)
    kept = folder.rows(str(to_us(ANCHOR + 8 * DAY)))
    assert kept is not None
    assert (found.rows, len(kept), kept.total) == (400, 400, 1000)
    assert (np.diff(kept.at_us) > 0).all()
