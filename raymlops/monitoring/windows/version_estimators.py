"""The estimators of model versions, made from the holdouts that were stored with them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

from raymlops.errors import DataError
from raymlops.monitoring.performance.estimation import PerformanceEstimator
from raymlops.monitoring.performance.holdout import HOLDOUT_FILE, Holdout
from raymlops.records.models import ModelVersion

__all__ = ["VersionEstimators"]

KEPT = 4


class VersionEstimators:
    """Makes an estimator once per model version, and keeps the few that were used last. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int], PerformanceEstimator] = OrderedDict()

    def of(self, versions: Iterable[ModelVersion]) -> tuple[dict[int, PerformanceEstimator], tuple[str, ...]]:
        """The estimators of versions, by number, and what is wrong with holdouts that cannot be read.

        A version without a holdout, such as one that was registered by hand, has none; that is no fault.
        """
        with self._lock:
            return self._of(versions)

    def _of(self, versions: Iterable[ModelVersion]) -> tuple[dict[int, PerformanceEstimator], tuple[str, ...]]:
        found, problems = {}, []
        for version in versions:
            key = version.name, version.version
            if key not in self._kept:
                try:
                    self._kept[key] = PerformanceEstimator(Holdout.load(Path(version.path) / HOLDOUT_FILE))
                except FileNotFoundError:
                    continue
                except (DataError, OSError) as error:
                    problems.append(f"the holdout of version {version.version} cannot be read: {error}")
                    continue
            self._kept.move_to_end(key)
            found[version.version] = self._kept[key]
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found, tuple(problems)
