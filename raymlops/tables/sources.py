"""Files of rows, read a batch at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv, parquet

from raymlops.errors import ConfigError, DataError

__all__ = ["FileSource"]

_BATCH_ROWS = 1 << 17
_CSV_BLOCK_BYTES = 8 << 20
_BUFFER_BYTES = 1 << 20
_SUFFIXES = (".parquet", ".csv")


class FileSource:
    """The rows of a Parquet or CSV file, or of all such files below a directory, in the order of their names.

    What is in memory does not grow with the files. Values of CSV files come as texts, and nothing guesses their types:
    an empty field is null, a quoted empty one an empty text.

    Args:
        path: The file or directory.

    Raises:
        ConfigError: there is no such file, or none to be read in the directory, or files of both kinds.
    """

    def __init__(self, path: Path) -> None:
        self._files = _files(path)
        self.text = self._files[0].suffix == ".csv"
        """Whether values are texts."""

    @property
    def paths(self) -> Sequence[Path]:
        """The files, in the order of their names."""
        return self._files

    def digest(self) -> str:
        """Hex SHA-256 over the bytes of the files, in their order.

        Raises:
            ConfigError: one cannot be read.
        """
        digest = hashlib.sha256()
        for path in self._files:
            try:
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
            except OSError as error:
                raise ConfigError(f"{path} cannot be read: {error}", path=str(path)) from error
        return digest.hexdigest()

    def tables(self) -> Iterator[Any]:
        """All rows; at least one table, if only an empty one.

        Raises:
            DataError: a file is not of its kind, or broken; the message names it.
        """
        for path in self._files:
            try:
                yield from _csv_tables(path) if self.text else _parquet_tables(path)
            except (OSError, pa.ArrowException) as error:
                raise DataError(f"{path} is not a readable table: {error}", path=str(path)) from error


def _files(path: Path) -> Sequence[Path]:
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
        if not found:
            raise ConfigError(f"{path} must hold files that end with {' or '.join(_SUFFIXES)}, got none")
        if len({file.suffix for file in found}) > 1:
            raise ConfigError(f"{path} must hold files of one kind, got {' and '.join(_SUFFIXES)}")
        return found
    if not path.is_file():
        raise ConfigError(f"{path} does not exist", path=str(path))
    if path.suffix not in _SUFFIXES:
        raise ConfigError(f"{path} must end with {' or '.join(_SUFFIXES)}", path=str(path))
    return [path]


def _parquet_tables(path: Path) -> Iterator[Any]:
    # by default all of a row group is read before its first row is given out
    with parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
        yield file.schema_arrow.empty_table()
        for batch in file.iter_batches(batch_size=_BATCH_ROWS):
            yield pa.Table.from_batches([batch])


def _csv_tables(path: Path) -> Iterator[Any]:
    read = csv.ReadOptions(block_size=_CSV_BLOCK_BYTES)
    parse = csv.ParseOptions(newlines_in_values=True)
    with csv.open_csv(path, read, parse) as reader:
        names = reader.schema.names
    convert = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    with csv.open_csv(path, read, parse, convert) as reader:
        yield reader.schema.empty_table()
        for batch in reader:
            yield pa.Table.from_batches([batch])
