"""The notifier on the cluster, and what it shares with the monitor's metrics."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from functools import partial

from raymlops.clock import SystemClock
from raymlops.config.control import ControlConfig
from raymlops.config.platform import PlatformConfig
from raymlops.control.triggering.model_policies import ModelPolicies
from raymlops.control.triggering.triggers import alarm_rule
from raymlops.metadata import Metadata
from raymlops.monitoring.alerts.alarm import AlarmRule
from raymlops.monitoring.alerts.alert_follower import AlertFollower
from raymlops.monitoring.alerts.alert_rules import AlertRule
from raymlops.monitoring.alerts.notifier import Notifier
from raymlops.monitoring.alerts.webhooks import open_endpoint
from raymlops.runtime.cluster.clients import metadata_stores
from raymlops.runtime.cluster.platform_clock import build_clock
from raymlops.runtime.cluster.threads import Repeating

__all__ = ["NotifierActor", "build_notifier", "drift_alarm_rules"]


class NotifierActor:
    """Finds and sends alerts in a thread of its own, which nothing else waits for.

    Raises:
        ConfigError: A webhook's environment variable is not set on this node.
    """

    def __init__(self, config: PlatformConfig) -> None:
        notifier = build_notifier(config, metadata_stores(), os.environ)
        pause_s = config.monitoring.alerts.every.total_seconds()
        self._thread = Repeating("notifier", lambda: asyncio.run(notifier.run()), pause_s)


def build_notifier(config: PlatformConfig, metadata: Metadata, environment: Mapping[str, str]) -> Notifier:
    """The notifier that a configuration asks for.

    Raises:
        ConfigError: A webhook's environment variable is not set.
    """
    alerts, clock = config.monitoring.alerts, SystemClock()
    endpoints = [open_endpoint(webhook, environment) for webhook in alerts.webhooks]
    monitoring = config.monitoring
    follower = AlertFollower(
        metadata,
        clock,
        alerts,
        partial(_alert_rule, config, _policy_reader(config, metadata)),
        monitoring.late_labels + monitoring.label_delay,
        build_clock(config),
        monitoring.window,
    )
    return Notifier(follower, metadata.alerts, endpoints, clock, alerts)


def drift_alarm_rules(config: PlatformConfig, metadata: Metadata) -> Callable[[str], AlarmRule]:
    """Model -> its rule: drift is an alarm where it would start a retraining, if there is a trigger."""
    policy_of = _policy_reader(config, metadata)
    return lambda model: alarm_rule(policy_of(model).triggers.drift)


def _policy_reader(config: PlatformConfig, metadata: Metadata) -> Callable[[str], ControlConfig]:
    """Model -> the policy in force for it now."""
    policies = ModelPolicies(metadata.deployments, config.control, config.environment)

    def read(model: str) -> ControlConfig:
        policies.refresh()
        return policies.of(model).config

    return read


def _alert_rule(config: PlatformConfig, policy_of: Callable[[str], ControlConfig], model: str) -> AlertRule:
    triggers = policy_of(model).triggers
    count = triggers.performance
    return AlertRule(
        drift=alarm_rule(triggers.drift),
        degraded_n=1 if count is None else count.n,
        degraded_of=1 if count is None else count.of,
        min_labelled_rows=config.monitoring.performance.min_labelled_rows,
        min_fallback_share=config.monitoring.alerts.min_fallback_share,
    )
