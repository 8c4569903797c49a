"""Closing one window: from prediction events and labels to its record. Pure."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raymlops.config.monitoring import MonitoringConfig
from raymlops.monitoring.data_quality.feature_ages import feature_ages
from raymlops.monitoring.data_quality.quality import Rows, judge_quality
from raymlops.monitoring.data_quality.served_features import join_quality, judge_served_features
from raymlops.monitoring.performance.labels import join_labels
from raymlops.monitoring.profiles.profile import Profile
from raymlops.monitoring.windows.window_data import WindowData
from raymlops.monitoring.windows.window_drift import drift_rule, drifted_share, judge_drift
from raymlops.monitoring.windows.window_performance import judge_late_labels, judge_performance
from raymlops.records.windows import WindowRecord

__all__ = ["WindowData", "drift_rule", "drifted_share", "last_champion", "observe_window", "refresh_window"]

Mask = NDArray[np.bool_]


def last_champion(events: pa.Table) -> int | None:
    """The version that answered as champion last, by event time; ``None`` where none did."""
    champions = events.filter(pc.equal(events["role"], "champion"))
    if not champions.num_rows:
        return None
    latest = champions.filter(pc.equal(champions["event_time"], pc.max(champions["event_time"])))
    return int(pc.max(latest["version"]).as_py())


def observe_window(data: WindowData, config: MonitoringConfig) -> tuple[WindowRecord, Profile | None]:
    """Judge one window: is its data broken, has it moved, is the champion worse?

    Returns:
        The record, and the window's profile where the champion has a reference.
    """
    events = data.events
    failed, shadow = _valid(events["error"]), _equals(events["role"], "shadow")
    answered = events.filter(pa.array(~failed & ~shadow))
    joined = join_labels(events, data.labels.filter(_within(data, data.labels)), data.known)
    everything = join_labels(events, data.labels)
    how = judge_performance(data, everything.labels, config)
    labels = [text for text, counts in zip(everything.labels, ~failed & ~shadow, strict=True) if counts]
    drift = judge_drift(data, answered, labels, config.drift)
    problems = how.problems + ((data.domain_problem,) if data.domain_problem else ())
    newest = pc.max(answered["event_time"]).as_py()
    quality = judge_quality(
        Rows(answered.num_rows, _repeated(answered), data.end - (newest or data.start), data.end - data.start),
        data.reference,
        drift.sound,
        config.quality,
        min_rows=config.drift.min_rows,
        reference_problem=data.reference_problem,
        usual=data.usual,
    )
    quality = join_quality(quality, judge_served_features(data.served_features, config.feature_audit))
    return WindowRecord(
        model=data.model,
        start=data.start,
        end=data.end,
        champion=data.champion,
        rows=answered.num_rows,
        errors=int((failed & ~shadow).sum()),
        fallbacks=int((_valid(events["fallback"]) & ~shadow).sum()),
        newest_event_at=newest,
        labels_unknown=joined.unknown,
        labels_duplicate=everything.duplicates,
        labels_contradictory=everything.contradictory,
        quality="warn" if problems and quality.verdict == "ok" else quality.verdict,
        quality_reasons=quality.reasons + problems,
        audited_rows=data.served_features.rows,
        wrong_features=data.served_features.wrong,
        late_features=data.served_features.late,
        wrong_feature_share=data.served_features.wrong_share,
        feature_ages=feature_ages(answered),
        drifted=drift.drifted,
        columns=drift.columns,
        multivariate=drift.multivariate,
        prediction_drift=drift.prediction,
        label_drift=drift.label,
        performance=how.realised,
        estimated=how.estimated,
        segments=how.segments,
        error_changes=how.error_changes,
        error_stream=how.error_stream,
        reference_metrics=how.reference_metrics,
        degraded=bool(how.degraded),
        degraded_reason=how.degraded,
        estimated_degraded=how.estimated_degraded,
    ), drift.profile


def refresh_window(record: WindowRecord, data: WindowData, until: datetime, config: MonitoringConfig) -> WindowRecord:
    """A closed window with the labels that came late: its performance anew, everything else as it was judged.

    Args:
        record: The window as it was stored.
        data: Its events and labels; the reference is not used.
        until: The labels are those known before it.
        config: Bars and segments.
    """
    everything = join_labels(data.events, data.labels)
    found = judge_late_labels(record, data, everything.labels, config)
    return found.model_copy(
        update={
            "labels_duplicate": everything.duplicates,
            "labels_contradictory": everything.contradictory,
            "labels_until": until,
        }
    )


def _repeated(answered: pa.Table) -> int:
    """Rows whose request id and row number had been seen before."""
    if not answered.num_rows:
        return 0
    return int(answered.num_rows - answered.group_by(["request_id", "row"]).aggregate([]).num_rows)


def _within(data: WindowData, table: pa.Table) -> pa.Array:
    """Which labels came inside the window itself: each label is counted as unknown in one window only."""
    times = table["event_time"]
    return pc.and_(pc.greater_equal(times, pa.scalar(data.start)), pc.less(times, pa.scalar(data.end)))


def _valid(column: pa.ChunkedArray) -> Mask:
    return np.asarray(column.is_valid().to_numpy(), dtype=np.bool_)


def _equals(column: pa.ChunkedArray, value: str | int) -> Mask:
    return np.asarray(pc.fill_null(pc.equal(column, value), False).to_numpy(), dtype=np.bool_)
