from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from raymlops.clock import ManualClock, ReplayClock, SystemClock
from raymlops.config import ClockConfig, PlatformConfig
from raymlops.errors import ConfigError
from raymlops.runtime.actors.upkeep import Upkeep
from raymlops.runtime.cluster.clocks import ClockMoved, ClockWatch, own_clock

START = datetime(2013, 1, 7, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def config(home: Path, **clock: object) -> PlatformConfig:
    return PlatformConfig(home=home, clock=ClockConfig(kind="replay", **clock))


def test_a_replay_clock_is_made_by_configuration_alone(tmp_path: Path) -> None:
    clock = own_clock(config(tmp_path / "home", start=START))
    assert isinstance(clock, ReplayClock)
    assert clock.now() == START
    clock.advance_to(START + DAY)
    again = own_clock(config(tmp_path / "home", start=START))  # a restart goes on where it was
    assert again.now() == START + DAY
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["clock"]


def test_of_many_processes_that_come_first_one_makes_it(tmp_path: Path) -> None:
    barrier, clocks = threading.Barrier(8), list[ReplayClock]()

    def open_it() -> None:
        barrier.wait(30)
        clocks.append(ReplayClock.opened(tmp_path / "clock", START))

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    clocks[0].advance_to(START + DAY)
    assert [clock.now() for clock in clocks] == [START + DAY] * 8


def test_without_a_start_the_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the replay clock .* does not exist: set clock.start"):
        own_clock(config(tmp_path))
    ReplayClock(tmp_path / "clock", START)
    assert own_clock(config(tmp_path)).now() == START
    (tmp_path / "cut").write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot be opened"):
        own_clock(config(tmp_path, path=tmp_path / "cut"))
    assert isinstance(own_clock(PlatformConfig(home=tmp_path)), SystemClock)


def test_a_move_is_told_once_per_step() -> None:
    clock = ManualClock(START)
    moved = ClockMoved(clock, HOUR)
    assert [moved(), moved()] == [True, False]
    clock.advance_to(START + HOUR - timedelta(microseconds=1))
    assert not moved()
    clock.advance_to(START + HOUR)
    assert [moved(), moved()] == [True, False]
    clock.advance_to(START + 9 * DAY)
    assert [moved(), moved()] == [True, False]
    clock._now = START  # the replay begins anew
    assert [moved(), moved()] == [True, False]


class Machine:
    """A wall clock that jumps, and real time."""

    def __init__(self) -> None:
        self.real_s, self.off = 50.0, timedelta()

    def now(self) -> datetime:
        return START + timedelta(seconds=self.real_s) + self.off


@pytest.mark.parametrize("jump", [3650 * DAY, -3650 * DAY])
def test_a_clock_that_jumped_is_not_believed_until_it_is_back(jump: timedelta) -> None:
    machine = Machine()
    watch = ClockWatch(machine, monotonic=lambda: machine.real_s)
    machine.real_s += 3600
    assert watch.believed()
    machine.off = jump
    assert not watch.believed()
    machine.real_s += 3600
    assert not watch.believed()
    machine.off = timedelta()
    assert watch.believed()


def test_a_clock_that_stays_is_believed_in_the_end() -> None:
    machine = Machine()
    watch = ClockWatch(machine, monotonic=lambda: machine.real_s)
    machine.off = 30 * DAY
    assert not watch.believed()
    machine.real_s += 86_400
    assert watch.believed()
    machine.real_s += 60
    assert watch.believed()


class Tables:
    """Notes what is looked after; raises for one model."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def maintain(self, model: str, now: datetime) -> None:
        if model == "broken":
            raise OverflowError(f"{now}")
        self.done.append(model)

    def plan_numbers(self) -> dict[str, int]:
        return {"a": 1, "broken": 1, "c": 1}


def test_trouble_with_one_models_tables_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    tables = Tables()
    upkeep = Upkeep(tables, tables, ManualClock(START))
    upkeep.turn()
    assert tables.done == ["a", "c"]
    assert upkeep.problems == {"broken": "OverflowError: 2013-01-07 00:00:00+00:00"}
    assert "tables of broken will be looked after again" in caplog.text


def test_nothing_is_removed_by_a_clock_that_jumped() -> None:
    machine, tables = Machine(), Tables()
    upkeep = Upkeep(tables, tables, machine, ClockWatch(machine, monotonic=lambda: machine.real_s))
    machine.off = 3650 * DAY
    upkeep.turn()
    assert tables.done == []
    machine.off = timedelta()
    upkeep.turn()
    assert tables.done == ["a", "c"]
