"""Contexts: groups of runs and artifacts, such as a pipeline or a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import ValidationError
from sqlalchemy import Column, Connection, ForeignKey, Index, String, Table, Text, UniqueConstraint, insert, select

from raymlops.errors import DataError, NotFoundError, RunNotFound
from raymlops.metadata.sql.schema import ROW_NUMBER, artifacts, runs, tables
from raymlops.metadata.sql.store import SqlStore, decode, encode
from raymlops.records.learning.artifacts import Artifact, Context

__all__ = ["SqlContextStore"]

contexts = Table(
    "contexts",
    tables,
    Column("sequence", ROW_NUMBER, primary_key=True),
    Column("kind", String, nullable=False),
    Column("name", String, nullable=False),
    Column("body", Text, nullable=False),
    UniqueConstraint("kind", "name"),
)

context_runs = Table(
    "context_runs",
    tables,
    Column("context", ForeignKey("contexts.sequence"), primary_key=True),
    Column("run_id", ForeignKey("runs.id"), primary_key=True),
    Index("context_runs_of_run", "run_id"),
)

context_artifacts = Table(
    "context_artifacts",
    tables,
    Column("context", ForeignKey("contexts.sequence"), primary_key=True),
    Column("digest", ForeignKey("artifacts.digest"), primary_key=True),
    Index("context_artifacts_of_artifact", "digest"),
)


class SqlContextStore(SqlStore):
    """``ContextStore`` in SQL."""

    def put_context(self, kind: str, name: str, metadata: Mapping[str, object] | None = None) -> Context:
        try:
            context = Context(kind=kind, name=name, metadata=dict(metadata or {}), created_at=self._clock.now())
        except ValidationError as error:
            raise DataError(f"context {kind} {name!r}: {error}") from error
        body = encode(context)
        with self._database.write() as connection:
            known = select(contexts.c.body).where(contexts.c.kind == kind, contexts.c.name == name)
            stored = connection.execute(known).scalar_one_or_none()
            if stored is not None:
                return decode(Context, stored)
            connection.execute(insert(contexts).values(kind=kind, name=name, body=body))
            return decode(Context, body)

    def add_to_context(self, kind: str, name: str, *, run_ids: Sequence[str] = (), digests: Sequence[str] = ()) -> None:
        with self._database.write() as connection:
            wanted = select(contexts.c.sequence).where(contexts.c.kind == kind, contexts.c.name == name)
            context = connection.execute(wanted).scalar_one_or_none()
            if context is None:
                raise NotFoundError(f"context {kind} {name!r} does not exist", kind=kind, name=name)
            for run_id in run_ids:
                if connection.execute(select(runs.c.id).where(runs.c.id == run_id)).first() is None:
                    raise RunNotFound(f"run {run_id!r} does not exist", run_id=run_id)
                _add(connection, context_runs, {"context": context, "run_id": run_id})
            for digest in digests:
                if connection.execute(select(artifacts.c.digest).where(artifacts.c.digest == digest)).first() is None:
                    raise NotFoundError(f"artifact {digest!r} does not exist", digest=digest)
                _add(connection, context_artifacts, {"context": context, "digest": digest})

    def list_contexts(
        self, kind: str | None = None, *, run_id: str | None = None, digest: str | None = None
    ) -> list[Context]:
        wanted = select(contexts.c.body).order_by(contexts.c.sequence)
        if kind is not None:
            wanted = wanted.where(contexts.c.kind == kind)
        if run_id is not None:
            of_run = select(context_runs.c.context).where(context_runs.c.run_id == run_id)
            wanted = wanted.where(contexts.c.sequence.in_(of_run))
        if digest is not None:
            of_artifact = select(context_artifacts.c.context).where(context_artifacts.c.digest == digest)
            wanted = wanted.where(contexts.c.sequence.in_(of_artifact))
        return self._all(Context, wanted)

    def context_runs(self, kind: str, name: str) -> list[str]:
        wanted = select(runs.c.id).join(context_runs, context_runs.c.run_id == runs.c.id)
        wanted = wanted.join(contexts, contexts.c.sequence == context_runs.c.context)
        wanted = wanted.where(contexts.c.kind == kind, contexts.c.name == name)
        with self._database.read() as connection:
            newest_first = (runs.c.created_us.desc(), runs.c.sequence.desc())
            return list(connection.execute(wanted.order_by(*newest_first)).scalars())

    def context_artifacts(self, kind: str, name: str) -> list[Artifact]:
        wanted = select(artifacts.c.body).join(context_artifacts, context_artifacts.c.digest == artifacts.c.digest)
        wanted = wanted.join(contexts, contexts.c.sequence == context_artifacts.c.context)
        wanted = wanted.where(contexts.c.kind == kind, contexts.c.name == name).order_by(artifacts.c.sequence)
        return self._all(Artifact, wanted)


def _add(connection: Connection, members: Table, row: Mapping[str, object]) -> None:
    known = select(members.c.context).where(*(members.c[column] == value for column, value in row.items()))
    if connection.execute(known).first() is None:
        connection.execute(insert(members).values(**row))
