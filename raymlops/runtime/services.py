"""What the facade delegates to: proxies of the control actors, and the operators that use them."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, cast

import pyarrow as pa

from raymlops.config.platform import PlatformConfig
from raymlops.delivery import build_bundle, deploy, verify_bundle
from raymlops.errors import ConfigError, ModelVersionNotFound
from raymlops.features import FeatureReader, FeatureStore, TrainingSet
from raymlops.metadata import Metadata
from raymlops.monitoring import MonitorService, Reference
from raymlops.records.bundles import BundleManifest, Deployment
from raymlops.records.features import ConsistencyReport
from raymlops.records.models import ModelVersion
from raymlops.records.runs import Run
from raymlops.runtime.actors import CONTROLLER, FEATURES, METADATA, MONITOR, ControllerService, build_clock
from raymlops.runtime.clients import ActorProxy
from raymlops.runtime.endpoints import EndpointOperator
from raymlops.runtime.jobs import JobRunner
from raymlops.runtime.session import Session
from raymlops.serving.model_files import save_model

__all__ = ["Services"]


class Services:
    """Everything one process holds of the platform.

    Args:
        session: The connection.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.config: PlatformConfig = session.config
        self.url = session.url
        self.clock = build_clock(session.config)
        timeout_s = session.config.cluster.call_timeout.total_seconds()
        self.metadata = cast("Metadata", ActorProxy(METADATA, timeout_s))
        self.store = cast("FeatureStore", ActorProxy(FEATURES, timeout_s))
        self.monitor = cast("MonitorService", ActorProxy(MONITOR, timeout_s))
        self.controller = cast("ControllerService", ActorProxy(CONTROLLER, timeout_s))
        self.reader = FeatureReader(self.config.home / "features")
        self.endpoints = EndpointOperator(self.config, self.metadata, self.clock)
        self.jobs = JobRunner(self.config.home, self.metadata, self.clock)
        self.models = ModelOperator(self)
        self.runs = RunOperator(self)
        self.delivery = DeliveryOperator(self)

    @classmethod
    def of(cls, session: Session) -> Self:
        """The services of a session, which is closed where they cannot be had."""
        try:
            return cls(session)
        except BaseException:
            session.close()
            raise

    def close(self) -> None:
        """Close the session."""
        self._session.close()

    def detach(self) -> None:
        """Leave the cluster running."""
        self._session.detach()

    def record_labels(self, name: str, table: pa.Table) -> int:
        """Hand labels to the monitor."""
        return self.monitor.record_labels(name, table, uuid.uuid4().hex)

    def audit(self, service: str) -> ConsistencyReport:
        """Recompute what a service's models were served."""
        raise NotImplementedError(service)
