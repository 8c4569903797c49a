"""Profiles: a window's rows become constant-size counts that add up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import orjson
from numpy.typing import NDArray

from raymlops.errors import ConflictError, DataError
from raymlops.monitoring.columns import ColumnBins

__all__ = ["FORMAT", "REFERENCE_FILE", "SCORE_COLUMN", "Profile", "parse_document"]

FORMAT = 1
"""Format of stored references and profiles."""
REFERENCE_FILE = "reference.bin"
"""Name of a model version's reference, beside its packaged files."""
SCORE_COLUMN = "score"
"""Column of a model's own predictions, in its reference and in its prediction events."""

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Profile:
    """Counts of one window on the bins of one reference: constant size, whatever the rows.

    ``a + b`` is the profile of both windows' rows; it is exact, associative and commutative. Never changed in place.

    Attributes:
        reference: Digest of the reference whose bins it counts on.
        rows: Rows counted.
        counts: Column -> rows per bin, then infinite, then missing.
        ranges: Numeric column -> smallest and largest finite value; columns without any are left out.
        problems: Column -> what was wrong with it; its values then count as missing.
        new_columns: Columns that the reference does not know.
    """

    reference: str
    rows: int
    counts: dict[str, Counts]
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    new_columns: tuple[str, ...] = ()

    def __add__(self, other: Profile) -> Profile:
        """The profile of both.

        Raises:
            ConflictError: They count on bins of different references.
        """
        if self.reference != other.reference:
            raise ConflictError(
                f"profiles must share one reference, got {self.reference[:12]} and {other.reference[:12]}"
            )
        problems = dict(self.problems)
        for name, problem in other.problems.items():
            problems[name] = problem if name not in problems else min(problem, problems[name])
        ranges = dict(self.ranges)
        for name, (low, high) in other.ranges.items():
            mine = ranges.get(name, (low, high))
            ranges[name] = min(low, mine[0]), max(high, mine[1])
        return Profile(
            reference=self.reference,
            rows=self.rows + other.rows,
            counts={name: counts + other.counts[name] for name, counts in self.counts.items()},
            ranges=ranges,
            problems=problems,
            new_columns=tuple(sorted({*self.new_columns, *other.new_columns})),
        )

    def constant(self, column: str, bins: ColumnBins) -> bool:
        """Whether all present values of a column are known to be one and the same."""
        if column in self.ranges:
            return self.ranges[column][0] == self.ranges[column][1]
        present = self.counts[column][:-2]
        return bins.kind == "categorical" and int(np.count_nonzero(present)) == 1 and bool(present[:-2].any())

    def dumps(self) -> bytes:
        """Bytes to store; equal profiles give equal bytes."""
        values = {
            "format": FORMAT,
            "reference": self.reference,
            "rows": self.rows,
            "counts": {name: counts.tolist() for name, counts in self.counts.items()},
            "ranges": self.ranges,
            "problems": self.problems,
            "new_columns": list(self.new_columns),
        }
        return orjson.dumps(values, option=orjson.OPT_SORT_KEYS)

    @classmethod
    def loads(cls, content: bytes) -> Self:
        """The opposite of ``dumps``.

        Raises:
            DataError: ``content`` is not a profile.
        """
        values = parse_document(content, "profile")
        try:
            return cls(
                reference=str(values["reference"]),
                rows=int(values["rows"]),
                counts={name: np.asarray(counts, dtype=np.int64) for name, counts in values["counts"].items()},
                ranges={name: (float(low), float(high)) for name, (low, high) in values["ranges"].items()},
                problems=dict(values["problems"]),
                new_columns=tuple(values["new_columns"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"profile must have the fields of format {FORMAT}, got {error!r}") from error


def parse_document(content: bytes, what: str) -> dict[str, Any]:
    """Read a stored document of this format.

    Raises:
        DataError: ``content`` is something else.
    """
    try:
        values = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise DataError(f"{what} must be JSON, got {len(content)} other bytes") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise DataError(f"{what} must be of format {FORMAT}, got {str(values)[:40]}")
    return values
