"""Inputs of the probes of a served model: the training set of its champion, and the events recorded after it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from raymlops.config.platform import PlatformConfig
from raymlops.control.loop.prober import grid_of, probe_folder
from raymlops.errors import DataError, NotEnoughRows, RaymlopsError
from raymlops.features import FeatureReader
from raymlops.laboratory.probes.probe_files import ProbeFolder
from raymlops.laboratory.probes.probe_grid import ProbeGrid
from raymlops.laboratory.probes.probing import Probing
from raymlops.laboratory.probes.recorded import EVENT_TIME, KNOWN, LABEL, recorded_table
from raymlops.monitoring.events.event_tables import DeltaEventTables
from raymlops.monitoring.events.recorded import LABELS
from raymlops.monitoring.windows.schedule import events_name, labels_name
from raymlops.records.models import ModelVersion, trained_at
from raymlops.steps.project import context as spine

__all__ = ["prepare", "probe"]

_log = logging.getLogger(__name__)
OpenReader = Callable[[PlatformConfig, str | None], FeatureReader]


def probe(
    config: PlatformConfig, champion: ModelVersion, starts: Sequence[datetime], at: datetime, open_reader: OpenReader
) -> str:
    """Probe windows, the oldest first; returns what keeps the newest from being probed, in words."""
    grid = grid_of(champion, config.control, config.monitoring)
    folder = ProbeFolder.made(probe_folder(config.home, champion, grid))
    probing, problem = Probing(folder, grid), ""
    if not probing.has_history:
        _take_history(probing, config, champion, open_reader)
    tables = DeltaEventTables(config.home / "monitor")
    for start in starts:
        try:
            probing.probe(start, _recorded(tables, champion, grid, start, at), at)
            problem = ""
        except NotEnoughRows as error:
            problem = str(error)
    return problem


def prepare(
    config: PlatformConfig, champion: ModelVersion, starts: Sequence[datetime], open_reader: OpenReader
) -> None:
    """Fit the probes of windows that have begun, on the champion's training set and what was recorded after it."""
    grid = grid_of(champion, config.control, config.monitoring)
    probing = Probing(ProbeFolder.made(probe_folder(config.home, champion, grid)), grid)
    _take_history(probing, config, champion, open_reader)
    for start in starts:
        probing.prepare(start)


def _take_history(probing: Probing, config: PlatformConfig, champion: ModelVersion, open_reader: OpenReader) -> None:
    if champion.training_set is None:
        return
    try:
        probing.take_history(trained_at(champion), _history(config, champion, open_reader))
    except RaymlopsError as error:  # the recorded events are there all the same
        name, version = champion.name, champion.version
        _log.warning("probes of %s do without the training set of version %s: %s", name, version, error)


def _history(config: PlatformConfig, champion: ModelVersion, open_reader: OpenReader) -> Callable[[], pa.Table]:
    """Reads the training set of a version, as its run read it."""
    inputs = champion.manifest.signature.names

    def read() -> pa.Table:
        assert champion.training_set is not None
        with closing(open_reader(config, champion.environment)) as reader:
            table = reader.rebuild(reader.manifest(champion.training_set)).table()
        wanted = [*inputs, spine.LABEL, spine.EVENT_TIME]
        missing = sorted(set(wanted) - set(table.column_names))
        if missing:
            raise DataError(f"a training set must have the columns {wanted}, got none of {missing}", columns=missing)
        known = table[spine.LABEL_TIME] if spine.LABEL_TIME in table.column_names else None
        at = table[spine.EVENT_TIME].cast(pa.timestamp("us", tz="UTC"))
        delay = pa.scalar(config.monitoring.label_delay, pa.duration("us"))
        known = pc.add(at, delay) if known is None else known.cast(at.type)
        own = table.select([*inputs, spine.LABEL]).rename_columns([*inputs, LABEL])
        return own.append_column(EVENT_TIME, at).append_column(KNOWN, known)

    return read


def _recorded(
    tables: DeltaEventTables, champion: ModelVersion, grid: ProbeGrid, start: datetime, at: datetime
) -> pa.Table:
    """The labelled rows of a window."""
    name = champion.name
    events = tables.read(events_name(name), start, start + grid.length, "event_time")
    labels = tables.read(labels_name(name), start, at, "event_time")
    if not events.num_rows:
        raise NotEnoughRows(f"nothing was asked of {name!r} in the window from {start.isoformat()}")
    return recorded_table(
        events,
        labels if labels.num_columns else LABELS.empty_table(),
        list(grid.inputs),
        regression=grid.regression,
    )
