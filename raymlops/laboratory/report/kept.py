"""The newest report about a model, kept as JSON: small beside the matrix, and drawn again without it."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raymlops.errors import NotFoundError, StorageError
from raymlops.scratch import write_whole

if TYPE_CHECKING:
    from raymlops.laboratory.report.lab_report import LabReport

__all__ = ["keep_report", "read_report", "report_path"]

_FORMAT, _SUFFIX = 1, ".json"
_NEEDED = frozenset({"made_at", "windows", "first", "starts", "price", "frontier", "policies", "age", "recommended"})


def report_path(home: Path, model: str) -> Path:
    """The file of the newest report about a model."""
    return home / "laboratory" / f"{model}{_SUFFIX}"


def keep_report(report: LabReport, path: Path, made_at: datetime) -> None:
    """Write the figures of a report; a file that is there is replaced at once, or not at all.

    Raises:
        StorageError: The file cannot be written.
    """
    text = json.dumps({"format": _FORMAT, "made_at": made_at.isoformat(), **report.to_dict()})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode())
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}", path=str(path)) from error


def read_report(path: Path) -> dict[str, Any]:
    """The figures of a report as ``LabReport.to_dict`` gave them, and ``made_at``.

    Raises:
        NotFoundError: None is kept.
        StorageError: It cannot be read, or is of another release.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} does not exist", path=str(path)) from error
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read: {error}", path=str(path)) from error
    if not isinstance(told, dict) or told.get("format") != _FORMAT or not told.keys() >= _NEEDED:
        raise StorageError(f"{path} must be a laboratory's report of format {_FORMAT}: make it again", path=str(path))
    return told
