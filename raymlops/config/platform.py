"""The whole configuration."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from raymlops.config.batch import BatchConfig
from raymlops.config.control import ControlConfig
from raymlops.config.delivery import DeliveryConfig
from raymlops.config.features import FeaturePlace, FeaturesConfig
from raymlops.config.infrastructure.clock import ClockConfig
from raymlops.config.infrastructure.cluster import ClusterConfig
from raymlops.config.infrastructure.metadata import MetadataConfig
from raymlops.config.infrastructure.tracing import TracingConfig
from raymlops.config.monitoring import MonitoringConfig
from raymlops.config.section import Section
from raymlops.config.serving import ServingConfig
from raymlops.records.names import ENVIRONMENT_PATTERN

__all__ = ["PlatformConfig"]


class PlatformConfig(Section):
    """Everything that can be set. Frozen, and picklable: it travels to the actors as it is."""

    home: Path = Field(default_factory=lambda: Path.home() / ".raymlops")
    """Directory that holds all state, ``~/.raymlops`` by default; ``~`` is expanded."""
    environment: str = Field("dev", pattern=ENVIRONMENT_PATTERN)
    """Name of the environment: the overlay that was read, and where bundles are deployed."""
    cluster: ClusterConfig = ClusterConfig()
    """The Ray cluster."""
    clock: ClockConfig = ClockConfig()
    """Where time comes from."""
    metadata: MetadataConfig = MetadataConfig()
    """Runs, versions, plans, ledger."""
    features: FeaturesConfig = FeaturesConfig()
    """The feature store."""
    serving: ServingConfig = ServingConfig()
    """The prediction service."""
    batch: BatchConfig = BatchConfig()
    """Batch scoring."""
    monitoring: MonitoringConfig = MonitoringConfig()
    """Windows, drift and performance."""
    control: ControlConfig = ControlConfig()
    """Retraining and rollout."""
    delivery: DeliveryConfig = DeliveryConfig()
    """Bundles and environments."""
    tracing: TracingConfig = TracingConfig()
    """OpenTelemetry traces."""

    @property
    def metadata_url(self) -> str | Path:
        """The metadata store's database: as configured, or a file in the home."""
        return self.metadata.url or self.home / "metadata.db"

    def feature_place(self, environment: str | None = None) -> FeaturePlace:
        """Where the features of an environment are; left out, of the platform's own."""
        return self.features.place(self.home, None if environment == self.environment else environment)

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().absolute()
