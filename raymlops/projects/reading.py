"""A stranger's table as it lies there: Parquet, CSV or Delta."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from raymlops.errors import ConfigError, DataError
from raymlops.laboratory.intake.files import read_table
from raymlops.records.names import did_you_mean
from raymlops.tables.columns import as_table

__all__ = ["check_columns", "read_raw"]

_SHOWN = 12


def read_raw(place: str, *, texts: Collection[str], time_zone: str) -> Any:
    """The rows of a Parquet or CSV file, or of a Delta table; its times without a zone are of ``time_zone``.

    Args:
        place: A path, or the URI of a Delta table; what a URI needs comes from the environment.
        texts: Columns of a CSV file whose texts are not guessed at.
        time_zone: A name such as ``Europe/Berlin``.

    Raises:
        ConfigError: There is no such table, or no such zone.
        DataError: It cannot be read, has no rows, or a column twice.
    """
    path = Path(place)
    if "://" in place or (path / "_delta_log").is_dir():
        rows = _read_delta(place)
    elif path.is_dir():
        raise ConfigError(f"{place} must be a Parquet or CSV file or a Delta table, got a directory that is none")
    else:
        rows = read_table(path, texts=texts)
    read = as_table(path.name, rows, time_zone=time_zone, round_times=True)
    if not read.num_rows:
        raise DataError(f"{place} has no rows", path=place)
    return read


def check_columns(rows: Any, named: Collection[tuple[str, str]]) -> None:
    """Refuse names of columns that the table does not have.

    Args:
        rows: The table.
        named: What is named and its name, such as ``("label", "churned")``.

    Raises:
        DataError: One is not there.
    """
    for what, name in named:
        if name not in rows.column_names:
            known = rows.column_names
            listed = ", ".join(map(repr, known[:_SHOWN])) + (f" and {len(known) - _SHOWN} more" * (len(known) > _SHOWN))
            raise DataError(
                f"{what} must be a column of the table, got {name!r}{did_you_mean(name, known)}; it has {listed}",
                column=name,
            )


def _read_delta(place: str) -> Any:
    try:
        return DeltaTable(place).to_pyarrow_table()
    except TableNotFoundError as error:
        raise ConfigError(f"{place} is not a Delta table", path=place) from error
    except (DeltaError, OSError, ValueError) as error:
        raise DataError(f"{place} is not a readable Delta table: {' '.join(str(error).split())}", path=place) from error
