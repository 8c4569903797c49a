"""Batch scoring."""

from __future__ import annotations

from pydantic import Field

from raymlops.config.section import Section, Span
from raymlops.config.section import parse_duration as _d

__all__ = ["BatchConfig"]


class BatchConfig(Section):
    """How tables are cut, and how long is waited for what scores them."""

    part_rows: int = Field(1 << 18, ge=1)
    """Rows that are scored, written and taken note of at once, unless one row group of the source has more."""
    block_rows: int = Field(1 << 16, ge=1)
    """Rows that a process holds at a time; each block becomes a file of the output."""
    joined_block_rows: int = Field(1 << 20, ge=1)
    """The same where features are joined by tasks on the cluster, which read their tables once per block."""
    workers: int | None = Field(None, ge=1)
    """Processes that score, one CPU each; null takes as many as CPUs are free."""
    no_progress_timeout: Span = _d("30m")
    """A job of which no part has ended for so long is given up; what is done is kept."""
    profile_timeout: Span = _d("6h")
    """A profile of a table that is not complete after so long is given up."""
