"""Fakes of what the controller needs, all in memory, and a way to kill it between any two of their steps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from raymlops.clock import Clock
from raymlops.control.rollout.decisions import PlanDecision, StartRetraining
from raymlops.control.rollout.measuring.evidence import Arm, Health, TrialEvidence, TrialScope
from raymlops.control.triggering.news import NewCode, NewData
from raymlops.errors import InvalidTransition, LedgerBroken, StaleWrite
from raymlops.laboratory.probed import Probed
from raymlops.records.ledger import GENESIS, LedgerEntry
from raymlops.records.plans import ServingPlan
from raymlops.records.runs import Run, RunStatus
from raymlops.records.windows import WindowRecord

__all__ = ["CrashSwitch", "FakeActuator", "FakeObserver", "InMemoryLedger", "SimulatedCrash"]

_T = TypeVar("_T")


class SimulatedCrash(BaseException):
    """Stands for SIGKILL: nobody catches it but the test, which builds the killed object anew."""


class CrashSwitch:
    """Kills at a chosen one of the points that fakes pass.

    Args:
        at: Number of the point, counted from 1; ``None`` never kills.
    """

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.passed: list[str] = []
        """Names of the points that were passed."""

    def __call__(self, point: str) -> None:
        self.passed.append(point)
        if len(self.passed) == self.at:
            raise SimulatedCrash(point)


class InMemoryLedger:
    """A ``Ledger`` without a disk: hash-chained and idempotent by key."""

    def __init__(self, clock: Clock, pass_point: Callable[[str], None] = lambda _: None) -> None:
        self._clock = clock
        self._pass = pass_point
        self._lock = threading.Lock()
        self._entries: list[LedgerEntry] = []

    def append_entry(
        self, subject: str, action: str, reason: str, evidence: Mapping[str, object] | None = None, *, key: str
    ) -> LedgerEntry:
        self._pass(f"before recording {action}")
        with self._lock:
            found = next((entry for entry in self._entries if entry.key == key), None)
            if found is None:
                found = LedgerEntry(
                    sequence=len(self._entries) + 1,
                    at=self._clock.now(),
                    subject=subject,
                    action=action,
                    reason=reason,
                    evidence=dict(evidence or {}),
                    key=key,
                    previous_hash=self._entries[-1].hash if self._entries else GENESIS,
                    hash="",
                )
                found = found.model_copy(update={"hash": found.expected_hash()})
                self._entries.append(found)
        self._pass(f"after recording {action}")
        return found

    def entries(self, subject: str | None = None, after: int = 0) -> list[LedgerEntry]:
        with self._lock:
            return [e for e in self._entries if e.sequence > after and subject in {None, e.subject}]

    def newest_entries(
        self, subjects: Sequence[str], limit: int, *, until: datetime | None = None
    ) -> list[LedgerEntry]:
        with self._lock:
            own = [e for e in self._entries if e.subject in subjects and (until is None or e.at <= until)]
        return sorted(own, key=lambda entry: (entry.at, entry.sequence))[-limit:]

    def verify_ledger(self) -> int:
        with self._lock:
            for number, entry in enumerate(self._entries):
                before = self._entries[number - 1].hash if number else GENESIS
                if (entry.previous_hash, entry.hash) != (before, entry.expected_hash()):
                    raise LedgerBroken(f"ledger entry {entry.sequence} was altered", sequence=entry.sequence)
            return len(self._entries)


class FakeObserver:
    """An ``Observer`` of what a test sets up; every attribute may be changed at any time."""

    def __init__(self) -> None:
        self.plans_of: dict[str, list[ServingPlan]] = {}
        self.runs_of: dict[str, dict[str, Run]] = {}
        self.windows_of: dict[str, list[WindowRecord]] = {}
        self.evidence: list[tuple[datetime, TrialEvidence]] = []
        """What every trial shows to looks that are due after an instant; until then, what it showed before."""
        self.probations: list[tuple[datetime, TrialEvidence]] = []
        """How every new champion compares with the former one, likewise."""
        self.sickness: list[tuple[datetime, Health]] = []
        """How every champion does, likewise."""
        self.trouble: Exception | None = None
        """Raised instead of plans."""
        self.trouble_of: dict[str, Exception] = {}
        """Model -> raised instead of its plans alone."""
        self.unblessed: set[int] = set()
        """Versions that no plan may bring into service."""
        self.disordered = False
        """Whether plans, runs and windows are shown twice, and the newest first."""
        self.data_of: dict[str, NewData] = {}
        """Model -> what came into its champion's tables."""
        self.code_of: dict[str, NewCode] = {}
        """Model -> how its deployed bundle differs from its champion's."""
        self.hidden_runs: set[str] = set()
        """Runs that are not shown as those of the model's pipeline: another pipeline trains it by now."""
        self.evidence_trouble: Exception | None = None
        """Raised instead of what a trial or a probation shows."""
        self.untrainable: set[str] = set()
        """Models that no pipeline trains."""
        self.probed_of: dict[str, Probed] = {}
        """What probes have shown, by model."""

    def models(self) -> Sequence[str]:
        return sorted(self.plans_of)

    def plans(self, model: str) -> Sequence[ServingPlan]:
        if self.trouble is not None:
            raise self.trouble
        if model in self.trouble_of:
            raise self.trouble_of[model]
        return self._shown(self.plans_of[model])

    def runs(self, model: str) -> Sequence[Run]:
        return self._shown([run for run in self.runs_of.get(model, {}).values() if run.id not in self.hidden_runs])

    def find_run(self, run_id: str) -> Run | None:
        return next((runs[run_id] for runs in self.runs_of.values() if run_id in runs), None)

    def trainable(self, model: str) -> bool:
        return model not in self.untrainable

    def windows(self, model: str, since: datetime) -> Sequence[WindowRecord]:
        return self._shown([window for window in self.windows_of.get(model, []) if window.end > since])

    def probed(self, model: str, version: int) -> Probed:
        del version  # all are of the same age
        return self.probed_of.get(model, Probed())

    def new_data(self, model: str, champion: int, every: timedelta) -> NewData | None:
        del champion, every
        return self.data_of.get(model)

    def new_code(self, model: str, champion: int) -> NewCode | None:
        del champion
        return self.code_of.get(model)

    def trial_evidence(self, model: str, scope: TrialScope) -> TrialEvidence:
        del model  # all have the same
        if self.evidence_trouble is not None:
            raise self.evidence_trouble
        source = self.probations if scope.probation else self.evidence
        shown = [evidence for at, evidence in source if at < scope.until]
        return shown[-1] if shown else TrialEvidence(candidate=Arm(), champion=Arm())

    def health(self, plan: ServingPlan, *, since: datetime, until: datetime) -> Health:
        del plan, since
        shown = [health for at, health in self.sickness if at < until]
        return shown[-1] if shown else Health(rows=0, faults=0)

    def _shown(self, found: list[_T]) -> list[_T]:
        return [*found[::-1], *found] if self.disordered else list(found)

    def put_plan(self, plan: ServingPlan) -> None:
        """Make ``plan`` the newest; an equal repeat is accepted.

        Raises:
            StaleWrite: Its number is not the next one.
            InvalidTransition: It brings a version into service that is not blessed.
        """
        plans = self.plans_of.setdefault(plan.model, [])
        if plans and plans[-1] == plan:
            return
        if plan.number != len(plans) + 1:
            raise StaleWrite(f"plan of {plan.model} must have number {len(plans) + 1}, got {plan.number}")
        new = plan.versions - (plans[-1].versions if plans else frozenset())
        if not self.unblessed.isdisjoint(new):
            raise InvalidTransition(f"versions {sorted(new & self.unblessed)} of {plan.model} are not blessed")
        plans.append(plan)

    def disorder(self) -> None:
        """Plans, runs and windows are shown twice and in another order from here on, or no more."""
        self.disordered = not self.disordered

    def rename_pipeline(self) -> None:
        """Another pipeline trains every model from here on: the runs that there were are not listed any more."""
        self.hidden_runs |= {run_id for runs in self.runs_of.values() for run_id in runs}

    def lose_runs(self) -> None:
        """The records of runs that are under way are gone, as after a database was put back from a backup."""
        for runs in self.runs_of.values():
            for run in [run for run in runs.values() if not run.status.final]:
                del runs[run.id]

    def put_run(self, model: str, run: Run) -> None:
        """Add or replace a run."""
        self.runs_of.setdefault(model, {})[run.id] = run


class FakeActuator:
    """An ``Actuator`` that changes what a ``FakeObserver`` shows, in several steps like a real one.

    Args:
        observer: What is changed.
        clock: Stamps runs.
        pass_point: Called before, between and after the steps.
    """

    def __init__(
        self, observer: FakeObserver, clock: Clock, pass_point: Callable[[str], None] = lambda _: None
    ) -> None:
        self._observer = observer
        self._clock = clock
        self._pass = pass_point
        self.jobs: list[str] = []
        """Runs that were really started, in order."""
        self.champion_alias: dict[str, int] = {}
        """Follows the plan, one step behind it."""
        self.errors: list[Exception] = []
        """Raised by the next calls, one each, before they do anything."""
        self.late_errors: list[Exception] = []
        """Raised by the next calls of ``serve``, one each, once the plan is stored and before the alias follows."""

    def start_run(self, decision: StartRetraining) -> None:
        _raise_next(self.errors)
        self._cancel(decision.model, decision.replaces)
        self._pass("before creating the run")
        if decision.run_id not in self._observer.runs_of.get(decision.model, {}):
            run = Run(id=decision.run_id, pipeline=decision.model, reason=decision.reason, created_at=self._clock.now())
            self._observer.put_run(decision.model, run)
        self._pass("before submitting the job")
        if decision.run_id not in self.jobs:
            self.jobs.append(decision.run_id)
        self._pass("after submitting the job")

    def _cancel(self, model: str, run_id: str | None) -> None:
        run = None if run_id is None else self._observer.runs_of.get(model, {}).get(run_id)
        if run is not None and not run.status.final:
            ended = run.model_copy(update={"status": RunStatus.CANCELED, "ended_at": self._clock.now()})
            self._observer.put_run(model, ended)

    def serve(self, plan: ServingPlan, decision: PlanDecision) -> None:
        _raise_next(self.errors)
        self._pass(f"before the plan of {decision.action}")
        self._observer.put_plan(plan)
        _raise_next(self.late_errors)
        self._pass(f"before the alias of {decision.action}")
        self.champion_alias[plan.model] = plan.champion
        self._pass(f"after {decision.action}")

    def catch_up(self) -> None:
        """Let aliases follow the newest plans, as the operator of endpoints does without being asked."""
        for model, plans in self._observer.plans_of.items():
            self.champion_alias[model] = plans[-1].champion


def _raise_next(errors: list[Exception]) -> None:
    if errors:
        raise errors.pop(0)
