"""How long events, labels and profiles are kept, and the upkeep of their tables."""

from __future__ import annotations

from datetime import datetime, timedelta

from raymlops.config.monitoring import MonitoringConfig
from raymlops.monitoring.events.ports import EventTables, WindowMetadata

__all__ = ["Retention"]


class Retention:
    """Packs a model's tables, and removes what is older than it has to be kept.

    Never removed is what may still be read: events and labels of windows that are open, that wait for late labels,
    or that a restarted monitor would look at again; and nothing at all while a trial is under way, whose verdict
    rests on all that was served since it began. Training sets are made of feature tables, not of these.
    """

    def __init__(self, tables: EventTables, metadata: WindowMetadata, config: MonitoringConfig) -> None:
        self._tables = tables
        self._metadata = metadata
        self._config = config

    def apply(self, model: str, now: datetime, open_from: datetime | None) -> None:
        """Look after one model's tables.

        Args:
            model: Name of the model.
            now: By which age is measured.
            open_from: Start of the first window that is not closed; ``None`` where there are no events.

        Raises:
            StorageError: A table cannot be read or written; what stands is whole.
        """
        keep = self._config.retention
        plan = self._metadata.plans.find_plan(model)
        held = open_from is None or (plan is not None and plan.trial is not None)
        needed = None if open_from is None or held else self._needed_from(now, open_from)
        for name, age in ((f"predictions/{model}", keep.events), (f"labels/{model}", keep.labels)):
            self._tables.maintain(name, None if needed is None else min(needed, now - age), age)
        if not held:
            self._metadata.profiles.drop_profiles(model, now - keep.profiles)

    def _needed_from(self, now: datetime, open_from: datetime) -> datetime:
        config = self._config
        looked_at_again = config.label_delay + 2 * config.late_labels + 2 * config.window + timedelta(days=1)
        return min(open_from - max(config.window, config.label_delay), now - looked_at_again)
