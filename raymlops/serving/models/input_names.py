"""The columns of prediction events, and the names that a model's inputs may have beside them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import pyarrow as pa

from raymlops.errors import SchemaMismatch

__all__ = ["EVENT_SCHEMA", "check_input_names"]

_INSTANT = pa.timestamp("us", tz="UTC")
EVENT_SCHEMA = pa.schema(
    [
        pa.field("request_id", pa.string(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),
        pa.field("event_time", _INSTANT, nullable=False),
        pa.field("served_at", _INSTANT, nullable=False),
        pa.field("version", pa.int32(), nullable=False),
        pa.field("role", pa.string(), nullable=False),
        pa.field("latency_us", pa.int64(), nullable=False),
        pa.field("fallback", pa.string()),
        pa.field("error", pa.string()),
        pa.field("missing", pa.int32(), nullable=False),
        pa.field("score", pa.float64()),
        pa.field("label_predicted", pa.string()),
        pa.field("entity", pa.string()),
        pa.field("feature_times", pa.string()),
    ]
)
"""The columns every model's events begin with; one column per model input follows, float64 or string."""
_SEQUENCE = "_seq"
"""The column that the log numbers its rows by."""
_CONTROL = ("Cc", "Cs")


def check_input_names(names: Sequence[str]) -> None:
    """Refuse inputs that no table of events can hold beside its own columns. Tables do not tell A from a.

    Raises:
        SchemaMismatch: A name is one of the events' own, or another input's, but for upper and lower case; or it holds
            a control character, or is empty.
    """
    if not all(name.strip() for name in names):
        raise SchemaMismatch(f"every input must have a name, got {list(names)}", columns=list(names))
    odd = [name for name in names if any(unicodedata.category(char) in _CONTROL for char in name)]
    if odd:
        raise SchemaMismatch(f"inputs {odd} must not have control characters in their names", columns=odd)
    taken = {name.lower() for name in (*EVENT_SCHEMA.names, _SEQUENCE)}
    reserved = sorted(name for name in names if name.lower() in taken)
    if reserved:
        rule = "have names that prediction events use, whatever their case"
        raise SchemaMismatch(f"inputs {reserved} {rule}: rename them", columns=reserved)
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(name.lower(), name)
        if other != name:
            raise SchemaMismatch(
                f"inputs {other!r} and {name!r} differ in case only: rename one", columns=[other, name]
            )
