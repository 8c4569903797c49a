"""The join of labels with their predictions, whatever the delay, order and number of the labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from raymlops.errors import SchemaMismatch
from raymlops.records.learning.labels import LabelNames
from raymlops.records.learning.signatures import Signature
from raymlops.tables.columns import as_table

__all__ = ["KEY", "JoinedLabels", "join_labels", "name_labels"]

KEY = ["request_id", "row"]
"""The columns that join labels to predictions."""


@dataclass(frozen=True)
class JoinedLabels:
    """Labels beside their predictions.

    Attributes:
        labels: The label's text of each of the N events, ``None`` where there is none yet.
        duplicates: Labels replaced by a later one for the same prediction.
        contradictory: Those of them that differ from the label that counts.
        unknown: Labels, counted once per prediction, for which there is no event.
    """

    labels: list[str | None]
    duplicates: int
    unknown: int
    contradictory: int = 0


def name_labels(table: pa.Table, signature: Signature, declared: Mapping[Any, Any] | None = None) -> pa.Table:
    """Labels with the texts of a model's classes in place of what they say.

    Args:
        table: Has a column ``label``.
        signature: The model's.
        declared: Label -> the class it stands for.

    Raises:
        SchemaMismatch: It is no table of labels.
        DataError: A label names no class.
    """
    table = as_table("labels", table)
    names = LabelNames(signature, declared)
    if "label" not in table.column_names:
        raise SchemaMismatch("labels must have the column 'label'", columns=["label"])
    texts = names.texts(table["label"].to_pylist())
    return table.set_column(table.column_names.index("label"), "label", pa.array(texts, type=pa.string()))


def join_labels(events: pa.Table, labels: pa.Table, known: pa.Table | None = None) -> JoinedLabels:
    """Give each event its label.

    Args:
        events: N events with ``request_id`` and ``row``; several may share them.
        labels: ``request_id``, ``row``, ``label`` (text), in the order they were recorded: the last one wins.
        known: More events that labels may be meant for, beside ``events``.
    """
    recorded = _frame(labels, [*KEY, "label"])
    newest = recorded.unique(KEY, keep="last", maintain_order=True)
    compared = recorded.join(newest, on=KEY, suffix="_kept")
    left = _frame(events, KEY)
    joined = left.join(newest, on=KEY, how="left", maintain_order="left")
    everything = left if known is None else pl.concat([left, _frame(known, KEY)])
    unknown = newest.join(everything.unique(KEY), on=KEY, how="anti")
    return JoinedLabels(
        labels=joined["label"].to_list(),
        duplicates=labels.num_rows - newest.height,
        unknown=unknown.height,
        contradictory=compared.filter(pl.col("label") != pl.col("label_kept")).height,
    )


def _frame(table: pa.Table, columns: list[str]) -> pl.DataFrame:
    if not table.num_rows:
        return pl.DataFrame(schema={name: pl.Int64 if name == "row" else pl.String for name in columns})
    frame = pl.from_arrow(table.select(columns))
    assert isinstance(frame, pl.DataFrame)
    return frame.with_columns(pl.col("row").cast(pl.Int64), pl.col("request_id").cast(pl.String))
