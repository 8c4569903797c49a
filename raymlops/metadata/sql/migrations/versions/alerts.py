"""Tables of alerts, their deliveries, and how far their sources have been read."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def _sequence() -> sa.Column[int]:
    return sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True)


def _text(name: str, kind: type[sa.String] = sa.String) -> sa.Column[str]:
    return sa.Column(name, kind(), nullable=False)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "alerts", _sequence(), _text("key"), _text("model"), _text("body", sa.Text), sa.UniqueConstraint("key")
    )
    op.create_index("alerts_of_model", "alerts", ["model", "sequence"])
    op.create_table(
        "alert_deliveries",
        _sequence(),
        *map(_text, ("key", "endpoint", "model", "state")),
        _text("body", sa.Text),
        sa.ForeignKeyConstraint(["key"], ["alerts.key"]),
        sa.UniqueConstraint("key", "endpoint"),
    )
    op.create_index("alert_deliveries_due", "alert_deliveries", ["endpoint", "state", "model", "sequence"])
    op.create_table("alert_cursors", sa.Column("source", sa.String(), primary_key=True), _text("body", sa.Text))
