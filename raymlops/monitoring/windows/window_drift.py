"""How far one window lies from the champion's reference: its inputs, predictions and labels, each judged apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from raymlops.config.monitoring import DriftConfig
from raymlops.monitoring.events.recorded import LOGGED
from raymlops.monitoring.profiles.drift import DriftRule
from raymlops.monitoring.profiles.label_counts import label_profile, with_labels
from raymlops.monitoring.profiles.profile import LABEL_COLUMN, SCORE_COLUMN, Profile
from raymlops.monitoring.profiles.reference import Reference
from raymlops.monitoring.windows.window_data import WindowData
from raymlops.records.windows import ColumnDrift, MultivariateDrift

__all__ = ["WindowDrift", "drift_rule", "drifted_share", "judge_drift"]

NAMED_COLUMNS = 5


@dataclass(frozen=True)
class WindowDrift:
    """Drift in one window: its fields of ``WindowRecord``, and the profile.

    Attributes:
        profile: Of all rows answered, with the labels that are known; ``None`` without a reference.
        sound: The same for judging the data: without labels where they are too few to tell.
    """

    drifted: bool = False
    columns: dict[str, ColumnDrift] = field(default_factory=dict)
    multivariate: MultivariateDrift | None = None
    prediction: ColumnDrift | None = None
    label: ColumnDrift | None = None
    profile: Profile | None = None
    sound: Profile | None = None


def judge_drift(data: WindowData, answered: pa.Table, labels: Sequence[str | None], config: DriftConfig) -> WindowDrift:
    """Compare a window with the champion's reference.

    Inputs and predictions are judged without the labels, so that the verdict does not depend on how many have come.

    Args:
        data: The window.
        answered: Its rows that were answered to callers.
        labels: The label's text of each of them, ``None`` where there is none yet.
        config: When drift counts.
    """
    multivariate = _multivariate(data, answered, config)
    together = config.multivariate == "trigger" and multivariate is not None and multivariate.drifted
    if data.reference is None:
        return WindowDrift(drifted=together, multivariate=multivariate)
    reference, rule = data.reference, drift_rule(config)
    unlabelled = replace(_profile(reference, answered, data.champion), new_columns=_new_columns(data, answered))
    columns = reference.compare(unlabelled, rule=rule).columns
    profile, label, known = unlabelled, None, 0
    if LABEL_COLUMN in reference.columns:
        alone = reference.only(LABEL_COLUMN)
        own = label_profile(alone, labels)
        label, known = alone.compare(own, rule=rule).columns[LABEL_COLUMN], own.rows
        profile = with_labels(unlabelled, own)
    inputs = {name: column for name, column in columns.items() if name not in {SCORE_COLUMN, LABEL_COLUMN}}
    return WindowDrift(
        drifted=together or (bool(inputs) and drifted_share(inputs) >= config.min_share),
        columns=inputs,
        multivariate=multivariate,
        prediction=columns.get(SCORE_COLUMN),
        label=label,
        profile=profile,
        sound=profile if known >= config.min_rows else unlabelled,
    )


def drifted_share(columns: Mapping[str, ColumnDrift]) -> float:
    """Share of the drifted columns, weighted by importance; all alike where no importance is known."""
    known = any(column.importance is not None for column in columns.values())
    weights = {name: (column.importance or 0.0) if known else 1.0 for name, column in columns.items()}
    total = sum(weights.values())
    return sum(weights[name] for name, column in columns.items() if column.drifted) / total if total else 0.0


def drift_rule(config: DriftConfig) -> DriftRule:
    """The rule that a configuration asks for."""
    effect = math.sqrt(config.min_effect) if config.measure == "jensen_shannon" else config.min_effect
    return DriftRule(config.false_discovery_rate, effect, config.min_rows, config.measure)


def _multivariate(data: WindowData, answered: pa.Table, config: DriftConfig) -> MultivariateDrift | None:
    if data.domain is None or config.multivariate == "off" or answered.num_rows < config.min_rows:
        return None
    order = pc.sort_indices(answered, sort_keys=[("event_time", "ascending")])
    present = set(answered.column_names)
    rows = answered.select([name for name in data.domain.columns if name in present]).take(order)
    found = data.domain.compare(rows, alpha=config.false_discovery_rate)
    if found.problem:
        return None
    return MultivariateDrift(
        score=found.auc,
        threshold=found.threshold,
        p_value=found.p_value,
        drifted=found.drifted,
        importances=dict(list(found.importances.items())[:NAMED_COLUMNS]),
    )


def _new_columns(data: WindowData, answered: pa.Table) -> tuple[str, ...]:
    """Columns that the champion's events hold values of, and neither its reference nor any version's inputs name."""
    assert data.reference is not None
    known = {column.name for version in data.versions.values() for column in version.manifest.signature.inputs}
    own = answered.filter(pc.fill_null(pc.equal(answered["version"], data.champion), False))
    names = set(answered.column_names) - LOGGED - known - set(data.reference.columns)
    return tuple(sorted(name for name in names if own[name].null_count < own.num_rows))


def _profile(reference: Reference, answered: pa.Table, champion: int) -> Profile:
    """Inputs of all answered rows, scores of the champion's alone: another model's scores are no drift."""
    inputs = answered.select([name for name in answered.column_names if name in reference.columns])
    profile = reference.profile(inputs)
    if LABEL_COLUMN in reference.columns:
        profile = with_labels(profile, None)
    if SCORE_COLUMN not in reference.columns:
        return profile
    own = reference.profile(inputs.filter(pc.fill_null(pc.equal(answered["version"], champion), False)))
    ranges = {name: pair for name, pair in profile.ranges.items() if name != SCORE_COLUMN}
    if SCORE_COLUMN in own.ranges:
        ranges[SCORE_COLUMN] = own.ranges[SCORE_COLUMN]
    return replace(profile, counts={**profile.counts, SCORE_COLUMN: own.counts[SCORE_COLUMN]}, ranges=ranges)
