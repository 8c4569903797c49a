"""Keeps MLflow in step with the metadata store."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from raymlops.errors import ModelLoadFailed
from raymlops.metadata.mlflow import MlflowProjection
from raymlops.metadata.stores import Metadata
from raymlops.records.runs import RunStatus

__all__ = ["Projector"]

_log = logging.getLogger(__name__)


class Projector:
    """Projects what changed since it last looked; after a restart, or into an empty MLflow, everything.

    Thread-safe; one sync runs at a time.

    Args:
        metadata: The truth.
        projection: The projection that it writes to.
        trials_of: Run id -> its trials, each with ``params``, ``metrics`` and ``status``; none where there were none.
    """

    def __init__(
        self,
        metadata: Metadata,
        projection: MlflowProjection,
        trials_of: Callable[[str], Sequence[Mapping[str, Any]]],
    ) -> None:
        self._metadata = metadata
        self._projection = projection
        self._trials_of = trials_of
        self._lock = threading.Lock()
        self._runs: dict[str, RunStatus] = {}
        self._versions: set[tuple[str, int]] = set()
        self._aliases: dict[tuple[str, str], int | None] = {}

    def sync(self) -> int:
        """Bring MLflow up to date.

        Returns:
            How many runs, versions and aliases were written.

        Raises:
            StorageError: MLflow fails; what was written stays, and the next sync goes on.
            ModelLoadFailed: A version's files are missing or altered; all other models are up to date.
        """
        with self._lock:
            written, broken = self._sync_runs(), None
            for name in self._metadata.models.list_models():
                try:
                    written += self._sync_model(name)
                except ModelLoadFailed as error:
                    broken = broken or error  # one model whose files are harmed keeps no other from being shown
            if broken is not None:
                raise broken
            return written

    def _sync_runs(self) -> int:
        written = 0
        for run in reversed(self._metadata.runs.list_runs()):
            if self._runs.get(run.id) != run.status:
                self._projection.project_run(run, self._trials_of(run.id))
                self._runs[run.id] = run.status
                written += 1
        return written

    def _sync_model(self, name: str) -> int:
        written = 0
        for version in self._metadata.models.list_versions(name):
            if (name, version.version) not in self._versions:
                # noted or not: MLflow may have lost it since
                uri = self._projection.project_version(version, Path(version.path))
                self._metadata.models.set_mlflow_uri(name, version.version, uri)
                self._versions.add((name, version.version))
                written += 1
        present = self._metadata.models.aliases(name)
        for alias in dict.fromkeys(change.alias for change in self._metadata.models.alias_history(name)):
            number = present.get(alias)
            if (name, alias) not in self._aliases or self._aliases[name, alias] != number:
                self._projection.set_alias(name, alias, number)
                self._aliases[name, alias] = number
                written += 1
        return written
