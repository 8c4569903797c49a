"""Fix what the run is about, and extract its rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from raymlops.errors import ConfigError, FeatureViewNotFound, NotEnoughRows, SchemaMismatch
from raymlops.experiments.task import is_numeric
from raymlops.features.catalog.catalog_file import Catalog
from raymlops.features.catalog.layout import catalog_path, tables_path
from raymlops.flavors import families, library_names
from raymlops.flavors.sklearn import ProjectFamily
from raymlops.pipelines.fingerprint import code_digest, environment_digest
from raymlops.pipelines.step import Halt
from raymlops.records.bundles import ProjectSpec
from raymlops.records.learning.tasks import LearningTask
from raymlops.records.record import sha256_of
from raymlops.steps.outcome import blocked, skipped
from raymlops.steps.project.context import (
    EVENT_TIME,
    INPUTS,
    LABEL,
    LABEL_TIME,
    TrainingContext,
    VersionedTables,
    spine_function,
)
from raymlops.steps.split import Window, event_times_us, holdout_start
from raymlops.tables.delta import DeltaTables

__all__ = ["LIBRARIES", "PinnedReader", "extract", "pin", "pinned_tables"]

LIBRARIES = ("deltalake", "numpy", "polars", "pyarrow", *library_names())
"""Distributions on whose versions the outcome of a run depends."""

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_CLASSES = 1000
_INSTANT = pa.timestamp("us", tz="UTC")


class PinnedReader:
    """Reads tables at fixed versions, so that what is extracted does not depend on when.

    Args:
        reader: Reads any version.
        pins: What ``pinned_tables`` gave.
    """

    def __init__(self, reader: VersionedTables, pins: Mapping[str, Any]) -> None:
        self._reader = reader
        self._pins = pins

    def table(self, view: str, version: int | None = None) -> pa.Table:
        """Rows of a view's table, at the fixed version unless another is asked for.

        Raises:
            FeatureViewNotFound: The view was not applied when the run started.
            NotEnoughRows: Its table had no rows then.
        """
        known = self._pins["views"].get(view)
        if known is None:
            raise FeatureViewNotFound(f"view {view!r} was not applied when the run started", view=view)
        fixed = self._pins["table_versions"].get(known["table"]) if version is None else version
        if fixed is None:
            raise NotEnoughRows(
                f"table {known['table']!r} of view {view!r} had no rows when the run started", view=view
            )
        return self._reader.table(known["ref"], fixed)


def pinned_tables(root: Path | str, service: str, storage_options: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The present state of a feature store, as JSON values.

    Args:
        root: Directory or URI of the store.
        service: Name of the service that will be trained on.
        storage_options: Options of the object store.

    Returns:
        ``views`` (name or reference -> ``ref`` and ``table``), ``table_versions`` (table -> version, of those that have
        rows), ``service`` (its reference) and ``service_tables``.

    Raises:
        FeatureViewNotFound: The service is not applied.
    """
    state = Catalog(catalog_path(root), storage_options).state()
    tables = DeltaTables(tables_path(root), storage_options)
    resolved = state.resolve(service)
    newest = {name: state.view(name) for name in {ref.rpartition("@")[0] for ref in state.views}}
    views = {**newest, **{ref: applied.view for ref, applied in state.views.items()}}
    places = {name: {"ref": view.ref, "table": state.table_of(view)} for name, view in views.items()}
    present = sorted({place["table"] for place in places.values() if tables.exists(place["table"])})
    return {
        "views": places,
        "table_versions": {table: tables.version(table) for table in present},
        "service": resolved.service.ref,
        "service_tables": sorted({view.table for view in resolved.views}),
    }


def pin(
    context: TrainingContext,
    *,
    as_of: str | None,
    search: Mapping[str, Mapping[str, Any]],
    asked: str,
    skip_unchanged: bool,
) -> Mapping[str, Any] | Halt:
    """Fix all that may change while the run is under way: the instant, the tables, the champion and the project's code.

    Where all of it is what the champion was made of, the run ends here: a training would cost what it costs, and tell
    nothing new. A run as of an earlier instant than the champion's is about other rows, and goes on.

    Args:
        context: What the run touches.
        as_of: The instant; by default now.
        search: The search space; the code of the project's own estimators is fixed too.
        asked: Digest of the run's other parameters.
        skip_unchanged: Whether to end here.

    Raises:
        ConfigError: The spine, or an estimator of the search space, cannot be imported.
        FeatureViewNotFound: The project's service is not applied.
    """
    instant = context.clock.now() if as_of is None else datetime.fromisoformat(as_of)
    tables = pinned_tables(context.features_root, context.project.service, context.storage_options)
    functions = [ProjectFamily(family).function() for family in search if family not in families()]
    pinned = {
        "as_of": instant.astimezone(UTC).isoformat(),
        **tables,
        "champion": context.metadata.models.aliases(context.project.model).get("champion"),
        "project_code": code_digest(spine_function(context.project.spine)),
        "estimator_code": sorted(code_digest(function) for function in functions),
    }
    made_of = ("views", "table_versions", "service", "project_code", "estimator_code")
    inputs = {
        **{name: pinned[name] for name in made_of},
        "asked": asked,
        "bundle": context.bundle,
        "platform_code": code_digest(pin),
        "environment": environment_digest(LIBRARIES),
    }
    pinned[INPUTS] = sha256_of(inputs)
    if skip_unchanged and pinned["champion"] is not None:
        champion = context.metadata.models.get_version(context.project.model, pinned["champion"])
        since = champion.parameters.get("as_of")
        newer = isinstance(since, str) and instant >= datetime.fromisoformat(since)
        if newer and champion.parameters.get(INPUTS) == pinned[INPUTS]:
            return skipped(
                f"data, code, libraries and parameters are those of version {champion.version}, which run "
                f"{champion.run_id} trained as of {since}"
            )
    return {"pin": pinned}


def extract(
    context: TrainingContext, *, pin: Mapping[str, Any], project: Mapping[str, Any], window: Mapping[str, Any]
) -> Mapping[str, Any] | Halt:
    """Build the training set: labelled rows in order of time, with their features as of then."""
    spec, asked = ProjectSpec.model_validate(project), Window.model_validate(window)
    as_of = datetime.fromisoformat(pin["as_of"])
    start = _BEGINNING if asked.train_window_days is None else as_of - timedelta(days=asked.train_window_days)
    versions = {name: pin["table_versions"].get(name) for name in pin["service_tables"]}
    empty = sorted(name for name, version in versions.items() if version is None)
    if empty:
        return blocked([f"empty: tables {empty} have no rows"])
    try:
        end = as_of - timedelta(days=asked.label_maturity_days)
        spine = spine_function(spec.spine)(PinnedReader(context.reader, pin), start, end)
        rows = _labelled(spine, spec, start, end, as_of)
        if not rows.num_rows:
            return blocked([f"empty: no labelled rows from {start.isoformat()} to {end.isoformat()}"])
        rows = _sampled(rows, asked)
        training_set = context.reader.training_set(
            pin["service"],
            rows,
            name=spec.name,
            knowledge_cutoff=asked.knowledge_cutoff,
            table_versions=versions,
        )
    except SchemaMismatch as error:
        return blocked([f"schema skew: {error}"])
    except NotEnoughRows as error:
        return blocked([f"empty: {error}"])
    frame = training_set.table()
    given = set(rows.column_names)
    features = tuple(name for name in frame.column_names if name not in given)
    return {"frame": frame, "training_set": training_set.manifest, "task": _task(spec, features, frame)}


def _labelled(spine: pa.Table, spec: ProjectSpec, start: datetime, end: datetime, as_of: datetime) -> pa.Table:
    """The rows from ``start`` on and before ``end`` whose label was known by ``as_of``, oldest first.

    Raises:
        SchemaMismatch: A column is missing, or of a type that it must not have.
    """
    wanted = [EVENT_TIME, LABEL, *spec.request_columns]
    present = set(spine.column_names)
    missing = [name for name in wanted if name not in present]
    if missing:
        raise SchemaMismatch(f"spine {spec.spine!r} must have columns {wanted}, got none of {missing}", columns=missing)
    for name in (EVENT_TIME, LABEL_TIME):
        if name in spine.column_names:
            dtype = spine.schema.field(name).type
            if not pa.types.is_timestamp(dtype) or dtype.tz is None:
                raise SchemaMismatch(f"spine column {name!r} must be a tz-aware timestamp, got {dtype}", columns=[name])
            spine = spine.set_column(spine.column_names.index(name), name, spine[name].cast(_INSTANT))
    low, high = pa.scalar(start, _INSTANT), pa.scalar(end, _INSTANT)
    keep = pc.and_(pc.greater_equal(spine[EVENT_TIME], low), pc.less(spine[EVENT_TIME], high))
    keep = pc.and_(keep, pc.is_valid(spine[LABEL]))
    if LABEL_TIME in spine.column_names:
        keep = pc.and_(keep, pc.less_equal(spine[LABEL_TIME], pa.scalar(as_of, _INSTANT)))
    rows = spine.filter(keep)
    return rows.take(pc.sort_indices(rows, sort_keys=[(EVENT_TIME, "ascending")]))


def _sampled(rows: pa.Table, window: Window) -> pa.Table:
    """At most ``max_rows`` of the rows before the holdout, and the holdout, in their order."""
    older = holdout_start(event_times_us(rows), window.holdout_days)
    if window.max_rows is None or older <= window.max_rows:
        return rows
    chosen = np.sort(np.random.default_rng(window.seed).choice(older, size=window.max_rows, replace=False))
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
        "categories": spec.categories,
        "classes": classes,
    }
    try:
        return LearningTask.model_validate(declared)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc'])) or 'task'}: {e['msg']}" for e in error.errors()]
        raise ConfigError(f"project {spec.name!r}: {'; '.join(problems)}") from error
