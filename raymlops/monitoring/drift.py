"""From counts of a window and of its reference to what has drifted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raymlops.monitoring.dispersion import BlockNull, critical_statistic, p_value
from raymlops.monitoring.divergence import Evidence
from raymlops.records.windows import ColumnDrift

__all__ = ["DriftReport", "DriftRule", "judge"]


@dataclass(frozen=True)
class DriftRule:
    """When a column counts as drifted: significant *and* large enough to matter.

    Attributes:
        alpha: Share of windows without drift in which any column at all is flagged; over columns it is the false
            discovery rate (Benjamini-Hochberg).
        effect: Least Jensen-Shannon distance that matters; 0.04 is a shift of about 0.12 standard deviations.
        min_rows: Windows with fewer rows are described, not judged.
    """

    alpha: float = 0.005
    effect: float = 0.04
    min_rows: int = 30


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


def judge(
    evidence: Mapping[str, Sequence[Evidence]],
    nulls: Mapping[str, Sequence[BlockNull]],
    rows: int,
    rule: DriftRule,
) -> dict[str, ColumnDrift]:
    """Judge all columns of one window together.

    Args:
        evidence: Column -> what its tests found; empty where it cannot be tested.
        nulls: Column -> dispersion of its tests.
        rows: Rows of the window.
        rule: What counts as drift.

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
        if not found:
            columns[name] = ColumnDrift(score=0.0, threshold=rule.effect, p_value=1.0, drifted=False)
            continue
        ratios = [_ratio(e, rows, nulls.get(name, ()), cut / len(found), rule.effect) for e in found]
        ratio = max(ratios)
        loudest = found[ratios.index(ratio)]
        threshold = loudest.effect / ratio if ratio > 0 else rule.effect
        drifted = ratio > 1 and rows >= rule.min_rows
        columns[name] = ColumnDrift(
            score=loudest.effect,
            threshold=threshold if rows >= rule.min_rows else max(threshold, loudest.effect),
            p_value=p_values[name],
            drifted=drifted,
            test=loudest.test,
        )
    return columns


def _ratio(evidence: Evidence, rows: int, nulls: Sequence[BlockNull], p: float, effect: float) -> float:
    """How far beyond both bars the evidence lies: above 1 it is significant at ``p`` and matters."""
    significance = math.sqrt(evidence.statistic / critical_statistic(evidence, rows, nulls, p))
    return min(significance, evidence.effect / effect)


def _false_discovery_cut(p_values: Sequence[float], alpha: float) -> float:
    """The largest p-value that is still a discovery, by Benjamini and Hochberg; the first bar where none is."""
    if not p_values:
        return alpha
    cut = alpha / len(p_values)
    for rank, p in enumerate(sorted(p_values), start=1):
        if p <= rank * alpha / len(p_values):
            cut = rank * alpha / len(p_values)
    return cut
