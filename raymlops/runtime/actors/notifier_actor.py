"""The notifier on the cluster, and what it shares with the monitor's metrics."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from datetime import timedelta

from raymlops.clock import SystemClock
from raymlops.config.platform import PlatformConfig
from raymlops.control.triggering.triggers import alarm_rule
from raymlops.metadata import Metadata
from raymlops.monitoring.alerts.alarm import AlarmRule
from raymlops.monitoring.alerts.alert_follower import AlertFollower
from raymlops.monitoring.alerts.alert_rules import AlertRule
from raymlops.monitoring.alerts.notifier import Notifier
from raymlops.monitoring.alerts.webhooks import open_endpoint
from raymlops.runtime.cluster.clients import metadata_stores
from raymlops.runtime.cluster.clocks import build_clock
from raymlops.runtime.cluster.threads import Repeating

__all__ = ["NotifierActor", "build_notifier", "drift_alarm_rule"]


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
    rule = _alert_rule(config)
    follower = AlertFollower(metadata, clock, alerts, rule, _lookback(config, rule), build_clock(config))
    return Notifier(follower, metadata.alerts, endpoints, clock, alerts)


def drift_alarm_rule(config: PlatformConfig) -> AlarmRule:
    """Drift is an alarm where it would start a retraining, if there is a trigger."""
    return alarm_rule(config.control.triggers.drift)


def _alert_rule(config: PlatformConfig) -> AlertRule:
    count = config.control.triggers.performance
    return AlertRule(
        drift=drift_alarm_rule(config),
        degraded_n=1 if count is None else count.n,
        degraded_of=1 if count is None else count.of,
        min_labelled_rows=config.monitoring.performance.min_labelled_rows,
        min_fallback_share=config.monitoring.alerts.min_fallback_share,
    )


def _lookback(config: PlatformConfig, rule: AlertRule) -> timedelta:
    monitoring = config.monitoring
    return monitoring.late_labels + monitoring.label_delay + monitoring.window * (rule.degraded_of + 1)
