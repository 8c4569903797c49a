"""Ingest from where rows are: tables, files and Ray Datasets, through the one writer."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

import pyarrow as pa

from raymlops.config.platform import PlatformConfig
from raymlops.errors import DataError, StorageError
from raymlops.features import FeatureStore
from raymlops.features.intake.row_batches import IngestOptions
from raymlops.features.offline.feature_files import FeatureFiles
from raymlops.features.replication.leader import copy_rows
from raymlops.records.features import IngestReceipt
from raymlops.runtime.cluster.progress import progress
from raymlops.runtime.cluster.this_node import this_node
from raymlops.runtime.nodes.feature_writer import feature_writer
from raymlops.tables.columns import as_table
from raymlops.tables.sources import FileSource

if TYPE_CHECKING:
    from ray.data import Dataset

    from raymlops.features.replication.leader import LeadingStore

__all__ = ["Ingestion", "copy_rows_from"]

_BLOCK_ROWS = 1 << 17
_COPY_S = 3600.0
"""Deadline of copying the rows of one table."""


def copy_rows_from(config: PlatformConfig, source: str, environment: str | None = None) -> list[IngestReceipt]:
    """Copy rows of another environment into the tables of one that have none; as ``copy_rows``."""
    files = FeatureFiles.at(config.feature_place(source))
    if not files.state().views and feature_writer(config).node_id() != this_node():
        rule = "copying rows needs the feature store's directory on all nodes, shared or in an object store"
        raise StorageError(f"environment {source!r} has no definitions in {files.root} on this node: {rule}")
    return copy_rows(files, cast("LeadingStore", feature_writer(config, environment, _COPY_S)), source)


class Ingestion:
    """Hands rows to the writer. What does not come as one table goes block by block, and is committed at once.

    Neither side holds more than a few blocks at a time. Thread-safe.

    Args:
        config: The platform's.
        environment: Whose tables; ``None``: those of the platform's own.
        commit_timeout_s: Deadline of the call that checks and commits all blocks.
    """

    def __init__(self, config: PlatformConfig, environment: str | None, commit_timeout_s: float) -> None:
        self._store = cast("FeatureStore", feature_writer(config, environment))
        self._committer = cast("FeatureStore", feature_writer(config, environment, commit_timeout_s))

    def ingest(
        self, view: str, rows: Any, *, ingest_id: str | None = None, **options: Unpack[IngestOptions]
    ) -> IngestReceipt:
        """Append a table or frame, or all blocks of a Dataset, to the table of a view in one commit.

        Args:
            view: As in ``FeatureStore.ingest``.
            rows: A table or frame, or a Dataset.
            ingest_id: As there; ``None``: for a Dataset, whose blocks have no order, a new one every time.
            options: As there.

        Raises:
            RaymlopsError: as ``FeatureStore.ingest`` does.
        """
        if not type(rows).__module__.startswith("ray.data"):
            table = as_table(f"view {view!r}: what is ingested", rows)
            return self._store.ingest(view, table, ingest_id=ingest_id, **options)
        ingest_id = uuid.uuid4().hex if ingest_id is None else ingest_id
        return self._staged(view, _blocks(rows), ingest_id, options, text=False)

    def ingest_file(
        self, view: str, path: Path, *, ingest_id: str | None = None, **options: Unpack[IngestOptions]
    ) -> IngestReceipt:
        """Append the rows of a Parquet or CSV file, or of a directory of such files, in one commit.

        Args:
            view: As in ``FeatureStore.ingest``.
            path: On this machine.
            ingest_id: As there; ``None``: made from the bytes of the files.
            options: As there.

        Raises:
            RaymlopsError: as ``FeatureStore.ingest`` does; ``ConfigError`` and ``DataError`` also for the file.
        """
        source = FileSource(path)
        ingest_id = source.digest() if ingest_id is None else ingest_id
        return self._staged(view, source.tables(), ingest_id, options, text=source.text)

    def _staged(
        self, view: str, tables: Iterable[pa.Table], ingest_id: str, options: IngestOptions, *, text: bool
    ) -> IngestReceipt:
        staged, blocks, rows = uuid.uuid4().hex, 0, 0
        try:
            with progress(f"ingesting into {view}") as tell:
                for table in tables:
                    self._store.stage(staged, blocks, table)
                    blocks, rows = blocks + 1, rows + table.num_rows
                    tell(rows, f"{rows:,} rows")
            return self._committer.ingest_staged(view, staged, blocks, ingest_id=ingest_id, text=text, **options)
        finally:
            self._store.discard(staged)


def _blocks(dataset: Dataset) -> Iterator[pa.Table]:
    """The rows of a Dataset, streamed; an empty table first, so that one without rows has columns too."""
    schema: Any = dataset.schema()
    if schema is None:
        raise DataError("the Dataset has no columns")
    plain = schema.base_schema
    if isinstance(plain, pa.Schema):
        yield plain.empty_table()
    yield from dataset.iter_batches(batch_size=_BLOCK_ROWS, batch_format="pyarrow")
