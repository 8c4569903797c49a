"""The features that were joined for predictions, read back from the log and compared with the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import NamedTuple

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.clock import to_us
from raymlops.errors import DataError
from raymlops.features import FeatureReader, audit
from raymlops.features.discovery.consistency import ASKED
from raymlops.records.features import ConsistencyReport
from raymlops.records.plans import PlanStore, ServingPlan

__all__ = ["ServedFeatureAudit", "ServedService", "rows_by_service", "sampled", "served_rows"]

_SETTLES = timedelta(minutes=1)
"""Seconds after a change of the feature service in which replicas may still serve the one before."""
_INSTANTS = frozenset({"event_time", "served_at"})


class ServedService(NamedTuple):
    """A feature service of an environment."""

    service: str
    environment: str | None = None


class ServedFeatureAudit:
    """The monitor's audit: every service that served in a window, over a sample of its rows. Thread-safe.

    Args:
        plans: They tell when which service was served.
        reader_of: Environment -> what recomputes its features; opened at the first audit.
    """

    def __init__(self, plans: PlanStore, reader_of: Callable[[str | None], FeatureReader]) -> None:
        self._plans = plans
        self._reader_of = reader_of

    def __call__(self, model: str, events: pa.Table, max_rows: int) -> Sequence[ConsistencyReport]:
        rows = served_rows(events)
        if not rows.num_rows:
            return []
        plans = self._plans.list_plans(model)
        by_service = rows_by_service(plans, sampled([rows], max_rows))
        return [audit(served.service, some, self._reader_of(served.environment)) for served, some in by_service]


def served_rows(events: pa.Table) -> pa.Table:
    """The events whose features were joined online, with the keys they were joined by as columns.

    An event is dated with the instant it was asked about, so that the audit recomputes the features as of then. A
    shadow was given what the champion was: its events are left out.

    Raises:
        DataError: A key is a number in one event and a text in another.
    """
    if "entity" not in events.column_names:
        return events.slice(0, 0)
    joined = events.filter(pc.and_(pc.is_valid(events["entity"]), pc.not_equal(events["role"], "shadow")))
    asked = [orjson.loads(entity) for entity in joined["entity"].to_pylist()]
    joined = joined.rename_columns({"entity": ASKED})
    for name in dict.fromkeys(key for keys in asked for key in keys if key not in _INSTANTS):
        try:
            column = pa.array([keys.get(name) for keys in asked])
        except pa.ArrowException as error:
            raise DataError(f"prediction events: key {name!r} must have one type, got {error}", column=name) from error
        # a key may be a model's input as well, and is then in the log as the model sees it
        if name in joined.column_names:
            joined = joined.drop_columns([name])
        joined = joined.append_column(name, column)
    return joined


def sampled(tables: Iterable[pa.Table], rows: int) -> pa.Table:
    """A sample of the rows of some tables, drawn by request id and row: the same rows in every process."""
    kept = pa.table({})
    for table in tables:
        kept = table if not kept.num_columns else pa.concat_tables([kept, table], promote_options="permissive")
        if kept.num_rows > rows:
            drawn = pl.DataFrame(kept.select(["request_id", "row"])).hash_rows(1).to_numpy()
            kept = kept.take(pa.array(np.sort(np.argpartition(drawn, rows)[:rows])))
    return kept


def rows_by_service(plans: Sequence[ServingPlan], rows: pa.Table) -> Iterator[tuple[ServedService, pa.Table]]:
    """Rows apart by the feature service that was served when they were answered.

    Args:
        plans: All plans of the model.
        rows: Served rows with ``served_at``. Those from just after a change of the service are left out: which of the
            two gave their features is not known.

    Yields:
        The service and its rows, where there are any.
    """
    changes: list[ServingPlan] = []
    for plan in sorted(plans, key=lambda plan: plan.number):
        if not changes or (plan.service, plan.environment) != (changes[-1].service, changes[-1].environment):
            changes.append(plan)
    if not rows.num_rows:
        return
    served_us = rows["served_at"].cast(pa.int64()).to_numpy()
    for place, plan in enumerate(changes):
        mine = np.ones(len(served_us), np.bool_)
        if place:
            mine &= served_us >= to_us(plan.created_at + _SETTLES)
        if place + 1 < len(changes):
            mine &= served_us < to_us(changes[place + 1].created_at)
        if plan.service is not None and mine.any():
            yield ServedService(plan.service, plan.environment), rows.filter(pa.array(mine))
