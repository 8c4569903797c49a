from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from raymlops.config import ControlConfig, CronTrigger, NewDataTrigger, RetrainConfig, TriggersConfig, WindowCount
from raymlops.control import (
    FailRun,
    Observation,
    Pause,
    Phase,
    Refuse,
    Rollout,
    StartRetraining,
    decide,
    reasons_against,
)
from raymlops.control.rollout.grown import GrownSet
from raymlops.control.triggering.news import NewData, TableGrowth
from raymlops.errors import NotFoundError, StorageError
from raymlops.records.people.reasons import Reason
from raymlops.records.plans import Trial
from raymlops.records.runs import RunStatus
from raymlops.testing.control_examples import DAY, START, example_plan, example_run, example_window
from tests.support.control_world import ControlWorld

CONFIG = ControlConfig(
    triggers=TriggersConfig(performance=WindowCount(n=1, of=2), drift=None),
    retrain=RetrainConfig(cooldown=3 * DAY, min_labelled_rows=400, budget_runs=2, budget_period=20 * DAY),
)
DELAY = timedelta(hours=1)
NOW = START + 10 * DAY
BAD = example_window(9, degraded=True)
BLOCKED = example_window(9, degraded=True, quality="block")
DIFFERS = example_window(
    9,
    degraded=True,
    quality="block",
    quality_reasons=("features served differ from the tables: v__x in 40.0% of 100 audited rows",),
    wrong_features={"v__x": 0.4},
)


def see(**changes: Any) -> Observation:
    values: dict[str, Any] = {"plans": [example_plan()], "runs": [], "windows": [BAD], "now": NOW, **changes}
    return Observation(model="m", **values)


def retraining(day: float, attempt: int = 1) -> StartRetraining:
    return StartRetraining(
        model="m",
        at=START + day * DAY,
        reason="x",
        run_id=f"m-{day}-{attempt}",
        occasion=f"{day}",
        champion=1,
        triggers=("performance",),
        attempt=attempt,
    )


def done(*days: float, helped: bool = True) -> Rollout:
    state = Rollout()
    for day in days:
        started = retraining(day)
        state = state.apply(started)
        refused = Refuse(model="m", at=started.at + DAY / 4, reason="no", run_id=started.run_id, rejection=not helped)
        state = state.apply(refused)
    return state


def kinds(found: tuple[Reason, ...]) -> list[str]:
    return [reason.kind for reason in found]


def test_nothing_stands_against_it_where_it_starts() -> None:
    assert reasons_against(Rollout(), see(), CONFIG, label_delay=DELAY) == ()
    assert isinstance(decide(Rollout(), see(), CONFIG), StartRetraining)


NEXT_WINDOW = BAD.end + DAY + DELAY


@pytest.mark.parametrize(
    ("state", "changes", "kind", "text", "until"),
    [
        (Rollout(paused=True), {}, "paused", "paused", None),
        (Rollout(), {"trainable": False}, "no_pipeline", "no deployed bundle trains", None),
        (
            Rollout(),
            {"plans": [example_plan(), example_plan(2, at=NOW - DAY, trial=Trial(version=2))]},
            "trial",
            "version 2 is on trial",
            NOW + 6 * DAY,
        ),
        (Rollout(), {"runs": [example_run(status=RunStatus.RUNNING)]}, "run_under_way", "run r is under way", None),
        (Rollout().apply(retraining(5)), {}, "run_under_way", "is being started", None),
        (Rollout(), {"windows": []}, "no_window", "no window of version 1", None),
        (Rollout(), {"windows": [BLOCKED]}, "broken_data", "column wind is missing", NEXT_WINDOW),
        (Rollout(), {"windows": [DIFFERS]}, "features_differ", "v__x in 40.0%", NEXT_WINDOW),
        (Rollout(), {"windows": [example_window(9)]}, "no_trigger", "0 of the last 1 windows, needs 1", NEXT_WINDOW),
        (
            Rollout(blocked=GrownSet({"20130314T000000Z"})),
            {},
            "decided_before",
            "was decided on",
            NEXT_WINDOW,
        ),
        (done(8), {}, "cooldown", "the last retraining started", START + 11 * DAY),
        (done(5, helped=False), {}, "backoff", "1 candidates in a row did not help", START + 11 * DAY),
        (done(1, 2, 3), {}, "budget", "3 retrainings started within", START + 22 * DAY),
        (Rollout(), {"windows": [example_window(9, degraded=True, labelled=10)]}, "labelled_rows", "10 labelled", None),
        (
            Rollout(),
            {"plans": [example_plan(at=NOW + 3650 * DAY)]},
            "clock_set_back",
            "the clock was set back",
            NOW + 3650 * DAY,
        ),
    ],
)
def test_each_thing_that_stands_against_it_is_told(
    state: Rollout, changes: dict[str, Any], kind: str, text: str, until: object
) -> None:
    found = reasons_against(state, see(**changes), CONFIG, label_delay=DELAY)
    reason = next(reason for reason in found if reason.kind == kind)
    assert text in reason.text
    assert reason.until == until
    assert reason.remedy


def test_how_near_other_triggers_are_is_told() -> None:
    news = {"cron": CronTrigger(at="0 3 * * *"), "new_data": NewDataTrigger(min_rows=100), "new_code": True}
    config = CONFIG.model_copy(update={"triggers": CONFIG.triggers.model_copy(update=news)})
    grown = TableGrowth(trained_version=1, version=2, rows=40)
    taken_over = NOW - timedelta(hours=1)
    seen = see(plans=[example_plan(at=taken_over)], windows=[example_window(9, end=NOW, start=taken_over)])
    told = [
        reason.text
        for data in (None, NewData(tables={"trips": grown}))
        for reason in reasons_against(Rollout(), replace(seen, data=data), config)
        if reason.kind == "no_trigger"
    ]
    assert all("the calendar comes due at 2013-03-14T03:00:00+00:00" in text for text in told)
    assert ["unknown number of new rows" in told[0], "40 new rows came, needs 100" in told[1]] == [True, True]
    assert "the deployed bundle has the champion's code" in told[0]


def test_all_of_them_are_told_at_once() -> None:
    state = done(8, 9).apply(Pause(model="m", at=NOW, reason="x", count=0))
    found = reasons_against(state, see(windows=[BLOCKED], trainable=False), CONFIG)
    assert kinds(found) == ["paused", "no_pipeline", "broken_data", "cooldown", "budget"]
    off = reasons_against(Rollout(paused=True), see(), CONFIG.model_copy(update={"enabled": False}))
    assert kinds(off) == ["disabled"]


def test_a_failed_attempt_is_tried_again_without_a_trigger_but_not_on_broken_data_nor_beyond_the_budget() -> None:
    state = Rollout().apply(retraining(9))
    state = state.apply(FailRun(model="m", at=NOW, reason="x", run_id="m-9-1", final=False))
    calm = see(windows=[example_window(0)])
    assert reasons_against(state, calm, CONFIG) == ()
    assert isinstance(decide(state, calm, CONFIG), StartRetraining)
    broken = see(windows=[BLOCKED])
    assert kinds(reasons_against(state, broken, CONFIG)) == ["broken_data"]
    assert decide(state, broken, CONFIG) is None
    spent = CONFIG.model_copy(update={"retrain": CONFIG.retrain.model_copy(update={"budget_runs": 1})})
    assert kinds(reasons_against(state, calm, spent)) == ["budget"]
    assert decide(state, calm, spent) is None


def test_what_the_loop_does_is_what_the_reasons_say() -> None:
    """Over a year of windows of every kind: it starts a retraining just where nothing stands against it."""
    config = CONFIG.model_copy(update={"retrain": CONFIG.retrain.model_copy(update={"max_attempts": 1})})
    windows = [
        example_window(
            day, degraded=day % 3 == 0, quality="block" if day % 5 == 0 else "ok", labelled=0 if day < 7 else 500
        )
        for day in range(120)
    ]
    state, started = Rollout(), 0
    for day in range(1, 120):
        seen = see(windows=windows[:day], now=windows[day - 1].end)
        decision = decide(state, seen, config)
        free = not reasons_against(state, seen, config)
        assert free == isinstance(decision, StartRetraining), (day, decision)
        if decision is not None:
            state = state.apply(decision)
        if isinstance(decision, StartRetraining):
            started += 1
            state = state.apply(Refuse(model="m", at=seen.now, reason="no", run_id=decision.run_id, rejection=False))
    assert 5 <= started <= 12


class TestStatus:
    def test_it_tells_what_holds_a_model_up(self) -> None:
        world = ControlWorld()
        world.close_window(drifted=True)
        world.controller.pause("m", reason="holiday")
        world.step()
        (status,) = world.controller.status()
        assert (status.phase, kinds(status.reasons)) == (Phase.PAUSED, ["paused"])
        world.controller.resume("m", reason="back")
        world.observer.untrainable.add("m")
        assert world.step() == []
        (status,) = world.controller.status()
        assert (kinds(status.reasons), status.problem, status.last_turn_at) == (
            ["no_pipeline"],
            None,
            world.clock.now(),
        )
        world.observer.untrainable.clear()
        world.observer.trouble = StorageError("locked")
        world.step()
        (status,) = world.controller.status()
        assert kinds(status.reasons)[0] == "held_up"
        assert (status.problem, status.failed_turns) == ("StorageError: locked", 1)
        world.observer.trouble = None
        assert len(world.step()) == 1
        assert world.controller.status()[0].reasons[0].kind == "run_under_way"


class TestWhy:
    def test_it_tells_how_things_stood(self) -> None:
        world = ControlWorld()
        world.close_window()
        world.step()
        calm = world.clock.now()
        world.close_window(drifted=True)
        before = world.clock.now()
        world.advance(timedelta(minutes=1))
        world.step()
        started = world.clock.now()
        world.advance(DAY)
        world.finish_runs("candidate")
        world.step()
        why = world.controller.why("m", calm)
        assert (why.phase, kinds(why.reasons), why.decisions) == (Phase.SERVING, ["no_trigger"], ())
        why = world.controller.why("m", before)
        assert (why.verdict.outcome, why.reasons) == ("retrain", ())
        assert why.window == world.observer.windows_of["m"][-1]
        why = world.controller.why("m", started)
        assert (why.phase, kinds(why.reasons)[:1]) == (Phase.RETRAINING, ["run_under_way"])
        assert [entry.action for entry in why.decisions] == ["retrain"]
        why = world.controller.why("m")
        assert (why.at, why.phase, why.reasons[0].kind) == (world.clock.now(), Phase.ON_TRIAL, "trial")
        assert [entry.action for entry in why.decisions] == ["retrain", "start_trial"]

    def test_nothing_is_known_of_a_time_before_the_first_plan(self) -> None:
        with pytest.raises(NotFoundError, match="was not deployed at 2013-03-03"):
            ControlWorld().controller.why("m", START - DAY)


class TestClockSetBack:
    def test_starts_and_windows_of_the_future_hold_nothing_back(self) -> None:
        future = NOW + 3650 * DAY
        state = done(9 + 3650)
        windows = [BAD, example_window(9 + 3650, quality="block")]
        assert isinstance(decide(state, see(windows=windows), CONFIG), StartRetraining)
        plans = [example_plan(), example_plan(2, champion=2, at=future)]
        own = example_window(9, champion=2, degraded=True)
        assert isinstance(decide(Rollout(), see(windows=[own], plans=plans), CONFIG), StartRetraining)
