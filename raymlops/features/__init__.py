"""Features: defined once, right at every instant, the same for training and for serving."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raymlops.lazy import lazy_names

if TYPE_CHECKING:
    from raymlops.features.catalog.applied import Definition
    from raymlops.features.definitions.dates import calendar, elapsed
    from raymlops.features.definitions.fields import Field
    from raymlops.features.definitions.services import FeatureService, OnDemandView
    from raymlops.features.definitions.views import Entity, FeatureView, WindowAggregate
    from raymlops.features.discovery.consistency import audit
    from raymlops.features.offline.point_in_time import point_in_time_join
    from raymlops.features.offline.training_set import TrainingSet
    from raymlops.features.online.plan import OnlinePlan, OnlineRows
    from raymlops.features.reader import FeatureReader
    from raymlops.features.store import FeatureStore

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
    "calendar",
    "elapsed",
    "point_in_time_join",
]

__getattr__ = lazy_names(
    __name__,
    {
        "discovery.consistency": ["audit"],
        "definitions.dates": ["calendar", "elapsed"],
        "catalog.applied": ["Definition"],
        "definitions.fields": ["Field"],
        "definitions.views": ["Entity", "FeatureView", "WindowAggregate"],
        "online.plan": ["OnlinePlan", "OnlineRows"],
        "offline.point_in_time": ["point_in_time_join"],
        "reader": ["FeatureReader"],
        "definitions.services": ["FeatureService", "OnDemandView"],
        "store": ["FeatureStore"],
        "offline.training_set": ["TrainingSet"],
    },
)
