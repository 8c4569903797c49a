"""Metrics of features, runs, the ledger and the disk."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from raymlops.records.ledger import GENESIS, Ledger
from raymlops.records.people.discovery import FeatureFreshness
from raymlops.records.runs import RunCount, RunStatus
from raymlops.runtime.actors.metrics_server import page_of_families
from raymlops.serving.answering.metrics import Family, Sample, family_of

__all__ = ["LedgerPage", "disk_page", "features_page", "runs_page"]

_log = logging.getLogger(__name__)

_DIRECTORIES = ("artifacts", "bundles", "features", "mlflow-artifacts", "models", "monitor", "runs", "searches")
"""Directories of the home that are measured one by one; the label must not take names that anybody may make up."""
_TAKEN_BACK = ("fall_back", "roll_back")
"""Actions that are counted from 0 on, as an alert asks for their increase: a series that begins at 1 shows none."""


def features_page(views: Sequence[FeatureFreshness], now: datetime) -> str:
    """How far each applied feature view reaches, offline and online."""
    texts = {
        "rows": "Rows of the view's table.",
        "table_version": "Newest version of the view's table.",
        "online_rows_behind": "Rows of the table that the online store does not have yet.",
        "age_seconds": "From the view's newest event to now.",
        "ttl_seconds": "Age above which a row is not served.",
        "stale": "1 where even the newest row is too old to be served.",
        "ingest_age_seconds": "Time since rows were last added to the view's table.",
        "online_problem": "1 where the online store could not be asked about the view.",
    }
    samples: dict[str, list[Sample]] = {name: [] for name in texts}
    for view in views:
        for name, value in _of_view(view, now).items():
            if value is not None:
                samples[name].append(Sample("", {"view": view.view}, float(value)))
    families = [Family(name, "gauge", text, samples[name]) for name, text in texts.items() if samples[name]]
    families.append(family_of("views", "gauge", "Feature views that are applied.", float(len(views))))
    return page_of_families("raymlops_features", [({}, family) for family in families])


def _of_view(view: FeatureFreshness, now: datetime) -> dict[str, float | None]:
    return {
        "rows": view.rows,
        "table_version": view.table_version,
        "online_rows_behind": view.online_rows_behind,
        "age_seconds": view.age_s,
        "ttl_seconds": view.ttl_s,
        "stale": None if view.verdict is None else view.verdict == "stale",
        "ingest_age_seconds": None if view.ingested_at is None else (now - view.ingested_at).total_seconds(),
        "online_problem": bool(view.online_problem),
    }


def runs_page(counts: Sequence[RunCount], now: datetime) -> str:
    """How many runs each pipeline has had, by their end, and how long the oldest one under way has taken."""
    # every status from the first run on: a series that begins at 1 shows Prometheus no increase
    runs_by = dict.fromkeys(((of.pipeline, status) for of in counts for status in RunStatus), 0)
    runs_by |= {(of.pipeline, of.status): of.runs for of in counts}
    runs = [
        Sample("", {"pipeline": pipeline, "status": str(status)}, float(number))
        for (pipeline, status), number in runs_by.items()
    ]
    newest = [
        Sample("", {"pipeline": of.pipeline, "status": str(of.status)}, of.newest_at.timestamp()) for of in counts
    ]
    under_way: dict[str, float] = {of.pipeline: 0.0 for of in counts}
    for of in counts:
        if not RunStatus(of.status).final:
            taken_s = (now - of.oldest_at).total_seconds()
            under_way[of.pipeline] = max(under_way[of.pipeline], taken_s)
    ages = [Sample("", {"pipeline": pipeline}, age_s) for pipeline, age_s in under_way.items()]
    families = [
        Family("count", "gauge", "Runs, by pipeline and by where they stand.", runs),
        Family("newest_timestamp_seconds", "gauge", "When the newest of them was created.", newest),
        Family("under_way_seconds", "gauge", "Age of the pipeline's oldest run that has not ended; 0: none.", ages),
    ]
    return page_of_families("raymlops_runs", [({}, family) for family in families])


class LedgerPage:
    """Counts the ledger's entries, and checks each one's hash and link as it comes. Thread-safe.

    An entry that is altered later is found by ``raymlops ledger verify``, which reads all of them again.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._actions: Counter[str] = Counter(dict.fromkeys(_TAKEN_BACK, 0))
        self._newest: dict[str, float] = {}
        self._sequence = 0
        self._hash = GENESIS
        self._intact = True

    def render(self) -> str:
        """The page, of all entries up to now.

        Raises:
            LedgerBroken: An entry cannot be read.
            UnavailableError: The ledger does not answer.
        """
        with self._lock:
            for entry in self._ledger.entries(after=self._sequence):
                linked = entry.previous_hash == self._hash and entry.hash == entry.expected_hash()
                if not linked and self._intact:
                    self._intact = False
                    _log.error("entry %d of the ledger is not what was written, or not in its place", entry.sequence)
                self._sequence, self._hash = entry.sequence, entry.hash
                self._actions[entry.action] += 1
                self._newest[entry.action] = entry.at.timestamp()
            return page_of_families("raymlops_ledger", [({}, family) for family in self._families()])

    def _families(self) -> Iterator[Family]:
        counts = [Sample("", {"action": action}, float(count)) for action, count in self._actions.items()]
        newest = [Sample("", {"action": action}, at_s) for action, at_s in self._newest.items()]
        yield Family("entries_total", "counter", "Entries, by what was decided or done.", counts)
        yield Family("newest_timestamp_seconds", "gauge", "When the newest such entry was made.", newest)
        yield family_of("sequence", "gauge", "Number of the newest entry.", float(self._sequence))
        text = "1 as long as every entry that came carried the hash of all before it."
        yield family_of("intact", "gauge", text, float(self._intact))


def disk_page(home: Path) -> str:
    """How full the disk of the home is, and what of it is the platform's."""
    usage = shutil.disk_usage(home)
    sizes = [Sample("", {"directory": name}, float(_bytes_of(home / name))) for name in _DIRECTORIES]
    files = sum(_file_bytes(path) for path in home.glob("metadata.db*"))
    families = [
        family_of("disk_total_bytes", "gauge", "Size of the disk that holds the home.", float(usage.total)),
        family_of("disk_free_bytes", "gauge", "What is free of it.", float(usage.free)),
        family_of("metadata_bytes", "gauge", "The metadata database, where it is a file of the home.", float(files)),
        Family("directory_bytes", "gauge", "Files below a directory of the home.", sizes),
    ]
    return page_of_families("raymlops_home", [({}, family) for family in families])


def _bytes_of(directory: Path) -> int:
    return sum(_file_bytes(Path(at) / name) for at, _, names in os.walk(directory) for name in names)


def _file_bytes(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:  # removed since it was listed
        return 0
