"""The table of the state machine: ledger, plans, runs and looks in, decision out."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from raymlops.config import ControlConfig, RetrainConfig, TrialConfig, TriggersConfig, WindowCount
from raymlops.control.rollout.decisions import (
    Abandon,
    Ask,
    Block,
    Decision,
    FailRun,
    Pause,
    Promote,
    Ramp,
    Refuse,
    Resume,
    RollBack,
    StartRetraining,
    StartTrial,
)
from raymlops.control.rollout.ledger_state import Rollout
from raymlops.control.rollout.measuring.evidence import Health
from raymlops.control.rollout.observation import Look, Observation
from raymlops.control.rollout.plans import next_plan
from raymlops.control.rollout.rollout_state import decide
from raymlops.records.plans import Trial
from raymlops.records.runs import RunStatus
from raymlops.testing.control_examples import (
    DAY,
    START,
    example_arm,
    example_evidence,
    example_plan,
    example_run,
    example_window,
)

NOW = START + 3 * DAY
CONFIG = ControlConfig(
    triggers=TriggersConfig(drift=WindowCount(n=2, of=2)),
    retrain=RetrainConfig(cooldown=DAY, max_attempts=2),
    trial=TrialConfig(weight=0.3, min_labelled_rows=100, max_duration=7 * DAY),
)
DRIFTED = (example_window(1, drifted=True), example_window(2, drifted=True))
TRIAL = Trial(version=5, weight=0.3)
RUN_ID = "m-20130307T000000Z"


def retraining(attempt: int = 1, at: datetime = NOW, champion: int = 1) -> StartRetraining:
    run_id = RUN_ID + ("" if attempt == 1 else f"-{attempt}")
    return StartRetraining(
        model="m",
        at=at,
        reason="drift",
        run_id=run_id,
        occasion="20130307T000000Z",
        champion=champion,
        triggers=("drift",),
        attempt=attempt,
    )


def start_trial(plan: int = 1, run_id: str = RUN_ID) -> StartTrial:
    return StartTrial(model="m", at=NOW, reason="", plan=plan, version=5, trial=TRIAL, run_id=run_id)


def roll_back(cause: str = "trial") -> RollBack:
    return RollBack.model_validate(
        {"model": "m", "at": NOW, "reason": "", "plan": 2, "version": 5, "to": 1, "cause": cause}
    )


def fold(*decisions: Decision) -> Rollout:
    state = Rollout()
    for decision in decisions:
        state = state.apply(decision)
    return state


def see(**changes: Any) -> Observation:
    values: dict[str, Any] = {"plans": [example_plan()], "runs": [], "windows": [], "now": NOW, **changes}
    return Observation(model="m", **values)


def look_at(candidate: float = 0.5, **changes: Any) -> Look:
    evidence = example_evidence(example_arm(candidate, **changes))
    return Look(kind="trial", since=START, at=NOW, trial=evidence)


ON_TRIAL = [example_plan(), example_plan(2, trial=TRIAL)]


def health(faults: int) -> Look:
    return Look(kind="health", since=START, at=NOW, health=Health(rows=100, faults=faults))


class TestRetraining:
    def test_persistent_drift_starts_one(self) -> None:
        decision = decide(Rollout(), see(windows=DRIFTED), CONFIG)
        assert decision == StartRetraining(
            model="m",
            at=NOW,
            reason="drift in 2 of the last 2 windows, most of all in wind",
            facts=decision.facts if decision else {},
            run_id=RUN_ID,
            occasion="20130307T000000Z",
            champion=1,
            triggers=("drift",),
        )
        assert decision.facts["labelled_rows"] == 1000
        assert decision.facts["fired"][0]["trigger"] == "drift"

    @pytest.mark.parametrize(
        ("state", "changes"),
        [
            (Rollout(), {"windows": ()}),
            (fold(retraining()), {}),
            (Rollout(), {"runs": [example_run(status=RunStatus.RUNNING)]}),
            (Rollout(), {"runs": [example_run(status=RunStatus.PENDING)]}),
            (Rollout(), {"plans": ON_TRIAL}),
            (fold(Pause(model="m", at=NOW, reason="", count=0)), {}),
            (Rollout(), {"plans": [example_plan(), example_plan(2, champion=2, at=NOW)]}),
            (fold(retraining(at=START), FailRun(model="m", at=START, reason="", run_id=RUN_ID, final=True)), {}),
        ],
        ids=["quiet", "recorded", "running", "pending", "trial", "paused", "other champion", "same occasion"],
    )
    def test_reasons_to_start_none(self, state: Rollout, changes: dict[str, Any]) -> None:
        assert decide(state, see(**{"windows": DRIFTED, **changes}), CONFIG) is None

    def test_resuming_ends_a_pause(self) -> None:
        pause, resume = (kind(model="m", at=NOW, reason="", count=0) for kind in (Pause, Resume))
        assert isinstance(decide(fold(pause, resume), see(windows=DRIFTED), CONFIG), StartRetraining)

    def test_a_window_in_which_the_champion_changed_belongs_to_the_one_that_served_longer(self) -> None:
        for hours, counts in ((11, True), (13, False)):
            plans = [example_plan(at=START + DAY + hours * DAY / 24)]
            assert (decide(Rollout(), see(plans=plans, windows=DRIFTED), CONFIG) is not None) is counts

    def test_broken_data_blocks_it_once(self) -> None:
        windows = [*DRIFTED, example_window(3, quality="block")]
        decision = decide(Rollout(), see(windows=windows, now=windows[-1].end), CONFIG)
        assert isinstance(decision, Block)
        assert decision.reason == "data of the newest window is broken: column wind is missing"
        assert decide(fold(decision), see(windows=windows, now=windows[-1].end), CONFIG) is None

    def test_rejections_slow_it_down(self) -> None:
        windows = [example_window(day, drifted=True) for day in (1, 2)]
        state = fold(
            retraining(at=NOW - 1.5 * DAY).model_copy(update={"occasion": "before"}),
            Refuse(model="m", at=NOW - DAY, reason="", run_id=RUN_ID),
        )
        assert decide(state, see(windows=windows), CONFIG) is None
        calm = replace(state, rejected=())
        assert isinstance(decide(calm, see(windows=windows), CONFIG), StartRetraining)

    @pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.CANCELED])
    def test_a_failed_run_is_noted_then_tried_again_up_to_the_limit(self, status: RunStatus) -> None:
        state = fold(retraining())
        first = decide(state, see(runs=[example_run(RUN_ID, status=status)]), CONFIG)
        assert isinstance(first, FailRun)
        assert (first.run_id, first.final) == (RUN_ID, False)
        assert status.value in first.reason
        state, runs = state.apply(first), [example_run(RUN_ID, status=status)]
        second = decide(state, see(runs=runs), CONFIG)
        assert second == retraining(2).model_copy(update={"reason": "attempt 2: drift"})
        state = state.apply(second)
        runs.append(example_run(second.run_id, status=status))
        third = decide(state, see(runs=runs), CONFIG)
        assert isinstance(third, FailRun)
        assert third.final
        state = state.apply(third)
        assert decide(state, see(runs=runs), CONFIG) is None
        assert state.rejected == (NOW,)

    def test_no_further_attempt_against_another_champion(self) -> None:
        state = fold(retraining(), FailRun(model="m", at=NOW, reason="", run_id=RUN_ID, final=False))
        assert decide(state, see(plans=[example_plan(), example_plan(2, champion=2)]), CONFIG) is None

    def test_a_run_that_succeeded_without_an_outcome_failed(self) -> None:
        decision = decide(fold(retraining()), see(runs=[example_run(RUN_ID)]), CONFIG)
        assert isinstance(decision, FailRun)
        assert decision.reason == "run succeeded: outcome None"


class TestConclusion:
    def test_a_candidate_goes_on_trial(self) -> None:
        run = example_run(RUN_ID, outcome="candidate", version=5, reason="better by 2%", metrics={"log_loss": 0.4})
        decision = decide(fold(retraining()), see(runs=[run]), CONFIG)
        assert decision == StartTrial(
            model="m",
            at=NOW,
            reason="better by 2%",
            facts={"run_id": RUN_ID, "metrics": {"log_loss": 0.4}},
            plan=1,
            version=5,
            trial=TRIAL,
            run_id=RUN_ID,
        )
        assert decide(fold(retraining(), decision), see(runs=[run]), CONFIG) is None

    @pytest.mark.parametrize(("outcome", "rejection"), [("refused", True), ("blocked", False), ("skipped", False)])
    def test_a_refused_candidate_is_set_aside(self, outcome: str, rejection: bool) -> None:
        run = example_run(RUN_ID, outcome=outcome, version=5, reason="worse", comparison={"p": 0.5})
        decision = decide(fold(retraining()), see(runs=[run]), CONFIG)
        assert decision == Refuse(
            model="m",
            at=NOW,
            reason=f"{outcome}: worse",
            facts={"outcome": outcome, "comparison": {"p": 0.5}},
            run_id=RUN_ID,
            version=5,
            rejection=rejection,
        )
        state = fold(retraining(), decision)
        assert state.open_retraining is None
        assert state.rejected == ((NOW,) if rejection else ())
        assert decide(state, see(runs=[run]), CONFIG) is None

    def test_a_users_run_is_concluded_like_our_own(self) -> None:
        candidate = example_run("mine", outcome="candidate", version=5)
        assert isinstance(decide(Rollout(), see(runs=[candidate]), CONFIG), StartTrial)
        refused = decide(Rollout(), see(runs=[example_run("mine", outcome="refused")]), CONFIG)
        assert isinstance(refused, Refuse)
        assert not refused.rejection

    @pytest.mark.parametrize(
        "run",
        [
            example_run(outcome="candidate", version=1),
            example_run(outcome="candidate"),
            example_run(outcome="candidate", version=0),
            example_run(at=START - DAY, outcome="refused"),
            example_run(status=RunStatus.FAILED),
            example_run(status=RunStatus.CANCELED),
            example_run(rows=7),
        ],
        ids=["deployed", "no version", "older", "before the endpoint", "failed", "canceled", "another kind"],
    )
    def test_a_users_run_that_calls_for_nothing(self, run: Any) -> None:
        assert decide(Rollout(), see(runs=[run]), CONFIG) is None

    @pytest.mark.parametrize(
        ("version", "plans", "reason"),
        [
            (5, [example_plan(), example_plan(2, champion=5, backup=1)], "deployed or tried by hand"),
            (5, [*ON_TRIAL, example_plan(3)], "deployed or tried by hand"),
            (4, [example_plan(), example_plan(2, champion=5)], "older than version 5"),
            (None, [example_plan()], "named no version"),
        ],
    )
    def test_our_candidate_comes_too_late(self, version: int | None, plans: list[Any], reason: str) -> None:
        run = example_run(RUN_ID, outcome="candidate", version=version)
        decision = decide(fold(retraining()), see(runs=[run], plans=plans), CONFIG)
        assert isinstance(decision, Refuse)
        assert reason in decision.reason
        assert not decision.rejection

    def test_the_newest_candidate_goes_first(self) -> None:
        runs = [example_run("a", outcome="candidate", version=5), example_run("b", outcome="candidate", version=6)]
        decision = decide(Rollout(), see(runs=runs), CONFIG)
        assert isinstance(decision, StartTrial)
        assert decision.version == 6


class TestTrial:
    def test_a_good_candidate_is_promoted(self) -> None:
        decision = decide(Rollout(), see(plans=ON_TRIAL, trial_look=look_at(0.45)), CONFIG)
        assert isinstance(decision, Promote)
        assert (decision.plan, decision.version, decision.previous) == (2, 5, 1)
        assert decision.reason.startswith("version 5 loss differs by -0.05, at most -0.0")
        assert decision.facts["upper"] < decision.facts["allowed"]
        assert decision.facts["look_at"] == NOW.isoformat()

    def test_a_bad_candidate_is_rolled_back_whoever_put_it_there(self) -> None:
        decision = decide(Rollout(), see(plans=ON_TRIAL, trial_look=look_at(0.9)), CONFIG)
        assert isinstance(decision, RollBack)
        assert (decision.plan, decision.version, decision.to, decision.cause) == (2, 5, 1, "trial")
        assert fold(decision).rejected == (NOW,)

    @pytest.mark.parametrize("look", [None, look_at(labelled=10)], ids=["no look due", "too few labels"])
    def test_otherwise_it_goes_on(self, look: Look | None) -> None:
        run = example_run("other", outcome="candidate", version=6)
        assert decide(Rollout(), see(plans=ON_TRIAL, trial_look=look, runs=[run], windows=DRIFTED), CONFIG) is None

    def test_each_share_of_a_ramp_comes_before_promotion(self) -> None:
        plans = [example_plan(), example_plan(2, trial=TRIAL.model_copy(update={"ramp": (0.5, 0.8)}))]
        shares, look = [], look_at()
        while True:
            decision = decide(Rollout(), see(plans=plans, trial_look=look, now=look.at), CONFIG)
            if not isinstance(decision, Ramp):
                break
            shares.append(decision.trial.weight)
            plans.append(next_plan(plans[-1], decision))
            again = see(plans=plans, trial_look=look, now=look.at)
            assert decide(Rollout(), again, CONFIG) is None, "the share was not looked at yet"
            look = replace(look, at=look.at + DAY)
        assert isinstance(decision, Promote)
        assert shares == [0.5, 0.8]
        assert plans[-1].trial is not None
        assert (plans[-1].trial.version, plans[-1].trial.ramp) == (5, ())

    def test_a_shadow_ramps_to_a_canary(self) -> None:
        shadow = Trial(version=5, mode="shadow", weight=1.0, ramp=(0.1,))
        decision = decide(Rollout(), see(plans=[example_plan(trial=shadow)], trial_look=look_at()), CONFIG)
        assert isinstance(decision, Ramp)
        assert (decision.trial.mode, decision.trial.weight) == ("canary", 0.1)

    def test_a_share_that_cannot_be_given_ends_the_trial(self) -> None:
        plans = [example_plan(), example_plan(2, trial=TRIAL.model_copy(update={"ramp": (0.5,)}))]
        ramp = decide(Rollout(), see(plans=plans, trial_look=look_at()), CONFIG)
        assert ramp is not None
        state = fold(ramp, Abandon(model="m", at=NOW, reason="", decision=ramp.key, superseded=False))
        decision = decide(state, see(plans=plans, trial_look=look_at()), CONFIG)
        assert isinstance(decision, RollBack)
        assert decision.reason == "version 5 passed its trial but could not be given a share of 0.5"

    def test_a_trial_goes_on_from_share_to_share(self) -> None:
        """Its time is counted from its first plan on, whatever its share is by now."""
        config = CONFIG.model_copy(update={"trial": CONFIG.trial.model_copy(update={"max_duration": 2 * DAY})})
        plans = [example_plan(), example_plan(2, at=NOW - 2 * DAY, trial=TRIAL.model_copy(update={"ramp": (0.5,)}))]
        plans.append(example_plan(3, at=NOW - DAY / 2, trial=TRIAL.model_copy(update={"weight": 0.5})))
        decision = decide(Rollout(), see(plans=plans, trial_look=look_at(labelled=10)), config)
        assert isinstance(decision, RollBack)
        assert "is over and inconclusive" in decision.reason

    def test_a_version_that_served_lately_skips_the_ramp_and_the_requests(self) -> None:
        back = [
            example_plan(1, champion=5),
            example_plan(2, champion=1, at=START + DAY),
            example_plan(3, champion=1, at=NOW - DAY / 2, trial=TRIAL.model_copy(update={"ramp": (0.5,)})),
        ]
        seen = see(plans=back, trial_look=look_at(requests=0))
        assert isinstance(decide(Rollout(), seen, CONFIG), Promote)
        brief = CONFIG.model_copy(update={"trial": CONFIG.trial.model_copy(update={"return_within": DAY})})
        assert decide(Rollout(), seen, brief) is None
        with_traffic = see(plans=back, trial_look=look_at(requests=1000))
        assert isinstance(decide(Rollout(), with_traffic, brief), Ramp)

    def test_a_person_is_asked_once_and_the_champion_stays_if_nobody_answers(self) -> None:
        changes = {"inconclusive": "ask", "max_duration": DAY, "ask_for": 2 * DAY}
        config = CONFIG.model_copy(update={"trial": CONFIG.trial.model_copy(update=changes)})
        plans = [example_plan(), example_plan(2, at=NOW - DAY, trial=TRIAL)]
        unclear = look_at(labelled=0)
        asked = decide(Rollout(), see(plans=plans, trial_look=unclear), config)
        assert isinstance(asked, Ask)
        assert (asked.version, asked.plan) == (5, 2)
        state = fold(asked)
        assert decide(state, see(plans=plans, trial_look=unclear), config) is None
        assert isinstance(decide(state, see(plans=plans, trial_look=look_at(faults=900)), config), RollBack)
        later = replace(unclear, at=NOW + 2 * DAY)
        assert isinstance(decide(state, see(plans=plans, trial_look=later, now=later.at), config), RollBack)
        anew = [*plans, example_plan(3), example_plan(4, at=NOW - DAY, trial=TRIAL)]
        assert isinstance(decide(state, see(plans=anew, trial_look=unclear), config), Ask)

    def test_a_trial_may_ask_for_more_labels_than_configured(self) -> None:
        asking = TRIAL.model_copy(update={"min_labelled_rows": 100_000})
        plans = [example_plan(), example_plan(2, trial=asking)]
        assert decide(Rollout(), see(plans=plans, trial_look=look_at(0.45)), CONFIG) is None

    def test_a_promotion_that_failed_is_not_tried_again(self) -> None:
        promote = decide(Rollout(), see(plans=ON_TRIAL, trial_look=look_at()), CONFIG)
        assert promote is not None
        state = fold(promote, Abandon(model="m", at=NOW, reason="", decision=promote.key, superseded=False))
        decision = decide(state, see(plans=ON_TRIAL, trial_look=look_at()), CONFIG)
        assert isinstance(decision, RollBack)
        assert decision.reason == "version 5 passed its trial but could not be promoted"


class TestProbation:
    """The former champion is scored on the rows of the new one, and comes back where it would have been better."""

    def probation(self, mean: float) -> Look:
        return Look(kind="probation", since=START, at=NOW, trial=example_evidence(example_arm(mean)))

    def test_a_worse_champion_gives_way_to_the_former_one(self) -> None:
        plans = [example_plan(), example_plan(2, champion=7, backup=1, trial=TRIAL)]
        decision = decide(Rollout(), see(plans=plans, probation_look=self.probation(0.6)), CONFIG)
        assert isinstance(decision, RollBack)
        assert (decision.version, decision.to, decision.cause) == (7, 1, "probation")
        assert decision.reason.startswith("champion 7 on probation: loss is worse by 0.1, at least 0.0")
        after = next_plan(plans[-1], decision)
        assert (after.champion, after.backup, after.trial, after.blocked) == (1, None, None, ())
        assert fold(decision).rejected == (NOW,)

    @pytest.mark.parametrize(
        "changes", [{"backup": None}, {"backup": 7}, {"backup": 1, "blocked": (1,)}, {"backup": 1, "blocked": (7,)}]
    )
    def test_otherwise_it_stays(self, changes: dict[str, Any]) -> None:
        plans = [example_plan(champion=7, **changes)]
        assert decide(Rollout(), see(plans=plans, probation_look=self.probation(0.6)), CONFIG) is None

    def test_an_equal_champion_stays(self) -> None:
        plans = [example_plan(champion=7, backup=1)]
        assert decide(Rollout(), see(plans=plans, probation_look=self.probation(0.5)), CONFIG) is None


class TestHealth:
    def test_a_failing_champion_gives_way_to_its_backup_even_on_trial(self) -> None:
        plans = [example_plan(backup=7, trial=TRIAL)]
        decision = decide(Rollout(), see(plans=plans, health_look=health(50), trial_look=look_at()), CONFIG)
        assert isinstance(decision, RollBack)
        assert (decision.version, decision.to, decision.cause) == (1, 7, "health")
        assert decision.reason == "champion failed on 50 of 100 rows: version 7 takes over"
        assert fold(decision).rejected == ()

    @pytest.mark.parametrize(("backup", "faults"), [(None, 50), (1, 50), (7, 2)])
    def test_otherwise_it_stays(self, backup: int | None, faults: int) -> None:
        plans = [example_plan(backup=backup)]
        assert decide(Rollout(), see(plans=plans, health_look=health(faults)), CONFIG) is None

    @pytest.mark.parametrize("blocked", [(1,), (7,), (1, 7)])
    def test_whoever_blocked_a_version_decides_who_answers(self, blocked: tuple[int, ...]) -> None:
        plans = [example_plan(backup=7, blocked=blocked)]
        assert decide(Rollout(), see(plans=plans, health_look=health(50)), CONFIG) is None


class TestAbandoned:
    def abandon(self, decision: Decision, **values: Any) -> Rollout:
        fields = {"model": "m", "at": NOW, "reason": "", "decision": decision.key, "superseded": False, **values}
        return fold(retraining(), decision, Abandon.model_validate(fields))

    def test_a_superseded_trial_is_decided_again(self) -> None:
        state = self.abandon(start_trial(), superseded=True)
        assert RUN_ID not in state.concluded
        run = example_run(RUN_ID, outcome="candidate", version=5)
        plans = [example_plan(), example_plan(2, replicas=2)]
        decision = decide(state, see(runs=[run], plans=plans), CONFIG)
        assert isinstance(decision, StartTrial)
        assert decision.plan == 2

    def test_a_trial_that_does_not_come_up_is_a_rejection(self) -> None:
        state = self.abandon(start_trial())
        assert state.rejected == (NOW,)
        assert RUN_ID in state.concluded

    @pytest.mark.parametrize("final", [True, False])
    def test_a_run_that_cannot_be_started_failed(self, final: bool) -> None:
        state = fold(
            retraining(),
            Abandon(model="m", at=NOW, reason="", decision=retraining().key, superseded=False, final=final),
        )
        assert (state.retry is None) is final
        assert (state.rejected == (NOW,)) is final
        assert state.pending is None

    @pytest.mark.parametrize("decision", [roll_back(), roll_back("health")])
    def test_a_superseded_rollback_leaves_nothing(self, decision: RollBack) -> None:
        before = fold(retraining(), decision)
        assert self.abandon(decision, superseded=True) == replace(before, pending=None)
