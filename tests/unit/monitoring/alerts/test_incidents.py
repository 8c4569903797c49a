from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.errors import UnavailableError
from raymlops.monitoring.alerts.incidents import Episode, Incidents, Losses

T = datetime(2026, 1, 1, tzinfo=UTC)


class Teller:
    """Hears of episodes; raises as often as it is told to."""

    def __init__(self) -> None:
        self.heard: list[Episode] = []
        self.fails = 0
        self.now_s = 1000.0
        self.losses = Losses(self, monotonic=lambda: self.now_s)

    def __call__(self, episode: Episode) -> None:
        if self.fails:
            self.fails -= 1
            raise UnavailableError("the ledger does not answer")
        self.heard.append(episode)


def test_an_episode_is_told_once() -> None:
    teller = Teller()
    for total in (0, 5, 5, 9, 300):
        teller.losses.counted("m", "r1", total, T)
        teller.now_s += 60
    teller.losses.counted("m", "r2", 40, T)
    assert [(each.key, each.rows) for each in teller.heard] == [("events_lost/m/r1/5", 5)]
    assert teller.losses.of("m", 3) == Incidents(dropped_rows=340, dropped_at=T, out_of_bounds_rows=3)
    teller.now_s += 601
    teller.losses.counted("m", "r1", 300, T)
    assert len(teller.heard) == 1
    teller.losses.counted("m", "r1", 301, T)
    assert [each.key for each in teller.heard] == ["events_lost/m/r1/5", "events_lost/m/r1/301"]
    assert teller.losses.of("other", 0) == Incidents()


def test_what_was_refused_is_the_reason() -> None:
    teller = Teller()
    teller.losses.refused("m", "SchemaMismatch: no column 'row'")
    teller.losses.counted("m", "r1", 7, T)
    lost, why = teller.heard[0].reason.split("; ")
    assert lost == "prediction events were lost: 7 rows by replica r1"
    assert why == "the monitor refused a batch: SchemaMismatch: no column 'row'"
    assert teller.losses.of("m", 0).refused == "SchemaMismatch: no column 'row'"


def test_an_episode_that_could_not_be_told_is_told_later() -> None:
    teller = Teller()
    teller.fails = 1
    with pytest.raises(UnavailableError):
        teller.losses.counted("m", "r1", 5, T)
    teller.losses.counted("other", "r9", 0, T)
    teller.losses.counted("m", "r1", 5, T)
    assert [each.key for each in teller.heard] == ["events_lost/m/r1/5"]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.sampled_from([1.0, 700.0])), max_size=40))
def test_every_row_is_counted_once_and_every_episode_told_once(steps: list[tuple[str, int, float]]) -> None:
    teller, totals, lost, episodes, last = Teller(), {"a": 0, "b": 0}, 0, 0, float("-inf")
    for replica, rows, pause_s in steps:
        totals[replica] += rows
        for _ in range(2):  # figures come again and again, with or without news
            teller.losses.counted("m", replica, totals[replica], T)
        lost += rows
        if rows:
            episodes += teller.now_s - last > 600
            last = teller.now_s
        teller.now_s += pause_s
    assert teller.losses.of("m", 0).dropped_rows == lost
    assert len(teller.heard) == episodes


def test_a_replica_that_begins_anew_loses_anew() -> None:
    teller = Teller()
    for total in (5, 2, 2, 3):
        teller.losses.counted("m", "r1", total, T)
    assert teller.losses.of("m", 0).dropped_rows == 8
