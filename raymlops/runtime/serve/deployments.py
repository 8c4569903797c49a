"""Deployments of Serve, as every kind of replica has them."""

from __future__ import annotations

import warnings
from typing import Any

from ray import serve
from ray.serve.config import AutoscalingConfig as ServeAutoscaling
from ray.serve.context import _get_global_client
from ray.serve.schema import LoggingConfig

from raymlops.config.section import is_loopback
from raymlops.config.serving import AutoscalingConfig, ServingConfig
from raymlops.runtime.cluster.names import HEAD, SHAPE_VARIABLE

__all__ = ["deployment_of", "serve_runs"]

_LONGEST_LOOK_BACK_S, _SHORTEST_LOOK_BACK_S = 30.0, 2.0
_REPORTS_PER_LOOK_BACK = 4
_SHARE_OF_HEAD = 0.0001
"""The smallest share of a resource that Ray knows: the head has room for ten thousand replicas."""
_SHED_AT_ONCE = 488
"""Requests that may reach a replica beyond those it works on, so that the endpoint itself answers 429."""


def deployment_of(
    kind: type,
    config: ServingConfig,
    *,
    cpus: float,
    replicas: int = 1,
    scaling: AutoscalingConfig | None = None,
    shape: str | None = None,
    called_by_http: bool = True,
) -> serve.Deployment:
    """A deployment of a class of replicas.

    Args:
        kind: The class.
        config: The prediction service's.
        cpus: Logical CPUs of a replica.
        replicas: How many there are; with ``scaling``, at least.
        scaling: Lets Serve have more of them under load.
        shape: The text by which the reconciler sees whether the application must be deployed again.
        called_by_http: Whether requests come by the HTTP port, and not by a handle.
    """
    said = {} if shape is None else {SHAPE_VARIABLE: shape}
    options: dict[str, Any] = {"num_cpus": cpus, "runtime_env": {"env_vars": {"OMP_NUM_THREADS": "1", **said}}}
    if called_by_http and is_loopback(config.host):  # a replica listens there, too, and the proxy is on the head
        options["resources"] = {HEAD: _SHARE_OF_HEAD}
    level = "INFO" if config.access_log else "WARNING"
    number: dict[str, Any] = {"num_replicas": replicas}
    if scaling is not None:
        number = {"autoscaling_config": _autoscaling(scaling, replicas)}
    return serve.deployment(kind).options(
        name=kind.__name__,
        max_ongoing_requests=config.max_in_flight + _SHED_AT_ONCE,
        ray_actor_options=options,
        logging_config=LoggingConfig(log_level=level, enable_access_log=config.access_log),
        **number,
    )


def _autoscaling(scaling: AutoscalingConfig, replicas: int) -> ServeAutoscaling:
    upscale_delay_s = scaling.upscale_delay.total_seconds()
    # Serve decides by a mean; over its own 30 s, reported every 10 s, a short upscale_delay would not hold
    look_back_s = min(_LONGEST_LOOK_BACK_S, max(_SHORTEST_LOOK_BACK_S, upscale_delay_s))
    with warnings.catch_warnings():
        # the variable that is to replace the field is not read yet by the replicas of Ray 2.60
        warnings.filterwarnings("ignore", "The `metrics_interval_s` field", DeprecationWarning)
        return ServeAutoscaling(
            min_replicas=replicas,
            max_replicas=max(replicas, scaling.max_replicas),
            target_ongoing_requests=scaling.target_ongoing_requests,
            upscale_delay_s=upscale_delay_s,
            downscale_delay_s=scaling.downscale_delay.total_seconds(),
            metrics_interval_s=look_back_s / _REPORTS_PER_LOOK_BACK,
            look_back_period_s=look_back_s,
        )


def serve_runs() -> bool:
    """Whether Serve runs on the cluster."""
    return _get_global_client(raise_if_no_controller_running=False) is not None
