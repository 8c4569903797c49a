"""The writer of features, as other processes call it."""

from __future__ import annotations

from raymlops.config.platform import PlatformConfig
from raymlops.runtime.cluster.clients import ActorProxy
from raymlops.runtime.cluster.names import FEATURES

__all__ = ["feature_writer"]


def feature_writer(
    config: PlatformConfig, environment: str | None = None, timeout_s: float | None = None
) -> ActorProxy:
    """The feature store of an environment in the features actor, to be cast to ``LeadingStore``.

    Args:
        config: The platform's.
        environment: ``None``: the platform's own.
        timeout_s: Deadline of one call; left out, as configured.

    Raises:
        ConfigError: An environment cannot be called so.
        UnavailableError: There is no such actor.
    """
    place = config.feature_place(environment)
    wait_s = config.cluster.call_timeout.total_seconds() if timeout_s is None else timeout_s
    return ActorProxy(FEATURES, wait_s, part=place.environment)
