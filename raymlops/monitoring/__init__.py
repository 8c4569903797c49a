"""Profiles, drift, realised performance and reports: what a model does after it ships."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raymlops.lazy import lazy_names

if TYPE_CHECKING:
    from raymlops.monitoring.alerts.alarm import AlarmRule, AlarmState
    from raymlops.monitoring.events.event_tables import DeltaEventTables
    from raymlops.monitoring.events.ports import EventTables, WindowMetadata
    from raymlops.monitoring.performance.error_stream import ErrorStream
    from raymlops.monitoring.performance.estimation import PerformanceEstimator
    from raymlops.monitoring.performance.holdout import HOLDOUT_FILE, Holdout
    from raymlops.monitoring.performance.labels import name_labels
    from raymlops.monitoring.profiles.classifier.domain import DOMAIN_FILE, DomainClassifier, DomainDrift
    from raymlops.monitoring.profiles.drift import DriftReport, DriftRule
    from raymlops.monitoring.profiles.profile import LABEL_COLUMN, REFERENCE_FILE, SCORE_COLUMN, Profile
    from raymlops.monitoring.profiles.reference import Reference
    from raymlops.monitoring.report.monitor_report import MonitorReport
    from raymlops.monitoring.service import MonitorService

__all__ = [
    "DOMAIN_FILE",
    "HOLDOUT_FILE",
    "LABEL_COLUMN",
    "REFERENCE_FILE",
    "SCORE_COLUMN",
    "AlarmRule",
    "AlarmState",
    "DeltaEventTables",
    "DomainClassifier",
    "DomainDrift",
    "DriftReport",
    "DriftRule",
    "ErrorStream",
    "EventTables",
    "Holdout",
    "MonitorReport",
    "MonitorService",
    "PerformanceEstimator",
    "Profile",
    "Reference",
    "WindowMetadata",
    "name_labels",
]

__getattr__ = lazy_names(
    __name__,
    {
        "alerts.alarm": ["AlarmRule", "AlarmState"],
        "profiles.classifier.domain": ["DOMAIN_FILE", "DomainClassifier", "DomainDrift"],
        "profiles.drift": ["DriftReport", "DriftRule"],
        "performance.error_stream": ["ErrorStream"],
        "performance.estimation": ["PerformanceEstimator"],
        "performance.holdout": ["HOLDOUT_FILE", "Holdout"],
        "performance.labels": ["name_labels"],
        "events.event_tables": ["DeltaEventTables"],
        "events.ports": ["EventTables", "WindowMetadata"],
        "profiles.profile": ["LABEL_COLUMN", "REFERENCE_FILE", "SCORE_COLUMN", "Profile"],
        "profiles.reference": ["Reference"],
        "report.monitor_report": ["MonitorReport"],
        "service": ["MonitorService"],
    },
)
