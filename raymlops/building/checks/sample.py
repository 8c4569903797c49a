"""A bounded sample of a project's data, in a feature store of its own."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, cast

import pyarrow as pa

from raymlops.clock import ManualClock
from raymlops.errors import ConfigError
from raymlops.features import Definition, FeatureReader, FeatureStore
from raymlops.projects import project_rows
from raymlops.records.bundles import ProjectSpec

__all__ = ["SAMPLE_FILE", "Sample", "SampleRows", "imported", "open_sample", "sample_rows"]

SAMPLE_FILE = "tests/rows.parquet"
"""Rows of the project's table, which ``raymlops init`` writes."""
_MOST_LABELS, _MOST_ROWS = 3000, 50_000
_BEGINNING, _END = datetime(1970, 1, 2, tzinfo=UTC), datetime(2261, 1, 1, tzinfo=UTC)
_HISTORY = timedelta(days=40_000)
"""Further back than any sample reaches: online reads of all its rows stay exact."""


class _ViewRows(Protocol):
    def between(self, start: datetime | None, end: datetime) -> pa.Table: ...


class _Replayed(Protocol):
    """What ``replay.source`` returns."""

    labels: pa.Table
    views: Mapping[str, _ViewRows]


@dataclass(frozen=True)
class SampleRows:
    """Rows of a project's views.

    Attributes:
        views: View -> rows, in the order in which they are ingested.
        until: Before this they were known.
        source: Where they are from, for people.
    """

    views: Mapping[str, pa.Table]
    until: datetime
    source: str


@dataclass(frozen=True)
class Sample:
    """A feature store that holds a sample.

    Attributes:
        spec: What ``project.yaml`` says.
        root: Of the store.
        reader: Reads it.
        until: When its newest row was known.
        rows: How many rows it took.
    """

    spec: ProjectSpec
    root: Path
    reader: FeatureReader
    until: datetime
    rows: int


def sample_rows(directory: Path, spec: ProjectSpec, definitions: Sequence[Definition]) -> SampleRows | None:
    """Some rows of a project; ``None`` where it has neither a sample of its table nor a source that is replayed.

    Raises:
        RaymlopsError: The rows do not have what the definitions have.
    """
    if spec.replay.source is not None:
        tables = cast("_Replayed", imported(spec.replay.source)())
        known = tables.labels["known_at"]
        until = known[min(_MOST_LABELS, len(known)) - 1].as_py() + timedelta(microseconds=1)
        views = {name: _newest(rows.between(None, until)) for name, rows in tables.views.items()}
        return SampleRows(views, until, f"the first rows of replay.source {spec.replay.source!r}")
    if spec.data is None or not (directory / SAMPLE_FILE).exists():
        return None
    data = spec.data.model_copy(update={"table": SAMPLE_FILE})
    rows = project_rows(directory, spec.model_copy(update={"data": data}), definitions)
    labelled = rows.labelled(_BEGINNING, _END).slice(0, _MOST_LABELS)
    if not labelled.num_rows:
        return None
    until = labelled["label_time"][labelled.num_rows - 1].as_py() + timedelta(microseconds=1)
    return SampleRows(rows.pushed(_BEGINNING, until), until, SAMPLE_FILE)


def _newest(rows: pa.Table) -> pa.Table:
    return rows.slice(max(0, rows.num_rows - _MOST_ROWS))


@contextmanager
def open_sample(rows: SampleRows, spec: ProjectSpec, definitions: Sequence[Definition], root: Path) -> Iterator[Sample]:
    """A feature store of the project's definitions with the rows of a sample, also online.

    Raises:
        RaymlopsError: A definition is refused, or does not take the rows.
    """
    clock, taken = ManualClock(rows.until + timedelta(hours=1)), 0
    with closing(FeatureStore(root, clock=clock, history=_HISTORY)) as store:
        store.apply(*definitions)
        for view, table in rows.views.items():
            if table.num_rows:
                taken += store.ingest(view, table).rows
        store.materialize()
    with closing(FeatureReader(root, clock=clock)) as reader:
        yield Sample(spec, root, reader, rows.until, taken)


def imported(path: str) -> Any:
    """What a ``module:name`` of the project leads to.

    Raises:
        ConfigError: There is no such module or name.
    """
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{path!r} cannot be imported: {error}") from error
