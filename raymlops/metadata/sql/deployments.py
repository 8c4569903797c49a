"""Bundles and where they are deployed."""

from __future__ import annotations

from sqlalchemy import Column, Connection, ForeignKey, Index, Select, String, Table, Text, func, insert, select

from raymlops.errors import NotFoundError
from raymlops.metadata.sql.schema import ROW_NUMBER, tables
from raymlops.metadata.sql.store import SqlStore, decode, encode
from raymlops.records.bundles import BundleManifest, Deployment
from raymlops.records.names import check_case, check_name

__all__ = ["SqlDeploymentStore"]

bundles = Table(
    "bundles",
    tables,
    Column("sequence", ROW_NUMBER, primary_key=True),
    Column("digest", String, unique=True, nullable=False),
    Column("pipeline", String, nullable=False),
    Column("body", Text, nullable=False),
)

deployments = Table(
    "deployments",
    tables,
    Column("sequence", ROW_NUMBER, primary_key=True),
    Column("environment", String, nullable=False),
    Column("pipeline", String, nullable=False),
    Column("bundle", ForeignKey("bundles.digest"), nullable=False),
    Column("body", Text, nullable=False),
    Index("deployments_of_environment", "environment", "pipeline", "sequence"),
)

_PIPELINES = select(bundles.c.pipeline).distinct()


class SqlDeploymentStore(SqlStore):
    """``DeploymentStore`` in SQL."""

    def put_bundle(self, manifest: BundleManifest) -> BundleManifest:
        body = encode(manifest)
        with self._database.write() as connection:
            stored = _find_bundle(connection, manifest.digest)
            if stored is not None:
                return stored
            check_name("project", manifest.project.name)
            check_case("project", manifest.project.name, connection.execute(_PIPELINES).scalars())
            values = {"digest": manifest.digest, "pipeline": manifest.project.name, "body": body}
            connection.execute(insert(bundles).values(**values))
            return decode(BundleManifest, body)

    def get_bundle(self, digest: str) -> BundleManifest:
        with self._database.read() as connection:
            return _get_bundle(connection, digest)

    def list_bundles(self, pipeline: str | None = None) -> list[BundleManifest]:
        wanted = select(bundles.c.body).order_by(bundles.c.sequence)
        if pipeline is not None:
            wanted = wanted.where(bundles.c.pipeline == pipeline)
        return self._all(BundleManifest, wanted)

    def put_deployment(self, deployment: Deployment) -> Deployment:
        check_name("environment", deployment.environment)
        body = encode(deployment)
        with self._database.write() as connection:
            pipeline = _get_bundle(connection, deployment.bundle).project.name
            last = connection.execute(_newest(deployment.environment, pipeline)).scalar()
            if last == body:
                return deployment
            values = {"environment": deployment.environment, "pipeline": pipeline, "bundle": deployment.bundle}
            connection.execute(insert(deployments).values(**values, body=body))
            return deployment

    def find_deployment(self, environment: str, pipeline: str | None = None) -> Deployment | None:
        with self._database.read() as connection:
            body = connection.execute(_newest(environment, pipeline)).scalar()
        found = None if body is None else decode(Deployment, body)
        return None if found is None or found.ended else found

    def list_live_deployments(self) -> list[Deployment]:
        newest = select(func.max(deployments.c.sequence)).group_by(deployments.c.environment, deployments.c.pipeline)
        wanted = select(deployments.c.body).where(deployments.c.sequence.in_(newest))
        wanted = wanted.order_by(deployments.c.environment, deployments.c.pipeline)
        return [found for found in self._all(Deployment, wanted) if not found.ended]

    def list_deployments(self, environment: str, pipeline: str | None = None) -> list[Deployment]:
        return self._all(Deployment, _newest(environment, pipeline))


def _newest(environment: str, pipeline: str | None) -> Select[str]:
    wanted = select(deployments.c.body).where(deployments.c.environment == environment)
    if pipeline is not None:
        wanted = wanted.where(deployments.c.pipeline == pipeline)
    return wanted.order_by(deployments.c.sequence.desc())


def _find_bundle(connection: Connection, digest: str) -> BundleManifest | None:
    body = connection.execute(select(bundles.c.body).where(bundles.c.digest == digest)).scalar_one_or_none()
    return None if body is None else decode(BundleManifest, body)


def _get_bundle(connection: Connection, digest: str) -> BundleManifest:
    manifest = _find_bundle(connection, digest)
    if manifest is None:
        raise NotFoundError(f"bundle {digest!r} does not exist", digest=digest)
    return manifest
