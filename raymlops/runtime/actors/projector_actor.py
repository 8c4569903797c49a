"""The projector: writes the metadata store's records to MLflow, in a process of its own."""

from __future__ import annotations

import threading
from functools import partial

from raymlops.config.platform import PlatformConfig
from raymlops.metadata.mlflow import MlflowProjection
from raymlops.metadata.projector import Projector
from raymlops.runtime.cluster.clients import metadata_stores
from raymlops.runtime.cluster.threads import Repeating
from raymlops.runtime.jobs.trials.trial_log import read_trials

__all__ = ["ProjectorActor", "ProjectorService"]

_LOOK_S = 0.2


class ProjectorService(Projector):
    """The projector of this platform's store: to the configured MLflow server, or to a database in the home."""

    def __init__(self, config: PlatformConfig) -> None:
        uri = config.metadata.mlflow_uri or f"sqlite:///{config.home / 'mlflow.db'}"
        projection = MlflowProjection(uri, config.home / "mlflow-artifacts")
        super().__init__(metadata_stores(), projection, partial(read_trials, config.home))


class ProjectorActor(ProjectorService):
    """The projector with a thread that syncs when it is woken, and again where that failed: no caller waits for it."""

    def __init__(self, config: PlatformConfig) -> None:
        super().__init__(config)
        self._asked = threading.Event()
        self._asked.set()
        self._thread = Repeating("projector", self._sync_if_asked, _LOOK_S)

    def wake(self) -> None:
        """Have MLflow brought up to date, some time soon; many calls are one sync."""
        self._asked.set()

    def _sync_if_asked(self) -> None:
        if not self._asked.is_set():
            return
        self._asked.clear()  # before the sync, which may miss the records of later requests
        try:
            self.sync()
        except BaseException:
            self._asked.set()
            raise
