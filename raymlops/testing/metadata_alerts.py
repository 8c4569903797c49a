"""The contract of ``AlertStore``."""

from __future__ import annotations

import pytest

from raymlops.errors import NotFoundError
from raymlops.metadata import Metadata
from raymlops.records.people.alerts import Alert, AlertCursor, Delivery
from raymlops.testing.metadata_examples import EPOCH, HOUR

__all__ = ["AlertStoreContract"]


def _alert(number: int, model: str = "churn") -> Alert:
    return Alert(
        key=f"{model}/{number}", model=model, cause="promoted", state="happened", severity="info", at=EPOCH,
        summary="", facts={"nothing": float("nan")},
    )  # fmt: skip


def _owed(alerts: list[Alert], *endpoints: str) -> list[Delivery]:
    return [Delivery(alert=alert, endpoint=name, due_at=EPOCH) for alert in alerts for name in endpoints]


class AlertStoreContract:
    """What every ``AlertStore`` does."""

    def test_a_cursor_is_replaced_with_what_came_of_it(self, metadata: Metadata) -> None:
        assert metadata.alerts.find_cursor("churn") is None
        first = AlertCursor(source="churn", until=EPOCH, recent=(True, False))
        metadata.alerts.put_alerts(first, [], [])
        assert metadata.alerts.find_cursor("churn") == first
        second = first.model_copy(update={"until": EPOCH + HOUR})
        metadata.alerts.put_alerts(second, [_alert(1)], [])
        assert metadata.alerts.find_cursor("churn") == second
        assert metadata.alerts.find_cursor("other") is None
        assert [alert.key for alert in metadata.alerts.list_alerts("churn")] == ["churn/1"]
        assert metadata.alerts.list_deliveries() == []

    def test_an_alert_is_kept_once(self, metadata: Metadata) -> None:
        alerts = [_alert(1), _alert(2)]
        for _ in range(2):
            metadata.alerts.put_alerts(AlertCursor(source="churn"), alerts, _owed(alerts, "a", "b"))
        metadata.alerts.put_alerts(AlertCursor(source="other"), [_alert(1, "other")], [])
        assert [alert.key for alert in metadata.alerts.list_alerts()] == ["churn/1", "churn/2", "other/1"]
        assert [(one.alert.key, one.endpoint) for one in metadata.alerts.list_deliveries("churn")] == [
            ("churn/1", "a"), ("churn/1", "b"), ("churn/2", "a"), ("churn/2", "b"),
        ]  # fmt: skip
        assert metadata.alerts.list_deliveries("other") == []

    def test_the_oldest_of_each_model_is_next(self, metadata: Metadata) -> None:
        alerts = [_alert(1), _alert(2), _alert(1, "other")]
        metadata.alerts.put_alerts(AlertCursor(source=""), alerts, _owed(alerts, "a", "b"))
        assert [one.alert.key for one in metadata.alerts.pending_deliveries("a")] == ["churn/1", "other/1"]
        for state, attempts, left in (("pending", 1, "churn/1"), ("delivered", 2, "churn/2")):
            changed = metadata.alerts.pending_deliveries("a")[0].model_copy(
                update={"state": state, "attempts": attempts, "problem": "was 500", "due_at": EPOCH + HOUR}
            )
            metadata.alerts.put_delivery(changed)
            assert metadata.alerts.pending_deliveries("a")[0].alert.key == left
        stored = metadata.alerts.list_deliveries("churn")[0]
        assert (stored.state, stored.attempts, stored.problem, stored.due_at) == (
            "delivered", 2, "was 500", EPOCH + HOUR,
        )  # fmt: skip
        assert [one.alert.key for one in metadata.alerts.pending_deliveries("b")] == ["churn/1", "other/1"]
        assert metadata.alerts.pending_deliveries("nobody") == []

    def test_a_delivery_that_is_not_there_is_named(self, metadata: Metadata) -> None:
        with pytest.raises(NotFoundError, match="'churn/9' is not on its way to 'a'"):
            metadata.alerts.put_delivery(_owed([_alert(9)], "a")[0])
