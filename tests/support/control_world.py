"""A world in memory with one deployed model, its users and a controller that can be killed at any point."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from raymlops.clock import ManualClock
from raymlops.config.control import (
    ControlConfig,
    FleetConfig,
    HealthConfig,
    RetrainConfig,
    TrialConfig,
    TriggersConfig,
    WindowCount,
)
from raymlops.control.loop.controller import Controller
from raymlops.control.rollout.by_hand import next_share, trial_to_retry
from raymlops.control.rollout.decisions import Decision
from raymlops.control.rollout.measuring.evidence import Health
from raymlops.errors import InvalidTransition
from raymlops.records.plans import ServingPlan, Trial
from raymlops.records.runs import RunStatus
from raymlops.records.windows import WindowRecord
from raymlops.testing.control_examples import DAY, START, example_arm, example_evidence, example_run, example_window
from tests.support.control import CrashSwitch, FakeActuator, FakeObserver, InMemoryLedger, SimulatedCrash

__all__ = ["ControlWorld", "Outcome", "TrialShows"]

Outcome = Literal["candidate", "unblessed", "refused", "blocked", "skipped", "failed", "canceled", "nothing"]
TrialShows = Literal["nothing", "good", "bad", "faulty", "unclear"]

_EVIDENCE = {
    "nothing": example_evidence(example_arm(labelled=0, requests=0)),
    "good": example_evidence(example_arm(0.4)),
    "bad": example_evidence(example_arm(0.9)),
    "faulty": example_evidence(example_arm(requests=100, labelled=0, faults=90)),
    "unclear": example_evidence(example_arm(0.51), spread=1.0),
}


class ControlWorld:
    """Model ``m`` with version 1 deployed at ``START``, by way of a controller over in-memory fakes.

    Args:
        switch: Kills the controller at its point; by default never.
        config: By default one that reacts to every drifted window.
    """

    def __init__(self, switch: CrashSwitch | None = None, config: ControlConfig | None = None) -> None:
        self.switch = switch or CrashSwitch()
        self.config = config or ControlConfig(
            act_attempts=2,
            triggers=TriggersConfig(performance=None, drift=WindowCount(n=1, of=1)),
            retrain=RetrainConfig(cooldown=timedelta(), min_labelled_rows=0, budget_runs=1000),
            trial=TrialConfig(weight=0.3, max_duration=7 * DAY, min_labelled_rows=100, look_every=DAY / 24),
            health=HealthConfig(look_every=DAY / 24),
            fleet=FleetConfig(false_alarms=None),
        )
        self.clock = ManualClock(START)
        self.ledger = InMemoryLedger(self.clock, self.switch)
        self.observer = FakeObserver()
        self.actuator = FakeActuator(self.observer, self.clock, self.switch)
        self.restart()
        self.days = 0
        self.late_windows: list[WindowRecord] = []
        self.versions = 1
        self.user_runs = 0
        self.serve(champion=1)

    def restart(self) -> None:
        """Replace the controller by a fresh one, as after SIGKILL."""
        self.controller = Controller(
            clock=self.clock,
            ledger=self.ledger,
            observer=self.observer,
            actuator=self.actuator,
            config=self.config,
        )

    @property
    def plans(self) -> list[ServingPlan]:
        """All plans, oldest first."""
        return self.observer.plans_of.get("m", [])

    @property
    def actions(self) -> list[str]:
        """Actions in the ledger, in order."""
        return [entry.action for entry in self.ledger.entries()]

    def step(self) -> list[Decision]:
        """One step; a crash on the way is followed by a restart and another step."""
        try:
            return self.controller.step()
        except SimulatedCrash:
            self.restart()
            return self.controller.step()

    def serve(self, **changes: Any) -> None:
        """Put a plan by hand, as a user's deploy, trial, promote or rollback does."""
        if self.plans:
            following = {"number": len(self.plans) + 1, "created_at": self.clock.now(), "reason": "by hand"}
            plan = self.plans[-1].model_copy(update={**following, **changes})
        else:
            plan = ServingPlan(model="m", number=1, created_at=self.clock.now(), **changes)
        self.observer.put_plan(plan)
        self.actuator.champion_alias["m"] = plan.champion

    def register(self) -> int:
        """A new version's number."""
        self.versions += 1
        return self.versions

    def advance(self, duration: timedelta) -> None:
        """Let time pass."""
        self.clock.advance_to(self.clock.now() + duration)

    def close_window(self, *, late: bool = False, **flags: Any) -> None:
        """Let the present day end, and its window close: now, or ``late``, when ``deliver_windows`` says."""
        champion = self.plans[-1].champion
        window = example_window(self.days, champion=champion, **flags)
        self.days += 1
        self.clock.advance_to(max(self.clock.now(), window.end))
        (self.late_windows if late else self.observer.windows_of.setdefault("m", [])).append(window)

    def deliver_windows(self) -> None:
        """Let the windows close that were late, and those that had closed change as late labels do."""
        windows = self.observer.windows_of.setdefault("m", [])
        windows += self.late_windows
        self.late_windows.clear()
        windows[:] = [window.model_copy(update={"degraded": not window.degraded}) for window in windows]

    def start_user_run(self) -> None:
        """A user's ``runs.start``."""
        self.user_runs += 1
        run = example_run(f"user-{self.user_runs}", at=self.clock.now(), status=RunStatus.RUNNING)
        self.observer.put_run("m", run)

    def finish_runs(self, outcome: Outcome) -> None:
        """Let every run under way end like this."""
        for run in list(self.observer.runs_of.get("m", {}).values()):
            if run.status.final:
                continue
            result: dict[str, Any] = {"outcome": outcome, "reason": "of the test"}
            status = RunStatus.SUCCEEDED
            if outcome in {"failed", "canceled"}:
                status, result = RunStatus(outcome), {}
            elif outcome in {"candidate", "unblessed"}:
                result |= {"version": self.register(), "outcome": "candidate"}
                if outcome == "unblessed":
                    self.observer.unblessed.add(self.versions)
            ended = run.model_copy(update={"status": status, "result": result, "ended_at": self.clock.now()})
            self.observer.put_run("m", ended)

    def show(self, trial: TrialShows) -> None:
        """What a trial shows from here on."""
        self.observer.evidence.append((self.clock.now(), _EVIDENCE[trial]))

    def disappoint(self, trial: TrialShows) -> None:
        """How new champions compare with the former ones from here on."""
        self.observer.probations.append((self.clock.now(), _EVIDENCE[trial]))

    def sicken(self, faults: int) -> None:
        """How many of 100 answers of the champion fail from here on."""
        self.observer.sickness.append((self.clock.now(), Health(rows=100, faults=faults)))

    def user_trial(self) -> None:
        """A user's ``endpoints.trial`` of a version registered by hand."""
        self.serve(trial=Trial(version=self.register()))

    def user_next_share(self) -> None:
        """A user's ``control.promote``; nothing where no version is on trial."""
        if self.plans[-1].trial is not None:
            step = next_share(self.plans[-1])
            self.user_promote() if step is None else self.serve(trial=step)

    def user_retry(self) -> None:
        """A user's ``control.retry``; nothing where there is nothing to try again."""
        try:
            trial = trial_to_retry(self.plans)
        except InvalidTransition:
            return
        self.serve(trial=trial)

    def user_promote(self) -> None:
        """A user's ``endpoints.promote`` of what is on trial, or of a version registered by hand."""
        plan = self.plans[-1]
        version = self.register() if plan.trial is None else plan.trial.version
        self.serve(champion=version, backup=plan.champion, trial=None)

    def user_rollback(self) -> None:
        """A user's ``endpoints.rollback``; nothing where there is nothing to go back to."""
        plan = self.plans[-1]
        if plan.trial is not None:
            self.serve(trial=None)
        elif plan.backup is not None:
            self.serve(champion=plan.backup, backup=None)
