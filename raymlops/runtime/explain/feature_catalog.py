"""The catalog of features: the store's own descriptions, joined with models and endpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from raymlops.features import FeatureReader, audit
from raymlops.metadata import Metadata
from raymlops.monitoring.events.event_tables import DeltaEventTables
from raymlops.records.features import ConsistencyReport
from raymlops.records.people.discovery import (
    FeatureDescription,
    FeatureLineage,
    FeatureMatch,
    LineageEdge,
    LineageKind,
    LineageNode,
    ViewStatistics,
)
from raymlops.records.plans import ServingPlan
from raymlops.runtime.explain.served_features import rows_by_service, sampled, served_rows

__all__ = ["FeatureCatalog"]


class FeatureCatalog:
    """Describes features and audits what was served of them.

    Args:
        reader: The store's knowledge.
        metadata: Models and plans.
        events: Directory of the prediction log.
        environment: Whose features the reader reads; ``None``: the platform's own.
    """

    def __init__(self, reader: FeatureReader, metadata: Metadata, events: Path, environment: str | None = None) -> None:
        self._environment = environment
        self._reader = reader
        self._metadata = metadata
        self._events = DeltaEventTables(events)

    def listing(self) -> list[dict[str, Any]]:
        """The applied definitions: entities first, then views, on-demand views and services."""
        return self._reader.discovery.listing()

    def describe(self, name: str) -> FeatureDescription:
        """One definition with statistics, freshness and lineage, models and endpoints included."""
        return self._reader.discovery.describe(name, self._consumers())

    def lineage(self, name: str) -> FeatureLineage:
        """Lineage of a definition: its inputs and its users, up to models and endpoints."""
        return self._reader.discovery.lineage(name, self._consumers())

    def statistics(self, view: str, version: int | None = None) -> ViewStatistics:
        """Statistics of a view at a version of its table."""
        return self._reader.discovery.statistics(view, version)

    def search(self, text: str, tags: Mapping[str, str] | None, owner: str | None) -> list[FeatureMatch]:
        """Definitions by words, tags and owner."""
        return self._reader.discovery.search(text, tags=tags, owner=owner)

    def audit(
        self, service: str, since: datetime | None, until: datetime | None, sample: int | None
    ) -> ConsistencyReport:
        """Recompute what every model on a service was given, as of then, and compare value by value.

        Args:
            service: ``NAME`` or ``NAME@VERSION``.
            since: Only rows answered at or after it.
            until: Only rows answered before it.
            sample: At most so many rows per model; ``None``: all.
        """
        ref = self._reader.service(service).ref
        return audit(ref, self._served(ref, since, until, sample), self._reader)

    def _served(
        self, ref: str, since: datetime | None, until: datetime | None, sample: int | None
    ) -> Iterator[pa.Table]:
        for model in self._metadata.plans.plan_numbers():
            plans = self._metadata.plans.list_plans(model)
            if not any(self._serves(plan, ref) for plan in plans):
                continue
            batches = map(served_rows, self._events.batches(f"predictions/{model}", since, until, "served_at"))
            for rows in batches if sample is None else [sampled(batches, sample)]:
                for used, some in rows_by_service(plans, rows):
                    if used.environment == self._environment and self._reader.service(used.service).ref == ref:
                        yield some

    def _serves(self, plan: ServingPlan, ref: str) -> bool:
        if plan.service is None or plan.environment != self._environment:
            return False
        return self._reader.service(plan.service).ref == ref

    def _consumers(self) -> list[LineageEdge]:
        """Training set -> model version -> endpoint, and service -> endpoint."""
        edges = []
        for name in self._metadata.models.list_models():
            for version in self._metadata.models.list_versions(name):
                if version.training_set is not None and version.environment == self._environment:
                    edges.append(_edge("training set", version.training_set, "model", f"{name}@{version.version}"))
        for name in self._metadata.plans.plan_numbers():
            plan = self._metadata.plans.get_plan(name)
            if plan.environment != self._environment:
                continue
            tried = [] if plan.trial is None else [plan.trial.version]
            for number in dict.fromkeys([plan.champion, *([plan.backup] if plan.backup else []), *tried]):
                edges.append(_edge("model", f"{name}@{number}", "endpoint", name))
            if plan.service is not None:
                edges.append(_edge("service", self._reader.service(plan.service).ref, "endpoint", name))
        return edges


def _edge(source: LineageKind, of: str, target: LineageKind, to: str) -> LineageEdge:
    return LineageEdge(source=LineageNode(kind=source, name=of), target=LineageNode(kind=target, name=to))
