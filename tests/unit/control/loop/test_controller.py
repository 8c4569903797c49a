from __future__ import annotations

import logging
import threading
import time

import pytest

from raymlops.config import ControlConfig, ProbationConfig
from raymlops.control import Phase, Promote, StartRetraining, StartTrial
from raymlops.control.rollout.measuring.evidence import ShareSince, TrialScope
from raymlops.errors import (
    ConfigError,
    InvalidTransition,
    ModelLoadFailed,
    StaleWrite,
    StorageError,
    SwapFailed,
    UnavailableError,
)
from raymlops.records.record import canonical_json
from raymlops.testing.control_examples import DAY, START, example_arm, example_evidence, example_plan, example_window
from tests.support.control import CrashSwitch, SimulatedCrash
from tests.support.control_world import ControlWorld

HOUR = DAY / 24
NOTHING = example_arm(requests=0, labelled=0)


@pytest.fixture
def world() -> ControlWorld:
    return ControlWorld()


def reach_trial(world: ControlWorld) -> None:
    world.close_window(drifted=True)
    world.step()
    world.finish_runs("candidate")
    world.step()
    assert world.plans[-1].trial is not None


def test_from_drift_to_a_new_champion(world: ControlWorld) -> None:
    world.close_window()
    assert world.step() == []
    world.close_window(drifted=True)
    (retrain,) = world.step()
    assert isinstance(retrain, StartRetraining)
    assert world.actuator.jobs == [retrain.run_id] == ["m-20130306T000000Z"]
    assert world.step() == []
    world.finish_runs("candidate")
    (trial,) = world.step()
    assert isinstance(trial, StartTrial)
    assert world.plans[-1].trial == trial.trial
    world.show("good")
    assert world.step() == []
    world.advance(HOUR)
    (promote,) = world.step()
    assert isinstance(promote, Promote)
    assert (world.plans[-1].champion, world.plans[-1].backup, world.plans[-1].trial) == (2, 1, None)
    assert world.actuator.champion_alias == {"m": 2}
    assert world.actions == ["retrain", "start_trial", "promote"]
    world.close_window()
    assert world.step() == []


def test_a_bad_canary_is_rolled_back(world: ControlWorld) -> None:
    reach_trial(world)
    world.show("bad")
    world.advance(HOUR)
    world.step()
    assert (world.plans[-1].champion, world.plans[-1].trial) == (1, None)
    assert world.actions == ["retrain", "start_trial", "roll_back"]


def test_a_failing_champion_gives_way_to_its_backup(world: ControlWorld) -> None:
    world.user_promote()
    world.sicken(60)
    assert world.step() == []
    world.advance(HOUR)
    world.step()
    assert (world.plans[-1].champion, world.plans[-1].backup) == (1, None)
    world.advance(HOUR)
    assert world.step() == []


def with_trial(**changes: object) -> ControlWorld:
    world = ControlWorld()
    world.config = world.config.model_copy(update={"trial": world.config.trial.model_copy(update=changes)})
    world.restart()
    return world


def look(world: ControlWorld) -> list[str]:
    world.advance(HOUR)
    return [decision.action for decision in world.step()]


def test_a_candidate_ramps_up_late_and_survives_a_restart_on_the_way() -> None:
    world = with_trial(ramp=(0.5, 0.8))
    reach_trial(world)
    assert look(world) == []
    world.show("good")
    assert look(world) == ["ramp"]
    world.restart()
    assert look(world) == ["ramp"]
    assert world.plans[-1].trial is not None
    assert (world.plans[-1].trial.weight, world.plans[-1].trial.ramp) == (0.8, ())
    assert look(world) == ["promote"]
    shares = [plan.trial.weight for plan in world.plans if plan.trial is not None]
    assert shares == [0.3, 0.5, 0.8]
    assert world.actions == ["retrain", "start_trial", "ramp", "ramp", "promote"]


def test_a_candidate_that_breaks_at_its_larger_share_is_rolled_back() -> None:
    world = with_trial(ramp=(0.5,))
    reach_trial(world)
    world.show("good")
    assert look(world) == ["ramp"]
    world.show("faulty")
    assert look(world) == ["roll_back"]
    assert (world.plans[-1].champion, world.plans[-1].trial) == (1, None)


def test_a_new_champion_is_on_probation_for_a_while_and_no_longer() -> None:
    world = with_trial(probation=ProbationConfig(max_duration=2 * DAY))
    world.user_promote()
    world.disappoint("good")
    assert look(world) == []
    world.disappoint("bad")
    assert look(world) == ["roll_back"]
    assert (world.plans[-1].champion, world.plans[-1].backup) == (1, None)
    assert world.ledger.entries()[-1].evidence["cause"] == "probation"
    assert look(world) == []
    world.user_promote()
    world.advance(2 * DAY)
    assert look(world) == []
    assert world.plans[-1].champion == 3


def test_without_a_probation_a_champion_stays() -> None:
    world = with_trial(probation=None)
    world.user_promote()
    world.disappoint("bad")
    assert look(world) == []


def test_a_person_is_asked_once_and_may_answer() -> None:
    world = with_trial(inconclusive="ask", max_duration=DAY)
    reach_trial(world)
    world.show("unclear")
    world.advance(DAY)
    assert [decision.action for decision in world.step()] == ["ask"]
    assert look(world) == []
    world.restart()
    assert look(world) == []
    world.user_promote()
    assert look(world) == []
    assert world.plans[-1].champion == 2
    assert world.actions.count("ask") == 1


def test_labels_that_come_after_the_trial_ended_change_nothing() -> None:
    world = with_trial(max_duration=DAY)
    reach_trial(world)
    world.advance(DAY)
    assert [decision.action for decision in world.step()] == ["roll_back"]
    world.show("good")
    assert look(world) == []
    assert world.plans[-1].champion == 1


def test_why_tells_how_far_each_guard_is_from_deciding() -> None:
    world = with_trial()
    world.user_promote()
    world.user_trial()
    world.show("unclear")
    world.disappoint("good")
    began = world.clock.now()
    world.advance(HOUR)
    world.step()
    found = world.controller.why("m")
    trial, probation = found.standings
    assert (trial.kind, trial.version, trial.compared_with, trial.since) == ("trial", 3, 2, began)
    assert [guard.name for guard in trial.guards if guard.reached] == ["own_requests", "labelled_rows"]
    assert (probation.kind, probation.version, probation.compared_with) == ("probation", 2, 1)
    assert world.controller.why("m", began).standings[0].guards[-1].value == 0
    world.user_rollback()
    world.advance(HOUR)
    assert [standing.kind for standing in world.controller.why("m").standings] == ["probation"]


def test_why_answers_all_the_rest_where_evidence_cannot_be_read() -> None:
    world = with_trial()
    world.user_promote()
    world.user_trial()
    world.show("unclear")
    world.disappoint("good")
    world.advance(HOUR)
    world.step()
    before = world.controller.why("m")
    world.observer.evidence_trouble = StorageError("events of the trial are damaged")
    found = world.controller.why("m")
    assert found.standings == ()
    assert found.unreadable == tuple(
        f"the evidence of the {kind} cannot be read: StorageError: events of the trial are damaged"
        for kind in ("trial", "probation")
    )
    assert (found.verdict, found.reasons, found.decisions) == (before.verdict, before.reasons, before.decisions)
    world.observer.evidence_trouble = None
    assert world.controller.why("m") == before


def test_evidence_is_gathered_once_per_look(world: ControlWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    reach_trial(world)
    asked: list[TrialScope] = []
    nothing = example_evidence(NOTHING)
    monkeypatch.setattr(type(world.observer), "trial_evidence", lambda _, __, scope: asked.append(scope) or nothing)
    world.step()
    world.advance(HOUR / 2)
    world.step()
    assert asked == []
    world.advance(HOUR)
    since = world.plans[-1].created_at
    for _ in range(3):
        world.step()
    (scope,) = asked
    assert (scope.candidate, scope.champion, scope.probation) == (2, 1, False)
    assert (scope.since, scope.until, scope.labelled_until) == (since, since + HOUR, since + HOUR)
    assert (scope.shares, scope.deadline_ms) == ((ShareSince(since=since, share=0.3),), 250.0)


def test_a_users_trial_and_promotion_fit_in(world: ControlWorld) -> None:
    world.user_trial()
    world.show("good")
    world.step()
    world.user_promote()
    world.advance(HOUR)
    assert world.step() == []
    assert world.plans[-1].champion == 2
    world.user_trial()
    world.show("bad")
    world.advance(HOUR)
    world.step()
    assert world.actions == ["roll_back"]


def test_a_users_run_holds_back_a_retraining_and_its_candidate_goes_on_trial(world: ControlWorld) -> None:
    world.start_user_run()
    world.close_window(drifted=True)
    assert world.step() == []
    world.finish_runs("candidate")
    world.step()
    assert world.actions == ["start_trial"]


class TestTrouble:
    def test_is_shown_and_taken_up_again(self, world: ControlWorld, caplog: pytest.LogCaptureFixture) -> None:
        world.close_window(drifted=True)
        world.actuator.errors = [UnavailableError("no job service")]
        with caplog.at_level(logging.WARNING):
            (decision,) = world.step()
        assert isinstance(decision, StartRetraining)
        assert world.actuator.jobs == []
        (status,) = world.controller.status()
        assert status.problem == "UnavailableError: no job service"
        assert "no job service" in caplog.text
        assert world.step() == []
        assert world.actuator.jobs == [decision.run_id]
        assert world.controller.status()[0].problem is None

    def test_is_shown_by_a_controller_that_just_restarted(self, world: ControlWorld) -> None:
        world.close_window(drifted=True)
        world.actuator.errors = [UnavailableError("x")] * 2
        world.step()
        world.restart()
        world.step()
        assert world.controller.status()[0].problem == "UnavailableError: x"

    def test_with_one_model_does_not_hold_up_another(self, world: ControlWorld) -> None:
        world.observer.plans_of["a"] = [example_plan(model="a")]
        world.observer.windows_of["a"] = [*world.observer.windows_of.get("m", [])]
        world.close_window(drifted=True)
        window = world.observer.windows_of["m"][0].model_copy(update={"model": "a"})
        world.observer.windows_of["a"] = [window]
        world.actuator.errors = [UnavailableError("not now")]
        assert [decision.model for decision in world.step()] == ["a", "m"]
        assert world.actuator.jobs == ["m-20130305T000000Z"]
        assert [status.problem is None for status in world.controller.status()] == [False, True]

    def test_that_lasts_ends_in_giving_up(self, world: ControlWorld) -> None:
        world.close_window(drifted=True)
        world.actuator.errors = [UnavailableError("no job service")] * 2
        world.step()
        world.step()
        assert world.actions == ["retrain", "abandon", "retrain"]
        assert world.actuator.jobs == ["m-20130305T000000Z-2"]

    def test_that_cannot_pass_gives_up_at_once(self, world: ControlWorld) -> None:
        world.close_window(drifted=True)
        world.actuator.errors = [ConfigError("no bundle is deployed")] * 2
        world.step()
        assert world.actions == ["retrain", "abandon", "retrain", "abandon"]
        assert world.ledger.entries()[-1].reason == "ConfigError: no bundle is deployed"
        assert world.step() == []
        assert world.actuator.jobs == []

    @pytest.mark.parametrize("error", [ModelLoadFailed("bad file"), SwapFailed("one replica is gone")])
    def test_a_trial_that_does_not_come_up_is_tried_a_few_times(self, world: ControlWorld, error: Exception) -> None:
        world.close_window(drifted=True)
        world.step()
        world.finish_runs("candidate")
        world.actuator.errors = [error] * 3
        for expected in ("start_trial", "start_trial", "abandon"):
            world.step()
            assert world.actions[-1] == expected
        assert world.step() == []
        assert len(world.plans) == 1

    def test_a_candidate_that_its_run_does_not_vouch_for_is_given_up_at_once(self, world: ControlWorld) -> None:
        world.close_window(drifted=True)
        world.step()
        world.finish_runs("candidate")
        refusal = "version 2 of 'm' cannot be promoted: the data blessing is missing"
        world.actuator.errors = [InvalidTransition(refusal)]
        world.step()
        assert world.actions[-2:] == ["start_trial", "abandon"]
        assert world.ledger.entries()[-1].reason == f"InvalidTransition: {refusal}"
        assert world.step() == []
        assert len(world.plans) == 1

    def test_a_promotion_that_its_run_does_not_vouch_for_ends_the_trial(self, world: ControlWorld) -> None:
        reach_trial(world)
        world.show("good")
        world.actuator.errors = [InvalidTransition("the evaluation blessing was refused: worse than the champion")]
        world.advance(HOUR)
        world.step()
        assert world.actions[-3:] == ["promote", "abandon", "roll_back"]
        assert world.plans[-1].champion == 1

    def test_a_promotion_that_does_not_come_up_ends_the_trial(self, world: ControlWorld) -> None:
        reach_trial(world)
        world.show("good")
        world.advance(HOUR)
        world.actuator.errors = [ModelLoadFailed("bad file")] * 3
        for _ in range(3):
            world.step()
        assert world.actions[-3:] == ["promote", "abandon", "roll_back"]
        assert (world.plans[-1].champion, world.plans[-1].trial) == (1, None)

    def test_a_rollback_is_never_given_up(self, world: ControlWorld) -> None:
        reach_trial(world)
        world.show("bad")
        world.advance(HOUR)
        world.actuator.errors = [
            SwapFailed("gone"),
            StorageError("full"),
            ConfigError("odd"),
            UnavailableError("x"),
        ] * 3
        for _ in range(12):
            world.step()
            assert world.plans[-1].trial is not None
        world.step()
        assert world.plans[-1].trial is None
        assert world.actions[-1] == "roll_back"

    @pytest.mark.parametrize(
        "error", [UnavailableError("slow"), ModelLoadFailed("bad file"), InvalidTransition("retired")]
    )
    def test_after_its_plan_was_made_gives_up_nothing(
        self, world: ControlWorld, error: Exception, caplog: pytest.LogCaptureFixture
    ) -> None:
        reach_trial(world)
        world.show("good")
        world.advance(HOUR)
        world.actuator.late_errors = [error] * 3
        for _ in range(3):
            world.step()
        assert world.actions[-1] == "promote"
        assert world.plans[-1].champion == 2
        assert world.controller.status()[0].problem is None
        assert "control/m/promote/2@2" in caplog.text

    def test_after_its_plan_was_made_holds_up_no_rollback(self, world: ControlWorld) -> None:
        reach_trial(world)
        world.show("bad")
        world.advance(HOUR)
        world.actuator.late_errors = [StorageError("full")] * 10
        for _ in range(3):
            world.step()
        assert (world.actions[-1], world.plans[-1].trial) == ("roll_back", None)
        assert world.controller.status()[0].problem is None

    def test_of_a_decision_that_is_superseded_does_not_count_against_the_next(self, world: ControlWorld) -> None:
        world.close_window(drifted=True)
        world.step()
        world.finish_runs("candidate")
        world.actuator.errors = [UnavailableError("not now")]
        world.step()
        world.serve(replicas=2)
        world.actuator.errors = [UnavailableError("not now")]
        world.step()
        assert world.actions[-3:] == ["start_trial", "abandon", "start_trial"]
        world.step()
        assert world.plans[-1].trial is not None

    def test_a_plan_changed_by_somebody_else_supersedes(self, world: ControlWorld) -> None:
        world.close_window(drifted=True)
        world.step()
        world.finish_runs("candidate")
        world.actuator.errors = [StaleWrite("somebody was first")]
        world.step()
        assert world.controller.status()[0].problem == "StaleWrite: somebody was first"
        world.serve(replicas=2)
        world.step()
        assert world.actions == ["retrain", "start_trial", "abandon", "start_trial"]
        assert (world.plans[-1].number, world.plans[-1].replicas) == (3, 2)
        assert world.plans[-1].trial is not None

    def test_without_the_list_of_models_there_is_no_step(
        self, world: ControlWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(_: object) -> list[str]:
            raise UnavailableError("metadata is restarting")

        monkeypatch.setattr(type(world.observer), "models", fail)
        with pytest.raises(UnavailableError):
            world.step()

    def test_a_key_that_was_used_up_is_no_endless_loop(self, world: ControlWorld) -> None:
        world.close_window(drifted=True)
        world.step()
        world.controller._folded._rollouts.clear()  # never happens: it forgets what it folded, and the run is gone too
        world.observer.runs_of.clear()
        assert world.step() == []
        assert "was taken before and is over" in (world.controller.status()[0].problem or "")

    def test_a_store_in_trouble(self, world: ControlWorld) -> None:
        world.observer.trouble = StorageError("locked")
        assert world.step() == []
        (status,) = world.controller.status()
        assert (status.phase, status.champion, status.problem) == (Phase.UNKNOWN, None, "StorageError: locked")
        world.observer.trouble = None
        world.close_window(drifted=True)
        assert world.actions == []
        assert len(world.step()) == 1


class TestRestart:
    def test_goes_on_with_a_decision_that_was_recorded_only(self) -> None:
        world = ControlWorld(CrashSwitch(at=2))
        world.close_window(drifted=True)
        with pytest.raises(SimulatedCrash, match="after recording retrain"):
            world.controller.step()
        assert world.actuator.jobs == []
        world.restart()
        assert world.step() == []
        assert world.actuator.jobs == ["m-20130305T000000Z"]

    def test_does_not_start_a_run_again_that_ended(self, world: ControlWorld) -> None:
        world.close_window(drifted=True)
        world.step()
        world.finish_runs("failed")
        world.actuator.jobs.clear()
        world.restart()
        world.step()
        assert world.actuator.jobs == ["m-20130305T000000Z-2"]

    def test_finishes_a_plan_that_is_half_way_there(self, world: ControlWorld) -> None:
        reach_trial(world)
        world.show("good")
        world.advance(HOUR)
        passed = len(world.switch.passed)
        world.switch.at = passed + 4
        with pytest.raises(SimulatedCrash, match="before the alias of promote"):
            world.controller.step()
        assert (world.plans[-1].champion, world.actuator.champion_alias["m"]) == (2, 1)
        world.restart()
        assert world.step() == []
        assert world.actuator.champion_alias["m"] == 2
        assert [plan.champion for plan in world.plans] == [1, 1, 2]

    def test_leaves_a_plan_alone_that_was_replaced_meanwhile(self, world: ControlWorld) -> None:
        reach_trial(world)
        world.user_rollback()
        world.restart()
        assert world.step() == []
        assert [plan.trial is None for plan in world.plans] == [True, False, True]

    def test_drops_a_plan_that_was_never_put_and_overtaken(self) -> None:
        world = ControlWorld()
        world.close_window(drifted=True)
        world.step()
        world.finish_runs("candidate")
        world.switch.at = len(world.switch.passed) + 3
        with pytest.raises(SimulatedCrash, match="before the plan of start_trial"):
            world.controller.step()
        world.user_promote()
        world.restart()
        world.step()
        assert world.actions == ["retrain", "start_trial", "abandon", "refuse"]
        assert world.ledger.entries()[-1].reason == "version 2 is older than version 3, which became champion since"


class TestPause:
    def test_and_resume(self, world: ControlWorld) -> None:
        first = world.controller.pause("m", reason="investigating", by="ada")
        assert first.evidence["by"] == "ada"
        assert world.controller.pause("m", reason="again") == first
        world.close_window(drifted=True)
        assert world.step() == []
        assert world.controller.status()[0].phase is Phase.PAUSED
        assert world.controller.resume("m", reason="done").action == "resume"
        assert len(world.step()) == 1
        assert world.actions == ["pause", "resume", "retrain"]

    def test_is_not_what_others_write_under_that_name(self, world: ControlWorld) -> None:
        world.ledger.append_entry("m", "pause", "of something else", {}, key="user/1")
        world.controller.pause("m", reason="x")
        assert world.actions == ["pause", "pause"]

    def test_of_all_models_holds_for_each(self, world: ControlWorld) -> None:
        world.controller.pause(reason="maintenance")
        world.controller.resume("m", reason="not this one")
        world.close_window(drifted=True)
        assert world.step() == []
        world.controller.resume(reason="over")
        assert len(world.step()) == 1

    def test_outlives_the_controller(self, world: ControlWorld) -> None:
        world.controller.pause("m", reason="x")
        world.restart()
        world.close_window(drifted=True)
        assert world.step() == []

    def test_does_not_leave_a_recorded_decision_half_done(self, world: ControlWorld) -> None:
        world.close_window(drifted=True)
        world.actuator.errors = [UnavailableError("not now")]
        world.step()
        world.controller.pause("m", reason="x")
        world.step()
        assert len(world.actuator.jobs) == 1

    def test_disabled_it_only_watches(self) -> None:
        world = ControlWorld(config=ControlConfig(enabled=False))
        world.close_window(drifted=True)
        assert world.step() == []
        assert world.controller.status()[0].phase is Phase.PAUSED


def test_status_tells_what_is_under_way(world: ControlWorld) -> None:
    assert world.controller.status() == []
    world.step()
    (status,) = world.controller.status()
    assert (status.phase, status.champion, status.champion_since) == (Phase.SERVING, 1, START)
    world.close_window(drifted=True)
    world.step()
    (status,) = world.controller.status()
    assert (status.phase, status.run_id) == (Phase.RETRAINING, "m-20130305T000000Z")
    world.finish_runs("candidate")
    world.step()
    (status,) = world.controller.status()
    assert (status.phase, status.trial) == (Phase.ON_TRIAL, world.plans[-1].trial)
    assert status.verdict.fired[0].trigger == "drift"


def test_the_ledger_holds_only_what_has_a_json_form(world: ControlWorld) -> None:
    reach_trial(world)
    world.show("good")
    world.advance(HOUR)
    world.step()
    for entry in world.ledger.entries():
        canonical_json(entry.evidence)
        assert entry.hash == entry.expected_hash()
        assert entry.evidence["at"] == entry.at.isoformat().replace("+00:00", "Z")


class TestOtherModels:
    """What is wrong with one model is no trouble of another."""

    @pytest.fixture
    def two(self, world: ControlWorld) -> ControlWorld:
        world.observer.put_plan(example_plan().model_copy(update={"model": "a"}))
        return world

    @pytest.mark.parametrize("error", [OverflowError("date value out of range"), KeyError("x"), StorageError("x")])
    def test_of_one_that_raises(self, two: ControlWorld, error: Exception) -> None:
        two.observer.trouble_of["a"] = error
        two.close_window(drifted=True)
        assert [decision.model for decision in two.step()] == ["m"]
        problems = {status.model: status.problem for status in two.controller.status()}
        assert problems == {"a": f"{type(error).__name__}: {error}", "m": None}

    def test_of_one_whose_ledger_entry_cannot_be_read(self, two: ControlWorld) -> None:
        two.ledger.append_entry("a", "dance", "x", {}, key="control/a/dance/1")
        two.close_window(drifted=True)
        assert [decision.model for decision in two.step()] == ["m"]
        problems = {status.model: status.problem for status in two.controller.status()}
        assert "entry 1: LedgerBroken" in (problems["a"] or "")
        assert problems["m"] is None

    def test_of_one_whose_turn_hangs(self, two: ControlWorld, monkeypatch: pytest.MonkeyPatch) -> None:
        begun, released, ended = threading.Event(), threading.Event(), threading.Semaphore(0)
        plans = two.observer.plans

        def hang(model: str) -> object:
            if model == "a":
                begun.set()
                assert released.wait(60)
            return plans(model)

        monkeypatch.setattr(two.observer, "plans", hang)
        end = two.controller._turns._end
        monkeypatch.setattr(two.controller._turns, "_end", lambda *given: (end(*given), ended.release()))
        two.close_window(drifted=True)
        assert two.controller.start_turns() == ["a", "m"]
        assert begun.wait(60)
        assert ended.acquire(timeout=60)
        statuses = {status.model: status for status in two.controller.status()}
        assert statuses["m"].last_turn_at == two.clock.now()
        assert statuses["a"].turn_taken_s is not None
        assert (statuses["a"].last_turn_at, statuses["a"].phase) == (None, Phase.UNKNOWN)
        assert "a" not in two.controller.start_turns()
        assert two.actions == ["retrain"]
        released.set()
        assert ended.acquire(timeout=60)

    def test_turns_side_by_side_fold_the_same_ledger(self, world: ControlWorld) -> None:
        """Many models decide at the same time: each decision is recorded once, and none is taken for an old one."""
        models = [f"m{number:02d}" for number in range(12)]
        for model in models:
            world.observer.put_plan(example_plan().model_copy(update={"model": model}))
            window = example_window(0, drifted=True).model_copy(update={"model": model})
            world.observer.windows_of[model] = [window]
        world.advance(DAY)
        deadline = time.monotonic() + 60
        while len(world.ledger.entries()) < len(models):
            assert time.monotonic() < deadline
            world.controller.start_turns()
        assert sorted(entry.subject for entry in world.ledger.entries()) == models
        assert [status.problem for status in world.controller.status()] == [None] * (len(models) + 1)


def test_what_is_done_first_in_a_turn_does_not_keep_the_rest_from_being_done(
    world: ControlWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: str) -> None:
        raise UnavailableError("windows cannot be closed")

    monkeypatch.setattr(world.controller, "_prepare", fail)
    world.close_window(drifted=True)
    assert len(world.step()) == 1
    assert world.controller.status()[0].problem == "UnavailableError: windows cannot be closed"
