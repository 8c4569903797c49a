"""The gate of promotion: a model version that a run made is served only with all three blessings."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, select

from raymlops.metadata.sql.schema import model_versions
from raymlops.metadata.sql.store import decode
from raymlops.records.models import ModelVersion

__all__ = ["require_blessed"]


def require_blessed(connection: Connection, name: str, versions: Iterable[int]) -> None:
    """Refuse model versions that lack a blessing of their run, inside the transaction that would promote them.

    A number without a version is not refused here.

    Raises:
        InvalidTransition: A blessing is missing, refused, or about something else.
    """
    columns = model_versions.c
    wanted = select(columns.body).where(columns.name == name, columns.version.in_(sorted(versions)))
    for body in connection.execute(wanted.order_by(columns.version)).scalars():
        decode(ModelVersion, body).require_blessed()
