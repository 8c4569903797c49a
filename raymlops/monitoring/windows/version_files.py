"""Files that are stored with model versions to judge them: references, samples and holdouts, each read once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

from raymlops.errors import DataError, ModelVersionNotFound
from raymlops.monitoring.performance.estimation import PerformanceEstimator
from raymlops.monitoring.performance.holdout import HOLDOUT_FILE, Holdout
from raymlops.monitoring.profiles.classifier.domain import DOMAIN_FILE, DomainClassifier
from raymlops.monitoring.profiles.profile import REFERENCE_FILE
from raymlops.monitoring.profiles.reference import Reference
from raymlops.records.models import ModelRegistry, ModelVersion

__all__ = ["KEPT", "VersionFiles"]

KEPT = 4
"""Classifiers and estimators are large: those of so many versions are kept."""
_MANY = 1000

T = TypeVar("T")


class _Kept(Generic[T]):
    """Cache of the parsed files of versions, the latest used ones. Thread-safe."""

    def __init__(self, file: str, what: str, read: Callable[[Path], T], most: int) -> None:
        self._file, self._what, self._read, self._most = file, what, read, most
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int], T] = OrderedDict()

    def known(self, name: str, version: int) -> T | None:
        """The cached file, without a look at the version's record."""
        with self._lock:
            return self._kept.get((name, version))

    def of(self, version: ModelVersion) -> tuple[T | None, str]:
        """The parsed file of a version, or its fault; neither where there is no such file."""
        key = version.name, version.version
        with self._lock:
            if key not in self._kept:
                try:
                    self._kept[key] = self._read(Path(version.path) / self._file)
                except FileNotFoundError:
                    return None, ""
                except (DataError, OSError) as error:
                    return None, f"the {self._what} of version {version.version} cannot be read: {error}"
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
            return self._kept[key], ""


class VersionFiles:
    """Finds the files beside packaged models. Thread-safe: what it holds is a cache.

    A version that is older, or was registered by hand, may have none of them; that is no fault.
    """

    def __init__(self, models: ModelRegistry) -> None:
        self._models = models
        self._references = _Kept(REFERENCE_FILE, "reference", Reference.load, _MANY)
        self._domains = _Kept(DOMAIN_FILE, "sample", lambda path: DomainClassifier.loads(path.read_bytes()), KEPT)
        self._estimators = _Kept(HOLDOUT_FILE, "holdout", lambda path: PerformanceEstimator(Holdout.load(path)), KEPT)

    def reference(self, model: str, version: int) -> tuple[Reference | None, str]:
        """A version's reference, or why there is none: one bad file must not keep the windows from closing."""
        if (known := self._references.known(model, version)) is not None:
            return known, ""
        try:
            found, problem = self._references.of(self._models.get_version(model, version))
        except ModelVersionNotFound:
            return None, f"version {version} is not registered"
        return found, problem or ("" if found else f"version {version} has no {REFERENCE_FILE}")

    def find_reference(self, model: str, version: int) -> Reference | None:
        """The same without the reason."""
        return self.reference(model, version)[0]

    def domain(self, version: ModelVersion | None) -> tuple[DomainClassifier | None, str]:
        """A version's domain classifier, or what is wrong with its sample."""
        return (None, "") if version is None else self._domains.of(version)

    def estimators(self, versions: Iterable[ModelVersion]) -> tuple[dict[int, PerformanceEstimator], tuple[str, ...]]:
        """The performance estimators of versions, by number, and what is wrong with holdouts that cannot be read."""
        found, problems = {}, []
        for version in versions:
            estimator, problem = self._estimators.of(version)
            if estimator is not None:
                found[version.version] = estimator
            elif problem:
                problems.append(problem)
        return found, tuple(problems)
