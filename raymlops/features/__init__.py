"""Features: defined once, right at every instant, the same for training and for serving."""

from raymlops.features.audit import audit
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
