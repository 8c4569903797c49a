"""An index for the runs of a pipeline by status; without it a query read all runs of the pipeline."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the index."""
    op.create_index("runs_by_pipeline_and_status", "runs", ["pipeline", "status", "created_us", "sequence"])
