"""The replay: a project's own table as live operation, in event-time order, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raymlops.lazy import lazy_names

if TYPE_CHECKING:
    from raymlops.replay.outcome.report import write_files, write_report
    from raymlops.replay.plan import Sample, Wishes, parse_sample
    from raymlops.replay.run import ReplayOptions, run_replay
    from raymlops.replay.source import imported
    from raymlops.replay.tables import ReplayTables, ViewRows

__all__ = [
    "ReplayOptions",
    "ReplayTables",
    "Sample",
    "ViewRows",
    "Wishes",
    "imported",
    "parse_sample",
    "run_replay",
    "write_files",
    "write_report",
]

__getattr__ = lazy_names(
    __name__,
    {
        "plan": ["Sample", "Wishes", "parse_sample"],
        "outcome.report": ["write_files", "write_report"],
        "run": ["ReplayOptions", "run_replay"],
        "source": ["imported"],
        "tables": ["ReplayTables", "ViewRows"],
    },
)
