from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from raymlops.clock import ManualClock
from raymlops.control import Turns
from raymlops.errors import UnavailableError

T = datetime(2026, 1, 1, tzinfo=UTC)
MODELS = ("a", "b", "c", "d", "e")
AT_ONCE, DEADLINE_S, PAUSE_MAX_S = 2, 30.0, 8.0


class Time:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def turns_of(time: Time, start: Callable[[Callable[[], None]], None] | None = None) -> Turns:
    return Turns(
        ManualClock(T), at_once=AT_ONCE, deadline_s=DEADLINE_S, pause_max_s=PAUSE_MAX_S, monotonic=time, start=start
    )


def test_whatever_one_turn_raises_is_its_own_trouble(caplog: pytest.LogCaptureFixture) -> None:
    turns, taken = turns_of(Time()), list[str]()

    def raises(error: Exception) -> None:
        raise error

    assert not turns.run("a", lambda: raises(OverflowError("date value out of range")))
    assert not turns.run("b", lambda: raises(UnavailableError("the monitor does not answer")))
    assert turns.run("c", lambda: taken.append("c"))
    reports = turns.reports()
    assert {model: report.problem for model, report in reports.items()} == {
        "a": "OverflowError: date value out of range",
        "b": "UnavailableError: the monitor does not answer",
        "c": None,
    }
    assert [(report.failures, report.done_at) for report in reports.values()] == [(1, None), (1, None), (0, T)]
    assert [record.exc_info is not None and bool(record.exc_info) for record in caplog.records] == [True, False]
    assert turns.run("a", lambda: taken.append("a"))
    assert turns.reports()["a"].problem is None


def test_a_turn_that_hangs_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    time, released, ended = Time(), threading.Event(), threading.Semaphore(0)
    turns, taken = turns_of(time), list[str]()

    def turn(model: str) -> None:
        if model in {"a", "b"}:
            assert released.wait(60)
        taken.append(model)
        ended.release()

    assert turns.start_due(["a", "b", "c"], turn) == ["a", "b"]
    assert turns.start_due(["a", "b", "c"], turn) == []
    time.now_s += DEADLINE_S + 1
    with caplog.at_level(logging.ERROR):
        assert turns.start_due(["a", "b", "c"], turn) == ["c"]
    assert [record.message for record in caplog.records] == [
        f"the turn of {model} has taken 30 s and goes on; the others do not wait" for model in ("a", "b")
    ]
    assert ended.acquire(timeout=60)
    assert taken == ["c"]
    assert [turns.reports()[model].problem for model in ("a", "b")] == ["this turn has taken 31 s"] * 2
    released.set()
    assert ended.acquire(timeout=60)
    assert ended.acquire(timeout=60)
    assert sorted(taken) == ["a", "b", "c"]


def test_a_step_does_not_wait_for_a_hung_turn_for_ever() -> None:
    turns = Turns(ManualClock(T), at_once=1, deadline_s=0.01, pause_max_s=1.0)
    begun, released = threading.Event(), threading.Event()

    def turn(_: str) -> None:
        begun.set()
        assert released.wait(60)

    turns.start_due(["a"], turn)
    assert begun.wait(60)
    assert not turns.run("a", lambda: pytest.fail("two turns of one model at a time"))
    assert (turns.reports()["a"].problem or "").startswith("this turn has taken")
    released.set()


def test_a_turn_that_is_cut_off_says_so() -> None:
    turns = turns_of(Time())

    def cut_off() -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        turns.run("a", cut_off)
    assert turns.reports()["a"].problem == "the turn was cut off"
    assert turns.run("a", lambda: None)


def test_a_thread_that_cannot_be_had_is_asked_for_again() -> None:
    time = Time()
    refusals = [RuntimeError("can't start new thread")]

    def start(work: Callable[[], None]) -> None:
        if refusals:
            raise refusals.pop()
        work()

    turns, taken = turns_of(time, start), list[str]()
    turns.start_due(["a"], taken.append)
    assert turns.reports()["a"].problem == "the turn could not be started: can't start new thread"
    time.now_s += 1
    turns.start_due(["a"], taken.append)
    assert taken == ["a"]


class TurnMachine(RuleBasedStateMachine):
    """Turns that end well, fail, hang, and end late, in any order, against a model of what must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.time, self.clock = Time(), ManualClock(T)
        self.waiting: list[Callable[[], None]] = []
        self.under_way: dict[str, float] = {}
        self.rests_until: dict[str, float] = {}
        self.in_a_row: dict[str, int] = {}
        self.done_at: dict[str, datetime] = {}
        self.fails = ""
        self.turns = Turns(
            self.clock,
            at_once=AT_ONCE,
            deadline_s=DEADLINE_S,
            pause_max_s=PAUSE_MAX_S,
            monotonic=self.time,
            start=self.waiting.append,
        )
        self.order: list[str] = []

    def in_time(self) -> int:
        return sum(self.time.now_s - began < DEADLINE_S for began in self.under_way.values())

    @rule()
    def look(self) -> None:
        in_time = self.in_time()
        started = self.turns.start_due(MODELS, self.turn)
        may = [
            model
            for model in MODELS
            if model not in self.under_way and self.time.now_s >= self.rests_until.get(model, 0.0)
        ]
        assert set(started) <= set(may)
        assert len(started) == min(len(may), max(AT_ONCE - in_time, 0))
        for model in started:
            self.under_way[model] = self.time.now_s
            self.order.append(model)

    def turn(self, model: str) -> None:
        if self.fails:
            raise RuntimeError(self.fails)
        self.done_at[model] = self.clock.now()

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 4), fails=st.sampled_from(["", "", "no reason"]))
    def end_one(self, which: int, fails: str) -> None:
        place = which % len(self.waiting)
        model, work = self.order.pop(place), self.waiting.pop(place)
        self.fails = fails
        work()
        del self.under_way[model]
        if fails:
            pause = min(2.0 ** self.in_a_row.get(model, 0), PAUSE_MAX_S)
            self.rests_until[model] = self.time.now_s + pause
            self.in_a_row[model] = self.in_a_row.get(model, 0) + 1
        else:
            self.in_a_row[model] = 0

    @rule(seconds=st.sampled_from([0.5, 1.0, 4.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.time.now_s += seconds
        self.clock.advance_to(self.clock.now() + timedelta(seconds=seconds))

    @invariant()
    def tells_the_truth(self) -> None:
        for model, report in self.turns.reports().items():
            assert (report.taken_s is not None) == (model in self.under_way)
            assert report.done_at == self.done_at.get(model)
            late = model in self.under_way and self.time.now_s - self.under_way[model] >= DEADLINE_S
            expected = "RuntimeError: no reason" if self.in_a_row.get(model) else None
            if late:
                expected = f"this turn has taken {self.time.now_s - self.under_way[model]:.0f} s"
            assert report.problem == expected


TestTurnMachine = TurnMachine.TestCase
