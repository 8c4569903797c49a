"""Training sets: their rows, and the manifest that pins the table versions and definitions behind them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from raymlops.errors import DataError, NotFoundError, SchemaMismatch, StorageError
from raymlops.features.catalog.applied import ResolvedService
from raymlops.features.catalog.layout import training_sets_path
from raymlops.records.features import TrainingSetManifest
from raymlops.records.names import check_name
from raymlops.records.record import sha256_of
from raymlops.records.shown import shown
from raymlops.tables.columns import to_pandas
from raymlops.tables.content import content_digest
from raymlops.tables.files import Root, failure, open_files

__all__ = [
    "TrainingSet",
    "TrainingSets",
    "check_content",
    "check_views",
    "code_digest",
    "table_digest",
]


_PARQUET = b"PAR1"
"""First bytes of a Parquet file."""


@shown("manifest", "code_changed")
class TrainingSet:
    """A training set: its rows, and the manifest of what they were made from.

    Args:
        manifest: What they were made of.
        table: The rows.

    Attributes:
        code_changed: Whether it was rebuilt by other code than the manifest names; the rows are the same all the same.
    """

    def __init__(self, manifest: TrainingSetManifest, table: Any) -> None:
        self.manifest = manifest
        self.code_changed = manifest.code_digest != code_digest()
        self._table = table

    def table(self) -> Any:
        """The spine's rows and columns in their order, then one column ``VIEW__FIELD`` per feature of the service."""
        return self._table

    def to_pandas(self) -> Any:
        """``table`` as a pandas frame; integers and bools with missing values get pandas' nullable types."""
        return to_pandas(self._table)

    def to_polars(self) -> Any:
        """``table`` as a polars frame."""
        return pl.from_arrow(self._table)


@cache
def code_digest() -> str:
    """Hex SHA-256 over the sources of features and tables, which are what computes the features."""
    digest = hashlib.sha256()
    package = Path(__file__).parents[2]
    for path in sorted([*package.glob("features/**/*.py"), *package.glob("tables/**/*.py")]):
        digest.update(path.relative_to(package).as_posix().encode() + b"\x00" + path.read_bytes() + b"\x00")
    return digest.hexdigest()


def table_digest(table: Any) -> str:
    """Hex SHA-256 of a table's columns, types and values, however they are chunked."""
    return hashlib.sha256(_canonical_bytes(table)).hexdigest()


def _canonical_bytes(table: Any) -> Any:
    """A Parquet file, whose encoders see values only and not how Arrow holds them.

    Of types that Parquet alters or lacks, such as nested ones, an Arrow file.
    """
    sink = pa.BufferOutputStream()
    plain = table.replace_schema_metadata(None).combine_chunks()
    if all(_is_same_in_parquet(field.type) for field in plain.schema):
        pq.write_table(plain, sink, compression="zstd", store_schema=True)
        return sink.getvalue()
    with pa.ipc.new_file(sink, plain.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(plain)
    return sink.getvalue()


def _stored_bytes(name: str, spine: Any) -> Any:
    """The bytes of a training set's spine.

    Raises:
        SchemaMismatch: the spine has a type that cannot be stored.
    """
    try:
        return _canonical_bytes(spine)
    except pa.ArrowException as error:
        reason = f"training set {name!r}: the spine must have types that can be stored: {failure(error)}"
        raise SchemaMismatch(reason) from error


def _is_same_in_parquet(given: Any) -> bool:
    types = pa.types
    if types.is_dictionary(given):
        return bool(types.is_string(given.value_type))
    if types.is_date64(given) or types.is_time32(given) or types.is_interval(given):
        return bool(given == pa.time32("ms"))
    if types.is_timestamp(given):
        return bool(given.unit != "s")
    return bool(types.is_primitive(given) or types.is_null(given) or types.is_decimal(given)) or any(
        is_kind(given)
        for is_kind in (
            types.is_string,
            types.is_large_string,
            types.is_string_view,
            types.is_binary,
            types.is_large_binary,
            types.is_binary_view,
            types.is_fixed_size_binary,
        )
    )


def _read_bytes(data: bytes) -> Any:
    file = pa.BufferReader(data)
    return pq.read_table(file) if data[:4] == _PARQUET else pa.ipc.open_file(file).read_all()


class TrainingSets:
    """The manifests and spines of a feature store. Thread-safe, for any number of processes.

    Args:
        root: Root of the store.
        storage_options: Options of the object store.
    """

    def __init__(self, root: Root, storage_options: Mapping[str, str] | None = None) -> None:
        self._files = open_files(training_sets_path(root), storage_options)

    def write(
        self,
        *,
        name: str,
        service: ResolvedService,
        spine: Any,
        table: Any,
        table_versions: Mapping[str, int],
        late_rows: Mapping[str, int],
        knowledge_cutoff: bool,
        created_at: datetime,
    ) -> TrainingSetManifest:
        """Store the spine and the manifest of a training set; the same again stores nothing new.

        Args:
            name: Name of the training set.
            service: Its service.
            spine: Its spine.
            table: Its rows.
            table_versions: Table -> version it was read from.
            late_rows: From ``join_service``.
            knowledge_cutoff: From ``join_service``.
            created_at: Now.

        Raises:
            ConfigError: the name is none.
            SchemaMismatch: the spine has a type that cannot be stored.
            StorageError: it could not be written.
        """
        check_name("training set", name)
        data = _stored_bytes(name, spine)
        spine_digest = hashlib.sha256(data).hexdigest()
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
            "content_digest": content_digest(table),
        }
        digest = sha256_of(parts)
        stored = _spine_path(spine_digest, "parquet" if data[:4] == _PARQUET else "arrow")
        manifest = TrainingSetManifest(
            **parts, spine_path=self._files.uri(stored), created_at=created_at, digest=digest
        )
        path = _manifest_path(digest)
        try:
            if path in self._files.list():
                return self.manifest(digest)
            self._files.write(stored, data)
            self._files.write(path, manifest.model_dump_json(indent=1).encode())
        except OSError as error:
            where = self._files.uri(path)
            raise StorageError(f"training set {where}: cannot write: {failure(error)}", path=where) from error
        return manifest

    def manifests(self) -> list[TrainingSetManifest]:
        """All that are stored, by digest.

        Raises:
            StorageError: one cannot be read.
        """
        try:
            paths = [path for path in self._files.list() if path.endswith(".json")]
        except OSError as error:
            where = self._files.uri("")
            raise StorageError(f"training sets {where}: cannot list: {failure(error)}", path=where) from error
        return [self.manifest(path.removesuffix(".json")) for path in paths]

    def manifest(self, digest: str) -> TrainingSetManifest:
        """A stored manifest.

        Raises:
            NotFoundError: there is none with this digest.
            StorageError: it cannot be read.
        """
        path = _manifest_path(digest)
        try:
            return TrainingSetManifest.model_validate_json(self._files.read(path))
        except FileNotFoundError as error:
            raise NotFoundError(f"training set {digest!r} does not exist", digest=digest) from error
        except (OSError, ValueError) as error:
            where = self._files.uri(path)
            raise StorageError(f"training set {where}: cannot read: {failure(error)}", path=where) from error

    def spine(self, manifest: TrainingSetManifest) -> Any:
        """The spine of a training set.

        Raises:
            StorageError: it cannot be read.
            DataError: it is not the one the manifest names.
        """
        path = _spine_path(manifest.spine_digest, manifest.spine_path.rpartition(".")[2])
        where = self._files.uri(path)
        try:
            data = self._files.read(path)
        except OSError as error:
            reason = f"training set {manifest.name!r}: cannot read {where}: {failure(error)}"
            raise StorageError(reason, path=where) from error
        found = hashlib.sha256(data).hexdigest()
        if found != manifest.spine_digest:
            reason = f"training set {manifest.name!r}: spine must hash to {manifest.spine_digest}, got {found}"
            raise DataError(reason, path=where)
        return _read_bytes(data)


def _view_digests(service: ResolvedService) -> dict[str, str]:
    definitions: Sequence[Any] = [*(resolved.view for resolved in service.views), *service.on_demand]
    return {definition.ref: definition.digest for definition in definitions}


def _manifest_path(digest: str) -> str:
    return f"{digest}.json"


def _spine_path(digest: str, kind: str) -> str:
    return f"spines/{digest}.{kind}"


def check_views(manifest: TrainingSetManifest, service: ResolvedService) -> None:
    """Refuse a manifest whose definitions are not the applied ones.

    Raises:
        DataError: they are not.
    """
    found = _view_digests(service)
    changed = sorted(ref for ref in found.keys() | manifest.views.keys() if found.get(ref) != manifest.views.get(ref))
    if changed:
        reason = f"training set {manifest.name!r}: views must be those of the manifest, got others for {changed}"
        raise DataError(reason, views=changed)


def check_content(manifest: TrainingSetManifest, table: Any) -> None:
    """Refuse rebuilt rows that differ from those of the manifest in any byte.

    Raises:
        DataError: they are not.
    """
    found = content_digest(table)
    if manifest.content_digest and found != manifest.content_digest:
        reason = f"training set {manifest.name!r}: content must hash to {manifest.content_digest}, got {found}"
        if manifest.code_digest != code_digest():
            reason += f"; it was computed by other code: {manifest.code_digest} then, {code_digest()} now"
        raise DataError(reason, digest=manifest.digest)
