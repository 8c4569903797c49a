"""What can be set: one module per component, and the loader that reads files and the environment."""

from raymlops.config.alerts import AlertsConfig, MetricsConfig, WebhookConfig
from raymlops.config.batch import BatchConfig
from raymlops.config.clock import ClockConfig
from raymlops.config.cluster import ClusterConfig, FastSettings
from raymlops.config.control import (
    ControlConfig,
    DriftCount,
    FallbackConfig,
    HealthConfig,
    ProbationConfig,
    RetrainConfig,
    TrialConfig,
    TriggersConfig,
    WindowCount,
)
from raymlops.config.features import FeaturesConfig
from raymlops.config.loader import load_config
from raymlops.config.metadata import MetadataConfig
from raymlops.config.monitoring import DriftConfig, MonitoringConfig, PerformanceConfig, QualityConfig
from raymlops.config.platform import PlatformConfig
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
    "AutoscalingConfig",
    "BatchConfig",
    "BatchingConfig",
    "BreakerConfig",
    "CandidateConfig",
    "ClockConfig",
    "ClusterConfig",
    "ControlConfig",
    "DriftConfig",
    "DriftCount",
    "EventLogConfig",
    "FallbackConfig",
    "FastSettings",
    "FeaturesConfig",
    "HealthConfig",
    "MetadataConfig",
    "MetricsConfig",
    "MonitoringConfig",
    "PerformanceConfig",
    "PlatformConfig",
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
