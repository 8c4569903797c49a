"""Label requests: ground truth, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import pyarrow as pa

from raymlops.config.serving import RequestLimits
from raymlops.errors import DataError
from raymlops.records.learning.labels import LabelNames
from raymlops.records.learning.signatures import Signature
from raymlops.serving.protocol.instances import instant_within, parse_instant
from raymlops.serving.protocol.open_inference import check_id
from raymlops.serving.protocol.schema import check_texts
from raymlops.serving.protocol.tensors import parse_json

__all__ = ["decode_labels"]

_INSTANT = pa.timestamp("us", tz="UTC")
_REQUIRED = frozenset({"request_id", "label"})
_KNOWN = frozenset({"request_id", "row", "label", "event_time"})
_MOST_DECLARED = 1000
_LARGEST_ROW = 2**31 - 1
_LIMITS = RequestLimits()


def decode_labels(
    body: bytes, headers: Mapping[str, str], signature: Signature, now_us: int, limits: RequestLimits = _LIMITS
) -> tuple[pa.Table, str]:
    """Read ``{"labels": [{"request_id", "row", "label", "event_time"}], "classes": {"yes": 1}}``.

    Args:
        body: As sent; ``row`` is 0 and ``event_time`` is now where they are left out. ``classes`` may declare which
            class another label stands for.
        headers: ``idempotency-key`` names the batch, so that the caller may send it again.
        signature: A classifier's label is one of its classes, a regressor's a number.
        now_us: The clock; the latest an ``event_time`` may be.
        limits: What the request may hold.

    Returns:
        A table of request_id, row, label (float64, or string where the classes are text) and event_time; the batch id.

    Raises:
        DataError: Anything is wrong with it; the message names what.
    """
    document = parse_json(body)
    labels = document.get("labels")
    if not {"labels"} <= document.keys() <= {"labels", "classes"} or type(labels) is not list or not labels:
        raise DataError("the body must hold 'labels', a list of at least one object, maybe 'classes', and nothing else")
    if len(labels) > limits.labels:
        raise DataError(f"'labels' must hold at most {limits.labels}, got {len(labels)}")
    declared = document.get("classes", {})
    if type(declared) is not dict or len(declared) > _MOST_DECLARED:
        raise DataError(f"'classes' must be an object of at most {_MOST_DECLARED} labels and their classes")
    names = LabelNames(signature, declared)
    is_text = any(type(value) is str for value in signature.classes)
    rows = [_row(index, item, signature, names, now_us, limits) for index, item in enumerate(labels)]
    ids, numbers, values, instants = (list(column) for column in zip(*rows, strict=True))
    table = pa.table(
        {
            "request_id": pa.array(ids, type=pa.string()),
            "row": pa.array(numbers, type=pa.int32()),
            "label": pa.array(values, type=pa.string() if is_text else pa.float64()),
            "event_time": pa.array(instants, type=pa.int64()).cast(_INSTANT),
        }
    )
    return table, check_id(headers.get("idempotency-key")) or uuid4().hex


def _row(
    index: int, item: object, signature: Signature, names: LabelNames, now_us: int, limits: RequestLimits
) -> tuple[str, int, Any, int]:
    if type(item) is not dict or not _REQUIRED <= item.keys() <= _KNOWN:
        raise DataError(f"label {index} must be an object of 'request_id', 'label', and maybe 'row' and 'event_time'")
    request_id = check_id(item["request_id"])
    if request_id is None:
        raise DataError(f"label {index}: 'request_id' must not be empty")
    row = item.get("row", 0)
    if type(row) is not int or not 0 <= row <= _LARGEST_ROW:
        raise DataError(f"label {index}: 'row' must be an integer of at least 0")
    at = parse_instant(item["event_time"], "event_time") if "event_time" in item else now_us
    instant_within(at, f"label {index}: 'event_time'", now_us, limits)
    check_texts(f"label {index}", [item["label"]], limits.key_chars)
    return request_id, row, _label(index, item["label"], signature, names), at


def _label(index: int, value: object, signature: Signature, names: LabelNames) -> str | float:
    if signature.task == "regressor":
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise DataError(f"label {index}: 'label' must be a number")
        return float(value)
    found = names.find_declared(value)
    if found is None:
        if not any(_same(value, known) for known in signature.classes):
            raise DataError(f"label {index}: {names.refusal(value)}")
        found = value
    assert isinstance(found, str | int | float)
    return found if isinstance(found, str) else float(found)


def _same(value: object, known: str | int | float | bool) -> bool:
    """Whether a label names a class: 1.0 is 1, but neither is true or "1"."""
    numbers = (int, float)
    return value == known and (type(value) is type(known) or (type(value) in numbers and type(known) in numbers))
