"""The audit: served features compared with the values recomputed from the tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import zip_longest
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.errors import SchemaMismatch
from raymlops.features.definitions.schema import EVENT_TIME, check_columns, instants_us
from raymlops.features.definitions.services import FeatureService
from raymlops.records.features import ConsistencyReport, FeatureConsistency, Inconsistency
from raymlops.records.people.discovery import Scalar
from raymlops.tables.columns import as_table

__all__ = ["ASKED", "SERVED_AT", "Recompute", "audit"]

SERVED_AT = "served_at"
"""Column of the instant at which a row was answered."""

ASKED = "_asked"
"""Column of what a row was asked with, as a JSON object, for the examples; no request column may be called so."""
_REQUEST_ID = "request_id"
_BATCH_ROWS = 50_000
_READ_BEFORE_US = (0, 100_000, 1_000_000, 5_000_000)
"""Times between the read of features and the instant of the answer that the audit tries, in microseconds; a copy's
delay is in them."""
_EXAMPLES = 5

Mask: TypeAlias = npt.NDArray[np.bool_]


class Recompute(Protocol):
    """The part of a ``FeatureReader`` that the audit needs."""

    def service(self, name: str) -> FeatureService:
        """The service by name."""
        ...

    def features_at(self, service: str, spine: Any) -> Any:
        """The service's features as of each row's ``event_time``, from the newest tables; feature columns only."""
        ...

    def features_known_at(self, service: str, spine: Any, known_us: npt.NDArray[np.int64]) -> Any:
        """The same from the rows known at or before other instants, N microseconds since 1970.

        Features of whose rows nobody says when they were known are left out.
        """
        ...


def audit(service: str, served: Any, reader: Recompute) -> ConsistencyReport:
    """Recompute served features at the instants they were served for, and compare value by value.

    Values must be equal, not merely close: both sides compute the same bits. A value that differs but equals what the
    rows known at its serving time give is late data, and no fault of serving. A row is known once it was created, where
    its view has a created-at, and online, where the platform recorded that.

    Args:
        service: ``NAME`` or ``NAME@VERSION``.
        served: A table, or any number of them of which one is held at a time: keys and request columns, ``event_time``
            (the instant asked about), and feature columns ``VIEW__FIELD``; features that are not there are not
            audited. ``served_at`` tells when the answer was given, else ``event_time`` does.
        reader: Recomputes.

    Raises:
        SchemaMismatch: a key or ``event_time`` is missing, or a feature has another type.
        RaymlopsError: as ``FeatureReader.training_set`` does.
    """
    ref = reader.service(service).ref
    features: dict[str, _Comparison] = {}
    rows = 0
    for part in served if isinstance(served, Iterator | list | tuple) else [served]:
        table = as_table("served", part)
        check_columns("served", table.column_names, [EVENT_TIME])
        for start in range(0, max(table.num_rows, 1), _BATCH_ROWS):
            _compare(ref, table.slice(start, _BATCH_ROWS), reader, features)
        rows += table.num_rows
    return ConsistencyReport(
        service=ref,
        rows=rows,
        features={name: comparison.result() for name, comparison in features.items()},
        examples=tuple(_most_telling(features.values())),
    )


def _compare(service: str, served: Any, reader: Recompute, features: dict[str, _Comparison]) -> None:
    recomputed = reader.features_at(service, served)
    pairs = {
        name: _comparable(name, served[name], recomputed[name])
        for name in recomputed.column_names
        if name in served.column_names
    }
    differs = {name: _different(*pair) for name, pair in pairs.items()}
    wrong = _unexplained(service, served, reader, differs)
    for name, (given, right) in pairs.items():
        late = differs[name] & ~wrong[name]
        features.setdefault(name, _Comparison(name)).add(served, given, right, wrong[name], int(late.sum()))


def _unexplained(service: str, served: Any, reader: Recompute, differs: Mapping[str, Mask]) -> dict[str, Mask]:
    """Which of the values that differ are not what was known when they were served, or shortly before."""
    wrong = {name: mask.copy() for name, mask in differs.items()}
    for before_us in _READ_BEFORE_US:
        rows = np.flatnonzero(np.logical_or.reduce([np.zeros(served.num_rows, np.bool_), *wrong.values()]))
        if not len(rows):
            break
        some = served.take(pa.array(rows))
        known = reader.features_known_at(service, some, _known_us(some) - before_us)
        for name, mask in wrong.items():
            if name in known.column_names:
                mask[rows] &= _different(*_comparable(name, some[name], known[name]))
    return wrong


def _known_us(served: Any) -> npt.NDArray[np.int64]:
    column = SERVED_AT if SERVED_AT in served.column_names else EVENT_TIME
    return instants_us("served", column, served[column])


def _comparable(name: str, served: Any, recomputed: Any) -> tuple[Any, Any]:
    """Both columns in one type, numbers as doubles: a log of predictions may hold them as such. NaN is missing."""
    served, recomputed = _plain(served), _plain(recomputed)
    if pa.types.is_timestamp(recomputed.type) and pa.types.is_floating(served.type):
        recomputed = _plain(recomputed.cast(pa.int64()))  # a model sees an instant as its microseconds
    if pa.types.is_null(served.type):
        served = served.cast(recomputed.type)
    if served.type != recomputed.type:
        raise SchemaMismatch(f"served: column {name!r} must be {recomputed.type}, got {served.type}", column=name)
    return served, recomputed


def _plain(column: Any) -> Any:
    kind = column.type
    if pa.types.is_floating(kind):
        column = column.cast(pa.float64())
        return pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return column.cast(pa.float64(), safe=False)
    return column


def _different(served: Any, recomputed: Any) -> Mask:
    one_missing = pc.xor(pc.is_null(served), pc.is_null(recomputed))
    return _mask(pc.or_(one_missing, pc.fill_null(pc.not_equal(served, recomputed), False)))


def _mask(column: Any) -> Mask:
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    mask: Mask = whole.to_numpy(zero_copy_only=False)
    return mask


class _Comparison:
    """Running result of the comparison of one feature."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._rows = self._mismatch = self._missing = self._extra = self._late = 0
        self._numbers = 0
        self._total = 0.0
        self._largest: float | None = None
        self._worst: list[tuple[float, Inconsistency]] = []

    def add(self, rows: Any, served: Any, recomputed: Any, wrong: Mask, late: int) -> None:
        """Take in a batch.

        Args:
            rows: The served rows.
            served: The feature as served.
            recomputed: The feature as recomputed, in the same type.
            wrong: Rows that differ and are not late.
            late: Number of rows that differ and are late.
        """
        self._rows += len(wrong)
        self._late += late
        places = np.flatnonzero(wrong)
        if not len(places):
            return
        given, right = served.take(pa.array(places)), recomputed.take(pa.array(places))
        absent, spare = _mask(pc.is_null(given)), _mask(pc.is_null(right))
        self._missing += int(absent.sum())
        self._extra += int(spare.sum())
        self._mismatch += len(places) - int(absent.sum()) - int(spare.sum())
        sizes = np.full(len(places), np.inf)  # a value where there is none, and the reverse, is as wrong as can be
        both = ~absent & ~spare
        if pa.types.is_floating(given.type) and both.any():
            sizes[both] = pc.abs(pc.subtract(given, right)).to_numpy()[both]
            self._numbers += int(both.sum())
            self._total += float(sizes[both].sum())
            self._largest = max(self._largest or 0.0, float(sizes[both].max()))
        found = [
            (float(sizes[i]), _example(self._name, rows, int(places[i]), given[int(i)], right[int(i)]))
            for i in np.argsort(-sizes, kind="stable")[:_EXAMPLES]
        ]
        self._worst = sorted([*self._worst, *found], key=lambda entry: -entry[0])[:_EXAMPLES]

    def result(self) -> FeatureConsistency:
        """The shares among the rows that have the feature."""
        rows = max(self._rows, 1)
        return FeatureConsistency(
            mismatch=self._mismatch / rows,
            missing=self._missing / rows,
            extra=self._extra / rows,
            late=self._late / rows,
            largest_difference=self._largest,
            mean_difference=self._total / self._numbers if self._numbers else None,
        )

    @property
    def share(self) -> float:
        """Inconsistent values among the rows that have the feature."""
        return (self._mismatch + self._missing + self._extra) / max(self._rows, 1)

    @property
    def examples(self) -> list[Inconsistency]:
        """Rows where it is wrong, the worst first."""
        return [found for _, found in self._worst]


def _most_telling(features: Iterable[_Comparison]) -> list[Inconsistency]:
    """The worst row of every feature, the feature that is wrong most often first; then the second worst rows ..."""
    ranked = sorted(features, key=lambda feature: -feature.share)
    rounds = zip_longest(*(feature.examples for feature in ranked))
    return [found for each in rounds for found in each if found is not None][:_EXAMPLES]


def _example(feature: str, rows: Any, place: int, served: Any, recomputed: Any) -> Inconsistency:
    row = rows.slice(place, 1)
    known = {name: row[name][0].as_py() for name in (EVENT_TIME, SERVED_AT, _REQUEST_ID) if name in row.column_names}
    return Inconsistency(
        feature=feature,
        keys=_keys(row),
        event_time=known[EVENT_TIME],
        served_at=known.get(SERVED_AT),
        request_id=known.get(_REQUEST_ID),
        served=_shown(served.as_py()),
        recomputed=_shown(recomputed.as_py()),
    )


def _keys(row: Any) -> dict[str, Scalar | None]:
    """What the row was asked with; every column that is no feature where the log does not tell."""
    if ASKED in row.column_names:
        found = orjson.loads(row[ASKED][0].as_py())
    else:
        others = {EVENT_TIME, SERVED_AT, _REQUEST_ID}
        found = {name: row[name][0].as_py() for name in row.column_names if "__" not in name and name not in others}
    return {str(name): _shown(value) for name, value in found.items()}


def _shown(value: object) -> Scalar | None:
    if isinstance(value, datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
