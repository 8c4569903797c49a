"""The only package that imports Ray: it hosts the cores as actors, replicas and jobs, and carries decisions out.

Names are loaded at their first use: the first one imports Ray.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raymlops.lazy import lazy_names

if TYPE_CHECKING:
    from raymlops.runtime.actors.actuator import Rescorer
    from raymlops.runtime.actors.control_plane import rebuild_projection
    from raymlops.runtime.by_hand import ByHand
    from raymlops.runtime.cluster.clients import ActorProxy, metadata_stores
    from raymlops.runtime.cluster.platform_clock import ClusterClock, build_clock
    from raymlops.runtime.deploying.cluster_grounds import ClusterGrounds
    from raymlops.runtime.deploying.deployer import Deployer
    from raymlops.runtime.explain.feature_catalog import FeatureCatalog
    from raymlops.runtime.explain.lineage import Lineages
    from raymlops.runtime.jobs.batch import BatchOperator
    from raymlops.runtime.jobs.build_jobs import build_and_deploy
    from raymlops.runtime.jobs.delivery_operator import DeliveryOperator
    from raymlops.runtime.jobs.laboratory import build_recorded
    from raymlops.runtime.jobs.operators import ModelOperator, RunOperator
    from raymlops.runtime.jobs.parts.join_tasks import join_tasks
    from raymlops.runtime.jobs.run_jobs import JobRunner
    from raymlops.runtime.jobs.streamed_training import StreamedTraining
    from raymlops.runtime.jobs.training import execute_run
    from raymlops.runtime.jobs.trials.tune_trials import run_by_tune
    from raymlops.runtime.nodes.feature_nodes import copies
    from raymlops.runtime.nodes.feature_readers import FeatureReaders, open_reader
    from raymlops.runtime.nodes.feature_writer import feature_writer
    from raymlops.runtime.nodes.ingestion import Ingestion, copy_rows_from
    from raymlops.runtime.serve.endpoint_orders import EndpointOrders, endpoint_statuses
    from raymlops.runtime.serve.keys import create_key, list_keys, require_keys, revoke_key
    from raymlops.runtime.session import Session, open_session
    from raymlops.runtime.supervision.head import loopback_environment
    from raymlops.runtime.supervision.stopping import take_down_local
    from raymlops.runtime.takedown import take_down

__all__ = [
    "ActorProxy",
    "BatchOperator",
    "ByHand",
    "ClusterClock",
    "ClusterGrounds",
    "DeliveryOperator",
    "Deployer",
    "EndpointOrders",
    "FeatureCatalog",
    "FeatureReaders",
    "Ingestion",
    "JobRunner",
    "Lineages",
    "ModelOperator",
    "Rescorer",
    "RunOperator",
    "Session",
    "StreamedTraining",
    "build_and_deploy",
    "build_clock",
    "build_recorded",
    "copies",
    "copy_rows_from",
    "create_key",
    "endpoint_statuses",
    "execute_run",
    "feature_writer",
    "join_tasks",
    "list_keys",
    "loopback_environment",
    "metadata_stores",
    "open_reader",
    "open_session",
    "rebuild_projection",
    "require_keys",
    "revoke_key",
    "run_by_tune",
    "take_down",
    "take_down_local",
]

__getattr__ = lazy_names(
    __name__,
    {
        "by_hand": ["ByHand"],
        "session": ["Session", "open_session"],
        "takedown": ["take_down"],
        "actors.actuator": ["Rescorer"],
        "actors.control_plane": ["rebuild_projection"],
        "cluster.clients": ["ActorProxy", "metadata_stores"],
        "cluster.platform_clock": ["ClusterClock", "build_clock"],
        "deploying.cluster_grounds": ["ClusterGrounds"],
        "deploying.deployer": ["Deployer"],
        "explain.feature_catalog": ["FeatureCatalog"],
        "explain.lineage": ["Lineages"],
        "jobs.batch": ["BatchOperator"],
        "jobs.parts.join_tasks": ["join_tasks"],
        "jobs.laboratory": ["build_recorded"],
        "jobs.build_jobs": ["build_and_deploy"],
        "jobs.delivery_operator": ["DeliveryOperator"],
        "jobs.operators": ["ModelOperator", "RunOperator"],
        "jobs.run_jobs": ["JobRunner"],
        "jobs.streamed_training": ["StreamedTraining"],
        "jobs.training": ["execute_run"],
        "jobs.trials.tune_trials": ["run_by_tune"],
        "nodes.feature_nodes": ["copies"],
        "nodes.feature_readers": ["FeatureReaders", "open_reader"],
        "nodes.feature_writer": ["feature_writer"],
        "nodes.ingestion": ["Ingestion", "copy_rows_from"],
        "serve.endpoint_orders": ["EndpointOrders", "endpoint_statuses"],
        "serve.keys": ["create_key", "list_keys", "require_keys", "revoke_key"],
        "supervision.head": ["loopback_environment"],
        "supervision.stopping": ["take_down_local"],
    },
)
