"""The domain classifiers of model versions, made from the samples that were stored with them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from raymlops.errors import DataError
from raymlops.monitoring.profiles.domain import DOMAIN_FILE, DomainClassifier
from raymlops.records.models import ModelVersion

__all__ = ["VersionDomains"]

KEPT = 4


class VersionDomains:
    """Reads a version's classifier once, and keeps the few that were used last. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int], DomainClassifier] = OrderedDict()

    def of(self, version: ModelVersion | None) -> tuple[DomainClassifier | None, str]:
        """A version's classifier, or what is wrong with its sample.

        A version without a sample, such as an older one, or one that was registered by hand, has none; that is no
        fault.
        """
        with self._lock:
            return self._of(version)

    def _of(self, version: ModelVersion | None) -> tuple[DomainClassifier | None, str]:
        if version is None:
            return None, ""
        key = version.name, version.version
        if key not in self._kept:
            try:
                self._kept[key] = DomainClassifier.loads((Path(version.path) / DOMAIN_FILE).read_bytes())
            except FileNotFoundError:
                return None, ""
            except (DataError, OSError) as error:
                return None, f"{DOMAIN_FILE} of version {version.version} cannot be read: {error}"
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return self._kept[key], ""
