"""What can be set: one module per component, and the loader that reads files and the environment."""

from raymlops.config.alerts import AlertsConfig, MetricsConfig, WebhookConfig
from raymlops.config.batch import BatchConfig
from raymlops.config.control import (
    AuditCount,
    ControlConfig,
    CronTrigger,
    DriftCount,
    FallbackConfig,
    FleetConfig,
    HealthConfig,
    NewDataTrigger,
    PolicyConfig,
    ProbationConfig,
    RetrainConfig,
    TrialConfig,
    TriggersConfig,
    WindowCount,
)
from raymlops.config.features import FeaturesConfig
from raymlops.config.infrastructure.clock import ClockConfig
from raymlops.config.infrastructure.cluster import ClusterConfig, FastSettings
from raymlops.config.infrastructure.metadata import MetadataConfig
from raymlops.config.monitoring import DriftConfig, MonitoringConfig, PerformanceConfig, QualityConfig
from raymlops.config.platform import PlatformConfig
from raymlops.config.reading.loader import load_config
from raymlops.config.serving import (
    AutoscalingConfig,
    BatchingConfig,
    BreakerConfig,
    CandidateConfig,
    EventLogConfig,
    ServingConfig,
)

__all__ = [
    "AlertsConfig",
    "AuditCount",
    "AutoscalingConfig",
    "BatchConfig",
    "BatchingConfig",
    "BreakerConfig",
    "CandidateConfig",
    "ClockConfig",
    "ClusterConfig",
    "ControlConfig",
    "CronTrigger",
    "DriftConfig",
    "DriftCount",
    "EventLogConfig",
    "FallbackConfig",
    "FastSettings",
    "FeaturesConfig",
    "FleetConfig",
    "HealthConfig",
    "MetadataConfig",
    "MetricsConfig",
    "MonitoringConfig",
    "NewDataTrigger",
    "PerformanceConfig",
    "PlatformConfig",
    "PolicyConfig",
    "ProbationConfig",
    "QualityConfig",
    "RetrainConfig",
    "ServingConfig",
    "TrialConfig",
    "TriggersConfig",
    "WebhookConfig",
    "WindowCount",
    "load_config",
]
