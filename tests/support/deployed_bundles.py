"""Deployment of a bundle without a platform: the two steps of ``runtime/deploying``, but for what is served."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from raymlops.clock import Clock
from raymlops.delivery.environment import DeliveryStore, EnvironmentRules, record_deployment, require_deployable
from raymlops.features import Definition, FeatureStore
from raymlops.records.bundles import BundleManifest, Deployment
from raymlops.runtime.deploying.grounds import Grounds


def deploy_bundle(
    manifest: BundleManifest,
    environment: str,
    store: DeliveryStore,
    clock: Clock,
    reason: str = "",
    *,
    by: str | None = None,
    rules: EnvironmentRules | None = None,
    place: Path | None = None,
) -> Deployment:
    require_deployable(manifest, environment, store, rules=rules, place=place)
    return record_deployment(manifest, environment, store, clock, reason, by=by)


class _NothingDefined:
    """Grounds of bundles that define nothing."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store

    def store(self, environment: str) -> FeatureStore:
        return self._store

    def definitions(self, manifest: BundleManifest) -> list[Definition]:
        return []


def nothing_defined(store: FeatureStore) -> Grounds:
    """What a deployment without a rehearsal asks of where it is; ``store`` is that of every environment."""
    return cast("Grounds", _NothingDefined(store))
