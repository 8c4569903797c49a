"""Ingestion of rows into a view's table, at most once per ingest id; rows that break a rule are quarantined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import pyarrow as pa

from raymlops.clock import Clock
from raymlops.errors import ConfigError
from raymlops.features.definitions.fields import DType
from raymlops.features.definitions.views import FeatureView
from raymlops.features.intake.row_batches import IngestOptions, Intake
from raymlops.features.online.materializer import Fresh
from raymlops.records.features import IngestReceipt
from raymlops.tables.delta import DeltaTables

if TYPE_CHECKING:
    from raymlops.features.catalog.catalog_file import Catalog

__all__ = ["Ingester"]


class Ingester:
    """Checks rows and commits them. Thread-safe; ingests into different tables do not wait for each other.

    Args:
        catalog: The definitions.
        tables: The tables.
        quarantine: Tables of refused rows, by the same names.
        clock: Stamps rows without a created-at.
        scratch: Directory for what does not fit in memory meanwhile.
    """

    def __init__(
        self, catalog: Catalog, tables: DeltaTables, quarantine: DeltaTables, clock: Clock, scratch: Path
    ) -> None:
        self._catalog = catalog
        self._tables = tables
        self._quarantine = quarantine
        self._clock = clock
        self._scratch = scratch

    def ingest(
        self,
        name: str,
        rows: Iterable[Any],
        *,
        ingest_id: str,
        text: bool = False,
        **options: Unpack[IngestOptions],
    ) -> tuple[IngestReceipt, Fresh | None]:
        """Append rows to the table of a view in one commit.

        Refused rows are committed first: a call that is cut off in between and repeated finds them there already.

        Args:
            name: ``NAME`` or ``NAME@VERSION`` of a view that has its own table.
            rows: Tables, at least one, that are held one at a time.
            ingest_id: The same id again changes nothing.
            text: Whether values are texts, to be read as the declared types.
            options: How rows are taken; where no time zone is named, the view's counts.

        Returns:
            The receipt, and the rows if they were new and few.

        Raises:
            RaymlopsError: as ``FeatureStore.ingest`` does.
        """
        state = self._catalog.state()
        view = state.view(name)
        if view.source is not None:
            raise ConfigError(f"view {name!r} reads the table of {view.source!r}: ingest there", view=name)
        target = state.table_of(view)
        now = self._clock.now()
        options["time_zone"] = options.get("time_zone") or view.time_zone
        with Intake(view, ingest_id=ingest_id, at=now, directory=self._scratch, **options) as intake:
            intake.take(rows, text=text, key_dtypes=self._key_dtypes(view, target) if text else None)
            digests = {ingest_id: intake.digest}
            if intake.bad.num_rows:
                self._quarantine.append(target, intake.bad, ingest_id=ingest_id, digests=digests)
            held = intake.good.table()
            good = intake.good if held is None else held
            done = self._tables.append(target, good, ingest_id=ingest_id, digests=digests)
            receipt = IngestReceipt(
                table=target,
                table_version=done.version,
                rows=intake.good.num_rows,
                rejected=intake.bad.num_rows,
                ingest_id=ingest_id,
                duplicate=done.duplicate,
            )
            return receipt, None if done.first_sequence is None or held is None else Fresh(held, done.first_sequence)

    def _key_dtypes(self, view: FeatureView, table: str) -> Mapping[str, DType] | None:
        """What the keys of a table are, if there is one."""
        if not self._tables.exists(table):
            return None
        schema = self._tables.schema(table)
        return {key: "int64" if pa.types.is_integer(schema.field(key).type) else "string" for key in view.keys}
