"""Artifacts, events and lineage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast, get_args

from pydantic import ValidationError
from sqlalchemy import (
    CTE,
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    Index,
    Select,
    String,
    Table,
    UniqueConstraint,
    and_,
    bindparam,
    exists,
    insert,
    literal,
    select,
)

from raymlops.clock import from_us, to_us
from raymlops.errors import DataError, NotFoundError, RunNotFound
from raymlops.metadata.sql.schema import ROW_NUMBER, artifacts, runs, tables
from raymlops.metadata.sql.store import SqlStore, decode, encode
from raymlops.records.learning.artifacts import Artifact, ArtifactEvent, Direction, Lineage

__all__ = ["SqlArtifactStore"]

artifact_events = Table(
    "artifact_events",
    tables,
    Column("sequence", ROW_NUMBER, primary_key=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False),
    Column("step", String, nullable=False),
    Column("digest", ForeignKey("artifacts.digest"), nullable=False),
    Column("direction", String, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    UniqueConstraint("run_id", "step", "direction", "digest"),
    Index("artifact_events_by_digest", "digest", "direction"),
)


def _select_events() -> Select[str, str, str, str, int]:
    columns = artifact_events.c
    return select(columns.run_id, columns.step, columns.digest, columns.direction, columns.at_us)


_RUNS_AT_ONCE = 500
_KEY = ("run_id", "step", "digest", "direction")
# Built once: SQLAlchemy takes longer to put a statement together than SQLite to run it.
_RUN = select(runs.c.id).where(runs.c.id == bindparam("run_id"))
_ARTIFACT = select(artifacts.c.body).where(artifacts.c.digest == bindparam("digest"))
_INSERT_ARTIFACT = insert(artifacts)
_EVENT = _select_events().where(*(artifact_events.c[name] == bindparam(name) for name in _KEY))
_INSERT_EVENT = insert(artifact_events)


class SqlArtifactStore(SqlStore):
    """``ArtifactStore`` in SQL."""

    def record_artifact(
        self, digest: str, kind: str, uri: str, metadata: Mapping[str, object] | None = None
    ) -> Artifact:
        try:
            artifact = Artifact(
                digest=digest, kind=kind, uri=uri, metadata=dict(metadata or {}), created_at=self._clock.now()
            )
        except ValidationError as error:
            raise DataError(f"artifact {digest!r}: {error}") from error
        body = encode(artifact)
        with self._database.write() as connection:
            stored = _find_artifact(connection, digest)
            if stored is not None:
                return stored
            connection.execute(_INSERT_ARTIFACT, {"digest": digest, "kind": kind, "body": body})
            return decode(Artifact, body)

    def get_artifact(self, digest: str) -> Artifact:
        with self._database.read() as connection:
            return _get_artifact(connection, digest)

    def record_event(self, run_id: str, step: str, digest: str, direction: Direction) -> ArtifactEvent:
        if direction not in get_args(Direction):
            raise DataError(f"direction must be one of {get_args(Direction)}, got {direction!r}")
        with self._database.write() as connection:
            if connection.execute(_RUN, {"run_id": run_id}).first() is None:
                raise RunNotFound(f"run {run_id!r} does not exist", run_id=run_id)
            _get_artifact(connection, digest)
            key = {"run_id": run_id, "step": step, "digest": digest, "direction": direction}
            if stored := _load_events(connection, _EVENT, key):
                return stored[0]
            at = self._clock.now()
            connection.execute(_INSERT_EVENT, {**key, "at_us": to_us(at)})
            return ArtifactEvent(run_id=run_id, step=step, digest=digest, direction=direction, at=at)

    def run_events(self, run_id: str, step: str | None = None) -> list[ArtifactEvent]:
        wanted = _select_events().where(artifact_events.c.run_id == run_id)
        if step is not None:
            wanted = wanted.where(artifact_events.c.step == step)
        with self._database.read() as connection:
            if connection.execute(_RUN, {"run_id": run_id}).first() is None:
                raise RunNotFound(f"run {run_id!r} does not exist", run_id=run_id)
            return _load_events(connection, wanted.order_by(artifact_events.c.sequence))

    def run_artifacts(self, run_ids: Sequence[str]) -> list[Artifact]:
        found: dict[int, Artifact] = {}
        with self._database.read() as connection:
            for first in range(0, len(run_ids), _RUNS_AT_ONCE):
                part = run_ids[first : first + _RUNS_AT_ONCE]
                used = select(artifact_events.c.digest).where(artifact_events.c.run_id.in_(part))
                wanted = select(artifacts.c.sequence, artifacts.c.body).where(artifacts.c.digest.in_(used))
                found |= {sequence: decode(Artifact, body) for sequence, body in connection.execute(wanted)}
        return [found[sequence] for sequence in sorted(found)]

    def lineage_of(self, digest: str) -> Lineage:
        with self._database.read() as connection:
            _get_artifact(connection, digest)
            ancestors = _closure(digest, follow="output", to="input")
            inside = select(ancestors.c.digest)
            made = artifact_events.alias()
            made_an_ancestor = exists().where(
                made.c.run_id == artifact_events.c.run_id,
                made.c.step == artifact_events.c.step,
                made.c.direction == "output",
                made.c.digest.in_(inside),
            )
            found = select(artifacts.c.body).where(artifacts.c.digest.in_(inside)).order_by(artifacts.c.sequence)
            wanted = _select_events().where(artifact_events.c.digest.in_(inside), made_an_ancestor)
            return Lineage(
                digest=digest,
                artifacts=tuple(decode(Artifact, body) for body in connection.execute(found).scalars()),
                events=tuple(_load_events(connection, wanted.order_by(artifact_events.c.sequence))),
            )

    def runs_using(self, digest: str) -> list[str]:
        with self._database.read() as connection:
            _get_artifact(connection, digest)
            descendants = _closure(digest, follow="input", to="output")
            used = select(artifact_events.c.run_id).where(
                artifact_events.c.direction == "input", artifact_events.c.digest.in_(select(descendants.c.digest))
            )
            newest_first = (runs.c.created_us.desc(), runs.c.sequence.desc())
            wanted = select(runs.c.id).where(runs.c.id.in_(used)).order_by(*newest_first)
            return list(connection.execute(wanted).scalars())


def _closure(digest: str, *, follow: Direction, to: Direction) -> CTE:
    """All digests that are reached from ``digest`` by stepping from a step's ``follow`` side to its ``to`` side."""
    reached = select(literal(digest).label("digest")).cte("reached", recursive=True)
    near, far = artifact_events.alias(), artifact_events.alias()
    same_step = and_(far.c.run_id == near.c.run_id, far.c.step == near.c.step, far.c.direction == to)
    steps = (
        select(far.c.digest)
        .select_from(reached)
        .join(near, and_(near.c.digest == reached.c.digest, near.c.direction == follow))
        .join(far, same_step)
    )
    return reached.union(steps)


def _find_artifact(connection: Connection, digest: str) -> Artifact | None:
    body = connection.execute(_ARTIFACT, {"digest": digest}).scalar_one_or_none()
    return None if body is None else decode(Artifact, body)


def _get_artifact(connection: Connection, digest: str) -> Artifact:
    artifact = _find_artifact(connection, digest)
    if artifact is None:
        raise NotFoundError(f"artifact {digest!r} does not exist", digest=digest)
    return artifact


def _load_events(
    connection: Connection, wanted: Select[str, str, str, str, int], values: Mapping[str, object] | None = None
) -> list[ArtifactEvent]:
    return [
        ArtifactEvent(
            run_id=run_id, step=step, digest=digest, direction=cast("Direction", direction), at=from_us(at_us)
        )
        for run_id, step, digest, direction, at_us in connection.execute(wanted, values or {})
    ]
