"""Labels find the predictions they belong to, whatever their delay, order and number."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

__all__ = ["KEY", "JoinedLabels", "join_labels", "label_text"]

_WHOLE = re.compile(r"^(-?\d+)\.0+$")
KEY = ["request_id", "row"]
"""What labels find their predictions by."""


@dataclass(frozen=True)
class JoinedLabels:
    """Labels beside their predictions.

    Attributes:
        labels: The label's text of each of the N events, ``None`` where there is none yet.
        duplicates: Labels replaced by a later one for the same prediction.
        contradictory: Those of them that said something else than the one that counts.
        unknown: Labels, counted once per prediction, for which there is no event.
    """

    labels: list[str | None]
    duplicates: int
    unknown: int
    contradictory: int = 0


def label_text(value: object) -> str:
    """The one text of a label or class, so that ``1``, ``1.0``, ``True``, ``"1"`` and ``"1.0"`` name the same class."""
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    text = _WHOLE.sub(r"\1", str(value))
    return {"true": "1", "false": "0"}.get(text.lower(), text)


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
