"""A project's own table, read as the project says, and the project that is made from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raymlops.lazy import lazy_names

if TYPE_CHECKING:
    from raymlops.projects.inference import Asked, likely_entities, time_columns
    from raymlops.projects.making import make_project
    from raymlops.projects.reading import check_columns, read_raw
    from raymlops.projects.rendering import check_empty
    from raymlops.projects.rows import ProjectRows, project_rows

__all__ = [
    "Asked",
    "ProjectRows",
    "check_columns",
    "check_empty",
    "likely_entities",
    "make_project",
    "project_rows",
    "read_raw",
    "time_columns",
]

__getattr__ = lazy_names(
    __name__,
    {
        "inference": ["Asked", "likely_entities", "time_columns"],
        "making": ["make_project"],
        "reading": ["check_columns", "read_raw"],
        "rendering": ["check_empty"],
        "rows": ["ProjectRows", "project_rows"],
    },
)
