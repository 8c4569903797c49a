"""A project's own table, read as the project says, and the project that is made from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raymlops.lazy import lazy_names

if TYPE_CHECKING:
    from raymlops.projects.inference import Asked
    from raymlops.projects.making import make_project
    from raymlops.projects.rows import ProjectRows, project_rows

__all__ = ["Asked", "ProjectRows", "make_project", "project_rows"]

__getattr__ = lazy_names(
    __name__,
    {"inference": ["Asked"], "making": ["make_project"], "rows": ["ProjectRows", "project_rows"]},
)
