"""The holdout a version was judged on: what estimating performance without labels starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raymlops.errors import DataError, NotEnoughRows, SchemaMismatch
from raymlops.monitoring.profiles.profile import SCORE_COLUMN
from raymlops.tables.columns import as_table

__all__ = ["HOLDOUT_FILE", "Holdout", "ScoreKind", "evenly_spread"]

HOLDOUT_FILE = "holdout.arrow"
"""Name of a model version's holdout, beside its reference."""
OUTCOME = "__outcome__"
FORMAT = b"1"
MAX_ROWS = 10_000
MAX_COLUMNS = 30

ScoreKind = Literal["binary", "multiclass", "regressor"]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Holdout:
    """Rows that a model had not seen when it scored them, with what came of them. Immutable.

    Attributes:
        kind: What the scores are: the probability of the second class, the probability of the class that was named,
            or a value.
        inputs: The model's inputs that are kept, the most important first.
        rows: The inputs, at most 10,000 rows spread evenly over the holdout.
        scores: The model's score of each row.
        outcomes: Binary: the label, 0 or 1; multiclass: whether the named class was right; regressor: the label.
    """

    kind: ScoreKind
    inputs: tuple[str, ...]
    rows: pa.Table
    scores: Floats
    outcomes: Floats

    @classmethod
    def fit(
        cls,
        kind: ScoreKind,
        rows: Any,
        scores: Any,
        outcomes: Any,
        *,
        importances: Mapping[str, float] | None = None,
    ) -> Self:
        """Keep what is needed of a holdout.

        Args:
            kind: What the scores are.
            rows: The model's inputs, N rows of a table or a frame.
            scores: N scores.
            outcomes: N outcomes.
            importances: How much the model rests on each input; of wide models the least important inputs are dropped.

        Raises:
            SchemaMismatch: The lengths differ, or an input has a reserved name.
            NotEnoughRows: No row has both a finite score and a finite outcome.
        """
        rows = as_table("holdout", rows)
        scores, outcomes = np.asarray(scores, np.float64), np.asarray(outcomes, np.float64)
        if not rows.num_rows == scores.size == outcomes.size:
            raise SchemaMismatch(
                f"a holdout's rows, scores and outcomes must be alike in number, got {rows.num_rows}, {scores.size} "
                f"and {outcomes.size}"
            )
        if reserved := {SCORE_COLUMN, OUTCOME} & set(rows.column_names):
            raise SchemaMismatch(f"a holdout's inputs must not be named {sorted(reserved)}", columns=sorted(reserved))
        weight = dict(importances or {})
        ranked = sorted(rows.column_names, key=lambda name: (-weight.get(name, 0.0), rows.column_names.index(name)))
        usable = np.flatnonzero(np.isfinite(scores) & np.isfinite(outcomes))
        if not usable.size:
            raise NotEnoughRows(f"a holdout must have rows with a score and an outcome, got none of {rows.num_rows}")
        kept = usable[evenly_spread(usable.size, MAX_ROWS)]
        chosen = tuple(ranked[:MAX_COLUMNS])
        return cls(kind, chosen, rows.select(chosen).take(pa.array(kept)), scores[kept], outcomes[kept])

    def dumps(self) -> bytes:
        """Bytes to store, in Arrow's file format; equal holdouts give equal bytes."""
        table = self.rows.combine_chunks()
        table = table.append_column(SCORE_COLUMN, pa.array(self.scores)).append_column(OUTCOME, pa.array(self.outcomes))
        table = table.replace_schema_metadata({"format": FORMAT, "kind": self.kind})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue().to_pybytes())

    @classmethod
    def loads(cls, content: bytes) -> Self:
        """The opposite of ``dumps``.

        Raises:
            DataError: ``content`` is not a holdout.
        """
        try:
            table = pa.ipc.open_file(pa.py_buffer(content)).read_all()
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"holdout must be an Arrow file, got {len(content)} other bytes") from error
        facts = table.schema.metadata or {}
        kind = facts.get(b"kind", b"").decode()
        if facts.get(b"format") != FORMAT or not {SCORE_COLUMN, OUTCOME} <= set(table.column_names):
            raise DataError(f"holdout must be of format {FORMAT.decode()}, got {facts}")
        inputs = tuple(name for name in table.column_names if name not in {SCORE_COLUMN, OUTCOME})
        return cls(
            kind=cast("ScoreKind", kind),
            inputs=inputs,
            rows=table.select(inputs),
            scores=np.asarray(table[SCORE_COLUMN].to_numpy(), dtype=np.float64),
            outcomes=np.asarray(table[OUTCOME].to_numpy(), dtype=np.float64),
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a stored holdout.

        Raises:
            FileNotFoundError: There is none.
            DataError: It is something else.
        """
        return cls.loads(path.read_bytes())


def evenly_spread(rows: int, most: int) -> NDArray[np.intp]:
    """Places of ``most`` rows spread evenly over ``rows``; all of them where they are no more."""
    if rows <= most:
        return np.arange(rows, dtype=np.intp)
    places: NDArray[np.intp] = (np.arange(most) * rows // most).astype(np.intp)
    return places
