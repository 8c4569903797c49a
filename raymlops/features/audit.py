"""The audit: served features against what the tables say they were."""

from __future__ import annotations

from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from raymlops.errors import SchemaMismatch
from raymlops.features.schema import check_columns
from raymlops.features.service_join import EVENT_TIME
from raymlops.features.services import FeatureService
from raymlops.records.features import ConsistencyReport, FeatureConsistency

__all__ = ["Recompute", "audit"]


class Recompute(Protocol):
    """What the audit needs of a ``FeatureReader``."""

    def service(self, name: str) -> FeatureService:
        """The service by name."""
        ...

    def features_at(self, service: str, spine: Any) -> Any:
        """The service's features as of each row's ``event_time``, from the newest tables; feature columns only."""
        ...


def audit(service: str, served: Any, reader: Recompute) -> ConsistencyReport:
    """Recompute served features at the instants they were served for, and compare value by value.

    Values must be equal, not merely close: both sides compute the same bits. Rows that arrived late, after the serving,
    show as differences.

    Args:
        service: ``NAME`` or ``NAME@VERSION``.
        served: Keys and request columns, ``event_time`` (the instant asked about), and feature columns ``VIEW__FIELD``;
            features that are not there are not audited.
        reader: Recomputes.

    Raises:
        SchemaMismatch: a key or ``event_time`` is missing, or a feature has another type.
        RaymlopsError: as ``FeatureReader.training_set`` does.
    """
    check_columns("served", served.column_names, [EVENT_TIME])
    ref = reader.service(service).ref
    recomputed = reader.features_at(ref, served)
    audited = [name for name in recomputed.column_names if name in served.column_names]
    features = {name: _compare(name, served[name], recomputed[name]) for name in audited}
    return ConsistencyReport(service=ref, rows=served.num_rows, features=features)


def _compare(name: str, served: Any, recomputed: Any) -> FeatureConsistency:
    if not len(served):
        return FeatureConsistency(mismatch=0.0, missing=0.0, extra=0.0)
    served, recomputed = _comparable(served), _comparable(recomputed)
    if pa.types.is_null(served.type):
        served = served.cast(recomputed.type)
    if served.type != recomputed.type:
        raise SchemaMismatch(f"served: column {name!r} must be {recomputed.type}, got {served.type}", column=name)
    missing = pc.and_(pc.is_null(served), pc.is_valid(recomputed))
    extra = pc.and_(pc.is_valid(served), pc.is_null(recomputed))
    mismatch = pc.fill_null(pc.not_equal(served, recomputed), False)
    shares = [pc.sum(pc.cast(part, pa.int64())).as_py() / len(served) for part in (mismatch, missing, extra)]
    return FeatureConsistency(mismatch=shares[0], missing=shares[1], extra=shares[2])


def _comparable(column: Any) -> Any:
    """Numbers as doubles: a log of predictions may hold them as such. NaN is missing there."""
    kind = column.type
    if pa.types.is_floating(kind):
        column = column.cast(pa.float64())
        return pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return column.cast(pa.float64())
    return column
