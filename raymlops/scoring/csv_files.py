"""CSV files, given the types that a model takes: written anew as Parquet, a batch at a time."""

from __future__ import annotations

import uuid
from pathlib import Path

import pyarrow as pa
from pyarrow import csv, parquet

from raymlops.errors import DataError, StorageError
from raymlops.features.definitions.schema import EVENT_TIME
from raymlops.records.models import TEXT, Signature
from raymlops.records.record import sha256_of
from raymlops.serving.protocol.datatypes import NUMBERS
from raymlops.tables.columns import INSTANT
from raymlops.tables.sources import FileSource

__all__ = ["typed_copy"]

_BLOCK_BYTES = 8 << 20


def typed_copy(path: Path, signature: Signature, directory: Path) -> Path | None:
    """A Parquet file with the rows of CSV files, made once for the same bytes and types.

    Model inputs get the signature's types, ``event_time`` is an instant; of the other columns, among them keys, those
    that hold integers throughout the first block are integers, the rest texts.

    Args:
        path: A file or a directory.
        signature: Of the model.
        directory: Where copies are kept.

    Returns:
        The copy; ``None`` where the files are Parquet already.

    Raises:
        ConfigError: There is no such file.
        DataError: A value is not of its column's type; the message names it.
        StorageError: The copy cannot be written.
    """
    source = FileSource(path)
    if not source.text:
        return None
    types = {column.name: _arrow_type(column.dtype) for column in signature.inputs} | {EVENT_TIME: INSTANT}
    named = {name: str(dtype) for name, dtype in types.items()}
    target = directory / f"{sha256_of({'rows': source.digest(), 'types': named})}.parquet"
    if target.exists():
        return target
    draft = target.with_suffix(f".{uuid.uuid4().hex}")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _write(source, types, draft)
        draft.replace(target)
    except pa.ArrowException as error:
        raise DataError(f"{path} is not a readable table: {error}", path=str(path)) from error
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error}", path=str(target)) from error
    finally:
        draft.unlink(missing_ok=True)
    return target


def _write(source: FileSource, types: dict[str, pa.DataType], draft: Path) -> None:
    read, parse = csv.ReadOptions(block_size=_BLOCK_BYTES), csv.ParseOptions(newlines_in_values=True)
    writer = None
    try:
        for path in source.paths:
            types = types | _key_types(path, types)
            convert = csv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=True)
            with csv.open_csv(path, read, parse, convert) as reader:
                writer = writer or parquet.ParquetWriter(draft, reader.schema)
                for batch in reader:
                    writer.write_batch(batch)
    finally:
        if writer is not None:
            writer.close()


def _key_types(path: Path, known: dict[str, pa.DataType]) -> dict[str, pa.DataType]:
    """Types of the columns that nothing tells of: the same for all files, as the first one has them."""
    read, parse = csv.ReadOptions(block_size=_BLOCK_BYTES), csv.ParseOptions(newlines_in_values=True)
    with csv.open_csv(path, read, parse) as reader:
        guessed = reader.schema
    return {
        field.name: pa.int64() if pa.types.is_integer(field.type) else pa.string()
        for field in guessed
        if field.name not in known
    }


def _arrow_type(datatype: str) -> pa.DataType:
    return pa.string() if datatype == TEXT else pa.from_numpy_dtype(NUMBERS[datatype])
