"""The year of flights as ``raymlops replay`` plays it: requests at departure, labels and rows as they become known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flights import sources
from raymlops.replay import ReplayTables, ViewRows

__all__ = ["START", "TRAINED_UNTIL", "tables"]

START = datetime(2013, 1, 1, 5, tzinfo=UTC)
"""Midnight in New York: ``monitoring.anchor`` of the platform's configuration."""
TRAINED_UNTIL = START + timedelta(weeks=8)
_ASKED_KEYS = ("origin", "carrier", "dest")


def tables() -> ReplayTables:
    """What is asked, what becomes known, and the labels.

    A flight that was cancelled or diverted is asked about and never has a label.
    """
    schedule, landings = sources.schedule(), sources.landings()
    asked = ["flight_id", "sched_dep", *_ASKED_KEYS, *sources.REQUEST_FIELDS]
    labels = landings.select(["flight_id", "event_time", "late"])
    return ReplayTables(
        requests=schedule.select(asked).rename_columns(["request_id", "at", *asked[2:]]),
        labels=labels.rename_columns(["request_id", "known_at", "label"]),
        views={
            "planes": ViewRows(sources.planes(), "event_time"),
            "weather": ViewRows(sources.weather(), "event_time"),
            "flights": ViewRows(landings, "event_time"),
        },
    )
