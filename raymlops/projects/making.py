"""A project made from a table, start to end."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from raymlops.laboratory.intake.columns import plain_column
from raymlops.projects.inference import Asked, Inferred, infer
from raymlops.projects.instants import read_instants
from raymlops.projects.naming import project_name
from raymlops.projects.reading import read_raw
from raymlops.projects.rendering import check_empty, render_project, write_files

__all__ = ["Made", "make_project"]

_SAMPLE = "tests/rows.parquet"
_SAMPLE_ROWS = 300
_SOURCE = "raymlops"
"""Stands for the git repository of the templates until the user names its address."""


@dataclass(frozen=True)
class Made:
    """A project that was written.

    Attributes:
        directory: The project's directory.
        inferred: The inference that it is made of.
        files: Names of its files.
    """

    directory: Path
    inferred: Inferred
    files: tuple[str, ...]


def make_project(
    table: str, directory: Path, asked: Asked, *, name: str | None = None, source: str = _SOURCE, raw: Any = None
) -> Made:
    """Read a table, infer what a project about it must say, and write the project.

    Args:
        table: Path of a Parquet or CSV file or a Delta table, or the URI of the latter.
        directory: The project's directory; it must be empty or missing.
        asked: The user's answers about the table.
        name: Of the project and its model; ``None``: the directory's.
        source: Git repository that ``copier update`` reads newer templates from.
        raw: The table, where it was read already.

    Raises:
        ConfigError: The directory is not empty, or an option is wrong.
        DataError: The table is of no use.
    """
    check_empty(directory)
    called = project_name(directory.resolve().name if name is None else name)
    times = [asked.event_time, *([asked.label_time] if asked.label_time else [])]
    if raw is None:
        raw = read_raw(table, texts=times, time_zone=asked.time_zone)
    inferred = infer(raw, asked, name=called, table=_seen_from(directory, table))
    release = version("raymlops")
    answers = {"raymlops_version": release, **inferred.answers}
    files = render_project(answers, source=source, version=f"v{release}")
    files[_SAMPLE] = _sample(raw, asked, answers)
    write_files(directory, files)
    return Made(directory, inferred, tuple(sorted(files)))


def _seen_from(directory: Path, table: str) -> str:
    if "://" in table:
        return table
    return Path(os.path.relpath(Path(table).resolve(), directory.resolve())).as_posix()


def _sample(raw: Any, asked: Asked, answers: dict[str, Any]) -> bytes:
    """A Parquet file of some rows of the columns that the project reads: of few entities, over the whole time."""
    named = [asked.label, asked.event_time, *([asked.label_time] if asked.label_time else [])]
    columns = [column["name"] for column in (*answers["keys"], *answers["inputs"])]
    at = read_instants(raw, asked.event_time, asked.time_zone)
    rows = raw.select([*named, *columns]).take(pc.sort_indices(at)).slice(0, raw.num_rows - at.null_count)
    coming_back = next((entity["column"] for entity in answers["entities"] if entity["repeats"]), None)
    if coming_back is not None:
        counts = pc.value_counts(plain_column(rows[coming_back]).drop_null()).sort(order="descending", by="counts")
        least = int(np.searchsorted(np.cumsum(counts.field("counts")), _SAMPLE_ROWS)) + 1
        rows = rows.filter(pc.is_in(plain_column(rows[coming_back]), counts.field("values").slice(0, least)))
    places = np.unique(np.linspace(0, rows.num_rows - 1, _SAMPLE_ROWS).astype(np.int64))
    rows = rows.take(pa.array(places))
    buffer = io.BytesIO()
    parquet.write_table(rows, buffer)
    return buffer.getvalue()
