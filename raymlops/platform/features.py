"""The feature store, as a user holds it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack, cast, overload

from raymlops import runtime, tables
from raymlops.records.features import (
    ConsistencyReport,
    IngestReceipt,
    MaterializeReceipt,
    QuarantinedRow,
    VacuumReport,
)
from raymlops.records.people.discovery import FeatureDescription, FeatureLineage, FeatureMatch, ViewStatistics
from raymlops.records.shown import Listed

if TYPE_CHECKING:
    import pyarrow as pa
    from ray.data import Dataset

    from raymlops.features import FeatureStore, TrainingSet
    from raymlops.features.intake.row_batches import IngestOptions
    from raymlops.platform import Platform
    from raymlops.tables.columns import Reading

__all__ = ["Features"]

Frame: TypeAlias = Any
"""An Arrow table, a pandas or polars frame, or whatever ``as_table`` takes."""

_COMMIT_TIMEOUTS = 60
"""Deadline of the commit of many blocks, in deadlines of an ordinary call."""


class Features:
    """Ingest, materialise, read, training sets, audit, discovery.

    Args:
        platform: Whose features these are.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def ingest(
        self, view: str, table: Frame | Dataset, *, ingest_id: str | None = None, **options: Unpack[IngestOptions]
    ) -> IngestReceipt:
        """Append a table, a frame or a Ray Dataset in one commit; durable when it returns, idempotent by ``ingest_id``.

        Where rows break a rule, nothing is stored and they are told; ``on_invalid="quarantine"`` puts them aside.
        Further options are those of ``FeatureStore.ingest``.
        """
        return self._ingestion.ingest(view, table, ingest_id=ingest_id, **options)

    def ingest_file(
        self, view: str, path: Path, *, ingest_id: str | None = None, **options: Unpack[IngestOptions]
    ) -> IngestReceipt:
        """Append the rows of a Parquet or CSV file, or of a directory of them, in one commit."""
        return self._ingestion.ingest_file(view, path, ingest_id=ingest_id, **options)

    def push(
        self, view: str, table: Frame, *, ingest_id: str | None = None, **options: Unpack[IngestOptions]
    ) -> IngestReceipt:
        """Ingest, and materialise every view that reads the table."""
        rows = tables.as_table(f"view {view!r}: what is ingested", table)
        return self.writer.push(view, rows, ingest_id=ingest_id or uuid.uuid4().hex, **options)

    def copy_rows(self, source: str) -> Listed[IngestReceipt]:
        """Copy rows of another environment into the tables of this one that have none.

        Args:
            source: The environment that they come from.
        """
        return Listed(runtime.copy_rows_from(self._platform.config, source, self._platform.environment))

    def quarantine(self, view: str, ingest_id: str | None = None) -> Listed[QuarantinedRow]:
        """The rows that ingests into a view refused, with the reasons."""
        return Listed(self._platform.reader.quarantine(view, ingest_id))

    def vacuum(self, *, retention: timedelta = timedelta(days=7), dry_run: bool = True) -> VacuumReport:
        """Remove files that no training set pins and that no version of the last ``retention`` needs; or only tell."""
        return self._platform.by_hand.vacuum(retention=retention, dry_run=dry_run)

    def rebuild(self, digest: str) -> TrainingSet:
        """A training set again, from the manifest with a digest: the same bytes, or an error that says why not."""
        return self._platform.reader.rebuild(self._platform.reader.manifest(digest))

    def materialize(self, view: str | None = None) -> Listed[MaterializeReceipt]:
        """Bring the online store up to the newest table versions, of one view or of all."""
        return Listed(self.writer.materialize(view))

    def online(
        self,
        service: str,
        entities: Frame | Path,
        at: datetime | None = None,
        *,
        as_given: bool = False,
        **reading: Unpack[Reading],
    ) -> Any:
        """The features of N entities as of ``at`` (now), in their order; the TTL rule is the offline one.

        ``entities`` is a table, a frame or the path of a file; ``as_given`` gives back the same kind of frame.
        """
        return self._platform.reader.online(service, entities, at, as_given=as_given, **reading)

    def training_set(
        self,
        service: str,
        spine: Frame | Path,
        *,
        name: str,
        knowledge_cutoff: bool = False,
        **reading: Unpack[Reading],
    ) -> TrainingSet:
        """A point-in-time training set, pinned to the present table versions.

        ``spine`` is a table, a frame or the path of a file; naive times in it need ``time_zone="Europe/Berlin"``.
        """
        return self._platform.reader.training_set(
            service, spine, name=name, knowledge_cutoff=knowledge_cutoff, **reading
        )

    def table(self, view: str, version: int | None = None) -> pa.Table:
        """Rows of a view's table, at a version of the table; the newest by default."""
        return self._platform.reader.table(view, version)

    def audit(
        self, service: str, *, since: datetime | None = None, until: datetime | None = None, sample: int | None = None
    ) -> ConsistencyReport:
        """Recompute what the models on a service were given, as of then, and compare value by value.

        Only rows answered within ``[since, until)``; at most ``sample`` rows per model.
        """
        return self._catalog.audit(service, since, until, sample)

    @overload
    def describe(self) -> list[dict[str, Any]]: ...

    @overload
    def describe(self, name: str) -> FeatureDescription: ...

    def describe(self, name: str | None = None) -> list[dict[str, Any]] | FeatureDescription:
        """What is applied, by kind; or one definition with its statistics, freshness and lineage."""
        return self._catalog.listing() if name is None else self._catalog.describe(name)

    def statistics(self, view: str, version: int | None = None) -> ViewStatistics:
        """Statistics of a view at a version of its table, the newest by default; computed once per version."""
        return self._catalog.statistics(view, version)

    def lineage(self, name: str) -> FeatureLineage:
        """What a definition is made of, and what is made of it, up to models and endpoints."""
        return self._catalog.lineage(name)

    def search(
        self, text: str = "", *, tags: Mapping[str, str] | None = None, owner: str | None = None
    ) -> Listed[FeatureMatch]:
        """Definitions with all the words of a text somewhere in them, and the tags, and the owner."""
        return Listed(self._catalog.search(text, tags, owner))

    @cached_property
    def writer(self) -> FeatureStore:
        """The feature store in the features actor."""
        return cast("FeatureStore", runtime.feature_writer(self._platform.config, self._platform.environment))

    @cached_property
    def _ingestion(self) -> runtime.Ingestion:
        config = self._platform.config
        commit_s = _COMMIT_TIMEOUTS * config.cluster.call_timeout.total_seconds()
        return runtime.Ingestion(config, self._platform.environment, commit_s)

    @cached_property
    def _catalog(self) -> runtime.FeatureCatalog:
        platform = self._platform
        events = platform.config.home / "monitor"
        return runtime.FeatureCatalog(platform.reader, platform.metadata, events, platform.environment)
