"""Rows to score: Parquet files and Delta tables, cut into parts, read a block at a time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler
from pyarrow import parquet
from pyarrow.fs import FileSelector, PyFileSystem

from raymlops.errors import ConfigError, DataError, NotFoundError, SchemaMismatch, StorageError
from raymlops.records.record import sha256_of
from raymlops.records.scoring import Part, RowGroup, Source
from raymlops.scoring.carried import values_decide
from raymlops.tables.columns import check_unique_columns
from raymlops.tables.files import failure, parse_root, storage_options_for
from raymlops.tables.sources import FileSource

__all__ = ["RowSource", "cut_parts", "delta_source", "file_source", "find_source", "is_delta", "split_version"]


_PARQUET = ".parquet"
_BUFFER_BYTES = 1 << 20
"""Of each column, so much of a file is in memory at a time."""
_READ = ds.ParquetReadOptions(coerce_int96_timestamp_unit="us")
"""Instants of 96 bits are nanoseconds by default, which end in 2262: 9999-12-31 would be read as 1816."""


def split_version(name: str) -> tuple[str, int | None]:
    """``TABLE@v12`` as table and version; without one, ``None``."""
    found = re.fullmatch(r"(.+)@v(\d+)", name)
    return (name, None) if found is None else (found[1], int(found[2]))


def is_delta(path: Path) -> bool:
    """Whether a directory is a Delta table."""
    return (path / "_delta_log").is_dir()


def file_source(path: Path, name: str) -> Source:
    """A Parquet file, or a directory of such, as its bytes are now.

    Raises:
        ConfigError: There is no such file.
        DataError: It is a CSV file, which has no types: see ``typed_copy``.
    """
    files = FileSource(path)
    if files.text:
        raise DataError(f"{path} has no types: it must be read as CSV first", path=str(path))
    return Source(kind="files", uri=str(path.resolve()), digest=files.digest(), name=name)


def find_source(named: str, options: Mapping[str, str] | None = None) -> Source:
    """Rows that have types already: a Delta table, with ``@v12`` behind it at version 12, or Parquet files.

    Args:
        named: A path, or the URI of a table, of a Parquet file or of what such files lie below.
        options: Options of the object store.

    Raises:
        ConfigError, NotFoundError: There is nothing of that name.
        DataError: It is a CSV file.
        StorageError: It cannot be read.
    """
    table, version = split_version(named)
    root = parse_root(table)
    if isinstance(root, Path):
        if is_delta(root):
            return delta_source(str(root.absolute()), version, table, options)
        if version is None:
            return file_source(root, named)
        raise ConfigError(f"{table} is no Delta table: it has no version {version}")
    files = [] if version is not None else _objects(root, options)[1]
    if not files or any("_delta_log/" in file.path for file in files):
        return delta_source(root, version, table, options)
    digest = sha256_of({"files": [[file.path, file.size, str(file.mtime_ns)] for file in files]})
    return Source(kind="files", uri=root, digest=digest, name=named)


def _objects(uri: str, options: Mapping[str, str] | None) -> tuple[Any, list[Any]]:
    """A bucket as a file system, and what there is below a URI that may be read as rows or tells of a Delta table."""
    folder, _, name = uri.rpartition("/") if uri.endswith(_PARQUET) else (uri, "", "")
    store = PyFileSystem(DeltaStorageHandler(folder, storage_options_for(folder, options)))
    with _delta_errors(uri):
        found = store.get_file_info(FileSelector("", allow_not_found=True, recursive=not name))
    wanted = [each for each in found if each.path == name or (not name and each.path.endswith((_PARQUET, ".json")))]
    return store, sorted(wanted, key=lambda each: str(each.path))


def delta_source(uri: str, version: int | None, name: str, options: Mapping[str, str] | None = None) -> Source:
    """A Delta table at a version, the newest by default.

    Raises:
        NotFoundError: There is no such table or version.
        StorageError: It cannot be read.
    """
    with _delta_errors(name):
        handle = _open_delta(uri, None, options)
        newest = handle.version()
        chosen = newest if version is None else version
        if not 0 <= chosen <= newest:
            raise NotFoundError(f"{name}: version must be 0 to {newest}, got {version}", table=name)
        digest = sha256_of({"table": str(handle.metadata().id), "version": chosen})
    return Source(kind="delta", uri=uri, version=chosen, digest=digest, name=name)


def cut_parts(groups: Iterable[RowGroup], part_rows: int) -> list[Part]:
    """Parts of consecutive row groups, of ``part_rows`` rows or more only where one row group has more.

    Every row is in exactly one part. Row groups without rows are left out.
    """
    parts: list[Part] = []
    waiting: list[RowGroup] = []
    first = 0

    def close() -> None:
        nonlocal first
        if waiting:
            parts.append(Part(number=len(parts), first_row=first, groups=tuple(waiting)))
            first += parts[-1].rows
            waiting.clear()

    for group in groups:
        if waiting and sum(each.rows for each in waiting) + group.rows > part_rows:
            close()
        if group.rows:
            waiting.append(group)
    close()
    return parts


class RowSource:
    """Reads the rows of a source.

    Attributes:
        schema: Columns and types of its rows.

    Args:
        source: What is read.
        options: Options of the object store.

    Raises:
        SchemaMismatch: Its files differ in their columns, or have two of one name.
        StorageError: It cannot be read.
    """

    def __init__(self, source: Source, options: Mapping[str, str] | None = None) -> None:
        self._source = source
        with self._named():
            if source.kind == "delta":
                dataset = _open_delta(source.uri, source.version, options).to_pyarrow_dataset()
            else:
                store, paths = _files_of(source.uri, options)
                check_unique_columns(paths[0], parquet.read_schema(paths[0], filesystem=store).names)
                dataset = ds.dataset(paths, format=ds.ParquetFileFormat(read_options=_READ), filesystem=store)
            self.schema: pa.Schema = dataset.schema
            self._fragments = sorted(dataset.get_fragments(), key=lambda fragment: fragment.path)
            if source.kind == "files":
                for fragment in self._fragments:
                    _check_alike(fragment.path, fragment.physical_schema, self.schema)
        self._of_path = {fragment.path: fragment for fragment in self._fragments}

    def finer(self) -> set[str]:
        """Columns whose instants may be finer, or further away, than microseconds are.

        Raises:
            DataError: A file is broken.
        """
        with self._named():
            legacy = {name for fragment in self._fragments for name in _legacy_instants(fragment.metadata)}
        return legacy.union(field.name for field in self.schema if values_decide(field.type))

    def row_groups(self) -> Iterator[RowGroup]:
        """All row groups, in the order of the files' names; only footers are read.

        Raises:
            DataError: A file is broken.
        """
        with self._named():
            for fragment in self._fragments:
                for group in fragment.row_groups:
                    yield RowGroup(path=fragment.path, number=group.id, rows=group.num_rows)

    def blocks(self, part: Part, columns: Sequence[str], block_rows: int) -> Iterator[pa.Table]:
        """The rows of a part, in order, at most so many at a time, however large a row group is.

        Raises:
            DataError: A file is broken, or is not what it was when the part was cut.
        """
        wanted = pa.schema([self.schema.field(name) for name in columns])
        for group in part.groups:
            if group.path not in self._of_path:
                raise DataError(f"{self._source.name}: {group.path} is gone", path=group.path)
            rows = 0
            with self._named():
                for block in _read_group(self._of_path[group.path], group.number, wanted, block_rows):
                    rows += block.num_rows
                    yield block
            if rows != group.rows:
                raise DataError(f"{self._source.name}: {group.path} has changed while it was scored", path=group.path)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                f"{self._source.name} is not readable: {failure(error)}", source=self._source.uri
            ) from error
        except DeltaError as error:
            raise StorageError(f"{self._source.name}: {failure(error)}", source=self._source.uri) from error


def _files_of(uri: str, options: Mapping[str, str] | None) -> tuple[Any, list[str]]:
    """The file system of Parquet files, ``None`` for that of this machine, and their paths."""
    root = parse_root(uri)
    if isinstance(root, Path):
        return None, [str(path) for path in FileSource(root).paths]
    store, files = _objects(root, options)
    return store, [file.path for file in files if file.path.endswith(_PARQUET)]


def _read_group(fragment: Any, number: int, wanted: pa.Schema, block_rows: int) -> Iterator[pa.Table]:
    """A row group in blocks: a scan by the dataset would decode all of it at once, and so would a buffered file."""
    constants = ds.get_partition_keys(fragment.partition_expression)
    with _opened(fragment, "us") as file:
        there = [name for name in wanted.names if name in file.schema_arrow.names]
        if legacy := [name for name in _legacy_instants(file.metadata) if name in there]:
            _require_microseconds(fragment, number, legacy, block_rows)
        for batch in file.iter_batches(block_rows, row_groups=[number], columns=there, use_threads=False):
            arrays = []
            for field in wanted:
                if field.name in there:
                    arrays.append(batch.column(field.name).cast(field.type))
                else:
                    value = pa.scalar(constants.get(field.name), field.type)
                    arrays.append(pa.repeat(value, batch.num_rows))
            yield pa.Table.from_arrays(arrays, schema=wanted) if arrays else pa.table({}).slice(0, 0)


@contextmanager
def _opened(fragment: Any, unit: str) -> Iterator[parquet.ParquetFile]:
    """A file of which little is in memory at a time, and whose instants of 96 bits are of ``unit``."""
    with (
        fragment.filesystem.open_input_file(fragment.path) as opened,
        parquet.ParquetFile(
            opened, buffer_size=_BUFFER_BYTES, pre_buffer=False, coerce_int96_timestamp_unit=unit
        ) as file,
    ):
        yield file


def _legacy_instants(metadata: parquet.FileMetaData) -> list[str]:
    """Columns of instants of 96 bits, which say neither their unit nor their zone."""
    columns = [metadata.schema.column(place) for place in range(metadata.num_columns)]
    return [each.name for each in columns if each.physical_type == "INT96" and each.path == each.name]


def _require_microseconds(fragment: Any, number: int, names: Sequence[str], block_rows: int) -> None:
    """Refuse instants of 96 bits that are no whole microseconds: read as such, they would lose the rest.

    Raises:
        DataError: One is not.
    """
    with _opened(fragment, "us") as rough, _opened(fragment, "ns") as fine:
        blocks = [
            file.iter_batches(block_rows, row_groups=[number], columns=names, use_threads=False)
            for file in (rough, fine)
        ]
        for one, other in zip(*blocks, strict=True):
            for name in names:
                # nanoseconds that overflow wrap around, and so does the product: the difference is what is lost
                us, ns = (_bits(batch.column(name)) for batch in (one, other))
                if (us * np.uint64(1000) != ns).any():
                    raise DataError(
                        f"{fragment.path}: column {name!r} holds instants finer than microseconds", column=name
                    )


def _bits(instants: pa.Array) -> npt.NDArray[np.uint64]:
    found: npt.NDArray[np.int64] = instants.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return found.view(np.uint64)


def _check_alike(path: str, found: pa.Schema, wanted: pa.Schema) -> None:
    check_unique_columns(path, found.names)
    absent = [name for name in wanted.names if name not in found.names]
    if absent:
        raise SchemaMismatch(f"{path} lacks columns {absent}, which other files have", path=path, columns=absent)
    other = [name for name in wanted.names if found.field(name).type != wanted.field(name).type]
    if other:
        raise SchemaMismatch(f"{path} has other types of columns {other} than other files", path=path, columns=other)


def _open_delta(uri: str, version: int | None, options: Mapping[str, str] | None) -> DeltaTable:
    return DeltaTable(uri, version=version, storage_options=storage_options_for(parse_root(uri), options))


@contextmanager
def _delta_errors(name: str) -> Iterator[None]:
    try:
        yield
    except TableNotFoundError as error:
        raise NotFoundError(f"{name}: there is no table", table=name) from error
    except (DeltaError, OSError) as error:
        raise StorageError(f"{name} cannot be read: {failure(error)}", table=name) from error
