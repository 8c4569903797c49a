"""What the metadata store promises, entity by entity.

Everything here is thread-safe. A call that changes something returns once the change is on disk, and may be repeated
after a crash: by id, by key or by compare-and-set, an equal repeat is accepted and answers what the first call did.
Every call may raise ``StorageError`` where the database fails: it is full, locked, corrupt or gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from raymlops.records.artifacts import Artifact, ArtifactEvent, Direction, Lineage
from raymlops.records.bundles import BundleManifest, Deployment
from raymlops.records.ledger import LedgerEntry
from raymlops.records.models import AliasChange, ModelState, ModelVersion, StateChange
from raymlops.records.plans import ServingPlan
from raymlops.records.runs import Run, RunStatus, StepRun
from raymlops.records.windows import WindowRecord

__all__ = [
    "ArtifactStore",
    "DeploymentStore",
    "Ledger",
    "Metadata",
    "ModelRegistry",
    "PlanStore",
    "RunStore",
    "WindowStore",
]


class RunStore(Protocol):
    """Runs of pipelines and their steps."""

    def create_run(self, run: Run) -> Run:
        """Record a run.

        Returns:
            The run as stored; where its id is known, the run as it stands, unchanged.

        Raises:
            AlreadyRegistered: The id belongs to a run of another pipeline.
            DataError: A parameter has no JSON form.
        """
        ...

    def update_run(self, run_id: str, **changes: object) -> Run:
        """Change fields of a run.

        They are ``status``, ``parameters``, ``reason``, ``bundle``, ``job_id``, ``ended_at``, ``result`` and ``error``.
        A run that becomes final without ``ended_at`` ends now.

        Raises:
            RunNotFound: No run has this id.
            InvalidTransition: The run is final and a change differs from what is there (a missing ``job_id`` may still
                be filled in), or a running run would become pending.
            DataError: A field is not one of the above, or its value is wrong.
        """
        ...

    def get_run(self, run_id: str) -> Run:
        """The run with its steps, in the order they were first recorded.

        Raises:
            RunNotFound: No run has this id.
        """
        ...

    def list_runs(
        self, pipeline: str | None = None, status: RunStatus | str | None = None, limit: int | None = None
    ) -> list[Run]:
        """Runs with their steps, newest ``created_at`` first, at most ``limit`` of them."""
        ...

    def record_step(self, run_id: str, step: StepRun) -> None:
        """Record one attempt of one step; a later record of the same step and attempt replaces it.

        Raises:
            RunNotFound: No run has this id.
        """
        ...


class ArtifactStore(Protocol):
    """Artifacts, and which step read or wrote them."""

    def record_artifact(
        self, digest: str, kind: str, uri: str, metadata: Mapping[str, object] | None = None
    ) -> Artifact:
        """Record an artifact, by its content's digest.

        Returns:
            The artifact as first recorded: what is known under this digest stays as it is.

        Raises:
            DataError: The metadata has no JSON form.
        """
        ...

    def get_artifact(self, digest: str) -> Artifact:
        """The artifact with this digest.

        Raises:
            NotFoundError: None has.
        """
        ...

    def record_event(self, run_id: str, step: str, digest: str, direction: Direction) -> ArtifactEvent:
        """Record that a step of a run read (``input``) or wrote (``output``) an artifact.

        Raises:
            RunNotFound: No run has this id.
            NotFoundError: The artifact is not recorded.
            DataError: ``direction`` is neither of the two.
        """
        ...

    def lineage_of(self, digest: str) -> Lineage:
        """All that an artifact was made from, through any number of steps and runs.

        Equal contents are one artifact: where two steps wrote the same bytes, both are in its lineage.

        Raises:
            NotFoundError: The artifact is not recorded.
        """
        ...

    def runs_using(self, digest: str) -> list[str]:
        """Ids of the runs that read an artifact or anything made from it, newest first.

        Raises:
            NotFoundError: The artifact is not recorded.
        """
        ...


class ModelRegistry(Protocol):
    """Versions of models, their states and aliases, and the history of both."""

    def register_version(self, draft: ModelVersion, *, key: str) -> ModelVersion:
        """Give a draft the model's next version number and store it.

        Args:
            draft: With ``version`` 0 and state ``candidate``.
            key: Idempotency key within the model, for example the id of the run that made it.

        Returns:
            The version; where the key is known, the version first registered with it.

        Raises:
            DataError: The draft has a number or another state, or holds what has no JSON form.
        """
        ...

    def get_version(self, name: str, version: int) -> ModelVersion:
        """One version of a model.

        Raises:
            ModelVersionNotFound: There is no such version.
        """
        ...

    def list_versions(self, name: str) -> list[ModelVersion]:
        """All versions of a model, oldest first; none where the model is unknown."""
        ...

    def list_models(self) -> list[str]:
        """Names of the models that have a version, sorted."""
        ...

    def set_state(self, name: str, version: int, state: ModelState, *, reason: str) -> ModelVersion:
        """Move a version to another state.

        Raises:
            ModelVersionNotFound: There is no such version.
            InvalidTransition: It would become a candidate again.
            DataError: There is no such state.
        """
        ...

    def state_history(self, name: str, version: int) -> list[StateChange]:
        """All changes of a version's state, oldest first.

        Raises:
            ModelVersionNotFound: There is no such version.
        """
        ...

    def set_mlflow_uri(self, name: str, version: int, uri: str | None) -> ModelVersion:
        """Note where MLflow holds the version.

        Raises:
            ModelVersionNotFound: There is no such version.
        """
        ...

    def set_alias(
        self, name: str, alias: str, version: int | None, *, expected: int | None, reason: str
    ) -> AliasChange:
        """Point an alias at a version, or at none, provided that it still points at ``expected``.

        The alias's last change, asked for again with the same ``version`` and ``expected``, is accepted and answered;
        so is pointing it where it points. A repeat that comes after somebody else has moved the alias on and back is
        applied again: compare-and-set cannot tell.

        Returns:
            The change as it stands in the history.

        Raises:
            StaleWrite: The alias points elsewhere: read again, then decide again.
            ModelVersionNotFound: There is no such version.
        """
        ...

    def aliases(self, name: str) -> dict[str, int]:
        """Alias -> version, for the aliases that point at one."""
        ...

    def alias_history(self, name: str) -> list[AliasChange]:
        """All changes of the model's aliases, oldest first."""
        ...

    def serving_at(self, name: str, when: datetime) -> int | None:
        """The version that was ``champion`` at an instant, ``None`` where none was."""
        ...


class PlanStore(Protocol):
    """Serving plans, numbered per model from 1 without gaps; none is ever changed."""

    def put_plan(self, plan: ServingPlan) -> ServingPlan:
        """Add the next plan of a model.

        Raises:
            StaleWrite: The number is not the latest plan's plus one, and the plan is not equal to the one stored
                under it.
        """
        ...

    def find_plan(self, model: str) -> ServingPlan | None:
        """The latest plan of a model, ``None`` where it has none."""
        ...

    def get_plan(self, model: str) -> ServingPlan:
        """The latest plan of a model.

        Raises:
            DeploymentNotFound: It has none.
        """
        ...

    def plan_numbers(self) -> dict[str, int]:
        """Model -> number of its latest plan, by name."""
        ...

    def list_plans(self, model: str) -> list[ServingPlan]:
        """All plans of a model, by number."""
        ...


class Ledger(Protocol):
    """The append-only, hash-chained record of what was decided and done."""

    def append_entry(
        self, subject: str, action: str, reason: str, evidence: Mapping[str, object] | None = None, *, key: str
    ) -> LedgerEntry:
        """Append an entry.

        Args:
            subject: What it is about, usually a model's name.
            action: What is done.
            reason: Why, for people.
            evidence: What the decision rested on: JSON values.
            key: Idempotency key over the whole ledger.

        Returns:
            The entry; where the key is known, the first entry with it, whatever else is asked now.

        Raises:
            DataError: A value has no JSON form.
            LedgerBroken: The ledger's head is gone.
        """
        ...

    def entries(self, subject: str | None = None, after: int = 0) -> list[LedgerEntry]:
        """Entries, of one subject or all, with ``sequence`` above ``after``, in order.

        Raises:
            LedgerBroken: An entry cannot be read.
        """
        ...

    def verify_ledger(self) -> int:
        """Check every hash, every link and the head.

        Found are entries that were altered, removed (at the end too), added or moved. Not found is a rewrite of the
        whole chain from some entry on *with* its head, or a whole database put back from a backup, by somebody who may
        write to it. Against that, keep the count returned and the last entry's hash elsewhere and compare.

        Returns:
            The number of entries.

        Raises:
            LedgerBroken: The message and ``context["sequence"]`` say where.
        """
        ...


class WindowStore(Protocol):
    """Closed monitoring windows and their profiles, one per model and start."""

    def put_window(self, record: WindowRecord, profile: bytes) -> None:
        """Store a window; a later record of the same model and start replaces it, profile included."""
        ...

    def list_windows(
        self, model: str, start: datetime | None = None, end: datetime | None = None
    ) -> list[WindowRecord]:
        """Windows of a model that start at or after ``start`` and before ``end``, by start."""
        ...

    def get_profile(self, model: str, start: datetime) -> bytes:
        """The profile of the window that starts at ``start``.

        Raises:
            NotFoundError: There is no such window.
        """
        ...


class DeploymentStore(Protocol):
    """Bundles, and which of them is live in which environment."""

    def put_bundle(self, manifest: BundleManifest) -> BundleManifest:
        """Record a bundle; where its digest is known, the manifest first recorded stays and is returned."""
        ...

    def get_bundle(self, digest: str) -> BundleManifest:
        """The bundle with this digest.

        Raises:
            NotFoundError: None has.
        """
        ...

    def list_bundles(self, pipeline: str | None = None) -> list[BundleManifest]:
        """Bundles, of one pipeline or all, in the order they were recorded."""
        ...

    def put_deployment(self, deployment: Deployment) -> Deployment:
        """Record that a bundle is live; an exact repeat of its pipeline's latest in the environment adds nothing.

        Raises:
            NotFoundError: The bundle is not recorded.
        """
        ...

    def find_deployment(self, environment: str, pipeline: str | None = None) -> Deployment | None:
        """The latest deployment in an environment, of one pipeline or any; ``None`` where there is none."""
        ...

    def list_live_deployments(self) -> list[Deployment]:
        """The latest deployment of each pipeline in each environment, by environment, then pipeline."""
        ...

    def list_deployments(self, environment: str, pipeline: str | None = None) -> list[Deployment]:
        """Deployments in an environment, of one pipeline or all, newest first."""
        ...


class Metadata(RunStore, ArtifactStore, ModelRegistry, PlanStore, Ledger, WindowStore, DeploymentStore, Protocol):
    """All of the above: what a client of the metadata store holds, be it local or an actor."""
