"""The data that one window is judged on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa

from raymlops.monitoring.data_quality.served_features import ServedFeatures
from raymlops.monitoring.data_quality.traffic import Traffic
from raymlops.monitoring.performance.estimation import PerformanceEstimator
from raymlops.monitoring.profiles.classifier.domain import DomainClassifier
from raymlops.monitoring.profiles.reference import Reference
from raymlops.records.models import ModelVersion
from raymlops.records.windows import ErrorStreamState

__all__ = ["WindowData"]


@dataclass(frozen=True)
class WindowData:
    """The data that one window is judged on.

    Attributes:
        model: Name of the model.
        start: First instant of the window.
        end: First instant after it.
        champion: Version that was champion at its end.
        events: Prediction events whose ``event_time`` lies in the window, of all roles.
        known: Prediction events around the window that labels may be meant for.
        labels: Labels recorded for it, in the order they came, their ``label`` as text.
        versions: Version -> what the registry knows about it; versions it does not know are left out.
        reference: The champion's, where it has one.
        reference_problem: Why it has none.
        domain: Tells the champion's reference from a window's inputs, all columns together, where it has a sample.
        domain_problem: The fault of a sample that cannot be read.
        estimators: Version -> what estimates its performance without labels, where it has a holdout.
        estimator_problems: The faults of holdouts that cannot be read.
        error_stream: State of the stream of the champion's losses at the window's start.
        segments: Columns and conditions whose segments the champion is judged on apart.
        served_features: Findings of the audits of the joined features.
        usual: Traffic of earlier windows like it.
    """

    model: str
    start: datetime
    end: datetime
    champion: int
    events: pa.Table
    known: pa.Table
    labels: pa.Table
    versions: Mapping[int, ModelVersion]
    reference: Reference | None
    reference_problem: str = ""
    domain: DomainClassifier | None = None
    domain_problem: str = ""
    estimators: Mapping[int, PerformanceEstimator] = field(default_factory=dict)
    estimator_problems: tuple[str, ...] = ()
    error_stream: ErrorStreamState | None = None
    segments: tuple[str, ...] = ()
    served_features: ServedFeatures = field(default_factory=ServedFeatures)
    usual: tuple[Traffic, ...] = ()
