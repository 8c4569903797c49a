"""The database's schema, from one revision to the next, by Alembic.

A change of ``schema.py`` comes with a revision in ``versions``. Revisions only add: an entry of the ledger, a version
or a run that was once written is never touched by one.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

__all__ = ["migrate", "revisions"]

_FIRST = "0001"
_UNNUMBERED = "schema_info"
"""Table of databases that were made before there were revisions; they have the schema of the first."""


def migrate(connection: Connection, present: str | None) -> None:
    """Bring the schema up to this release's, within the transaction of the connection.

    Args:
        connection: With a transaction that is the only writer.
        present: The database's revision, one of ``revisions``; ``None`` where it notes none.
    """
    config = _config()
    config.attributes["connection"] = connection
    if present is None and inspect(connection).has_table(_UNNUMBERED):
        command.stamp(config, _FIRST)
    command.upgrade(config, "head")


def revisions() -> list[str]:
    """All revisions, the newest first."""
    return [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()]


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
