"""Profiles: a window's rows become constant-size counts that add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from raymlops.errors import ConflictError, DataError
from raymlops.monitoring.profiles.columns import ColumnBins
from raymlops.monitoring.profiles.sketches import DistinctSketch, QuantileSketch
from raymlops.records.shown import shown

__all__ = [
    "FORMAT",
    "LABEL_COLUMN",
    "REFERENCE_FILE",
    "SCORE_COLUMN",
    "IdentifierSketch",
    "Profile",
    "parse_document",
]

FORMAT = 1
"""Format of stored references, and of profiles without sketches."""
SKETCHED_FORMAT = 2
"""Format of profiles with sketches."""
REFERENCE_FILE = "reference.bin"
"""Name of a model version's reference, beside its packaged files."""
SCORE_COLUMN = "score"
"""Column of a model's own predictions, in its reference and in its prediction events."""
LABEL_COLUMN = "label"
"""Column of the labels, in a model's reference: texts of classes, or numbers."""

Counts = NDArray[np.int64]
Sketch = TypeVar("Sketch", QuantileSketch, "IdentifierSketch")


@dataclass(frozen=True)
class IdentifierSketch:
    """Sketch of a column with too many values for categories. ``a + b`` is exact.

    Attributes:
        distinct: How many values there are.
        rows: Rows with a value.
        unknown: Of these, rows whose value the reference surely never held.
    """

    distinct: DistinctSketch
    rows: int
    unknown: int

    def __add__(self, other: IdentifierSketch) -> IdentifierSketch:
        """Of both."""
        return IdentifierSketch(self.distinct + other.distinct, self.rows + other.rows, self.unknown + other.unknown)

    @property
    def distinct_share(self) -> float:
        """Distinct values over rows, at most 1; 0 of no rows."""
        return min(1.0, self.distinct.count / self.rows) if self.rows else 0.0


@shown()
@dataclass(frozen=True, eq=False)
class Profile:
    """Counts of one window on the bins of one reference: constant size, whatever the rows.

    ``a + b`` is the profile of both windows' rows; it is exact, associative and commutative, but for the quantiles,
    which agree within the error that their sketches state. Never changed in place. Equality is that of the counts.

    Attributes:
        reference: Digest of the reference whose bins it counts on.
        rows: Rows counted.
        counts: Column -> rows per bin, then infinite, then missing.
        ranges: Numeric column -> smallest and largest finite value; columns without any are left out.
        problems: Column -> what was wrong with it; its values then count as missing.
        new_columns: Columns that the reference does not know.
        quantiles: Numeric column -> sketch of its finite values; empty where none were asked for.
        identifiers: Column with too many values for categories -> how many; empty where none were asked for.
    """

    reference: str
    rows: int
    counts: dict[str, Counts]
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    new_columns: tuple[str, ...] = ()
    quantiles: dict[str, QuantileSketch] = field(default_factory=dict)
    identifiers: dict[str, IdentifierSketch] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        """Whether they count the same; sketches are not looked at."""
        return isinstance(other, Profile) and self._counted() == other._counted()

    def __hash__(self) -> int:
        """Of what never differs between equal ones."""
        return hash((self.reference, self.rows))

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
            quantiles=_joined(self.quantiles, other.quantiles),
            identifiers=_joined(self.identifiers, other.identifiers),
        )

    def constant(self, column: str, bins: ColumnBins) -> bool:
        """Whether all present values of a column are known to be one and the same."""
        if column in self.ranges:
            return self.ranges[column][0] == self.ranges[column][1]
        present = self.counts[column][:-2]
        return bins.kind == "categorical" and int(np.count_nonzero(present)) == 1 and bool(present[:-2].any())

    def dumps(self) -> bytes:
        """Bytes to store; equal profiles give equal bytes, but for the sketches of quantiles."""
        values = self._counted()
        if self.quantiles or self.identifiers:
            values["format"] = SKETCHED_FORMAT
            values["quantiles"] = {name: sketch.dumps() for name, sketch in self.quantiles.items()}
            values["identifiers"] = {
                name: [sketch.distinct.dumps(), sketch.rows, sketch.unknown]
                for name, sketch in self.identifiers.items()
            }
        return orjson.dumps(values, option=orjson.OPT_SORT_KEYS)

    def _counted(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "reference": self.reference,
            "rows": self.rows,
            "counts": {name: counts.tolist() for name, counts in self.counts.items()},
            "ranges": self.ranges,
            "problems": self.problems,
            "new_columns": list(self.new_columns),
        }

    @classmethod
    def loads(cls, content: bytes) -> Self:
        """The opposite of ``dumps``.

        Raises:
            DataError: ``content`` is not a profile.
        """
        values = parse_document(content, "profile", formats=(FORMAT, SKETCHED_FORMAT))
        try:
            return cls(
                reference=str(values["reference"]),
                rows=int(values["rows"]),
                counts={name: np.asarray(counts, dtype=np.int64) for name, counts in values["counts"].items()},
                ranges={name: (float(low), float(high)) for name, (low, high) in values["ranges"].items()},
                problems=dict(values["problems"]),
                new_columns=tuple(values["new_columns"]),
                quantiles={name: QuantileSketch.loads(text) for name, text in values.get("quantiles", {}).items()},
                identifiers={
                    name: IdentifierSketch(DistinctSketch.loads(text), int(rows), int(unknown))
                    for name, (text, rows, unknown) in values.get("identifiers", {}).items()
                },
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"profile must have the fields of format {values['format']}, got {error!r}") from error


def _joined(ours: dict[str, Sketch], theirs: dict[str, Sketch]) -> dict[str, Sketch]:
    joined = {**theirs, **ours}
    return joined | {name: ours[name] + theirs[name] for name in ours.keys() & theirs.keys()}


def parse_document(content: bytes, what: str, formats: Sequence[int] = (FORMAT,)) -> dict[str, Any]:
    """Read a stored document of one of these formats.

    Raises:
        DataError: ``content`` is something else.
    """
    try:
        values = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise DataError(f"{what} must be JSON, got {len(content)} other bytes") from error
    if not isinstance(values, dict) or values.get("format") not in formats:
        known = " or ".join(str(number) for number in formats)
        raise DataError(f"{what} must be of format {known}, got {str(values)[:40]}")
    return values
