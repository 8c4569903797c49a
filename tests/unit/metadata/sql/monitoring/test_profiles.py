from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from raymlops.errors import StaleWrite
from raymlops.metadata import MetadataService
from raymlops.records.windows import WindowProfile

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def metadata(tmp_path: Path) -> Iterator[MetadataService]:
    service = MetadataService(tmp_path / "m.db")
    yield service
    service.close()


def profile(hour: int = 0, **more: object) -> WindowProfile:
    values = {
        "model": "m",
        "start": START + hour * HOUR,
        "champion": 1,
        "version": 1,
        "role": "champion",
        "rows": 5,
        "profile": b"\x00p",
    }
    return WindowProfile.model_validate({**values, **more})


def test_a_window_has_the_profiles_that_were_put_last(metadata: MetadataService) -> None:
    metadata.profiles.put_profiles("m", START, [profile(), profile(role="shadow", version=2)])
    metadata.profiles.put_profiles("m", START + HOUR, [profile(1)])
    metadata.profiles.put_profiles("m", START, [profile(rows=7), profile(segment="a = 1")])
    assert metadata.profiles.list_profiles("m") == [profile(rows=7), profile(segment="a = 1"), profile(1)]
    assert metadata.profiles.list_profiles("m", segment="") == [profile(rows=7), profile(1)]
    assert metadata.profiles.list_profiles("m", START + HOUR) == [profile(1)]
    assert metadata.profiles.list_profiles("m", end=START + HOUR, segment="a = 1") == [profile(segment="a = 1")]
    assert metadata.profiles.list_profiles("other") == []


def test_late_profiles_and_marks_move_together(metadata: MetadataService) -> None:
    metadata.profiles.put_profiles("m", START, [profile()])
    assert metadata.profiles.profile_marks("m") is None
    metadata.profiles.add_late_profiles("m", [], {"a": 1}, None)
    late = profile(late=True, rows=2)
    metadata.profiles.add_late_profiles("m", [late], {"a": 2}, {"a": 1})
    metadata.profiles.add_late_profiles("m", [late], {"a": 2}, {"a": 1})
    assert metadata.profiles.list_profiles("m") == [profile(), late]
    assert metadata.profiles.profile_marks("m") == {"a": 2}
    with pytest.raises(StaleWrite, match="were added by another"):
        metadata.profiles.add_late_profiles("m", [profile(late=True, rows=9)], {"a": 3}, {"a": 1})
    assert metadata.profiles.list_profiles("m") == [profile(), late]
    metadata.profiles.add_late_profiles("m", [profile(late=True, rows=3)], {"a": 3}, {"a": 2})
    assert [found.rows for found in metadata.profiles.list_profiles("m")] == [5, 3]


def test_late_rows_are_counted_once_whatever_the_segments(metadata: MetadataService) -> None:
    late = [
        profile(late=True),
        profile(late=True, segment="s"),
        profile(2, late=True),
        profile(2, late=True, version=2),
    ]
    metadata.profiles.put_profiles("m", START, [profile()])
    metadata.profiles.add_late_profiles("m", late, {"a": 1}, None)
    assert metadata.profiles.late_rows("m") == {START: 5, START + 2 * HOUR: 10}
    assert metadata.profiles.late_rows("m", START + HOUR) == {START + 2 * HOUR: 10}
    assert metadata.profiles.late_rows("m", end=START + HOUR) == {START: 5}


def test_old_profiles_can_be_dropped(metadata: MetadataService) -> None:
    for hour in range(4):
        metadata.profiles.put_profiles("m", START + hour * HOUR, [profile(hour), profile(hour, segment="s")])
    assert metadata.profiles.drop_profiles("m", START + 3 * HOUR) == 6
    assert metadata.profiles.drop_profiles("m", START + 3 * HOUR) == 0
    assert metadata.profiles.list_profiles("m", segment="") == [profile(3)]
