"""Features: defined once, right at every instant, the same for training and for serving."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raymlops.lazy import lazy_names

if TYPE_CHECKING:
    from raymlops.features.consistency import audit
    from raymlops.features.definitions import Entity, FeatureView, Field, WindowAggregate
    from raymlops.features.plan import OnlinePlan, OnlineRows
    from raymlops.features.point_in_time import point_in_time_join
    from raymlops.features.reader import FeatureReader
    from raymlops.features.services import Definition, FeatureService, OnDemandView
    from raymlops.features.store import FeatureStore
    from raymlops.features.training_set import TrainingSet

__all__ = [
    "Definition",
    "Entity",
    "FeatureReader",
    "FeatureService",
    "FeatureStore",
    "FeatureView",
    "Field",
    "OnDemandView",
    "OnlinePlan",
    "OnlineRows",
    "TrainingSet",
    "WindowAggregate",
    "audit",
    "point_in_time_join",
]

__getattr__ = lazy_names(
    __name__,
    {
        "consistency": ["audit"],
        "definitions": ["Entity", "FeatureView", "Field", "WindowAggregate"],
        "plan": ["OnlinePlan", "OnlineRows"],
        "point_in_time": ["point_in_time_join"],
        "reader": ["FeatureReader"],
        "services": ["Definition", "FeatureService", "OnDemandView"],
        "store": ["FeatureStore"],
        "training_set": ["TrainingSet"],
    },
)
