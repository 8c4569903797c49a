"""Probes of served models as Ray tasks, which give way to everything else."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.exceptions import RayError, RayTaskError

from raymlops.config.platform import PlatformConfig
from raymlops.control.loop.prober import grid_of, probe_folder
from raymlops.errors import DataError, NotEnoughRows, RaymlopsError, UnavailableError
from raymlops.laboratory.probe_files import ProbeFolder
from raymlops.laboratory.probe_grid import ProbeGrid
from raymlops.laboratory.probing import Probing
from raymlops.laboratory.recorded import EVENT_TIME, KNOWN, LABEL, recorded_table
from raymlops.monitoring.events.event_tables import DeltaEventTables
from raymlops.monitoring.events.recorded import LABELS
from raymlops.monitoring.windows.schedule import events_name, labels_name
from raymlops.records.models import ModelVersion
from raymlops.runtime.cluster.niceness import give_way
from raymlops.runtime.nodes.feature_readers import open_reader
from raymlops.steps.project import context as spine

__all__ = ["RayProbeTask", "start_probes"]

_log = logging.getLogger(__name__)
_ANSWER_S = 10.0
"""Deadline of fetching what a task that ended has said."""


class RayProbeTask:
    """A task on the cluster this process is attached to.

    Args:
        reference: Of its result.
    """

    def __init__(self, reference: ray.ObjectRef) -> None:
        self._reference = reference

    def wait(self, timeout_s: float) -> bool:
        return bool(ray.wait([self._reference], timeout=timeout_s)[0])

    def outcome(self) -> str:
        try:
            return str(ray.get(self._reference, timeout=_ANSWER_S))
        except RayTaskError as error:
            cause = error.cause
            if isinstance(cause, RaymlopsError):
                raise cause from error
            raise UnavailableError(f"probes failed: {type(cause).__name__}: {cause}") from error
        except RayError as error:
            raise UnavailableError(f"probes were lost: {error}") from error

    def cancel(self) -> None:
        ray.cancel(self._reference, force=True)


def start_probes(
    config: PlatformConfig, champion: ModelVersion, starts: Sequence[datetime], at: datetime, *, ahead: bool = False
) -> RayProbeTask:
    """Start a task that probes some windows, or one that fits the probes of windows that have begun.

    It takes no CPU from what serves or trains, and works when these rest.

    Args:
        config: The platform's.
        champion: The version that serves.
        starts: Of the windows, oldest first.
        at: The present instant.
        ahead: Whether probes are only fitted.
    """
    work = _prepare if ahead else _probe
    task = ray.remote(work).options(num_cpus=0, max_retries=0, name=f"probes of {champion.name}")
    return RayProbeTask(task.remote(config, champion, tuple(starts), at))


def _probe(config: PlatformConfig, champion: ModelVersion, starts: Sequence[datetime], at: datetime) -> str:
    """Probe windows, the oldest first; returns what keeps the newest from being probed, in words."""
    give_way()
    grid = grid_of(champion, config.control, config.monitoring)
    folder = ProbeFolder.made(probe_folder(config.home, champion, grid))
    probing, problem = Probing(folder, grid), ""
    if not probing.has_history:
        _take_history(probing, config, champion, grid)
    tables = DeltaEventTables(config.home / "monitor")
    for start in starts:
        try:
            probing.probe(start, _recorded(tables, champion, grid, start, at), at)
            problem = ""
        except NotEnoughRows as error:
            problem = str(error)
    return problem


def _prepare(config: PlatformConfig, champion: ModelVersion, starts: Sequence[datetime], at: datetime) -> str:
    """Fit the probes of windows that have begun, on the champion's training set and what was recorded after it."""
    del at
    give_way()
    grid = grid_of(champion, config.control, config.monitoring)
    probing = Probing(ProbeFolder.made(probe_folder(config.home, champion, grid)), grid)
    _take_history(probing, config, champion, grid)
    for start in starts:
        probing.prepare(start)
    return ""


def _take_history(probing: Probing, config: PlatformConfig, champion: ModelVersion, grid: ProbeGrid) -> None:
    if champion.training_set is None:
        return
    try:
        probing.take_history(champion.training_set, _history(config, champion, grid))
    except RaymlopsError as error:  # what was recorded is there all the same
        name, version = champion.name, champion.version
        _log.warning("probes of %s do without the training set of version %s: %s", name, version, error)


def _history(config: PlatformConfig, champion: ModelVersion, grid: ProbeGrid) -> Callable[[], pa.Table]:
    """Reads the training set of a version, as its run read it."""

    def read() -> pa.Table:
        assert champion.training_set is not None
        with closing(open_reader(config)) as reader:
            table = reader.rebuild(reader.manifest(champion.training_set)).table()
        wanted = [*grid.inputs, spine.LABEL, spine.EVENT_TIME]
        missing = sorted(set(wanted) - set(table.column_names))
        if missing:
            raise DataError(f"a training set must have the columns {wanted}, got none of {missing}", columns=missing)
        known = table[spine.LABEL_TIME] if spine.LABEL_TIME in table.column_names else None
        at = table[spine.EVENT_TIME].cast(pa.timestamp("us", tz="UTC"))
        delay = pa.scalar(config.monitoring.label_delay, pa.duration("us"))
        known = pc.add(at, delay) if known is None else known.cast(at.type)
        own = table.select([*grid.inputs, spine.LABEL]).rename_columns([*grid.inputs, LABEL])
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
