"""Deployment of a bundle without a platform: the two steps of ``runtime/deploying``, but for what is served."""

from __future__ import annotations

from pathlib import Path

from raymlops.clock import Clock
from raymlops.delivery.environment import DeliveryStore, EnvironmentRules, record_deployment, require_deployable
from raymlops.records.bundles import BundleManifest, Deployment


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
