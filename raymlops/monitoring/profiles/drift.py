"""From counts of a window and of its reference to what has drifted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from raymlops.errors import ConfigError
from raymlops.monitoring.profiles.columns import ColumnBins
from raymlops.monitoring.profiles.dispersion import BlockNull, critical_statistic, p_value
from raymlops.monitoring.profiles.distances import EFFECTS, column_distances, null_distances
from raymlops.monitoring.profiles.divergence import Evidence
from raymlops.records.shown import frame_of, shown
from raymlops.records.windows import ColumnDrift

if TYPE_CHECKING:
    import pandas as pd


__all__ = ["CountedColumn", "DriftReport", "DriftRule", "judge"]

STANDARD_EFFECT = 0.04
"""Least Jensen-Shannon distance where the rule's own measure does not apply: missing values, categories."""


@dataclass(frozen=True)
class DriftRule:
    """When a column counts as drifted: significant *and* large enough to matter.

    Attributes:
        alpha: Share of windows without drift in which any column at all is flagged; over columns it is the false
            discovery rate (Benjamini-Hochberg).
        effect: Least distance that matters; a Jensen-Shannon distance of 0.04 is a shift of about 0.12 standard
            deviations. In small windows, where chance alone goes further, the distance must exceed that too.
        min_rows: Windows with fewer rows are described, not judged.
        measure: Which distance: one of ``EFFECTS``. Columns that it does not suit, and missing values, are measured
            by the Jensen-Shannon distance, of which 0.04 then matters.

    Raises:
        ConfigError: There is no such measure.
    """

    alpha: float = 0.005
    effect: float = STANDARD_EFFECT
    min_rows: int = 30
    measure: str = "jensen_shannon"

    def __post_init__(self) -> None:
        if self.measure not in EFFECTS:
            raise ConfigError(f"measure must be one of {', '.join(EFFECTS)}, got {self.measure!r}")


@shown()
@dataclass(frozen=True)
class DriftReport:
    """A window against its reference.

    Attributes:
        rows: Rows of the window.
        reference_rows: Rows of the reference.
        columns: Every column of the reference, by name; ``drifted`` is ``score > threshold``.
        problems: Column -> what is wrong with it: dropped, changed type, nothing but missing values ...
        new_columns: Columns of the window that the reference does not know.
    """

    rows: int
    reference_rows: int
    columns: dict[str, ColumnDrift] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    new_columns: tuple[str, ...] = ()

    @property
    def drifted(self) -> bool:
        """Whether any column has drifted."""
        return any(column.drifted for column in self.columns.values())

    def drifted_columns(self) -> list[str]:
        """Names of the drifted columns, the one furthest above its threshold first."""
        names = [name for name, column in self.columns.items() if column.drifted]
        return sorted(names, key=lambda name: (-self.columns[name].score / self.columns[name].threshold, name))

    def to_pandas(self) -> pd.DataFrame:
        """One row for each column of the reference."""
        frame = frame_of(list(self.columns.values()))
        frame.insert(0, "column", list(self.columns))
        return frame

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "rows": self.rows,
            "reference_rows": self.reference_rows,
            "drifted": self.drifted,
            "columns": {name: column.model_dump(mode="json") for name, column in self.columns.items()},
            "problems": dict(self.problems),
            "new_columns": list(self.new_columns),
        }


@dataclass(frozen=True)
class CountedColumn:
    """One column's counts, for its distances: the reference's, the window's, and the bins they lie on."""

    reference: NDArray[np.int64]
    window: NDArray[np.int64]
    bins: ColumnBins


def judge(
    evidence: Mapping[str, Sequence[Evidence]],
    nulls: Mapping[str, Sequence[BlockNull]],
    rows: int,
    rule: DriftRule,
    counted: Mapping[str, CountedColumn] | None = None,
) -> dict[str, ColumnDrift]:
    """Judge all columns of one window together.

    Args:
        evidence: Column -> what its tests found; empty where it cannot be tested.
        nulls: Column -> dispersion of its tests.
        rows: Rows of the window.
        rule: The rule that decides about drift.
        counted: Column -> its counts; without them there are no distances but the tests' own.

    Returns:
        One entry per column; its score and threshold are those of the test that speaks loudest.
    """
    tested = {name: found for name, found in evidence.items() if found}
    p_values = {
        name: min(1.0, len(found) * min(p_value(e, rows, nulls.get(name, ())) for e in found))
        for name, found in tested.items()
    }
    cut = _false_discovery_cut(list(p_values.values()), rule.alpha)
    columns = {}
    for name, found in evidence.items():
        column = (counted or {}).get(name)
        distances = column_distances(column.reference, column.window, column.bins) if column else {}
        if not found:
            columns[name] = ColumnDrift(
                score=0.0, threshold=rule.effect, p_value=1.0, drifted=False, distances=distances
            )
            continue
        p = cut / len(found)
        critical = [critical_statistic(e, rows, nulls.get(name, ()), p) for e in found]
        limits = _limits(column, found, critical, p) if column else {}
        loudest, score, ratio = max(
            (_weigh(e, c, rule, distances, limits) for e, c in zip(found, critical, strict=True)),
            key=lambda weighed: weighed[2],
        )
        threshold = score / ratio if ratio > 0 else rule.effect
        columns[name] = ColumnDrift(
            score=score,
            threshold=threshold if rows >= rule.min_rows else max(threshold, score),
            p_value=p_values[name],
            drifted=ratio > 1 and rows >= rule.min_rows,
            test=loudest.test,
            distances=distances,
            distance_thresholds={measure: limits[measure] for measure in distances if measure in limits},
        )
    return columns


def _limits(column: CountedColumn, found: Sequence[Evidence], critical: Sequence[float], p: float) -> dict[str, float]:
    """Distances under chance alone; rows that resemble their neighbours widen them, as they do the statistics."""
    inflation = max(c / float(special.chdtri(e.freedom, p)) for c, e in zip(critical, found, strict=True))
    return null_distances(column.reference, column.window, column.bins, p=p, inflation=inflation)


def _weigh(
    evidence: Evidence,
    critical: float,
    rule: DriftRule,
    distances: Mapping[str, float],
    limits: Mapping[str, float],
) -> tuple[Evidence, float, float]:
    """The evidence, its distance, and how far beyond both bars it lies: above 1 it is significant and matters."""
    score, bar = evidence.effect, rule.effect
    if rule.measure != "jensen_shannon":
        if evidence.test == "missing" or rule.measure not in distances:
            bar = STANDARD_EFFECT
        else:
            score = distances[rule.measure]
            bar = max(bar, limits[rule.measure])
    reach = score / bar if bar > 0 else math.inf
    # rounding may leave a statistic of equal shares just below zero
    return evidence, score, min(math.sqrt(max(evidence.statistic, 0.0) / critical), reach)


def _false_discovery_cut(p_values: Sequence[float], alpha: float) -> float:
    """The largest p-value that is still a discovery, by Benjamini and Hochberg; the first bar where none is."""
    if not p_values:
        return alpha
    cut = alpha / len(p_values)
    for rank, p in enumerate(sorted(p_values), start=1):
        if p <= rank * alpha / len(p_values):
            cut = rank * alpha / len(p_values)
    return cut
