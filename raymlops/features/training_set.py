"""Training sets: a manifest that says what the rows are made of, and the rows."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raymlops.errors import DataError, NotFoundError, StorageError
from raymlops.features.applied import ResolvedService
from raymlops.records.features import TrainingSetManifest
from raymlops.records.record import sha256_of

__all__ = [
    "TrainingSet",
    "code_digest",
    "read_manifest",
    "read_spine",
    "table_digest",
    "write_manifest",
]


class TrainingSet:
    """The rows of a training set and what they were made of.

    Args:
        manifest: What they were made of.
        table: The rows.
    """

    def __init__(self, manifest: TrainingSetManifest, table: Any) -> None:
        self.manifest = manifest
        self._table = table

    def table(self) -> Any:
        """The spine's rows and columns in their order, then one column ``VIEW__FIELD`` per feature of the service."""
        return self._table


@cache
def code_digest() -> str:
    """Hex SHA-256 over the sources of this package, which is what computes the features."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\x00" + path.read_bytes() + b"\x00")
    return digest.hexdigest()


def table_digest(table: Any) -> str:
    """Hex SHA-256 of a table's columns, types and values, however they are chunked."""
    return hashlib.sha256(_canonical_bytes(table)).hexdigest()


def _canonical_bytes(table: Any) -> Any:
    """A Parquet file: its encoders see values only, not how Arrow holds them."""
    sink = pa.BufferOutputStream()
    plain = table.replace_schema_metadata(None).combine_chunks()
    pq.write_table(plain, sink, compression="zstd", store_schema=True)
    return sink.getvalue()


def write_manifest(
    directory: Path,
    *,
    name: str,
    service: ResolvedService,
    spine: Any,
    table_versions: Mapping[str, int],
    late_rows: Mapping[str, int],
    knowledge_cutoff: bool,
    created_at: datetime,
) -> TrainingSetManifest:
    """Store the spine and the manifest of a training set; the same again stores nothing new.

    Args:
        directory: Directory of the training sets.
        name: Name of the training set.
        service: Its service.
        spine: Its spine.
        table_versions: Table -> version it was read from.
        late_rows: From ``join_service``.
        knowledge_cutoff: From ``join_service``.
        created_at: Now.

    Raises:
        StorageError: it could not be written.
    """
    data = _canonical_bytes(spine)
    spine_digest = hashlib.sha256(data).hexdigest()
    spine_path = directory / "spines" / f"{spine_digest}.parquet"
    parts = {
        "name": name,
        "service": service.service.ref,
        "views": _view_digests(service),
        "table_versions": dict(table_versions),
        "spine_digest": spine_digest,
        "code_digest": code_digest(),
        "knowledge_cutoff": knowledge_cutoff,
        "rows": spine.num_rows,
        "late_rows": dict(late_rows),
    }
    digest = sha256_of(parts)
    manifest = TrainingSetManifest(**parts, spine_path=str(spine_path), created_at=created_at, digest=digest)
    path = _manifest_path(directory, digest)
    if path.exists():
        return read_manifest(directory, digest)
    _write(spine_path, data)
    _write(path, manifest.model_dump_json(indent=1).encode())
    return manifest


def _view_digests(service: ResolvedService) -> dict[str, str]:
    definitions: Sequence[Any] = [*(resolved.view for resolved in service.views), *service.on_demand]
    return {definition.ref: definition.digest for definition in definitions}


def _manifest_path(directory: Path, digest: str) -> Path:
    return directory / f"{digest}.json"


def _write(path: Path, data: Any) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"training set {path}: cannot write: {error}", path=str(path)) from error


def read_manifest(directory: Path, digest: str) -> TrainingSetManifest:
    """A stored manifest.

    Raises:
        NotFoundError: there is none with this digest.
        StorageError: it cannot be read.
    """
    path = _manifest_path(directory, digest)
    try:
        return TrainingSetManifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise NotFoundError(f"training set {digest!r} does not exist", digest=digest) from error
    except (OSError, ValueError) as error:
        raise StorageError(f"training set {path}: cannot read: {error}", path=str(path)) from error


def read_spine(manifest: TrainingSetManifest) -> Any:
    """The spine of a training set.

    Raises:
        StorageError: it cannot be read.
        DataError: it is not the one the manifest names.
    """
    try:
        data = Path(manifest.spine_path).read_bytes()
    except OSError as error:
        reason = f"training set {manifest.name!r}: cannot read {manifest.spine_path}: {error}"
        raise StorageError(reason, path=manifest.spine_path) from error
    found = hashlib.sha256(data).hexdigest()
    if found != manifest.spine_digest:
        reason = f"training set {manifest.name!r}: spine must hash to {manifest.spine_digest}, got {found}"
        raise DataError(reason, path=manifest.spine_path)
    return pq.read_table(pa.BufferReader(data))
