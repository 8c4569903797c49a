"""Files of rows, read a batch at a time."""

from __future__ import annotations

import hashlib
import mmap
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from raymlops.errors import ConfigError, DataError
from raymlops.tables.columns import check_unique_columns, origin_of, with_origin
from raymlops.tables.texts import KEY_RULE, guessed_types, read_texts

__all__ = ["FileSource", "require_closed_quotes"]

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
        self._closed: set[Path] = set()
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
        """All rows, in tables of which ``origin_of`` tells the file; at least one table, if only an empty one.

        Raises:
            DataError: a file is not of its kind, or broken; the message names it.
        """
        for path in self._files:
            first_row = 0
            try:
                if self.text and path not in self._closed:
                    require_closed_quotes(path)
                    self._closed.add(path)
                for table in _csv_tables(path) if self.text else _parquet_tables(path):
                    yield with_origin(table, path, first_row)
                    first_row += table.num_rows
            except (OSError, pa.ArrowException) as error:
                raise DataError(f"{path} is not a readable table: {_one_line(error)}", path=str(path)) from error

    def typed_tables(
        self,
        types: Mapping[str, Any],
        *,
        keys: Collection[str] = (),
        integers_only: bool = False,
        time_zone: str | None = None,
    ) -> Iterator[Any]:
        """All rows, with the columns of the first file in its order; texts in types that are the same in all tables.

        Columns without a declared type are numbers only where every value in all files prints back as the same text;
        so no value is altered, and no two become one.

        Args:
            types: Column -> declared Arrow type, as ``read_texts`` takes it. Columns that are not there do no harm.
            keys: Declared columns whose integers must print back as well.
            time_zone: Zone of declared instants that are written without one.
            integers_only: Whether columns without a declared type are int64 or texts, and nothing else.

        Raises:
            DataError: as ``tables`` does; or a file has other columns than the first; or a text is not of its declared
                type: file, column, row and text are told.
        """
        guessed = (
            guessed_types(self.tables(), lambda name: name not in types, integers_only=integers_only)
            if self.text
            else {}
        )
        all_types = {**guessed, **types}
        names: Sequence[str] = ()
        for table in self.tables():
            names = names or table.column_names
            _check_columns(table, names)
            if not self.text:
                yield table.select(names)
                continue
            columns = {
                name: _typed(table, name, all_types[name], key=name in keys, time_zone=time_zone) for name in names
            }
            yield pa.table(columns).replace_schema_metadata(table.schema.metadata)


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


def _check_columns(table: Any, names: Sequence[str]) -> None:
    if set(table.column_names) != set(names):
        path = (origin_of(table) or ("a file", 0))[0]
        reason = f"{path} must have the columns of the files before, {names}, got {table.column_names}"
        raise DataError(reason, path=path)


def _typed(table: Any, name: str, target: Any, *, key: bool, time_zone: str | None) -> Any:
    """A column of texts in its type.

    Raises:
        DataError: a text is not of the type.
    """
    column, broken = read_texts(table[name], target, key=key, time_zone=time_zone)
    if broken is None:
        return column
    row = int(np.flatnonzero(broken)[0])
    path, first_row = origin_of(table) or ("", 0)
    rule = f"{KEY_RULE}; or its view must declare it as string" if key else f"must be text of {target}"
    reason = f"{path}: column {name!r} {rule}, got {table[name][row].as_py()!r:.80} in row {first_row + row}"
    raise DataError(reason, path=path, column=name, row=first_row + row)


def require_closed_quotes(path: Path, delimiter: str = ",") -> None:
    """Refuse a CSV file that ends within quotes: Arrow reads the rest of it, all its lines, as one text.

    A quote opens a text where a field begins, and closes it unless it is doubled, as Arrow's reader has it.

    Raises:
        DataError: A quote is not closed; the message tells its line.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        quotes = sum(block.count(b'"') for block in iter(lambda: file.read(_BUFFER_BYTES), b""))
        if quotes % 2 == 0:  # as in every whole file; an open one has it only where a quote stands amid a field, too
            return
        begins = re.escape(delimiter.encode()) + rb"\n\r"
        quoted = re.compile(rb"(?:\A(?:\xef\xbb\xbf)?|(?<=[" + begins + rb']))"[^"]*(?:""[^"]*)*("|\Z)')
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for found in quoted.finditer(content):
                if not found[1]:
                    line = 1 + content[: found.start()].count(b"\n")
                    raise DataError(f"{path}: the quote that opens in line {line} is never closed", path=str(path))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _csv_names(path: Path) -> list[str]:
    """Names of the columns; ``FileSource.tables`` says what Arrow raises of a file that is broken.

    Raises:
        SchemaMismatch: a name is there twice.
    """
    read, parse = csv.ReadOptions(block_size=_CSV_BLOCK_BYTES), csv.ParseOptions(newlines_in_values=True)
    with csv.open_csv(path, read, parse) as reader:
        names: list[str] = reader.schema.names
    check_unique_columns(str(path), names)
    return names


def _csv_tables(path: Path) -> Iterator[Any]:
    read = csv.ReadOptions(block_size=_CSV_BLOCK_BYTES)
    parse = csv.ParseOptions(newlines_in_values=True)
    names = _csv_names(path)
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
