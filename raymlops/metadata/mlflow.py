"""The MLflow projection: runs and model versions written to MLflow, rebuilt from the metadata store if lost."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sqlite3
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raymlops.clock import to_us
from raymlops.errors import DataError, ModelLoadFailed, ModelVersionNotFound, StorageError
from raymlops.flavors import flavor_named, parse
from raymlops.records.models import ModelVersion
from raymlops.records.record import canonical_json
from raymlops.records.runs import Run, RunStatus
from raymlops.scratch import Scratch

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["MlflowProjection"]

_PROCESS = threading.Lock()
"""Environment variables, warning filters and log levels belong to the whole process."""

_OFFLINE = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
}
"""Without these MLflow calls home, and asks a package index what to write into ``requirements.txt``."""

_RUN, _TRIAL, _VERSION, _DIGEST = "raymlops.run_id", "raymlops.trial", "raymlops.version", "raymlops.digest"
_PARENT = "mlflow.parentRunId"
_STATUS = {RunStatus.SUCCEEDED: "FINISHED", RunStatus.FAILED: "FAILED", RunStatus.CANCELED: "KILLED"}
_TYPES = {"FP64": "double", "FP32": "float", "FP16": "float", "BOOL": "boolean", "BYTES": "string"}
_TYPES |= {"INT64": "long", "UINT64": "long", "UINT32": "long"}
_TYPES |= dict.fromkeys(("INT32", "INT16", "INT8", "UINT16", "UINT8"), "integer")
_LONGEST_VALUE, _PARAMS_PER_BATCH = 6000, 100


class MlflowProjection:
    """Writes runs, trials, model versions and aliases to MLflow, which shows and loads them as its own.

    Every call may be repeated: what is there is found by its tags and completed. Nothing is read back, so that losing
    MLflow loses nothing. Needs no network. Calls are serialised within the process: MLflow takes its settings from
    environment variables, which hold only while a call runs. Meant for one process at a time.

    Args:
        tracking_uri: MLflow's tracking and registry store, for example ``sqlite:////home/mlflow.db``.
        artifact_root: Directory that holds the models' files.

    Raises:
        StorageError: The store cannot be opened.
    """

    def __init__(self, tracking_uri: str, artifact_root: Path | str) -> None:
        self._uri = tracking_uri
        self._artifacts = Path(artifact_root).absolute()
        with self._session():
            self._artifacts.mkdir(parents=True, exist_ok=True)
            _use_write_ahead_log(tracking_uri)

    def project_run(self, run: Run, trials: Sequence[Mapping[str, Any]] = ()) -> str:
        """Show a run, and its trials as runs nested in it.

        Args:
            run: At any state; a final run is closed.
            trials: Each with ``params``, ``metrics`` and, where it is known, ``status`` (``failed``, or anything else).

        Returns:
            MLflow's id of the parent run.

        Raises:
            StorageError: MLflow fails.
        """
        with self._session() as client:
            experiment = self._experiment(client, run.pipeline)
            parent = _find_run(client, experiment, {_RUN: run.id})
            if parent is None:
                tags = {_RUN: run.id, "mlflow.runName": run.id}
                parent = client.create_run(experiment, start_time=_milliseconds(run.created_at), tags=tags)
            facts = {"reason": run.reason, "bundle": run.bundle, "job_id": run.job_id, "error": run.error}
            for name, value in facts.items():
                if value is not None:
                    client.set_tag(parent.info.run_id, f"raymlops.{name}", value[:_LONGEST_VALUE])
            ended_at = _milliseconds(run.ended_at or run.created_at)
            _log(client, parent, run.parameters, run.result.get("metrics"), ended_at)
            for index, trial in enumerate(trials):
                _project_trial(client, parent, index, trial, ended_at)
            if run.status.final:
                client.set_terminated(parent.info.run_id, _STATUS[run.status], ended_at)
            return str(parent.info.run_id)

    def project_version(self, version: ModelVersion, model_dir: Path | str) -> str:
        """Log a packaged model in its native flavor and register it.

        Args:
            version: The registered version.
            model_dir: Directory of its files, whose hashes are checked before any is read.

        Returns:
            ``models:/NAME/N``; ``N`` counts what was projected and differs from ours where a version was left out.

        Raises:
            ModelLoadFailed: A file is missing or altered, or holds types that are not trusted.
            StorageError: MLflow fails.
        """
        with self._session() as client:
            known = _find_version(client, version.name, version.version)
            if known is None:
                known = self._register(client, version, Path(model_dir))
            elif known.tags.get(_DIGEST) != version.digest:
                raise StorageError(
                    f"mlflow holds another model {version.name!r} version {version.version}: "
                    f"digest must be {version.digest}, got {known.tags.get(_DIGEST)}"
                )
            return f"models:/{version.name}/{known.version}"

    def set_alias(self, name: str, alias: str, version: int | None) -> None:
        """Set an alias in MLflow to the projection of a model version, or remove the alias.

        Raises:
            ModelVersionNotFound: The version is not projected.
            StorageError: MLflow fails.
        """
        with self._session() as client:
            if version is None:
                if client.search_registered_models(f"name = {_quoted(name)}"):
                    client.delete_registered_model_alias(name, alias)
                return
            known = _find_version(client, name, version)
            if known is None:
                raise ModelVersionNotFound(
                    f"model {name!r} version {version} is not in MLflow: project it first", name=name, version=version
                )
            client.set_registered_model_alias(name, alias, known.version)

    def _register(self, client: MlflowClient, version: ModelVersion, model_dir: Path) -> Any:
        from mlflow.models import Model

        loaded = _load(version, model_dir)
        parent = None
        if version.run_id is not None:
            parent = _find_run(client, [e.experiment_id for e in client.search_experiments()], {_RUN: version.run_id})
        experiment = parent.info.experiment_id if parent else self._experiment(client, version.name)
        run_id = parent.info.run_id if parent else None
        tags = _version_tags(version)
        logged = client.create_logged_model(
            experiment,
            name=re.sub(r"[/:.%\"']", "-", version.name),
            source_run_id=run_id,
            tags=tags,
            params={name: _text(value) for name, value in version.parameters.items()},
        )
        with Scratch("mlflow") as scratch:
            directory = str(scratch / "model")
            _save(loaded, version, directory, Model(model_id=logged.model_id, run_id=run_id))
            client.log_model_artifacts(logged.model_id, directory)
        client.finalize_logged_model(logged.model_id, "READY")
        if not client.search_registered_models(f"name = {_quoted(version.name)}"):
            client.create_registered_model(version.name)
        # By its place alone: MLflow would look a model id up in whatever store the process points at, not in ours.
        return client.create_model_version(version.name, logged.artifact_location, run_id, tags=tags)

    def _experiment(self, client: MlflowClient, name: str) -> str:
        found = client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        directory = self._artifacts / hashlib.sha256(name.encode()).hexdigest()[:16]
        return str(client.create_experiment(name, artifact_location=directory.as_uri()))

    @contextmanager
    def _session(self) -> Iterator[MlflowClient]:
        """MLflow's client, quiet and offline; whatever fails in MLflow leaves as a ``StorageError``."""
        with _PROCESS, _environment(_OFFLINE), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException
            from sqlalchemy.exc import SQLAlchemyError

            with _quiet("mlflow"), _quiet("alembic"):
                try:
                    yield MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)
                except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
                    place = re.sub(r"://[^@/]*@", "://***@", self._uri)
                    raise StorageError(f"mlflow at {place}: {error}", uri=place) from error


def _project_trial(client: MlflowClient, parent: Any, index: int, trial: Mapping[str, Any], ended_at: int) -> None:
    tags = {_PARENT: parent.info.run_id, _TRIAL: str(index)}
    child = _find_run(client, parent.info.experiment_id, tags)
    if child is None:
        name = f"{parent.info.run_name}-{index}"
        child = client.create_run(parent.info.experiment_id, parent.info.start_time, {**tags, "mlflow.runName": name})
    _log(client, child, trial.get("params") or {}, trial.get("metrics"), ended_at)
    status = "FAILED" if str(trial.get("status", "")).lower() in {"failed", "error"} else "FINISHED"
    client.set_terminated(child.info.run_id, status, ended_at)


def _log(client: MlflowClient, run: Any, params: Mapping[str, Any], metrics: Any, at: int) -> None:
    from mlflow.entities import Metric, Param

    # MLflow refuses to change a parameter, even when a run was resumed with another.
    fresh = [Param(name, _text(value)) for name, value in params.items() if name not in run.data.params]
    for start in range(0, len(fresh), _PARAMS_PER_BATCH):
        client.log_batch(run.info.run_id, params=fresh[start : start + _PARAMS_PER_BATCH])
    numbers = metrics.items() if isinstance(metrics, Mapping) else ()
    logged = [Metric(name, float(value), at, 0) for name, value in numbers if isinstance(value, int | float)]
    if logged:
        client.log_batch(run.info.run_id, metrics=logged)


def _load(version: ModelVersion, model_dir: Path) -> Any:
    """The model of a version, from the very bytes whose hashes were compared."""
    manifest, held = version.manifest, {}
    for name, digest in manifest.files.items():
        file = model_dir / name
        held[name] = file.read_bytes() if file.is_file() else b""
        if hashlib.sha256(held[name]).hexdigest() != digest:
            raise ModelLoadFailed(f"{file}: must have SHA-256 {digest}, is missing or altered", path=str(file))
    flavor = flavor_named(manifest.flavor)
    if flavor.file not in held:
        raise ModelLoadFailed(f"{model_dir}: must hold {flavor.file}, got {sorted(held)}", path=str(model_dir))
    return parse(manifest.flavor, held[flavor.file])


def _save(loaded: Any, version: ModelVersion, directory: str, mlflow_model: Any) -> None:
    manifest = version.manifest
    flavor = flavor_named(manifest.flavor)
    libraries = manifest.libraries or dict.fromkeys(flavor.libraries, "")
    options = {
        "path": directory,
        "mlflow_model": mlflow_model,
        "signature": _signature(version),
        "pip_requirements": [f"{name}=={pinned}" if pinned else name for name, pinned in sorted(libraries.items())],
    }
    flavor.save_for_mlflow(loaded, options)


def _signature(version: ModelVersion) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    columns = version.manifest.signature.inputs
    if unknown := sorted({column.dtype for column in columns} - _TYPES.keys()):
        raise DataError(f"model {version.name!r}: a column's type must be one of {sorted(_TYPES)}, got {unknown}")
    return ModelSignature(inputs=Schema([ColSpec(_TYPES[column.dtype], column.name) for column in columns]))


def _version_tags(version: ModelVersion) -> dict[str, str]:
    tags = {_VERSION: str(version.version), _DIGEST: version.digest}
    facts = {"run_id": version.run_id, "training_set": version.training_set, "bundle": version.bundle}
    tags |= {f"raymlops.{name}": value for name, value in facts.items() if value is not None}
    return tags | {f"metrics.{name}": repr(value) for name, value in version.metrics.items()}


def _find_run(client: MlflowClient, experiments: str | list[str], tags: Mapping[str, str]) -> Any:
    wanted = " and ".join(f"tags.`{name}` = {_quoted(value)}" for name, value in tags.items())
    ids = [experiments] if isinstance(experiments, str) else experiments
    found = client.search_runs(ids, wanted, max_results=1)
    return found[0] if found else None


def _find_version(client: MlflowClient, name: str, version: int) -> Any:
    found = client.search_model_versions(f"name = {_quoted(name)} and tags.`{_VERSION}` = '{version}'")
    return found[0] if found else None


def _quoted(value: str) -> str:
    if "'" in value:
        raise DataError(f"a name that MLflow shall find must hold no quote, got {value!r}")
    return f"'{value}'"


def _text(value: object) -> str:
    return (value if isinstance(value, str) else canonical_json(value).decode())[:_LONGEST_VALUE]


def _milliseconds(instant: datetime) -> int:
    return to_us(instant) // 1000


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _quiet(logger_name: str) -> Iterator[None]:
    logger = logging.getLogger(logger_name)
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _use_write_ahead_log(uri: str) -> None:
    # MLflow does not ask for it, and its readers then block its writers. The file remembers.
    if not uri.startswith("sqlite:///"):
        return
    file = Path(uri.removeprefix("sqlite:///"))
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file, timeout=20)) as connection:
        connection.execute("PRAGMA journal_mode=WAL").close()
