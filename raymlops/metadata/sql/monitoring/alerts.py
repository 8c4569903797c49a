"""Alerts and their deliveries."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Column, ForeignKey, Index, String, Table, Text, UniqueConstraint, func, insert, select, update

from raymlops.errors import NotFoundError
from raymlops.metadata.sql.schema import ROW_NUMBER, tables
from raymlops.metadata.sql.store import SqlStore, decode, encode
from raymlops.records.people.alerts import Alert, AlertCursor, Delivery

__all__ = ["SqlAlertStore"]

alert_rows = Table(
    "alerts",
    tables,
    Column("sequence", ROW_NUMBER, primary_key=True),
    Column("key", String, unique=True, nullable=False),
    Column("model", String, nullable=False),
    Column("body", Text, nullable=False),
    Index("alerts_of_model", "model", "sequence"),
)

alert_deliveries = Table(
    "alert_deliveries",
    tables,
    Column("sequence", ROW_NUMBER, primary_key=True),
    Column("key", ForeignKey("alerts.key"), nullable=False),
    Column("endpoint", String, nullable=False),
    Column("model", String, nullable=False),
    Column("state", String, nullable=False),
    Column("body", Text, nullable=False),
    UniqueConstraint("key", "endpoint"),
    Index("alert_deliveries_due", "endpoint", "state", "model", "sequence"),
)

alert_cursors = Table(
    "alert_cursors",
    tables,
    Column("source", String, primary_key=True),
    Column("body", Text, nullable=False),
)


class SqlAlertStore(SqlStore):
    """``AlertStore`` in SQL."""

    def find_cursor(self, source: str) -> AlertCursor | None:
        wanted = select(alert_cursors.c.body).where(alert_cursors.c.source == source)
        with self._database.read() as connection:
            body = connection.execute(wanted).scalar_one_or_none()
        return None if body is None else decode(AlertCursor, body)

    def put_alerts(self, cursor: AlertCursor, alerts: Sequence[Alert], deliveries: Sequence[Delivery]) -> None:
        body = encode(cursor)
        with self._database.write() as connection:
            for alert in alerts:
                if (
                    connection.execute(select(alert_rows.c.key).where(alert_rows.c.key == alert.key)).first()
                    is not None
                ):
                    continue
                connection.execute(insert(alert_rows).values(key=alert.key, model=alert.model, body=encode(alert)))
                for delivery in deliveries:
                    if delivery.alert.key == alert.key:
                        connection.execute(insert(alert_deliveries).values(**_to_row(delivery)))
            known = update(alert_cursors).where(alert_cursors.c.source == cursor.source).values(body=body)
            if connection.execute(known).rowcount == 0:
                connection.execute(insert(alert_cursors).values(source=cursor.source, body=body))

    def list_alerts(self, model: str | None = None) -> list[Alert]:
        wanted = select(alert_rows.c.body).order_by(alert_rows.c.sequence)
        if model is not None:
            wanted = wanted.where(alert_rows.c.model == model)
        return self._all(Alert, wanted)

    def list_deliveries(self, model: str | None = None) -> list[Delivery]:
        wanted = select(alert_deliveries.c.body).order_by(alert_deliveries.c.sequence)
        if model is not None:
            wanted = wanted.where(alert_deliveries.c.model == model)
        return self._all(Delivery, wanted)

    def pending_deliveries(self, endpoint: str) -> list[Delivery]:
        column = alert_deliveries.c
        oldest = (
            select(func.min(column.sequence))
            .where(column.endpoint == endpoint, column.state == "pending")
            .group_by(column.model)
        )
        wanted = select(column.body).where(column.sequence.in_(oldest)).order_by(column.sequence)
        return self._all(Delivery, wanted)

    def put_delivery(self, delivery: Delivery) -> None:
        column = alert_deliveries.c
        known = update(alert_deliveries).where(column.key == delivery.alert.key, column.endpoint == delivery.endpoint)
        with self._database.write() as connection:
            if connection.execute(known.values(**_to_row(delivery))).rowcount == 0:
                raise NotFoundError(f"alert {delivery.alert.key!r} is not on its way to {delivery.endpoint!r}")


def _to_row(delivery: Delivery) -> dict[str, object]:
    return {
        "key": delivery.alert.key,
        "endpoint": delivery.endpoint,
        "model": delivery.alert.model,
        "state": delivery.state,
        "body": encode(delivery),
    }
