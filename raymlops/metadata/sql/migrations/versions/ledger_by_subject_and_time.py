"""An index for the newest ledger entries of a subject up to an instant; without it a query read all later ones."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create the index."""
    op.create_index("ledger_by_subject_and_time", "ledger_entries", ["subject", "at_us", "sequence"])
