"""Tables of window profiles, and of how far late rows have been added to them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "window_profiles",
        sa.Column("model", sa.String(), primary_key=True),
        sa.Column("start_us", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("version", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("role", sa.String(), primary_key=True),
        sa.Column("segment", sa.String(), primary_key=True),
        sa.Column("late", sa.Boolean(), primary_key=True),
        sa.Column("champion", sa.Integer(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("profile", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "profile_marks",
        sa.Column("model", sa.String(), primary_key=True),
        sa.Column("body", sa.Text(), nullable=False),
    )
