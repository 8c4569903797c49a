"""API keys."""

from __future__ import annotations

from sqlalchemy import Column, Connection, String, Table, Text, bindparam, insert, select, update

from raymlops.errors import AlreadyRegistered, NotFoundError
from raymlops.metadata.sql.schema import ROW_NUMBER, tables
from raymlops.metadata.sql.store import SqlStore, decode, encode, same
from raymlops.records.serving.keys import ApiKey

__all__ = ["SqlKeyStore"]

api_keys = Table(
    "api_keys",
    tables,
    Column("sequence", ROW_NUMBER, primary_key=True),
    Column("id", String, unique=True, nullable=False),
    Column("body", Text, nullable=False),
)

_KEY = select(api_keys.c.body).where(api_keys.c.id == bindparam("id"))


class SqlKeyStore(SqlStore):
    """``KeyStore`` in SQL."""

    def put_key(self, key: ApiKey) -> ApiKey:
        with self._database.write() as connection:
            stored = _find_key(connection, key.id)
            if stored is None:
                connection.execute(insert(api_keys).values(id=key.id, body=encode(key)))
            elif not same(stored.model_copy(update={"revoked_at": None}), key):
                raise AlreadyRegistered(f"API key {key.id!r} must stay as it is", id=key.id)
            return stored or key

    def revoke_key(self, key_id: str) -> ApiKey:
        with self._database.write() as connection:
            stored = _find_key(connection, key_id)
            if stored is None:
                raise NotFoundError(f"API key {key_id!r} does not exist", id=key_id)
            if stored.revoked_at is None:
                stored = stored.model_copy(update={"revoked_at": self._clock.now()})
                connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(body=encode(stored)))
            return stored

    def list_keys(self) -> list[ApiKey]:
        return self._all(ApiKey, select(api_keys.c.body).order_by(api_keys.c.sequence))


def _find_key(connection: Connection, key_id: str) -> ApiKey | None:
    body = connection.execute(_KEY, {"id": key_id}).scalar_one_or_none()
    return None if body is None else decode(ApiKey, body)
