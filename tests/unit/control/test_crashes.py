"""Laws of the rollout, crashes between any two of its steps included."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from raymlops.control import (
    Abandon,
    Ask,
    FailRun,
    FallBack,
    PlanDecision,
    Promote,
    Ramp,
    Refuse,
    RollBack,
    StartRetraining,
    StartTrial,
    decision_of,
)
from raymlops.control.rollout.plans import next_plan, took_effect
from raymlops.errors import ModelLoadFailed, SwapFailed, UnavailableError
from raymlops.testing.control_examples import DAY
from tests.support.control import CrashSwitch, SimulatedCrash
from tests.support.control_world import ControlWorld
from tests.support.examples import examples

Event = Callable[[ControlWorld], object]

OUTCOMES = st.sampled_from(
    [
        "candidate",
        "candidate",
        "candidate",
        "unblessed",
        "refused",
        "blocked",
        "skipped",
        "failed",
        "canceled",
        "nothing",
    ]
)
SHOWN = st.sampled_from(["nothing", "good", "good", "bad", "faulty", "unclear"])

EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        lambda drifted, quality, late, fallen: (
            lambda world: world.close_window(drifted=drifted, quality=quality, late=late, fallen=fallen)
        ),
        st.sampled_from([True, True, False]),
        st.sampled_from(["ok", "ok", "ok", "block"]),
        st.sampled_from([False, False, False, True]),
        st.booleans(),
    ),
    st.builds(lambda outcome: lambda world: world.finish_runs(outcome), OUTCOMES),
    st.builds(lambda shown: lambda world: world.show(shown), SHOWN),
    st.builds(lambda shown: lambda world: world.disappoint(shown), SHOWN),
    st.builds(lambda hours: lambda world: world.advance(hours * DAY / 24), st.sampled_from([1, 5, 200])),
    st.builds(lambda faults: lambda world: world.sicken(faults), st.sampled_from([0, 0, 80])),
    st.sampled_from(
        [
            ControlWorld.user_trial,
            ControlWorld.user_promote,
            ControlWorld.user_rollback,
            ControlWorld.user_next_share,
            ControlWorld.user_retry,
            lambda world: world.observer.disorder(),
            ControlWorld.deliver_windows,
            lambda world: world.observer.rename_pipeline(),
            lambda world: world.observer.lose_runs(),
            ControlWorld.start_user_run,
            lambda world: world.controller.pause("m", reason="x"),
            lambda world: world.controller.resume("m", reason="x"),
            lambda world: world.controller.resume("m", reason="x"),
            lambda world: world.restart(),
        ]
    ),
)


def play(events: list[Event], crash_at: int | None = None) -> ControlWorld:
    """A loop from drift to a promotion, then ``events``; a step after each; one crash at most."""
    world = ControlWorld(CrashSwitch(crash_at))
    loop: list[Event] = [
        lambda world: world.close_window(drifted=True),
        lambda world: world.finish_runs("candidate"),
        lambda world: world.show("good"),
        lambda world: world.advance(DAY / 24),
    ]
    for event in [*loop, *events]:
        try:
            event(world)
        except SimulatedCrash:
            world.restart()
            event(world)
        world.step()
    return world


@settings(max_examples=examples(100), deadline=None)
@given(events=st.lists(EVENTS, max_size=12), part=st.floats(0, 1, exclude_max=True))
def test_a_crash_changes_nothing_in_the_end(events: list[Event], part: float) -> None:
    calm = play(events)
    points = len(calm.switch.passed)
    crashed = play(events, crash_at=1 + int(part * points))
    assert crashed.ledger.entries() == calm.ledger.entries()
    assert crashed.plans == calm.plans
    assert crashed.actuator.jobs == calm.actuator.jobs
    assert crashed.actuator.champion_alias == calm.actuator.champion_alias


def test_every_point_of_one_loop_may_crash() -> None:
    calm = play([])
    assert calm.actions == ["retrain", "start_trial", "promote"]
    assert len(calm.switch.passed) == 15
    for at in range(1, 16):
        crashed = play([], crash_at=at)
        assert crashed.ledger.entries() == calm.ledger.entries()
        assert (crashed.plans, crashed.actuator.jobs) == (calm.plans, calm.actuator.jobs)


def test_a_plan_that_was_made_is_not_given_up_after_a_crash() -> None:
    machine = RolloutMachine()
    machine.configure(ramp=(), inconclusive="keep")
    machine.train_a_candidate("nothing")
    machine.train_a_candidate("good")
    machine.world.close_window(drifted=True, quality="ok")
    machine.step(crash_in=4)
    assert machine.down
    machine.come_back()
    for _ in range(2):
        machine.trouble(UnavailableError("x"), late=False)
    for _ in range(3):
        machine.step(None)
    assert machine.world.plans[-1].champion == 2
    assert "abandon" not in machine.world.actions
    machine.teardown()


class RolloutMachine(RuleBasedStateMachine):
    """Users, runs, windows, time and crashes in any order: also between a crash and the restart."""

    def __init__(self) -> None:
        super().__init__()
        self.world = ControlWorld()
        self.down = self.troubled = False

    @initialize(
        ramp=st.sampled_from([(), (0.5,), (0.5, 0.8)]),
        inconclusive=st.sampled_from(["keep", "promote_if_not_worse", "ask"]),
        cooldown_days=st.sampled_from([0, 0, 2]),
        budget_runs=st.sampled_from([1, 2, 1000, 1000]),
        max_attempts=st.sampled_from([1, 2, 3]),
    )
    def configure(
        self,
        ramp: tuple[float, ...] = (),
        inconclusive: str = "keep",
        cooldown_days: int = 0,
        budget_runs: int = 1000,
        max_attempts: int = 2,
    ) -> None:
        config = self.world.config
        trial = config.trial.model_copy(update={"ramp": ramp, "inconclusive": inconclusive})
        limits = {"cooldown": cooldown_days * DAY, "budget_runs": budget_runs, "max_attempts": max_attempts}
        retrain = config.retrain.model_copy(update={**limits, "budget_period": 10 * DAY, "backoff_max": 8 * DAY})
        self.world.config = config.model_copy(update={"trial": trial, "retrain": retrain})
        self.world.restart()

    @precondition(lambda self: not self.down)
    @rule(crash_in=st.sampled_from([None, None, 1, 2, 3, 4, 5, 6, 8, 11]))
    def step(self, crash_in: int | None) -> None:
        world = self.world
        world.switch.at = None if crash_in is None else len(world.switch.passed) + crash_in
        try:
            decisions = world.controller.step()
        except SimulatedCrash:
            self.down = True
            return
        finally:
            world.switch.at = None
        assert len(decisions) < 10
        if world.controller.status()[0].problem is None:
            self.check_settled()

    @precondition(lambda self: self.down)
    @rule()
    def come_back(self) -> None:
        self.world.restart()
        self.down = False

    @precondition(lambda self: not self.down)
    @rule(error=st.sampled_from([None, None, UnavailableError("x"), ModelLoadFailed("x"), ValueError("x")]))
    def evidence_cannot_be_read(self, error: Exception | None) -> None:
        """What trials show cannot be read from here on, or can be again, by looks that are due later."""
        self.world.observer.evidence_trouble = error
        self.world.advance(DAY / 24)

    @precondition(lambda self: not self.down)
    @rule(error=st.sampled_from([UnavailableError("x"), SwapFailed("x"), ModelLoadFailed("x")]), late=st.booleans())
    def trouble(self, error: Exception, late: bool) -> None:
        actuator = self.world.actuator
        (actuator.late_errors if late else actuator.errors).append(error)
        self.troubled = True

    @precondition(lambda self: not self.down)
    @rule(shown=SHOWN)
    def train_a_candidate(self, shown: str) -> None:
        """The common way to a trial, so that the rest is tried there too."""
        self.world.close_window(drifted=True)
        self.world.controller.step()
        self.world.finish_runs("candidate")
        self.world.show(shown)

    @rule(event=EVENTS)
    def happen(self, event: Event) -> None:
        event(self.world)

    def check_settled(self) -> None:
        """After a step without trouble, nothing is left to do: a fresh controller at the same instant agrees."""
        world = self.world
        entries, plans, jobs = world.ledger.entries(), list(world.plans), list(world.actuator.jobs)
        world.restart()
        assert world.controller.step() == []
        assert world.ledger.entries() == entries
        assert (world.plans, world.actuator.jobs) == (plans, jobs)
        if self.troubled:  # what lags behind a plan that was made is left to the operator
            world.actuator.catch_up()
        assert world.actuator.champion_alias["m"] == plans[-1].champion
        given_up = {decision.decision for decision in self.decisions() if isinstance(decision, Abandon)}
        for decision in self.decisions():
            if isinstance(decision, PlanDecision):
                assert took_effect(decision, plans) == (decision.key not in given_up)

    @invariant()
    def every_job_was_decided_once(self) -> None:
        jobs = self.world.actuator.jobs
        decided = [d.run_id for d in self.decisions() if isinstance(d, StartRetraining)]
        assert len(set(jobs)) == len(jobs)
        assert set(jobs) <= set(decided)
        assert len(set(decided)) == len(decided)

    @invariant()
    def one_retraining_at_a_time(self) -> None:
        runs, own = self.world.observer.runs_of.get("m", {}), set(self.world.actuator.jobs)
        assert len([run for run in runs.values() if run.id in own and not run.status.final]) <= 1

    @invariant()
    def every_retraining_has_a_trigger_and_is_within_the_policy(self) -> None:
        limits, windows = self.world.config.retrain, self.world.observer.windows_of.get("m", [])
        quality = {f"{window.end:%Y%m%dT%H%M%SZ}": window.quality for window in windows}
        starts = [decision for decision in self.decisions() if isinstance(decision, StartRetraining)]
        for i, start in enumerate(starts):
            assert start.triggers
            assert quality[start.occasion] == "ok"
            before = starts[:i]
            assert sum(start.at - each.at < limits.budget_period for each in before) < limits.budget_runs
            if start.attempt == 1:
                assert start.occasion not in {each.occasion for each in before}
                assert all(start.at - each.at >= limits.cooldown for each in before)
            else:
                assert (before[-1].occasion, before[-1].attempt) == (start.occasion, start.attempt - 1)
                assert start.attempt <= limits.max_attempts

    @invariant()
    def every_plan_is_by_hand_or_follows_one_decision(self) -> None:
        plans = {plan.number: plan for plan in self.world.plans}
        followed = []
        for decision in self.decisions():
            if not isinstance(decision, PlanDecision):
                continue
            base = plans[decision.plan]
            trial = base.trial and base.trial.version
            if isinstance(decision, StartTrial):
                assert trial is None
                assert decision.version not in {base.champion, base.backup}
            elif isinstance(decision, Ramp):
                assert base.trial is not None
                assert (trial, decision.trial.version) == (decision.version, decision.version)
                assert decision.trial.weight > base.trial.weight
            elif isinstance(decision, Promote):
                assert (trial, base.champion) == (decision.version, decision.previous)
            elif isinstance(decision, RollBack):
                assert decision.version == (trial if decision.cause == "trial" else base.champion)
                assert decision.to == (base.champion if decision.cause == "trial" else base.backup)
            elif isinstance(decision, FallBack):
                former = {plan.champion for number, plan in plans.items() if number < base.number}
                assert decision.version == base.champion
                assert decision.to is None or decision.to in former - {base.champion, *base.blocked}
                assert decision.to is not None or base.baseline is not None
            if took_effect(decision, self.world.plans):
                followed.append(decision.plan + 1)
                assert plans[decision.plan + 1] == next_plan(base, decision)
        by_hand = [number for number, plan in plans.items() if plan.reason in {"", "by hand"}]
        assert sorted(followed + by_hand) == sorted(plans)

    @invariant()
    def no_plan_names_a_version_that_is_not_blessed(self) -> None:
        served = frozenset[int]().union(*(plan.versions for plan in self.world.plans))
        assert served.isdisjoint(self.world.observer.unblessed)

    @invariant()
    def nobody_is_asked_twice_about_a_trial(self) -> None:
        asked = [(decision.version, decision.plan) for decision in self.decisions() if isinstance(decision, Ask)]
        assert len(set(asked)) == len(asked)

    def decisions(self) -> list[object]:
        return [decision_of(entry) for entry in self.world.ledger.entries()]

    def teardown(self) -> None:
        """Whatever happened, it ends: time passes, runs end, and nothing is left on trial or under way."""
        world = self.world
        world.restart()
        world.actuator.errors.clear()
        world.actuator.late_errors.clear()
        world.controller.resume("m", reason="end")
        for _ in range(6):
            world.step()
            world.finish_runs("refused")
            world.show("nothing")
            world.sicken(0)
            world.advance(8 * DAY)
        assert world.step() == []
        assert world.plans[-1].trial is None
        self.check_settled()
        ended = {each.run_id for each in self.decisions() if isinstance(each, Refuse | FailRun | StartTrial)}
        given_up = {each.decision for each in self.decisions() if isinstance(each, Abandon)}
        for decision in self.decisions():
            if isinstance(decision, StartRetraining):
                assert decision.run_id in ended or decision.key in given_up


RolloutMachine.TestCase.settings = settings(max_examples=examples(40), stateful_step_count=30, deadline=None)
TestRolloutMachine = RolloutMachine.TestCase
