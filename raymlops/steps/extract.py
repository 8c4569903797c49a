"""Fix what the run is about, and extract its rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from raymlops.errors import ConfigError, DataError, SchemaMismatch
from raymlops.experiments import LearningTask
from raymlops.experiments.task import is_numeric
from raymlops.pipelines import Halt
from raymlops.pipelines.fingerprint import code_digest
from raymlops.records.bundles import ProjectSpec
from raymlops.steps.context import EVENT_TIME, LABEL, LABEL_TIME, TrainingContext, VersionedTables, spine_function
from raymlops.steps.outcome import blocked
from raymlops.steps.split import event_times_us, holdout_start

__all__ = ["PinnedReader", "extract", "pin"]

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_CLASSES = 1000
_INSTANT = pa.timestamp("us", tz="UTC")


class PinnedReader:
    """Reads tables at fixed versions, so that what is extracted does not depend on when.

    Args:
        reader: Reads any version.
        versions: Table -> version; tables that are not in it cannot be read.
    """

    def __init__(self, reader: VersionedTables, versions: Mapping[str, int]) -> None:
        self._reader = reader
        self._versions = dict(versions)

    def table(self, view: str, version: int | None = None) -> pa.Table:
        """Rows of a view's table, at the fixed version unless another is asked for.

        Raises:
            DataError: The table had no version when the run started.
        """
        fixed = self._versions.get(view)
        if version is None and fixed is None:
            raise DataError(f"table of view {view!r} had no rows when the run started", view=view)
        return self._reader.table(view, fixed if version is None else version)


def pin(context: TrainingContext, *, as_of: str | None) -> Mapping[str, Any]:
    """Fix the instant, the table versions and the champion: all that may change while the run is under way."""
    instant = context.clock.now() if as_of is None else datetime.fromisoformat(as_of)
    spine = spine_function(context.project.spine)
    return {
        "pin": {
            "as_of": instant.astimezone(UTC).isoformat(),
            "table_versions": context.reader.table_versions(),
            "champion": context.metadata.aliases(context.project.model).get("champion"),
            "project_code": code_digest(spine),
        }
    }


def extract(
    context: TrainingContext,
    *,
    pin: Mapping[str, Any],
    project: Mapping[str, Any],
    train_window_days: float | None,
    holdout_days: float,
    max_rows: int | None,
    seed: int,
    knowledge_cutoff: bool,
) -> Mapping[str, Any] | Halt:
    """Build the training set: labelled rows in order of time, with their features as of then."""
    spec = ProjectSpec.model_validate(project)
    as_of = datetime.fromisoformat(pin["as_of"])
    start = _BEGINNING if train_window_days is None else as_of - timedelta(days=train_window_days)
    spine = spine_function(spec.spine)(PinnedReader(context.reader, pin["table_versions"]), start, as_of)
    try:
        rows = _labelled(spine, spec, start, as_of)
    except SchemaMismatch as error:
        return blocked([f"schema skew: {error}"])
    if not rows.num_rows:
        return blocked([f"empty: no labelled rows from {start.isoformat()} to {as_of.isoformat()}"])
    rows = _sampled(rows, holdout_days, max_rows, seed)
    training_set = context.reader.training_set(
        spec.service,
        rows,
        name=f"{spec.name}-{context.run_id}",
        knowledge_cutoff=knowledge_cutoff,
        table_versions=pin["table_versions"],
    )
    frame = training_set.table()
    features = tuple(name for name in frame.column_names if name not in rows.column_names)
    return {"frame": frame, "training_set": training_set.manifest, "task": _task(spec, features, frame)}


def _labelled(spine: pa.Table, spec: ProjectSpec, start: datetime, as_of: datetime) -> pa.Table:
    """The rows of the window whose label was known by ``as_of``, oldest first.

    Raises:
        SchemaMismatch: A column is missing, or of a type that it must not have.
    """
    wanted = [EVENT_TIME, LABEL, *spec.request_columns]
    missing = [name for name in wanted if name not in spine.column_names]
    if missing:
        raise SchemaMismatch(f"spine {spec.spine!r} must have columns {wanted}, got none of {missing}", columns=missing)
    for name in (EVENT_TIME, LABEL_TIME):
        if name in spine.column_names:
            dtype = spine.schema.field(name).type
            if not pa.types.is_timestamp(dtype) or dtype.tz is None:
                raise SchemaMismatch(f"spine column {name!r} must be a tz-aware timestamp, got {dtype}", columns=[name])
            spine = spine.set_column(spine.column_names.index(name), name, spine[name].cast(_INSTANT))
    low, high = pa.scalar(start, _INSTANT), pa.scalar(as_of, _INSTANT)
    keep = pc.and_(pc.greater_equal(spine[EVENT_TIME], low), pc.less(spine[EVENT_TIME], high))
    keep = pc.and_(keep, pc.is_valid(spine[LABEL]))
    if LABEL_TIME in spine.column_names:
        keep = pc.and_(keep, pc.less_equal(spine[LABEL_TIME], high))
    rows = spine.filter(keep)
    return rows.take(pc.sort_indices(rows, sort_keys=[(EVENT_TIME, "ascending")]))


def _sampled(rows: pa.Table, holdout_days: float, max_rows: int | None, seed: int) -> pa.Table:
    """At most ``max_rows`` of the rows before the holdout, and the holdout, in their order."""
    older = holdout_start(event_times_us(rows), holdout_days)
    if max_rows is None or older <= max_rows:
        return rows
    chosen = np.sort(np.random.default_rng(seed).choice(older, size=max_rows, replace=False))
    return rows.take(pa.array(np.concatenate([chosen, np.arange(older, rows.num_rows)])))


def _task(spec: ProjectSpec, features: tuple[str, ...], frame: pa.Table) -> LearningTask:
    """What is learned. Labels tell the number of classes; bad ones are found by the validation.

    Raises:
        ConfigError: Task, metric or columns of the project do not go together.
    """
    values = frame[LABEL]
    highest = pc.max(values.cast(pa.float64(), safe=False)).as_py() if is_numeric(values.type) else None
    classes = max(2, int(highest) + 1) if highest is not None and 0 <= highest < _MAX_CLASSES else 2
    declared = {
        "kind": spec.task,
        "metric": spec.metric,
        "inputs": (*spec.request_columns, *features),
        "classes": classes,
    }
    try:
        return LearningTask.model_validate(declared)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc'])) or 'task'}: {e['msg']}" for e in error.errors()]
        raise ConfigError(f"project {spec.name!r}: {'; '.join(problems)}") from error
