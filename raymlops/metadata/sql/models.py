"""Model versions, their states and their aliases."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import orjson
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    Row,
    Select,
    String,
    Table,
    Text,
    func,
    insert,
    select,
    update,
)

from raymlops.clock import from_us, to_us
from raymlops.errors import DataError, InvalidTransition, ModelVersionNotFound, StaleWrite
from raymlops.metadata.sql.blessed import require_blessed
from raymlops.metadata.sql.schema import ROW_NUMBER, model_versions, tables
from raymlops.metadata.sql.store import SqlStore, decode, encode, encode_values
from raymlops.metadata.sql.transactions.database import Database
from raymlops.records.models import AliasChange, ModelState, ModelVersion, StateChange
from raymlops.records.names import check_case, check_name

__all__ = ["SqlModelRegistry", "version_of"]

model_tables = Table(
    "model_tables",
    tables,
    Column("table", String, primary_key=True),
    Column("table_version", BigInteger, primary_key=True, autoincrement=False),
    Column("name", String, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
)

state_changes = Table(
    "state_changes",
    tables,
    Column("sequence", ROW_NUMBER, primary_key=True),
    Column("name", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("previous", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", Text, nullable=False, server_default="{}"),
    Column("at_us", BigInteger, nullable=False),
    Index("state_changes_of_version", "name", "version", "sequence"),
)

alias_changes = Table(
    "alias_changes",
    tables,
    Column("sequence", ROW_NUMBER, primary_key=True),
    Column("name", String, nullable=False),
    Column("alias", String, nullable=False),
    Column("version", Integer),
    Column("previous", Integer),
    Column("reason", Text, nullable=False),
    Column("evidence", Text, nullable=False, server_default="{}"),
    Column("at_us", BigInteger, nullable=False),
    Index("alias_changes_of_alias", "name", "alias", "sequence"),
)


class SqlModelRegistry(SqlStore):
    """``ModelRegistry`` in SQL."""

    def register_version(self, draft: ModelVersion, *, key: str) -> ModelVersion:
        if draft.version != 0 or draft.state is not ModelState.CANDIDATE:
            raise DataError(
                f"model {draft.name!r}: a draft must have version 0 and state candidate, "
                f"got version {draft.version} and state {draft.state}"
            )
        with self._database.write() as connection:
            of_model = model_versions.c.name == draft.name
            first = select(model_versions.c.body).where(of_model, model_versions.c.key == key)
            stored = connection.execute(first).scalar_one_or_none()
            if stored is not None:
                return self._version_of(stored)
            if connection.execute(select(model_versions.c.version).where(of_model).limit(1)).first() is None:
                check_name("model", draft.name)
                check_case("model", draft.name, connection.execute(select(model_versions.c.name).distinct()).scalars())
            newest = connection.execute(select(func.max(model_versions.c.version)).where(of_model)).scalar_one()
            version = draft.model_copy(update={"version": (newest or 0) + 1})
            body = self._body_of(version)
            values = {"name": version.name, "version": version.version, "key": key, "body": body}
            connection.execute(insert(model_versions).values(**values))
            _note_tables(connection, version)
            return self._version_of(body)

    def get_version(self, name: str, version: int) -> ModelVersion:
        with self._database.read() as connection:
            return self._get(connection, name, version)

    def list_versions(self, name: str) -> list[ModelVersion]:
        wanted = select(model_versions.c.body).where(model_versions.c.name == name).order_by(model_versions.c.version)
        with self._database.read() as connection:
            return [self._version_of(body) for body in connection.execute(wanted).scalars()]

    def list_models(self) -> list[str]:
        with self._database.read() as connection:
            return sorted(connection.execute(select(model_versions.c.name).distinct()).scalars())

    def trained_on(self, table: str, version: int | None = None) -> list[ModelVersion]:
        columns = model_tables.c
        of_table = [columns.table == table] + ([] if version is None else [columns.table_version == version])
        same_version = (model_versions.c.name == columns.name) & (model_versions.c.version == columns.version)
        wanted = select(model_versions.c.body).join(model_tables, same_version).where(*of_table)
        with self._database.read() as connection:
            bodies = connection.execute(wanted.order_by(columns.name, columns.version)).scalars()
            return [self._version_of(body) for body in bodies]

    def set_state(
        self,
        name: str,
        version: int,
        state: ModelState,
        *,
        reason: str,
        evidence: Mapping[str, object] | None = None,
    ) -> ModelVersion:
        state = _known_state(state)
        facts = encode_values(evidence, f"evidence of a state of model {name!r}")
        with self._database.write() as connection:
            stored = self._get(connection, name, version)
            if stored.state is state:
                return stored
            if state is ModelState.CANDIDATE or stored.state is ModelState.RETIRED:
                raise InvalidTransition(
                    f"model {name!r} version {version} is {stored.state}: it cannot become {state} any more"
                )
            changed = stored.model_copy(update={"state": state})
            self._put(connection, changed)
            change = {"name": name, "version": version, "state": str(state), "previous": str(stored.state)}
            at_us = to_us(self._clock.now())
            connection.execute(insert(state_changes).values(**change, reason=reason, evidence=facts, at_us=at_us))
            return changed

    def state_history(self, name: str, version: int) -> list[StateChange]:
        columns = state_changes.c
        wanted = select(columns.state, columns.previous, columns.reason, columns.evidence, columns.at_us)
        wanted = wanted.where(columns.name == name, columns.version == version).order_by(columns.sequence)
        with self._database.read() as connection:
            self._get(connection, name, version)
            return [
                StateChange(
                    name=name,
                    version=version,
                    state=ModelState(state),
                    previous=ModelState(previous),
                    reason=reason,
                    evidence=orjson.loads(facts),
                    at=from_us(at_us),
                )
                for state, previous, reason, facts, at_us in connection.execute(wanted)
            ]

    def set_mlflow_uri(self, name: str, version: int, uri: str | None) -> ModelVersion:
        with self._database.write() as connection:
            changed = self._get(connection, name, version).model_copy(update={"mlflow_uri": uri})
            self._put(connection, changed)
            return changed

    def set_alias(
        self,
        name: str,
        alias: str,
        version: int | None,
        *,
        expected: int | None,
        reason: str,
        evidence: Mapping[str, object] | None = None,
    ) -> AliasChange:
        check_name("alias", alias)
        facts = encode_values(evidence, f"evidence of alias {alias!r} of model {name!r}")
        with self._database.write() as connection:
            if version is not None:
                self._get(connection, name, version)
            last = _last_change(connection, name, alias)
            present = None if last is None else last.version
            if last is not None and (last.version, last.previous) == (version, expected):
                return last
            if present != expected:
                raise StaleWrite(
                    f"alias {alias!r} of model {name!r} must be at version {expected}, is at {present}",
                    expected=expected,
                    found=present,
                )
            if last is not None and present == version:
                return last
            if version is not None and version not in _aliases(connection, name).values():
                require_blessed(connection, name, [version])
            change = AliasChange(
                name=name,
                alias=alias,
                version=version,
                previous=present,
                reason=reason,
                evidence=orjson.loads(facts),
                at=self._clock.now(),
            )
            values = change.model_dump(exclude={"at", "evidence"})
            connection.execute(insert(alias_changes).values(**values, evidence=facts, at_us=to_us(change.at)))
            return change

    def aliases(self, name: str) -> dict[str, int]:
        with self._database.read() as connection:
            return _aliases(connection, name)

    def alias_history(self, name: str) -> list[AliasChange]:
        wanted = _select_changes().where(alias_changes.c.name == name).order_by(alias_changes.c.sequence)
        with self._database.read() as connection:
            return [_to_change(row) for row in connection.execute(wanted)]

    def serving_at(self, name: str, when: datetime) -> int | None:
        with self._database.read() as connection:
            last = _last_change(connection, name, "champion", until_us=to_us(when))
        return None if last is None else last.version

    def _get(self, connection: Connection, name: str, version: int) -> ModelVersion:
        wanted = select(model_versions.c.body).where(model_versions.c.name == name, model_versions.c.version == version)
        body = connection.execute(wanted).scalar_one_or_none()
        if body is None:
            raise ModelVersionNotFound.of(name, version)
        return self._version_of(body)

    def _put(self, connection: Connection, version: ModelVersion) -> None:
        of_version = (model_versions.c.name == version.name, model_versions.c.version == version.version)
        connection.execute(update(model_versions).where(*of_version).values(body=self._body_of(version)))

    def _body_of(self, version: ModelVersion) -> str:
        """The form a version is stored in: its path below the home, so that a home may be moved."""
        return encode(version.model_copy(update={"path": self._database.below_home(version.path)}))

    def _version_of(self, body: str) -> ModelVersion:
        return version_of(self._database, body)


def version_of(database: Database, body: str) -> ModelVersion:
    """The version stored as ``body``, its path as it is used."""
    version = decode(ModelVersion, body)
    return version.model_copy(update={"path": database.in_home(version.path)})


def _known_state(state: ModelState | str) -> ModelState:
    try:
        return ModelState(state)
    except ValueError as error:
        raise DataError(f"state must be one of {[str(known) for known in ModelState]}, got {state!r}") from error


def _note_tables(connection: Connection, version: ModelVersion) -> None:
    rows = [
        {"table": table, "table_version": number, "name": version.name, "version": version.version}
        for table, number in version.tables.items()
    ]
    if rows:
        connection.execute(insert(model_tables), rows)


def _select_changes() -> Select[str, str, int | None, int | None, str, str, int]:
    columns = alias_changes.c
    known = (columns.name, columns.alias, columns.version, columns.previous)
    return select(*known, columns.reason, columns.evidence, columns.at_us)


def _to_change(row: Row[str, str, int | None, int | None, str, str, int]) -> AliasChange:
    name, alias, version, previous, reason, facts, at_us = row
    return AliasChange(
        name=name,
        alias=alias,
        version=version,
        previous=previous,
        reason=reason,
        evidence=orjson.loads(facts),
        at=from_us(at_us),
    )


def _aliases(connection: Connection, name: str) -> dict[str, int]:
    newest = select(func.max(alias_changes.c.sequence)).where(alias_changes.c.name == name)
    newest = newest.group_by(alias_changes.c.alias)
    wanted = _select_changes().where(alias_changes.c.sequence.in_(newest)).order_by(alias_changes.c.alias)
    changes = [_to_change(row) for row in connection.execute(wanted)]
    return {change.alias: change.version for change in changes if change.version is not None}


def _last_change(connection: Connection, name: str, alias: str, until_us: int | None = None) -> AliasChange | None:
    wanted = _select_changes().where(alias_changes.c.name == name, alias_changes.c.alias == alias)
    if until_us is not None:
        wanted = wanted.where(alias_changes.c.at_us <= until_us)
    row = connection.execute(wanted.order_by(alias_changes.c.sequence.desc()).limit(1)).first()
    return None if row is None else _to_change(row)
