"""The tables of a replay: requests, rows that become known, and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.clock import to_us
from raymlops.errors import DataError, SchemaMismatch

__all__ = ["AT", "KNOWN", "LABEL", "REQUEST_ID", "ReplayTables", "ViewRows", "between", "instants_of"]

REQUEST_ID, AT, KNOWN, LABEL = "request_id", "at", "known_at", "label"
_INSTANT = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class ViewRows:
    """Rows of one feature view, and when each became known.

    Attributes:
        rows: As the view ingests them, sorted by when they became known.
        known: Name of a column of ``rows`` with that instant, or the instants themselves, one per row.
    """

    rows: pa.Table
    known: str | pa.ChunkedArray

    def between(self, start: datetime | None, end: datetime) -> pa.Table:
        """Rows that became known at or after ``start`` and before ``end``."""
        known = self.rows[self.known] if isinstance(self.known, str) else self.known
        return _slice(self.rows, known, start, end)


@dataclass(frozen=True)
class ReplayTables:
    """A project's data as a replay plays it. A project's own ``replay.source`` returns it.

    Attributes:
        requests: One row per request, sorted by ``at``: ``request_id``, ``at`` (the instant it is asked at), and the
            columns of an instance of the request: entity keys and request-time fields.
        labels: One row per label, sorted by ``known_at``: ``request_id``, ``known_at`` (the instant the label became
            known) and ``label``: the number of a class, or a value.
        views: Feature view -> its rows. Views of one table come in the order in which they are pushed.
        notes: Changes of the data, in words.
    """

    requests: pa.Table
    labels: pa.Table
    views: Mapping[str, ViewRows]
    notes: tuple[str, ...] = field(default=())

    def check(self) -> None:
        """Refuse tables that cannot be replayed.

        Raises:
            SchemaMismatch: A column is not there, or is no tz-aware instant.
            DataError: There is no request or no label, a request id comes twice, or the order is wrong.
        """
        wanted = (("requests", self.requests, (REQUEST_ID, AT), AT), ("labels", self.labels, _LABEL_COLUMNS, KNOWN))
        for name, table, columns, by in wanted:
            missing = [column for column in columns if column not in table.column_names]
            if missing:
                raise SchemaMismatch(f"{name} of a replay must have the columns {list(columns)}, got none of {missing}")
            kind = table[by].type
            if not pa.types.is_timestamp(kind) or kind.tz is None:
                raise SchemaMismatch(f"{name} of a replay: {by!r} must be tz-aware instants, got {kind}")
            if not table.num_rows:
                raise DataError(f"{name} of a replay must have at least one row, got 0")
            if (np.diff(instants_of(table, by)) < 0).any():
                raise DataError(f"{name} of a replay must be sorted by {by!r}")
        twice = self.requests.num_rows - pc.count_distinct(self.requests[REQUEST_ID]).as_py()
        if twice:
            raise DataError(f"requests of a replay must have distinct ids, got {twice} that come again")


_LABEL_COLUMNS = (REQUEST_ID, KNOWN, LABEL)


def instants_of(table: pa.Table, column: str) -> npt.NDArray[np.int64]:
    """A column of instants as microseconds since 1970."""
    return np.asarray(table[column].cast(_INSTANT).cast(pa.int64()).to_numpy(), dtype=np.int64)


def between(table: pa.Table, column: str, start: datetime | None, end: datetime) -> pa.Table:
    """Rows of a table sorted by ``column`` with ``start <= column < end``."""
    return _slice(table, table[column], start, end)


def _slice(table: pa.Table, column: pa.ChunkedArray, start: datetime | None, end: datetime) -> pa.Table:
    instants = column.cast(_INSTANT).cast(pa.int64()).to_numpy()
    low = 0 if start is None else int(np.searchsorted(instants, to_us(start)))
    high = int(np.searchsorted(instants, to_us(end)))
    return table.slice(low, max(0, high - low))
