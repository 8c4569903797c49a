"""Windows that cannot be judged, however often it is tried: they must not keep those behind them from closing."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from raymlops.errors import RaymlopsError
from raymlops.monitoring.events.ports import WindowMetadata
from raymlops.records.windows import WindowRecord

__all__ = ["UnjudgedWindows"]

_TRIES = 3

_log = logging.getLogger(__name__)


class UnjudgedWindows:
    """Counts how often a window failed, and in the end stores one that says so. One caller at a time per model.

    Args:
        metadata: The store of windows.
        window: Length of a window.
    """

    def __init__(self, metadata: WindowMetadata, window: timedelta) -> None:
        self._metadata = metadata
        self._window = window
        self._failed: dict[str, tuple[datetime, int]] = {}

    def after(self, model: str, start: datetime, error: Exception) -> WindowRecord:
        """The record of a window whose judging raised an error.

        Returns:
            From the third failure in a row on, the window without figures, its data called broken; it is stored.

        Raises:
            Exception: ``error`` before that, and always where trying again may help.
        """
        if isinstance(error, RaymlopsError) and error.retryable:
            raise error
        known, count = self._failed.get(model, (start, 0))
        count = count + 1 if known == start else 1
        self._failed[model] = (start, count)
        plan = self._metadata.plans.find_plan(model)
        if count < _TRIES or plan is None:
            raise error
        _log.error("the window of %s from %s is closed without being judged", model, start, exc_info=error)
        del self._failed[model]
        record = WindowRecord(
            model=model,
            start=start,
            end=start + self._window,
            champion=plan.champion,
            rows=0,
            quality="block",
            quality_reasons=(f"the window could not be judged: {type(error).__name__}: {error}",),
        )
        self._metadata.windows.put_window(record, b"")
        return record
