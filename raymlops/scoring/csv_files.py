"""CSV files, given the types that a model takes: written anew as Parquet, a batch at a time."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from raymlops.errors import StorageError
from raymlops.features.definitions.schema import EVENT_TIME
from raymlops.records.learning.datatypes import TEXT
from raymlops.records.learning.signatures import Signature
from raymlops.records.record import sha256_of
from raymlops.serving.protocol.datatypes import NUMBERS
from raymlops.tables.columns import INSTANT
from raymlops.tables.sources import FileSource

__all__ = ["typed_copy"]


def typed_copy(
    path: Path, signature: Signature, directory: Path, *, keys: Mapping[str, pa.DataType] | None = None
) -> Path | None:
    """A Parquet file with the rows of CSV files, made once for the same bytes and types.

    Model inputs get the signature's types, ``event_time`` is an instant, keys are as the views' tables have them. The
    other columns are integers where all values of all files print back as the same text, and else texts.

    Args:
        path: A file or a directory.
        signature: Of the model.
        directory: Where copies are kept.
        keys: Columns that hold the keys of views, and their types.

    Returns:
        The copy; ``None`` where the files are Parquet already.

    Raises:
        ConfigError: There is no such file.
        DataError: A value is not of its column's type: the message names file, column, row and value. Or a file has
            other columns than the first.
        StorageError: The copy cannot be written.
    """
    source = FileSource(path)
    if not source.text:
        return None
    declared = {column.name: _arrow_type(column.dtype) for column in signature.inputs} | {EVENT_TIME: INSTANT}
    types = {**declared, **(keys or {})}
    named = {name: str(dtype) for name, dtype in types.items()}
    target = directory / f"{sha256_of({'rows': source.digest(), 'types': named, 'keys': sorted(keys or {})})}.parquet"
    if target.exists():
        return target
    draft = target.with_suffix(f".{uuid.uuid4().hex}")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _write(source.typed_tables(types, keys=keys or {}, integers_only=True), draft)
        draft.replace(target)
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error}", path=str(target)) from error
    finally:
        draft.unlink(missing_ok=True)
    return target


def _write(tables: Iterable[pa.Table], draft: Path) -> None:
    writer = None
    try:
        for table in tables:
            writer = writer or parquet.ParquetWriter(draft, table.schema.remove_metadata())
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _arrow_type(datatype: str) -> pa.DataType:
    return pa.string() if datatype == TEXT else pa.from_numpy_dtype(NUMBERS[datatype])
