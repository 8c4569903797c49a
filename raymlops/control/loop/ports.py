"""The ports through which the controller reaches the rest of the platform."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from raymlops.control.rollout.decisions import PlanDecision, StartRetraining
from raymlops.control.rollout.measuring.evidence import Health, TrialEvidence, TrialScope
from raymlops.control.triggering.model_policies import ModelPolicy
from raymlops.control.triggering.news import NewCode, NewData
from raymlops.laboratory.probed import Probed
from raymlops.records.plans import ServingPlan
from raymlops.records.runs import Run
from raymlops.records.windows import WindowRecord

__all__ = ["Actuator", "Observer", "Policies"]


class Observer(Protocol):
    """Shows the platform as it is. Reads only; every method may raise a retryable error.

    What is listed may come in any order, and more than once. A plan that is stored is listed from then on: whether a
    decision took effect is told by nothing else.
    """

    def models(self) -> Sequence[str]:
        """Names of the deployed models, sorted."""
        ...

    def plans(self, model: str) -> Sequence[ServingPlan]:
        """All plans of ``model``; at least one."""
        ...

    def runs(self, model: str) -> Sequence[Run]:
        """Runs of the pipeline of ``model``, started by the controller or by people; empty where it has no pipeline."""
        ...

    def find_run(self, run_id: str) -> Run | None:
        """A run by its id, whatever pipeline it is of; ``None`` where there is no record of it."""
        ...

    def trainable(self, model: str) -> bool:
        """Whether a deployed bundle trains ``model``."""
        ...

    def windows(self, model: str, since: datetime) -> Sequence[WindowRecord]:
        """Closed windows of ``model`` that end after ``since``."""
        ...

    def probed(self, model: str, version: int) -> Probed:
        """Results of the probes of ``model`` while ``version`` is its champion; unreadable results become a problem."""
        ...

    def new_data(self, model: str, champion: int, every: timedelta) -> NewData | None:
        """New rows in the tables that a version was trained on; ``None`` where its training set is not known.

        Args:
            model: Name of the model.
            champion: The version.
            every: A result that is younger than this is used again.
        """
        ...

    def new_code(self, model: str, champion: int) -> NewCode | None:
        """How the deployed bundle differs from the one a version came from; ``None`` where it does not."""
        ...

    def trial_evidence(self, model: str, scope: TrialScope) -> TrialEvidence:
        """The evidence of a trial or a probation of ``model``.

        Args:
            model: Name of the model.
            scope: Which versions and rows, and how; what their outputs are is filled in.
        """
        ...

    def health(self, plan: ServingPlan, *, since: datetime, until: datetime) -> Health:
        """How often the champion of ``plan`` answered and failed, served within ``[since, until)``."""
        ...


class Policies(Protocol):
    """Tells which policy is in force for each model."""

    def refresh(self) -> None:
        """Read what is in force now; every method but this one tells what the last call found."""
        ...

    def of(self, model: str) -> ModelPolicy:
        """The policy of a model."""
        ...


class Actuator(Protocol):
    """Carries decisions out. It decides nothing, and writes nothing to the ledger.

    Both methods are idempotent: after a crash, or an error, they are called again with equal arguments until they
    return. A retryable error means "again later"; any other, that the decision cannot be carried out. Once a plan is
    stored, whatever lags behind it follows by itself, also where nobody calls again.
    """

    def start_run(self, decision: StartRetraining) -> None:
        """Start the run ``decision.run_id``; nothing where it was started. Returns once the run is recorded.

        The run ``decision.replaces``, if any, is canceled first.

        Its failure, also to start, shows as a run that failed, and a job that died likewise: a run whose process is
        gone must not stay ``running``.
        """
        ...

    def serve(self, plan: ServingPlan, decision: PlanDecision) -> None:
        """Store ``plan``, bring every replica to it, and let aliases and version states follow.

        Args:
            plan: What ``decision`` asks for, with its number: the newest plan's plus one, or the newest plan itself
                where an earlier call stored it.
            decision: Why.

        Raises:
            StaleWrite: Somebody else wrote a plan first.
        """
        ...
