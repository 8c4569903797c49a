"""The metadata service: all stores of metadata over one database."""

from __future__ import annotations

from pathlib import Path

from raymlops.clock import Clock, SystemClock
from raymlops.metadata.sql.browsing import SqlRecordBrowser
from raymlops.metadata.sql.deployments import SqlDeploymentStore
from raymlops.metadata.sql.keys import SqlKeyStore
from raymlops.metadata.sql.ledger import SqlLedger
from raymlops.metadata.sql.lineage.artifacts import SqlArtifactStore
from raymlops.metadata.sql.lineage.contexts import SqlContextStore
from raymlops.metadata.sql.models import SqlModelRegistry
from raymlops.metadata.sql.monitoring.alerts import SqlAlertStore
from raymlops.metadata.sql.monitoring.profiles import SqlProfileStore
from raymlops.metadata.sql.monitoring.windows import SqlWindowStore
from raymlops.metadata.sql.plans import SqlPlanStore
from raymlops.metadata.sql.runs import SqlRunStore
from raymlops.metadata.sql.transactions.database import Database
from raymlops.metadata.stores import Metadata

__all__ = ["MetadataService"]


class MetadataService(Metadata):
    """All stores of metadata over one database; the metadata actor hosts it.

    Thread-safe, and safe beside other processes on the same database. It caches nothing: a process that starts after
    a crash is where the last one was. Every write is on disk when its call returns, and may be repeated.

    Args:
        url: SQLAlchemy URL (``sqlite:///FILE``, ``postgresql+psycopg://...``), or the path of an SQLite file, which
            is created where it is not there.
        clock: Gives the instants of changes; the system's where left out.
        lock_timeout_s: How long a write waits for another writer before it fails with ``StorageError``.
        home: Paths below it are recorded relative to it; left out, the directory of an SQLite file.

    Raises:
        ConfigError: The URL is malformed, or the database was written by another version of RayMLOps.
        StorageError: The database cannot be opened; the message names it.

    Example:
        >>> import tempfile
        >>> metadata = MetadataService(Path(tempfile.mkdtemp()) / "metadata.db")
        >>> metadata.ledger.append_entry("churn", "deploy", "first version", key="deploy-1").sequence
        1
        >>> metadata.ledger.verify_ledger()
        1
        >>> metadata.close()
    """

    def __init__(
        self,
        url: str | Path,
        *,
        clock: Clock | None = None,
        lock_timeout_s: float = 5.0,
        home: Path | None = None,
    ) -> None:
        self._database = database = Database(url, lock_timeout_s=lock_timeout_s, home=home)
        clock = clock or SystemClock()
        super().__init__(
            runs=SqlRunStore(database, clock),
            artifacts=SqlArtifactStore(database, clock),
            contexts=SqlContextStore(database, clock),
            models=SqlModelRegistry(database, clock),
            plans=SqlPlanStore(database, clock),
            ledger=SqlLedger(database, clock),
            windows=SqlWindowStore(database, clock),
            profiles=SqlProfileStore(database, clock),
            deployments=SqlDeploymentStore(database, clock),
            browser=SqlRecordBrowser(database, clock),
            keys=SqlKeyStore(database, clock),
            alerts=SqlAlertStore(database, clock),
        )

    def close(self) -> None:
        """Close the database's connections; may be repeated."""
        self._database.close()
