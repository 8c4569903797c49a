from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.tables import visibility as module
from raymlops.tables.visibility import Visibility

ALWAYS, NEVER = np.iinfo(np.int64).min, np.iinfo(np.int64).max


def of(visibility: Visibility, *sequences: int) -> list[int] | None:
    found = visibility.of("v@1", np.array(sequences, np.int64))
    return None if found is None else found.tolist()


def test_rows_are_visible_from_the_record_that_reached_them_on(tmp_path: Path) -> None:
    visibility = Visibility(tmp_path / "visible")
    assert of(visibility, 0) is None
    visibility.note(["v@1", "w@1"], 2, 5, 100)
    visibility.note(["v@1"], 5, 6, 200)
    assert of(visibility, 0, 2, 3, 5, 6, 7) == [ALWAYS, ALWAYS, 100, 100, 200, NEVER]
    assert of(Visibility(tmp_path / "visible"), 6) == [200]
    assert visibility.of("w@1", np.array([6])) == [NEVER]


@settings(max_examples=50)
@given(steps=st.lists(st.tuples(st.integers(1, 4), st.integers(-5, 50)), min_size=1, max_size=20), data=st.data())
def test_it_is_as_a_list_would_have_it(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Also where a writer was killed while it wrote a record."""
    visibility = Visibility(tmp_path_factory.mktemp("visible"))
    expected, last = [], -1
    for rows, at in steps:
        visibility.note(["v@1"], last, last + rows, at)
        expected += [at] * rows
        last += rows
        if data.draw(st.booleans()):
            with visibility._path("v@1").open("ab") as file:
                file.write(b"\x00" * data.draw(st.integers(1, 15)))
    assert of(visibility, *range(last + 2)) == [*expected, NEVER]


def test_a_store_that_is_made_anew_begins_anew(tmp_path: Path) -> None:
    visibility = Visibility(tmp_path)
    visibility.note(["v@1"], -1, 9, 100)
    visibility.note(["v@1"], -1, 0, 200)
    assert of(visibility, 0, 1) == [200, NEVER]


def test_a_long_record_lets_its_older_half_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LARGEST_BYTES", 160)
    visibility = Visibility(tmp_path)
    for row in range(100):
        visibility.note(["v@1"], row - 1, row, 1000 + row)
    assert visibility._path("v@1").stat().st_size < 400
    assert of(visibility, 0, 99, 100) == [ALWAYS, 1099, NEVER]


def test_what_cannot_be_noted_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "visible").write_text("a file in its place")
    Visibility(tmp_path / "visible").note(["v@1"], -1, 0, 1)
    assert "when rows of v@1 became visible could not be noted" in caplog.text
