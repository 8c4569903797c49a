"""Follows windows and the ledger, and writes alerts into the outbox."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from raymlops.clock import Clock
from raymlops.config.alerts import AlertsConfig, WebhookConfig
from raymlops.monitoring.alerts.alert_rules import AlertRule, alert_of_entry, read_windows
from raymlops.records.ledger import Ledger
from raymlops.records.people.alerts import Alert, AlertCursor, AlertStore, Delivery
from raymlops.records.plans import PlanStore
from raymlops.records.windows import WindowStore

__all__ = ["LEDGER", "AlertFollower", "AlertMetadata"]

LEDGER = ""
"""Source name of the ledger among the cursors; the others are models."""


class AlertMetadata(Protocol):
    """The stores that alerts are made of, and kept in."""

    plans: PlanStore
    windows: WindowStore
    ledger: Ledger
    alerts: AlertStore


class AlertFollower:
    """Turns history into alerts, each once. Holds no state: cursors lie beside the alerts, and move with them.

    Args:
        metadata: History and outbox.
        clock: Says when a delivery may first be tried.
        config: Webhooks, and what to do with history.
        rule_of: Model -> when conditions stand.
        lookback: How long after its end a window's verdict may change.
        platform_clock: That of the windows: what ends after it was closed before it was set back, and is left out.
            ``None``: it is never set back.
        window: Length of a window; so many more of them are looked at as a rule counts.
    """

    def __init__(
        self,
        metadata: AlertMetadata,
        clock: Clock,
        config: AlertsConfig,
        rule_of: Callable[[str], AlertRule],
        lookback: timedelta,
        platform_clock: Clock | None = None,
        window: timedelta = timedelta(),
    ) -> None:
        self._metadata = metadata
        self._clock = clock
        self._config = config
        self._rule_of = rule_of
        self._lookback = lookback
        self._platform_clock = platform_clock
        self._window = window
        self._cursors: dict[str, AlertCursor] = {}

    def step(self) -> int:
        """Read what is new. A model that cannot be read holds up no other.

        Returns:
            How many alerts were added.

        Raises:
            Exception: The error of the first model that could not be read; the alerts of the others were written.
        """
        # the ledger comes last: its cursor says that all models that there were have been read once
        first = self._cursor(LEDGER) is None
        added = 0
        problems: list[Exception] = []
        for model in self._metadata.plans.plan_numbers():
            try:
                added += self._follow_windows(model, first=first)
            except Exception as error:  # whatever it is: the other models' alerts must not wait for it
                problems.append(error)
        if not (first and problems):
            added += self._follow_ledger(first=first)
        if problems:
            raise problems[0]
        return added

    def _follow_ledger(self, *, first: bool) -> int:
        known = self._cursor(LEDGER) or AlertCursor(source=LEDGER)
        entries = self._metadata.ledger.entries(after=known.sequence)
        if not entries and not first:
            return 0
        alerts = [alert for entry in entries if (alert := alert_of_entry(entry)) is not None]
        sequence = entries[-1].sequence if entries else known.sequence
        return self._put(known.model_copy(update={"sequence": sequence}), alerts, first=first)

    def _follow_windows(self, model: str, *, first: bool) -> int:
        before = known = self._cursor(model) or AlertCursor(source=model)
        now = None if self._platform_clock is None else self._platform_clock.now()
        if now is not None and known.until is not None and known.until > now:
            known = known.model_copy(update={"until": now})
        rule = self._rule_of(model)
        lookback = self._lookback + self._window * (rule.degraded_of + 1)
        start = None if known.until is None else known.until - lookback
        windows = [each for each in self._metadata.windows.list_windows(model, start) if now is None or each.end <= now]
        moved, alerts = read_windows(known, windows, rule)
        return 0 if moved == before else self._put(moved, alerts, first=first)

    def _cursor(self, source: str) -> AlertCursor | None:
        if source not in self._cursors:
            found = self._metadata.alerts.find_cursor(source)
            if found is None:
                return None
            self._cursors[source] = found
        return self._cursors[source]

    def _put(self, cursor: AlertCursor, alerts: Sequence[Alert], *, first: bool) -> int:
        quiet = first and self._config.history == "keep"
        deliveries = [] if quiet else list(_owed(alerts, self._config.webhooks, self._clock.now()))
        self._metadata.alerts.put_alerts(cursor, alerts, deliveries)
        self._cursors[cursor.source] = cursor
        return len(alerts)


def _owed(alerts: Iterable[Alert], webhooks: Sequence[WebhookConfig], now: datetime) -> Iterable[Delivery]:
    for alert in alerts:
        for webhook in webhooks:
            if alert.severity in webhook.severities and (not webhook.models or alert.model in webhook.models):
                yield Delivery(alert=alert, endpoint=webhook.name, due_at=now)
