"""A project's own table as requests, labels and rows of views, by when each became known."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from raymlops.errors import ConfigError, DataError
from raymlops.replay.source import known_classes_only, load_project

Make = Callable[..., Path]
DEFINITIONS = """
from datetime import timedelta

from raymlops.features import Entity, FeatureService, FeatureView, Field, WindowAggregate, calendar

row = Entity("row", ["row_id"])
user = Entity("user", ["user_id"])
inputs = [Field("user_id", "string"), Field("size", "int64")]
events = FeatureView("events", row, inputs, online=False)
outcomes = FeatureView(
    "outcomes", row, [Field("label", "int64"), Field("asked_at", "timestamp"), *inputs], online=False
)
recent = FeatureView(
    "recent", user, [Field("size", "int64")], source="events",
    aggregates=[WindowAggregate("size_1d", "mean", "size", timedelta(days=1))],
)
when = calendar("when", "asked_at")
SERVICE = FeatureService("service", ["recent:size_1d", "when:hour"])
DEFINITIONS = (row, user, events, outcomes, recent, when, SERVICE)
"""
TABLE = """at,user_id,size,won
2026-01-02 10:00:00,u1,3,yes
2026-01-01 09:30:00.5,u2,1,no
2026-01-03 00:00:00,u1,2,
2026-01-04 00:00:00,u2,5,yes
"""
DATA: dict[str, Any] = {
    "table": "rows.csv",
    "label": "won",
    "event_time": "at",
    "label_delay": "1d",
    "classes": ["no", "yes"],
    "events_view": "events",
    "outcomes_view": "outcomes",
}


@pytest.fixture
def of_table(make_project: Make) -> Make:
    """Makes a project with a table; keyword arguments change its section ``data``."""

    def make(*, content: str = TABLE, request_columns: tuple[str, ...] = ("size",), **data: object) -> Path:
        said = {**DATA, **data}
        directory = make_project(replay=None, data=said, request_columns=list(request_columns))
        (directory / f"{directory.name}.py").write_text(DEFINITIONS)
        (directory / "rows.csv").write_text(content)
        return directory

    return make


def test_each_row_is_a_request_at_its_own_time_with_what_the_service_and_the_model_need(of_table: Make) -> None:
    requests = load_project(of_table()).tables.requests
    assert requests["request_id"].to_pylist() == ["row-1", "row-0", "row-2", "row-3"], "in the order of time"
    assert requests.slice(0, 1).to_pylist() == [
        {
            "request_id": "row-1",
            "at": datetime(2026, 1, 1, 9, 30, 0, 500_000, tzinfo=UTC),
            "user_id": "u2",
            "asked_at": "2026-01-01T09:30:00.500000+00:00",
            "size": 1,
        }
    ]
    sent = datetime.fromisoformat(requests["asked_at"][0].as_py())
    assert sent == requests["at"][0].as_py(), "an instant is sent to the microsecond"


def test_labels_are_numbers_of_classes_and_come_when_they_became_known(of_table: Make) -> None:
    labels = load_project(of_table()).tables.labels.to_pylist()
    assert [(each["request_id"], each["label"]) for each in labels] == [("row-1", 0), ("row-0", 1), ("row-3", 1)]
    assert labels[1]["known_at"] == datetime(2026, 1, 3, 10, tzinfo=UTC)


def test_events_become_known_after_their_row_and_outcomes_with_their_label(of_table: Make) -> None:
    views = load_project(of_table()).tables.views
    start = datetime(2026, 1, 2, 10, tzinfo=UTC)
    tick = timedelta(microseconds=1)
    assert views["events"].between(None, start + tick)["row_id"].to_pylist() == ["row-1"]
    assert views["events"].between(start + tick, start + 2 * tick)["row_id"].to_pylist() == ["row-0"]
    known = start + timedelta(days=1)
    assert views["outcomes"].between(None, known)["row_id"].to_pylist() == ["row-1"]
    assert views["outcomes"].between(known, known + tick)["label"].to_pylist() == [1]


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        ({"table": "missing.csv"}, ConfigError, r"missing\.csv is not a file"),
        ({"label": "lost"}, DataError, "label must be a column of the table, got 'lost'"),
        ({"event_time": "then"}, DataError, "time must be a column of the table, got 'then'"),
        ({"events_view": "others"}, ConfigError, r"data must name views that are defined, got \['others'\]"),
        ({"classes": ["no", "maybe"]}, DataError, "must be one of"),
        ({"label_delay": "soon"}, ConfigError, "label_delay must be whole numbers"),
        ({"request_columns": ("size", "shape")}, DataError, r"requests need the columns \['shape'\]"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    data: dict[str, Any], error: type[Exception], said: str, of_table: Make
) -> None:
    with pytest.raises(error, match=said) as refused:
        load_project(of_table(**data))
    assert "\n" not in str(refused.value)


def test_rows_of_classes_that_the_training_part_lacks_are_not_asked_about(of_table: Make) -> None:
    project = load_project(of_table())
    only_no = known_classes_only(project, datetime(2026, 1, 3, tzinfo=UTC))
    assert only_no.tables.labels["label"].to_pylist() == [0]
    assert only_no.tables.requests["request_id"].to_pylist() == ["row-1", "row-2"], (
        "one that has no label is asked about"
    )
    assert only_no.tables.notes[-1].startswith("2 rows of the classes [1] are not asked about")
    assert only_no.tables.views == project.tables.views
    assert known_classes_only(project, datetime(2026, 1, 4, tzinfo=UTC)) is project
