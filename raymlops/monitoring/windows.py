"""One closed window: from prediction events and labels to what is known about it. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raymlops.config.monitoring import DriftConfig, MonitoringConfig
from raymlops.monitoring.drift import DriftReport, DriftRule
from raymlops.monitoring.labels import JoinedLabels, join_labels, label_text
from raymlops.monitoring.performance import find_degradation, measure_binary, measure_multiclass, measure_regressor
from raymlops.monitoring.profile import SCORE_COLUMN, Profile
from raymlops.monitoring.quality import judge_quality
from raymlops.monitoring.reference import Reference
from raymlops.records.models import ModelVersion, Signature
from raymlops.records.windows import ColumnDrift, Performance, WindowRecord

__all__ = ["WindowData", "last_champion", "observe_window"]

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class WindowData:
    """What one window is judged on.

    Attributes:
        model: Name of the model.
        start: First instant of the window.
        end: First instant after it.
        champion: Version that was champion at its end.
        events: Prediction events whose ``event_time`` lies in the window, of all roles.
        known: Prediction events around the window that labels may be meant for.
        labels: Labels recorded for it, in the order they came, their ``label`` as text.
        versions: Version -> what the registry knows about it; versions it does not know are left out.
        reference: The champion's, where it has one.
        reference_problem: Why it has none.
    """

    model: str
    start: datetime
    end: datetime
    champion: int
    events: pa.Table
    known: pa.Table
    labels: pa.Table
    versions: Mapping[int, ModelVersion]
    reference: Reference | None
    reference_problem: str = ""


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
    failed = _valid(events["error"])
    shadow = _equals(events["role"], "shadow")
    answered = events.filter(pa.array(~failed & ~shadow))
    joined = join_labels(events, data.labels.filter(_within(data, data.labels)), data.known)
    everything = join_labels(events, data.labels)
    performance, unreadable = _performance(data, everything, failed)
    profile = None if data.reference is None else _profile(data.reference, answered, data.champion)
    drift = None if data.reference is None or profile is None else _drift(data.reference, profile, config.drift)
    columns = dict(drift.columns) if drift else {}
    prediction = columns.pop(SCORE_COLUMN, None)
    quality = judge_quality(
        answered.num_rows,
        _repeated(answered),
        data.reference,
        profile,
        config.quality,
        min_rows=config.drift.min_rows,
        reference_problem=data.reference_problem,
    )
    reasons = quality.reasons + ((f"{unreadable} labels are none of the classes or no number",) if unreadable else ())
    champion = data.versions.get(data.champion)
    reference_metrics = dict(champion.metrics) if champion else {}
    degraded = find_degradation(performance.get(data.champion), reference_metrics, config.performance)
    record = WindowRecord(
        model=data.model,
        start=data.start,
        end=data.end,
        champion=data.champion,
        rows=answered.num_rows,
        errors=int((failed & ~shadow).sum()),
        fallbacks=int((_valid(events["fallback"]) & ~shadow).sum()),
        labels_unknown=joined.unknown,
        labels_duplicate=everything.duplicates,
        quality="warn" if unreadable and quality.verdict == "ok" else quality.verdict,
        quality_reasons=reasons,
        drifted=bool(columns) and drifted_share(columns) >= config.drift.min_share,
        columns=columns,
        prediction_drift=prediction,
        performance=performance,
        reference_metrics=reference_metrics,
        degraded=bool(degraded),
        degraded_reason=degraded,
    )
    return record, profile


def drifted_share(columns: Mapping[str, ColumnDrift]) -> float:
    """Share of the drifted columns, weighted by importance; all alike where no importance is known."""
    known = any(column.importance is not None for column in columns.values())
    weights = {name: (column.importance or 0.0) if known else 1.0 for name, column in columns.items()}
    total = sum(weights.values())
    return sum(weights[name] for name, column in columns.items() if column.drifted) / total if total else 0.0


def _drift(reference: Reference, profile: Profile, config: DriftConfig) -> DriftReport:
    rule = DriftRule(alpha=config.false_discovery_rate, effect=math.sqrt(config.min_effect), min_rows=config.min_rows)
    return reference.compare(profile, rule=rule)


def _profile(reference: Reference, answered: pa.Table, champion: int) -> Profile:
    """Inputs of all answered rows, scores of the champion's alone: another model's scores are no drift."""
    inputs = answered.select([name for name in answered.column_names if name in reference.columns])
    profile = reference.profile(inputs)
    if SCORE_COLUMN not in reference.columns:
        return profile
    own = reference.profile(inputs.filter(pa.array(_equals(answered["version"], champion))))
    ranges = {name: pair for name, pair in profile.ranges.items() if name != SCORE_COLUMN}
    if SCORE_COLUMN in own.ranges:
        ranges[SCORE_COLUMN] = own.ranges[SCORE_COLUMN]
    return replace(profile, counts={**profile.counts, SCORE_COLUMN: own.counts[SCORE_COLUMN]}, ranges=ranges)


def _performance(data: WindowData, joined: JoinedLabels, failed: Mask) -> tuple[dict[int, Performance], int]:
    """Performance per version that answered, and the number of labels that say nothing."""
    texts = np.array(joined.labels, dtype=object)
    versions = data.events["version"].to_numpy() if data.events.num_rows else np.empty(0, dtype=np.int64)
    scores = data.events[SCORE_COLUMN].cast(pa.float64()).to_numpy() if data.events.num_rows else np.empty(0)
    predicted = np.array(data.events["label_predicted"].to_pylist(), dtype=object)
    found, unreadable = {}, 0
    for version in sorted({int(version) for version in versions}):
        known = data.versions.get(version)
        if known is None:
            continue
        mine = (versions == version) & ~failed
        labelled = mine & np.array([text is not None for text in texts], dtype=np.bool_)
        performance, wrong = _measure(
            known.manifest.signature, int(mine.sum()), scores[labelled], texts[labelled], predicted[labelled]
        )
        found[version] = performance
        unreadable += wrong
    return found, unreadable


def _measure(
    signature: Signature, rows: int, scores: Floats, texts: NDArray[np.object_], predicted: NDArray[np.object_]
) -> tuple[Performance, int]:
    """Performance of one version over its labelled rows, and how many of their labels could not be read."""
    classes = [label_text(value) for value in signature.classes]
    if signature.task == "classifier" and len(classes) != 2:
        known = np.isin(texts.astype(str), classes)
        right = np.array([label_text(guess) == text for guess, text in zip(predicted, texts, strict=True)], dtype=bool)
        return measure_multiclass(rows, right[known]), int((~known).sum())
    if signature.task == "classifier":
        known = np.isin(texts.astype(str), classes)
        labels = (texts == classes[1]).astype(np.float64)
        usable = known & np.isfinite(scores)
        return measure_binary(rows, scores[usable], labels[usable]), int((~known).sum())
    values = np.array([_number(text) for text in texts], dtype=np.float64)
    usable = np.isfinite(values) & np.isfinite(scores)
    return measure_regressor(rows, scores[usable], values[usable]), int((~np.isfinite(values)).sum())


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


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
