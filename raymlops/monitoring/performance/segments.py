"""Segments: where in a window the model does worst, declared ones and one that is searched for.

The search looks at every level of every column and at every pair of levels of two columns. Looking at hundreds of
segments, one of them always looks bad; so the largest studentised excess is compared with the largest ones that the
same losses give when they are dealt to the rows at random (the max-T permutation test of Westfall and Young, 1993). On
losses that have nothing to do with the columns, a segment is called significant no more often than the level says.
Rows are taken as independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import special

from raymlops.errors import ConfigError
from raymlops.monitoring.performance.conditions import Levels, condition_mask, levels_of
from raymlops.monitoring.performance.holdout import evenly_spread
from raymlops.records.windows import SegmentPerformance

__all__ = ["Losses", "declared_segments", "worst_segment"]

MAX_ROWS = 5_000
MAX_DECLARED = 50
PERMUTATIONS = 199
_Z = 1.959964

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Losses:
    """Losses of N rows.

    Attributes:
        metric: Name of their mean.
        values: One per row; NaN where it is not known.
        estimated: Whether they are expected ones, for lack of labels.
    """

    metric: str
    values: Floats
    estimated: bool = False


def declared_segments(
    names: Sequence[str], table: pa.Table, losses: Losses, *, min_rows: int, significance: float = 0.05
) -> tuple[list[SegmentPerformance], list[str]]:
    """Judge declared segments.

    Args:
        names: Conditions, or columns, whose levels are then judged one by one.
        table: N rows.
        losses: Of the N rows.
        min_rows: Segments of fewer known losses are left out.
        significance: Level of the one-sided test that a segment is worse than the rest, over all segments judged.

    Returns:
        The segments, at most 50, the worst excess first, and what is wrong with names that cannot be judged.
    """
    masks: dict[str, Mask] = {}
    problems = []
    for name in names:
        try:
            if name in table.column_names:
                levels = levels_of(table, name)
                masks |= {text: levels.codes == code for code, text in enumerate(levels.conditions)}
            else:
                masks[name] = condition_mask(name, table)
        except ConfigError as error:
            problems.append(str(error))
    known = np.isfinite(losses.values)
    kept = {
        name: mask
        for name, mask in masks.items()
        if (mask & known).sum() >= max(2, min_rows) and (~mask & known).sum() >= 2
    }
    judged = [_judge(name, mask, losses, len(kept), significance) for name, mask in kept.items()]
    ranked = sorted(judged, key=lambda segment: (-segment.excess, segment.segment))
    return ranked[:MAX_DECLARED], problems


def worst_segment(
    table: pa.Table, columns: Sequence[str], losses: Losses, *, min_rows: int, significance: float = 0.05, seed: int = 0
) -> SegmentPerformance | None:
    """Search for the segment whose excess loss is least likely to be chance.

    Args:
        table: N rows; where there are more than 5,000 known losses, as many rows are looked at, evenly spread.
        columns: Columns to look at: one or two make a segment. The cost grows with the square of their number.
        losses: Of the N rows.
        min_rows: Least rows of a segment, and of the rest.
        significance: Level below which the corrected p-value is called significant.
        seed: Of the permutations.

    Returns:
        The segment; its interval holds for whichever segment is picked. ``None`` where no segment is large enough, or
        none is worse than the rest.
    """
    known = np.flatnonzero(np.isfinite(losses.values))
    places = known[evenly_spread(known.size, MAX_ROWS)]
    present = set(table.column_names)
    columns = [name for name in columns if name in present]
    values = losses.values[places]
    if not columns or places.size < 2 * max(2, min_rows) or not values.std() > 0:
        return None
    rows = table.select(columns).take(pa.array(places))
    levels = [levels_of(rows, name) for name in columns]
    search = _Search(levels, max(2, min_rows))
    excesses = search.excesses(values)
    best = int(excesses.argmax())
    if not excesses[best] > 0:
        return None
    rng = np.random.default_rng(seed)
    largest = np.array([search.excesses(rng.permutation(values)).max() for _ in range(PERMUTATIONS)])
    p_value = float(1 + (largest >= excesses[best]).sum()) / (1 + PERMUTATIONS)
    mask = search.mask(best)
    inside = values[mask]
    reach = float(np.quantile(largest, 0.95)) * float(inside.std(ddof=1)) / math.sqrt(inside.size)
    return SegmentPerformance(
        segment=search.condition(best),
        rows=int(inside.size),
        metric=losses.metric,
        value=float(inside.mean()),
        interval=(max(0.0, float(inside.mean()) - reach), float(inside.mean()) + reach),
        excess=float(inside.mean() - values[~mask].mean()),
        p_value=p_value,
        significant=p_value <= significance,
        declared=False,
        estimated=losses.estimated,
    )


class _Search:
    """Every level of every column, and every pair of levels of two columns, as cells that are counted in one go.

    Args:
        levels: One per column.
        min_rows: Cells of fewer rows, or with fewer rows beside them, are left out.
    """

    def __init__(self, levels: Sequence[Levels], min_rows: int) -> None:
        self._levels = levels
        sizes = [len(found.conditions) for found in levels]
        owner = np.repeat(np.arange(len(levels)), sizes)
        first = np.cumsum(sizes) - sizes
        self._places = np.stack([found.codes + start for found, start in zip(levels, first, strict=True)])
        """Column x row -> its level, numbered through all columns."""
        self._rows = self._places.shape[1]
        one, other = np.triu_indices(len(levels))
        self._cell_of = (self._places[one] * owner.size + self._places[other]).ravel()
        self._pairs = one.size
        counts = np.bincount(self._cell_of, minlength=owner.size**2).reshape(owner.size, -1)
        diagonal = np.eye(len(owner), dtype=np.bool_)
        possible = (np.triu(owner[:, None] != owner[None, :]) | diagonal) & (
            np.minimum(counts, self._rows - counts) >= min_rows
        )
        self._cells = np.argwhere(possible)
        self._counts = counts[possible]
        self._possible = possible
        self._starts = np.searchsorted(owner, owner)
        self._owner = owner

    def excesses(self, values: Floats) -> Floats:
        """Excess sum of each cell over its share, in standard errors of drawing its rows at random."""
        if not self._cells.size:
            return np.zeros(1)
        weights = np.tile(values, self._pairs)
        sums = np.bincount(self._cell_of, weights, self._possible.size).reshape(self._possible.shape)[self._possible]
        share = self._counts / self._rows
        spread = values.std(ddof=1) * np.sqrt(self._counts * (1 - share))
        found: Floats = (sums - self._counts * values.mean()) / spread
        return found

    def mask(self, cell: int) -> Mask:
        """Rows of a cell."""
        one, other = self._cells[cell]
        mask: Mask = (self._places[self._owner[one]] == one) & (self._places[self._owner[other]] == other)
        return mask

    def condition(self, cell: int) -> str:
        """The rows of a cell, in words."""
        texts = [
            self._levels[self._owner[index]].conditions[index - self._starts[index]]
            for index in dict.fromkeys(self._cells[cell].tolist())
        ]
        return " and ".join(texts)


def _judge(name: str, mask: Mask, losses: Losses, number: int, significance: float) -> SegmentPerformance:
    """One declared segment, by Welch's test with Bonferroni's correction."""
    known = np.isfinite(losses.values)
    inside, rest = losses.values[mask & known], losses.values[~mask & known]
    mean, excess = float(inside.mean()), float(inside.mean() - rest.mean())
    own = float(inside.var(ddof=1)) / inside.size
    error = math.sqrt(own + float(rest.var(ddof=1)) / rest.size)
    p_value = min(1.0, number * float(special.ndtr(-excess / error))) if error > 0 else 1.0
    reach = _Z * math.sqrt(own)
    return SegmentPerformance(
        segment=name,
        rows=int(inside.size),
        metric=losses.metric,
        value=mean,
        interval=(max(0.0, mean - reach), mean + reach),
        excess=excess,
        p_value=p_value,
        significant=p_value <= significance,
        declared=True,
        estimated=losses.estimated,
    )
