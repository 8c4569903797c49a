"""The cluster as a place where bundles are deployed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from raymlops.clock import Clock
from raymlops.config.delivery import EnvironmentRules
from raymlops.config.platform import PlatformConfig
from raymlops.delivery import read_sources
from raymlops.delivery.admission.target import check_target
from raymlops.delivery.load_test import LoadReport
from raymlops.delivery.verify import lock_file
from raymlops.errors import DeploymentError, NotFoundError
from raymlops.features.offline.feature_files import FeatureFiles
from raymlops.features.replication.removal import tables_in
from raymlops.metadata import Metadata
from raymlops.records.bundles import BundleManifest, ProjectSpec
from raymlops.records.delivering.environments import environment_of_run
from raymlops.records.features import IngestReceipt
from raymlops.records.models import ModelVersion
from raymlops.records.runs import Run, RunStatus
from raymlops.records.serving.orders import Order
from raymlops.runtime.deploying.offer import needs_of, target_of
from raymlops.runtime.deploying.rehearsal import Rehearsal
from raymlops.runtime.jobs.bundle_definitions import bundle_definitions
from raymlops.runtime.jobs.operators import RunOperator
from raymlops.runtime.jobs.run_jobs import JobRunner
from raymlops.runtime.nodes.feature_writer import feature_writer
from raymlops.runtime.nodes.ingestion import copy_rows_from
from raymlops.runtime.serve.endpoint_orders import EndpointOrders

if TYPE_CHECKING:
    from raymlops.features import Definition, FeatureStore

__all__ = ["ClusterGrounds"]

_REMOVE_S = 600.0
"""Deadline of removing the features of an environment: an object store removes file by file."""


class ClusterGrounds:
    """The cluster that this process is connected to.

    Args:
        config: The platform's configuration.
        metadata: All stores.
        clock: Dates the records.
    """

    def __init__(self, config: PlatformConfig, metadata: Metadata, clock: Clock) -> None:
        self._config = config
        self._metadata = metadata
        self._clock = clock

    def store(self, environment: str) -> FeatureStore:
        return cast("FeatureStore", feature_writer(self._config, environment))

    def fill(self, environment: str, source: str) -> Sequence[IngestReceipt]:
        return copy_rows_from(self._config, source, environment)

    def tables_in(self, environment: str) -> tuple[str, ...] | None:
        return tables_in(self._config.feature_place(environment))

    def remove_features(self, environment: str) -> None:
        # a part of the features actor, which closes the store first
        feature_writer(self._config, environment, _REMOVE_S).remove_features()

    def stop_runs(self, environment: str, reason: str) -> None:
        runs = self._metadata.runs
        for run in [*runs.list_runs(status=RunStatus.PENDING), *runs.list_runs(status=RunStatus.RUNNING)]:
            if run.bundle is None:
                continue
            project = self._metadata.deployments.get_bundle(run.bundle).project
            if environment_of_run(project, run.pipeline) == environment:
                self._operator.cancel(run.id, reason)

    @property
    def _operator(self) -> RunOperator:
        jobs = JobRunner(self._config.home, self._metadata.runs, self._clock)
        return RunOperator(self._config, self._metadata, jobs, self._clock)

    @cached_property
    def endpoints(self) -> EndpointOrders:
        return EndpointOrders(self._config, self._metadata)

    def definitions(self, manifest: BundleManifest) -> Sequence[Definition]:
        return bundle_definitions(manifest.project, read_sources(self._place(manifest)))

    def lock(self, manifest: BundleManifest) -> bytes:
        lock = lock_file(self._place(manifest), manifest)
        try:
            return lock.read_bytes()
        except FileNotFoundError as error:
            raise NotFoundError(f"bundle {manifest.digest} has no {lock.name} in {lock.parent}") from error

    def require_fit(self, manifest: BundleManifest) -> None:
        needs = needs_of(self._config, manifest, self.lock(manifest))
        check_target(manifest, needs, target_of(self._config, self._metadata))

    def run(self, manifest: BundleManifest, pipeline: str, environment: str, rules: EnvironmentRules) -> Run:
        run = self._operator.start(
            pipeline,
            parameters={"skip_unchanged": False, **rules.parameters},
            reason=f"rehearsal of bundle {manifest.digest[:12]} for {environment}",
            timeout_s=self._config.cluster.run_deadline.total_seconds(),
            bundle=manifest.digest,
        )
        if run.status is not RunStatus.SUCCEEDED or run.result.get("version") is None:
            why = run.error or f"{run.result.get('outcome')}: {run.result.get('reason')}"
            raise DeploymentError(f"bundle {manifest.digest}: its run {run.id} came to no model: {why}", run=run.id)
        return run

    def service_of(self, version: ModelVersion) -> str | None:
        if version.training_set is None:
            return None
        files = FeatureFiles.at(self._config.feature_place(version.environment))
        return files.training_sets.manifest(version.training_set).service

    def ask(
        self, version: ModelVersion, project: ProjectSpec, service: str | None, rules: EnvironmentRules, order: Order
    ) -> LoadReport | None:
        return Rehearsal(self._config, self._metadata, self.endpoints).ask(version, project, service, rules, order)

    def _place(self, manifest: BundleManifest) -> Path:
        return self._config.home / "bundles" / manifest.digest
