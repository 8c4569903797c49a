"""Runs, decisions and deliveries, as a user holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raymlops.platform.subject import Subject
from raymlops.records.bundles import BundleManifest, Deployment
from raymlops.records.ledger import LedgerEntry
from raymlops.records.runs import Run, RunStatus
from raymlops.runtime.cluster.people import acting_user

if TYPE_CHECKING:
    import pyarrow as pa

    from raymlops.control import Backtested, Decision, ModelStatus, Why
    from raymlops.laboratory import LabReport

__all__ = ["Control", "Delivery", "Ledger", "Runs"]


class Runs(Subject):
    """Pipelines."""

    def start(
        self,
        pipeline: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        reason: str = "on-demand",
        wait: bool = True,
        timeout_s: float = 3600.0,
    ) -> Run:
        """Run the deployed bundle of a pipeline as a Ray Job."""
        return self._services.runs.start(
            pipeline, dict(parameters or {}), reason, timeout_s=timeout_s if wait else None
        )

    def wait(self, run_id: str, *, timeout_s: float = 3600.0) -> Run:
        """Wait for the end of a run.

        Raises:
            UnavailableError: It has not ended after ``timeout_s``.
        """
        return self._services.jobs.wait(run_id, timeout_s)

    def list(
        self, pipeline: str | None = None, status: RunStatus | str | None = None, limit: int | None = None
    ) -> list[Run]:
        """Runs, newest first."""
        return self._services.runs.list_runs(pipeline, status, limit)

    def get(self, run_id: str) -> Run:
        """One run."""
        return self._services.runs.get_run(run_id)

    def outlook(self, run_id: str) -> Sequence[Mapping[str, str]]:
        """What resuming a run would do with each of its steps, and why: ``step``, ``action``, ``reason``."""
        return self._services.runs.outlook(run_id)

    def compare(self, run_ids: Sequence[str]) -> pa.Table:
        """Parameters, results and metrics of some runs, one row each."""
        return self._services.runs.compare(run_ids)

    def resume(self, run_id: str, *, wait: bool = True, timeout_s: float = 3600.0) -> Run:
        """Run a failed run again from its last good step, as a new run."""
        return self._services.runs.resume(run_id, timeout_s if wait else None)

    def logs(self, run_id: str, step: str | None = None) -> str:
        """What one step of a run printed and logged, or all of it."""
        return self._services.runs.logs(run_id, step)


class Control(Subject):
    """Decisions."""

    def step(self) -> list[Decision]:
        """One turn of the reconcile loop, now: closes the windows that are due, then decides and acts."""
        return self._services.controller.step()

    def status(self) -> list[ModelStatus]:
        """What the controller's last turn saw, by model, and whether its endpoint answers."""
        return self._services.endpoints.model_statuses()

    def why(self, model: str, at: datetime | None = None) -> Why:
        """Tell what was served at an instant, what the policy said, and what stood against a retraining.

        Args:
            model: Name of the model.
            at: The instant; now, if left out.

        Raises:
            NotFoundError: The model had no serving plan yet.
        """
        return self._services.controller.why(model, at)

    def pause(self, model: str | None = None, *, reason: str = "on demand") -> LedgerEntry:
        """Decide nothing more about a model, or about all, until resumed."""
        return self._services.controller.pause(model, reason=reason, by=acting_user())

    def resume(self, model: str | None = None, *, reason: str = "on demand") -> LedgerEntry:
        """Decide again."""
        return self._services.controller.resume(model, reason=reason, by=acting_user())

    def backtest(self, model: str) -> list[Backtested]:
        """When the configured policy would have retrained, over the stored windows."""
        return self._services.backtest(model)

    def laboratory(self, model: str, *, price: float = 0.05) -> LabReport:
        """What retraining was worth on the rows this model was asked about, by policy.

        A model is fitted at the start of each window by the champion's recipe, on the inputs and labels that were
        recorded, and scored on all later windows.

        Args:
            model: A deployed model.
            price: Of a retraining, in losses of one window.

        Raises:
            NotEnoughRows: Too few labelled rows or windows were recorded.
        """
        return self._services.laboratory(model, price)


class Delivery(Subject):
    """Bundles and environments."""

    def build(self, project: Path | str) -> BundleManifest:
        """Test a project and build its immutable bundle."""
        return self._services.delivery.build(Path(project))

    def verify(self, bundle: str) -> BundleManifest:
        """Check every hash of a bundle."""
        return self._services.delivery.verify(bundle)

    def deploy(self, bundle: str, environment: str | None = None, *, reason: str = "") -> Deployment:
        """Make a bundle what an environment runs."""
        return self._services.delivery.deploy(bundle, environment, reason)

    def approve(self, bundle: str, environment: str | None = None, *, by: str) -> LedgerEntry:
        """Record that somebody approves a bundle for an environment."""
        return self._services.delivery.approve(bundle, environment, by)

    def environments(self) -> list[Deployment]:
        """What is live, by environment and pipeline."""
        return self._services.delivery.environments()


class Ledger(Subject):
    """What was done, and why."""

    def entries(self, subject: str | None = None) -> list[LedgerEntry]:
        """Entries, oldest first."""
        return self._services.metadata.entries(subject)

    def verify(self) -> int:
        """Check the hash chain, and the hashes that earlier checks kept outside of the database.

        Returns:
            How many entries hold.

        Raises:
            LedgerBroken: An entry was altered, removed or reordered, or the ledger is no longer the one checked before.
        """
        return self._services.verify_ledger()
