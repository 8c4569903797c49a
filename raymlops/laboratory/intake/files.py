"""Parquet and CSV files of strangers, with the types guessed over the whole of a CSV file."""

from __future__ import annotations

import codecs
import csv as text_csv
from collections.abc import Collection, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from raymlops.errors import ConfigError, DataError
from raymlops.tables.sources import require_closed_quotes

__all__ = ["read_table"]

_NULLS = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?"]
_ZERO_BEFORE = r"^\s*[+-]?0\d"
_HEAD_BYTES = 1 << 16
_MOST_BYTES = 1 << 30


def read_table(path: Path, *, texts: Collection[str] = ()) -> pa.Table:
    """The rows of a Parquet or CSV file.

    A CSV file's types are guessed over all of its rows; its fields may be parted by commas, semicolons, tabs or bars.
    Whole numbers of which some begin with a zero, such as ``00501``, are names and stay texts.

    Args:
        path: The file.
        texts: Columns of a CSV file that stay texts.

    Raises:
        ConfigError: There is no such file, or its name ends with neither.
        DataError: It cannot be read as what its name says.
    """
    if not path.is_file():
        raise ConfigError(f"{path} is not a file", path=str(path))
    suffix = path.suffix.lower()
    if suffix not in {".parquet", ".csv", ".tsv"}:
        raise ConfigError(f"{path} must end with .parquet or .csv", path=str(path))
    try:
        table = parquet.read_table(path) if suffix == ".parquet" else _read_csv(path, texts)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is not a readable table: {' '.join(str(error).split())}", path=str(path)) from error
    if not table.num_rows:
        raise DataError(f"{path} has no rows", path=str(path))
    return table


def _read_csv(path: Path, texts: Collection[str]) -> pa.Table:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    try:  # the head may end amid a character
        encoding, text = "utf8", codecs.getincrementaldecoder("utf-8-sig")().decode(head, final=len(head) < _HEAD_BYTES)
    except UnicodeDecodeError:
        encoding, text = "latin1", head.decode("latin1")
    # a block as large as the file: a value that comes late must not contradict a type that was guessed early
    block = min(path.stat().st_size + 1, _MOST_BYTES)
    delimiter = _delimiter(text)
    require_closed_quotes(path, delimiter)
    parsing = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)

    def read(texts: Collection[str], only: Sequence[str] = ()) -> pa.Table:
        converting = csv.ConvertOptions(
            column_types=dict.fromkeys(texts, pa.string()),
            null_values=_NULLS,
            strings_can_be_null=True,
            include_columns=list(only),
        )
        return csv.read_csv(path, csv.ReadOptions(block_size=block, encoding=encoding), parsing, converting)

    table = read(texts)
    names = table.column_names
    whole = [field.name for field in table.schema if pa.types.is_integer(field.type) and names.count(field.name) == 1]
    for name, column in zip(whole, read(whole, whole).columns if whole else (), strict=True):
        if pc.any(pc.match_substring_regex(column, _ZERO_BEFORE)).as_py():
            table = table.set_column(names.index(name), name, column)
    return table


def _delimiter(text: str) -> str:
    first = text.partition("\n")[0]
    try:
        return text_csv.Sniffer().sniff(first, delimiters=",;\t|").delimiter
    except text_csv.Error:
        return ","
