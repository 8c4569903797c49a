"""From rows of a source to what a model takes: which columns are needed, the join, the types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy.typing as npt
import pyarrow as pa

from raymlops.errors import SchemaMismatch
from raymlops.features.catalog.applied import ResolvedService
from raymlops.features.catalog.layout import tables_path
from raymlops.features.definitions.schema import EVENT_TIME
from raymlops.features.offline.service_join import JoinTasks, join_service
from raymlops.serving.models.arrow_inputs import datatype_of_arrow
from raymlops.serving.models.model import columns_of
from raymlops.serving.protocol.schema import InputSchema
from raymlops.tables.columns import INSTANT
from raymlops.tables.delta import DeltaTables
from raymlops.tables.files import Root

__all__ = ["FeatureJoin", "needed_columns", "typed_inputs"]

Columns = dict[str, npt.NDArray[Any]]


class FeatureJoin:
    """Joins a service's features to rows, as of each row's instant, from pinned table versions.

    Args:
        service: What is joined.
        root: Of the feature store.
        versions: Table -> Delta version.
        storage_options: Options of the object store.
        at: The instant of every row; ``None``: the column ``event_time``.
        tasks: How joins with large tables are run; ``None``: in this process.
    """

    def __init__(
        self,
        service: ResolvedService,
        root: Root,
        versions: Mapping[str, int],
        *,
        storage_options: Mapping[str, str] | None = None,
        at: datetime | None = None,
        tasks: JoinTasks | None = None,
    ) -> None:
        self.service = service
        # the join's tasks read the tables in blocks
        kind = _HeldTables if tasks is None else DeltaTables
        self._tables = kind(tables_path(root), storage_options)
        self._versions = dict(versions)
        self._at = at
        self._tasks = tasks

    @property
    def keys(self) -> tuple[str, ...]:
        """What a row must bring: entity keys, its instant, and request-time inputs of on-demand views."""
        names = [name for resolved in self.service.views for name in resolved.view.join_columns]
        names += [] if self._at is not None else [EVENT_TIME]
        names += [name for view in self.service.on_demand for name in view.request_inputs]
        return tuple(dict.fromkeys(names))

    def join(self, rows: pa.Table) -> pa.Table:
        """The features of N rows, one column ``VIEW__FIELD`` each, in the order of the rows.

        Raises:
            RaymlopsError: As ``join_service`` does.
        """
        spine = rows.select([name for name in self.keys if name in rows.column_names])
        if self._at is not None:
            spine = spine.append_column(EVENT_TIME, pa.repeat(pa.scalar(self._at, INSTANT), rows.num_rows))
        joined, _ = join_service(
            self.service,
            spine,
            self._tables,
            self._versions,
            knowledge_cutoff=False,
            tasks=self._tasks,
        )
        return joined.select(list(self.service.columns))


class _HeldTables(DeltaTables):
    """Keeps what was read: block after block asks for the same columns of the same versions.

    Bounds only leave out what bears on no row, so more rows do no harm: a second span is answered by the whole table.
    """

    def __init__(self, root: Root, storage_options: Mapping[str, str] | None = None) -> None:
        super().__init__(root, storage_options)
        self._held: dict[tuple[str, int | None, tuple[str, ...]], tuple[dict[str, Any], Any]] = {}

    def read(self, name: str, version: int | None = None, columns: Sequence[str] | None = None, **bounds: Any) -> Any:
        key = (name, version, tuple(columns or ()))
        span, rows = self._held.get(key, (None, None))
        if span is None or (span and span != bounds):
            wanted = bounds if span is None else {}
            rows = super().read(name, version, columns, **wanted)
            self._held[key] = (wanted, rows)
        return rows


def needed_columns(schema: InputSchema, join: FeatureJoin | None) -> tuple[str, ...]:
    """Columns that the source must have."""
    joined = set() if join is None else set(join.service.columns)
    own = [name for name in schema.names if name not in joined]
    return tuple(dict.fromkeys([*(() if join is None else join.keys), *own]))


def typed_inputs(rows: pa.Table, features: pa.Table | None, schema: InputSchema) -> Columns:
    """N rows as ``Model.predict`` takes them, under the rules that requests are held to.

    Args:
        rows: Of the source.
        features: Joined; these win over columns of the source.
        schema: The model's.

    Raises:
        SchemaMismatch: An input is missing.
        DataError: An input is of another kind, or a number is not one that its column takes.
    """
    table = rows
    if features is not None:
        table = features
        for name in schema.names:
            if name not in features.column_names and name in rows.column_names:
                table = table.append_column(name, rows[name])
    present = set(table.column_names)
    missing = [name for name in schema.names if name not in present]
    if missing:
        raise SchemaMismatch(f"model inputs {missing} are missing", columns=missing)
    columns = columns_of(table.select(list(schema.names)), schema.signature)
    return {
        name: schema.check_column(name, datatype_of_arrow(name, table.schema.field(name).type), values)
        for name, values in columns.items()
    }
