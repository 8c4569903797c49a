"""The log of a run's trials, in the run's directory, for pages and commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from raymlops.records.record import canonical_json
from raymlops.scratch import write_whole

__all__ = ["read_trials", "write_trials"]


def _path(home: Path, run_id: str) -> Path:
    return home / "runs" / run_id / "trials.json"


def write_trials(home: Path, run_id: str, trials: Sequence[Mapping[str, Any]]) -> None:
    """Write them, all or none."""
    path = _path(home, run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, canonical_json(list(trials)))


def read_trials(home: Path, run_id: str) -> list[dict[str, Any]]:
    """Read them; none where the run did not come as far as its search."""
    try:
        return list(orjson.loads(_path(home, run_id).read_bytes()))
    except FileNotFoundError:
        return []
