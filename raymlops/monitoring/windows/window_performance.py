"""How the versions that answered in one window did: realised, estimated, and by segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from raymlops.config.monitoring import MonitoringConfig, PerformanceConfig
from raymlops.monitoring.performance.error_changes import watch_errors
from raymlops.monitoring.performance.estimation import Estimation
from raymlops.monitoring.performance.intervals import find_degradation
from raymlops.monitoring.performance.realised import VersionRows, rows_by_version
from raymlops.monitoring.performance.segments import declared_segments, worst_segment
from raymlops.monitoring.windows.window_data import WindowData
from raymlops.records.windows import (
    ErrorChange,
    ErrorStreamState,
    EstimatedPerformance,
    Performance,
    SegmentPerformance,
    WindowRecord,
)

__all__ = ["WindowPerformance", "judge_late_labels", "judge_performance"]


@dataclass(frozen=True)
class WindowPerformance:
    """Performance in one window: its fields of ``WindowRecord``."""

    realised: dict[int, Performance]
    estimated: dict[int, EstimatedPerformance]
    segments: tuple[SegmentPerformance, ...]
    error_changes: tuple[ErrorChange, ...]
    error_stream: ErrorStreamState | None
    reference_metrics: dict[str, float]
    degraded: str
    estimated_degraded: str
    problems: tuple[str, ...]
    """Faults of labels, holdouts and declared segments."""


def judge_performance(data: WindowData, labels: list[str | None], config: MonitoringConfig) -> WindowPerformance:
    """Measure, and where labels are missing estimate, the performance of all versions that answered.

    Args:
        data: The window.
        labels: The label's text of each of its events, ``None`` where there is none.
        config: Bars and segments.
    """
    versions = _versions(data, labels)
    realised = {version: rows.performance() for version, rows in versions.items()}
    estimations = {
        version: estimation
        for version, rows in versions.items()
        if version in data.estimators
        if (estimation := data.estimators[version].estimate(rows.events, rows.scores)) is not None
    }
    champion = data.versions.get(data.champion)
    reference = dict(champion.metrics) if champion else {}
    expected = estimations.get(data.champion)
    supposed = "" if expected is None else _estimated_degradation(expected.record, reference, config.performance)
    segments, problems = _segments(data, versions.get(data.champion), expected, config)
    changes, stream = watch_errors(versions.get(data.champion), data.error_stream)
    unreadable = sum(rows.unreadable for rows in versions.values())
    unread = (f"{unreadable} labels are none of the classes or no number",) if unreadable else ()
    return WindowPerformance(
        realised=realised,
        estimated={version: estimation.record for version, estimation in estimations.items()},
        segments=segments,
        error_changes=changes,
        error_stream=stream,
        reference_metrics=reference,
        degraded=_degradation(realised.get(data.champion), reference, supposed, config.performance),
        estimated_degraded=supposed,
        problems=(*unread, *data.estimator_problems, *problems),
    )


def judge_late_labels(
    record: WindowRecord, data: WindowData, labels: list[str | None], config: MonitoringConfig
) -> WindowRecord:
    """A closed window with the labels that have come by now: the champion's verdict and its segments anew.

    Estimates, and the metrics that the champion is held against, stay as they were when the window closed.

    Args:
        record: The window as it was stored; it is given back where no version's performance has changed.
        data: The window. Estimators are asked only which inputs matter.
        labels: The label's text of each of its events, ``None`` where there is none.
        config: Bars and segments.
    """
    versions = _versions(data, labels)
    realised = {version: rows.performance() for version, rows in versions.items()}
    if realised == record.performance:
        return record
    segments, _ = _segments(data, versions.get(data.champion), None, config)
    degraded = _degradation(
        realised.get(data.champion), record.reference_metrics, record.estimated_degraded, config.performance
    )
    return record.model_copy(
        update={
            "performance": realised,
            "segments": segments or record.segments,
            "degraded": bool(degraded),
            "degraded_reason": degraded,
        }
    )


def _versions(data: WindowData, labels: list[str | None]) -> dict[int, VersionRows]:
    failed = np.asarray(data.events["error"].is_valid().to_numpy(), dtype=np.bool_)
    return rows_by_version(data.events, labels, failed, data.versions)


def _degradation(
    realised: Performance | None, reference: Mapping[str, float], supposed: str, config: PerformanceConfig
) -> str:
    """Why the champion counts as degraded: by its labels, or, where they are too few and it may be, by the estimate."""
    labelled = 0 if realised is None else realised.labelled_rows
    if config.use_estimates and labelled < config.min_labelled_rows:
        return supposed
    return find_degradation(realised, reference, config)


def _estimated_degradation(
    estimated: EstimatedPerformance, reference: Mapping[str, float], config: PerformanceConfig
) -> str:
    """Why the champion is expected to be worse than its reference, empty where it is not or cannot be said."""
    if estimated.problem:
        return ""
    supposed = Performance(
        rows=estimated.rows,
        labelled_rows=estimated.rows,
        metrics=estimated.metrics,
        intervals=estimated.intervals,
    )
    reason = find_degradation(supposed, reference, config)
    return f"estimated without labels: {reason}" if reason else ""


def _segments(
    data: WindowData, champion: VersionRows | None, estimation: Estimation | None, config: MonitoringConfig
) -> tuple[tuple[SegmentPerformance, ...], tuple[str, ...]]:
    """The champion's segments, on realised losses where enough labels came, and what is wrong with declared ones."""
    if champion is None:
        return (), ()
    asked = config.segments
    rows, losses = champion.events, champion.losses()
    if np.isfinite(losses.values).sum() < 2 * asked.min_rows:
        if estimation is None:
            return (), ()
        rows = rows.take(pa.array(estimation.places))
        losses = replace(losses, values=estimation.losses, estimated=True)
    declared, problems = declared_segments(
        data.segments, rows, losses, min_rows=asked.min_rows, significance=asked.significance
    )
    searched = _ranked_inputs(data)[: asked.search_columns]
    worst = worst_segment(rows, searched, losses, min_rows=asked.min_rows, significance=asked.significance)
    return (*declared, *([] if worst is None else [worst])), tuple(problems)


def _ranked_inputs(data: WindowData) -> Sequence[str]:
    """The champion's inputs, the most important first where that is known."""
    if data.champion in data.estimators:
        return data.estimators[data.champion].inputs
    champion = data.versions.get(data.champion)
    return [] if champion is None else [column.name for column in champion.manifest.signature.inputs]
