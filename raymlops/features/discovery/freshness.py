"""How far a view reaches, and whether what it has is still served."""

from __future__ import annotations

from datetime import datetime

from raymlops.features.definitions.views import FeatureView
from raymlops.features.online.online_store import Watermark
from raymlops.records.people.discovery import FeatureFreshness, ViewStatistics
from raymlops.tables.delta import DeltaTables
from raymlops.tables.delta_log import table_facts

__all__ = ["view_freshness"]


def view_freshness(
    view: FeatureView,
    table: str,
    tables: DeltaTables,
    *,
    now: datetime,
    watermark: Watermark | None = None,
    statistics: ViewStatistics | None = None,
) -> FeatureFreshness:
    """Compare a view's newest rows with the present instant and with the online store.

    Args:
        view: The view.
        table: Name of the table it reads.
        tables: The tables.
        now: The present instant.
        watermark: How far the online store has the view; ``None`` where it has nothing.
        statistics: The view's, at the newest version of its table, where they are known.

    Raises:
        StorageError: the table cannot be read.
    """
    ttl_s = None if view.ttl is None else view.ttl.total_seconds()
    if not tables.exists(table):
        return FeatureFreshness(view=view.ref, table=table, ttl_s=ttl_s)
    times = [view.event_time, *([] if view.created_at is None else [view.created_at])]
    facts = table_facts(tables, table, times)
    newest = facts.newest[view.event_time]
    behind = None
    if view.online:
        behind = tables.last_sequence(table) - (-1 if watermark is None else watermark.sequence)
    age_s = None if newest is None else (now - newest).total_seconds()
    verdict = None
    if age_s is not None and ttl_s is not None:
        verdict = "stale" if age_s > ttl_s else "fresh"
    return FeatureFreshness(
        view=view.ref,
        table=table,
        table_version=facts.version,
        rows=facts.rows,
        newest_event_time=newest,
        newest_created_at=None if view.created_at is None else facts.newest[view.created_at],
        ingested_at=facts.ingested_at,
        online_table_version=None if watermark is None or watermark.table_version < 0 else watermark.table_version,
        online_rows_behind=behind,
        age_s=age_s,
        ttl_s=ttl_s,
        expired_keys_share=_expired_share(view, now, statistics),
        verdict=verdict,
    )


def _expired_share(view: FeatureView, now: datetime, statistics: ViewStatistics | None) -> float | None:
    if view.ttl is None or statistics is None or not statistics.newest_by_key:
        return None
    newest = statistics.newest_by_key
    expired = sum(now - at > view.ttl for at in newest)
    return expired / len(newest)
