"""What is known about a model and the system around it, gathered once, so that every item looks at the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from raymlops.errors import NotFoundError
from raymlops.features.definitions.services import FeatureService
from raymlops.features.definitions.views import FeatureView
from raymlops.records.bundles import BundleManifest, Deployment
from raymlops.records.ledger import LedgerEntry
from raymlops.records.models import ModelVersion
from raymlops.records.plans import ServingPlan
from raymlops.records.record import Instant, Record
from raymlops.records.runs import Run
from raymlops.records.windows import WindowRecord

__all__ = ["WRONG_SHARE", "Evidence", "Proof", "Settings", "Stores", "gather", "trials"]

WRONG_SHARE = 0.01
"""Of served features more than this share must not differ from the tables."""
_RUNS = 50
_RECENT = 8


class Proof(Record):
    """One record that an item rests on."""

    id: str
    """Kind and name: ``run:ID``, ``version:MODEL@N``, ``window:MODEL@START``, ``ledger:SEQUENCE``,
    ``bundle:DIGEST`` ..."""
    at: Instant


class Settings(Record):
    """What the configuration says that a record does not."""

    keys_required: bool
    """Whether callers need a key; where they do not, all of this machine may ask, and nobody else."""
    retention_days: float
    """How long prediction events, with their inputs, are kept."""
    told: tuple[str, ...] = ()
    """Who is told of alerts: names of webhooks, ``prometheus``."""
    loop_enabled: bool = True
    """Whether the controller decides by itself."""


class _Models(Protocol):
    def list_versions(self, name: str) -> list[ModelVersion]: ...


class _Plans(Protocol):
    def list_plans(self, model: str) -> list[ServingPlan]: ...


class _Runs(Protocol):
    def get_run(self, run_id: str) -> Run: ...
    def list_runs(self, pipeline: str | None = None, status: Any = None, limit: int | None = None) -> list[Run]: ...


class _Ledger(Protocol):
    def entries(self, subject: str | None = None, after: int = 0) -> list[LedgerEntry]: ...


class _Windows(Protocol):
    def list_windows(self, model: str) -> list[WindowRecord]: ...


class _Deployments(Protocol):
    def get_bundle(self, digest: str) -> BundleManifest: ...
    def list_live_deployments(self) -> list[Deployment]: ...


class Stores(Protocol):
    """The stores that are asked."""

    @property
    def models(self) -> _Models: ...
    @property
    def plans(self) -> _Plans: ...
    @property
    def runs(self) -> _Runs: ...
    @property
    def ledger(self) -> _Ledger: ...
    @property
    def windows(self) -> _Windows: ...
    @property
    def deployments(self) -> _Deployments: ...


@dataclass(frozen=True)
class Evidence:
    """Everything that items look at.

    Attributes:
        model: Its name.
        now: The instant that ages are counted from.
        settings: Of the platform.
        champion: The version that the newest plan names; ``None`` where none does.
        versions: All versions, oldest first.
        plans: All plans, oldest first.
        run: The run that made the champion.
        runs: Runs of its pipeline, newest first.
        bundle: What the champion was trained from.
        live: What is deployed of its pipeline.
        ledger: Entries about the model, its bundle and the definitions, oldest first.
        windows: Closed windows, oldest first.
        views: The feature views that the model's service takes features from.
        probed: When windows were probed for what staleness costs, oldest first.
    """

    model: str
    now: datetime
    settings: Settings
    champion: ModelVersion | None = None
    versions: tuple[ModelVersion, ...] = ()
    plans: tuple[ServingPlan, ...] = ()
    run: Run | None = None
    runs: tuple[Run, ...] = ()
    bundle: BundleManifest | None = None
    live: tuple[Deployment, ...] = ()
    ledger: tuple[LedgerEntry, ...] = ()
    windows: tuple[WindowRecord, ...] = ()
    views: tuple[FeatureView, ...] = ()
    probed: tuple[datetime, ...] = ()

    @property
    def plan(self) -> ServingPlan | None:
        """The newest plan."""
        return self.plans[-1] if self.plans else None

    @property
    def result(self) -> dict[str, Any]:
        """What the champion's run returned; nothing where no run made it."""
        return {} if self.run is None else self.run.result

    @property
    def recent(self) -> tuple[WindowRecord, ...]:
        """The newest closed windows that had rows, newest first."""
        return tuple(window for window in reversed(self.windows) if window.rows)[:_RECENT]

    @property
    def audited(self) -> WindowRecord | None:
        """The newest window whose served features were computed again."""
        return next((window for window in self.recent if window.audited_rows), None)

    def entries(self, *actions: str) -> list[LedgerEntry]:
        """Entries of some actions, newest first."""
        return [entry for entry in reversed(self.ledger) if entry.action in actions]

    def of_champion(self) -> tuple[Proof, ...]:
        """The champion and its run, as proofs."""
        proofs = [] if self.champion is None else [version_proof(self.champion)]
        return tuple(proofs if self.run is None else [run_proof(self.run), *proofs])


def version_proof(version: ModelVersion) -> Proof:
    """A model version."""
    return Proof(id=f"version:{version.name}@{version.version}", at=version.created_at)


def run_proof(run: Run) -> Proof:
    """A run."""
    return Proof(id=f"run:{run.id}", at=run.ended_at or run.created_at)


def window_proof(window: WindowRecord) -> Proof:
    """A closed window."""
    return Proof(id=f"window:{window.model}@{window.start.isoformat()}", at=window.end)


def entry_proof(entry: LedgerEntry) -> Proof:
    """An entry of the ledger."""
    return Proof(id=f"ledger:{entry.sequence}", at=entry.at)


def bundle_proof(bundle: BundleManifest) -> Proof:
    """A bundle."""
    return Proof(id=f"bundle:{bundle.digest[:12]}", at=bundle.built_at)


def gather(
    stores: Stores,
    model: str,
    now: datetime,
    settings: Settings,
    *,
    definitions: Sequence[object] = (),
    probed: Sequence[datetime] = (),
) -> Evidence:
    """Ask the stores for all that items look at.

    Args:
        stores: Metadata.
        model: Name of the model; one that nobody knows has no evidence, and fails every item.
        now: The present instant.
        settings: Of the platform.
        definitions: The feature definitions that are applied.
        probed: When windows of the model were probed.

    Raises:
        StorageError: A store cannot be read.
    """
    versions, plans = stores.models.list_versions(model), stores.plans.list_plans(model)
    plan = plans[-1] if plans else None
    champion = next((of for of in versions if plan is not None and of.version == plan.champion), None)
    run = None if champion is None or champion.run_id is None else _found(stores.runs.get_run, champion.run_id)
    bundle = (
        None if champion is None or champion.bundle is None else _found(stores.deployments.get_bundle, champion.bundle)
    )
    subjects = {model, "platform:definitions", *([] if bundle is None else [f"bundle:{bundle.digest}"])}
    live = (
        ()
        if run is None
        else tuple(of for of in stores.deployments.list_live_deployments() if _pipeline_of(stores, of) == run.pipeline)
    )
    return Evidence(
        model=model,
        now=now,
        settings=settings,
        champion=champion,
        versions=tuple(versions),
        plans=tuple(plans),
        run=run,
        runs=() if run is None else tuple(stores.runs.list_runs(run.pipeline, limit=_RUNS)),
        bundle=bundle,
        live=live,
        ledger=tuple(entry for entry in stores.ledger.entries() if entry.subject in subjects),
        windows=tuple(stores.windows.list_windows(model)),
        views=_views_of(definitions, plan),
        probed=tuple(sorted(probed)),
    )


def _found(get: Any, key: str) -> Any:
    try:
        return get(key)
    except NotFoundError:  # a record that is gone proves nothing; the items that need it say so
        return None


def _pipeline_of(stores: Stores, deployment: Deployment) -> str | None:
    bundle = _found(stores.deployments.get_bundle, deployment.bundle)
    return None if bundle is None else bundle.project.name


def _views_of(definitions: Sequence[object], plan: ServingPlan | None) -> tuple[FeatureView, ...]:
    if plan is None or plan.service is None:
        return ()
    name = plan.service.partition("@")[0]
    services = [of for of in definitions if isinstance(of, FeatureService) and of.name == name]
    wanted = {str(reference).partition(":")[0].partition("@")[0] for of in services for reference in of.features}
    return tuple(of for of in definitions if isinstance(of, FeatureView) and of.name in wanted)


def trials(of: Evidence) -> list[tuple[LedgerEntry, LedgerEntry]]:
    """Trials that ended, newest first: how each began, and how it ended."""
    ended, found = of.entries("promote", "roll_back", "rollback"), []
    for begun in of.entries("start_trial"):
        version = begun.evidence.get("version") or (begun.evidence.get("trial") or {}).get("version")
        later = [entry for entry in ended if entry.sequence > begun.sequence and _about(entry) == version]
        if later:
            found.append((begun, later[-1]))
    return found


def _about(entry: LedgerEntry) -> Any:
    return entry.evidence.get("version", entry.evidence.get("champion"))
