"""Profiles, drift, realised performance and reports: what a model does after it ships."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raymlops.lazy import lazy_names

if TYPE_CHECKING:
    from raymlops.monitoring.alarm import AlarmRule, AlarmState, list_alarms
    from raymlops.monitoring.domain import DOMAIN_FILE, DomainClassifier, DomainDrift
    from raymlops.monitoring.drift import DriftReport, DriftRule
    from raymlops.monitoring.error_stream import ErrorStream
    from raymlops.monitoring.estimation import PerformanceEstimator
    from raymlops.monitoring.holdout import HOLDOUT_FILE, Holdout
    from raymlops.monitoring.ports import EventTables, WindowMetadata
    from raymlops.monitoring.profile import LABEL_COLUMN, REFERENCE_FILE, SCORE_COLUMN, Profile
    from raymlops.monitoring.reference import Reference
    from raymlops.monitoring.report import MonitorReport
    from raymlops.monitoring.service import MonitorService

__all__ = [
    "DOMAIN_FILE",
    "HOLDOUT_FILE",
    "LABEL_COLUMN",
    "REFERENCE_FILE",
    "SCORE_COLUMN",
    "AlarmRule",
    "AlarmState",
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
    "list_alarms",
]

__getattr__ = lazy_names(
    __name__,
    {
        "alarm": ["AlarmRule", "AlarmState", "list_alarms"],
        "domain": ["DOMAIN_FILE", "DomainClassifier", "DomainDrift"],
        "drift": ["DriftReport", "DriftRule"],
        "error_stream": ["ErrorStream"],
        "estimation": ["PerformanceEstimator"],
        "holdout": ["HOLDOUT_FILE", "Holdout"],
        "ports": ["EventTables", "WindowMetadata"],
        "profile": ["LABEL_COLUMN", "REFERENCE_FILE", "SCORE_COLUMN", "Profile"],
        "reference": ["Reference"],
        "report": ["MonitorReport"],
        "service": ["MonitorService"],
    },
)
