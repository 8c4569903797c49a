"""Records of when rows became visible online, by which the audit tells late data from wrong data."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from raymlops.scratch import write_whole

__all__ = ["Visibility"]

_log = logging.getLogger(__name__)

_RECORD = np.dtype([("sequence", "<i8"), ("at_us", "<i8")])
_LARGEST_BYTES = 16 << 20
_ALWAYS, _NEVER = np.iinfo(np.int64).min, np.iinfo(np.int64).max

Ints = npt.NDArray[np.int64]


class Visibility:
    """One file per view: records of how far the view was online from which instant on. One process writes, any reads.

    A record takes 16 bytes. It is not synced to disk: rows whose record was lost count as visible from the next record
    on, which at worst calls a wrong value late. Rows from before the first record count as visible all along.

    Args:
        directory: Of the files; made at the first record.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def note(self, views: Sequence[str], before: int, until: int, at_us: int) -> None:
        """Record how far views are online now; a record that cannot be written is logged and left out.

        Args:
            views: ``NAME@VERSION`` of each.
            before: ``_seq`` of the last row that was online before; -1 where there was none.
            until: ``_seq`` of the last row that is online now.
            at_us: Microseconds since 1970.
        """
        for view in views:
            try:
                self._append(self._path(view), before, until, at_us)
            except OSError as error:
                _log.warning("when rows of %s became visible could not be noted: %s", view, error)

    def of(self, view: str, sequences: Ints) -> Ints | None:
        """From which instants on rows were online, in microseconds since 1970; ``None`` where nothing was recorded.

        Args:
            view: ``NAME@VERSION``.
            sequences: ``_seq`` of each row.
        """
        try:
            content = self._path(view).read_bytes()
        except OSError:
            return None
        records = np.frombuffer(content[: len(content) // _RECORD.itemsize * _RECORD.itemsize], _RECORD)
        if not len(records):
            return None
        # where a store was made anew its rows are numbered from the start, and only the newest numbering counts
        starts = np.flatnonzero(np.diff(records["sequence"]) < 0)
        records = records[starts[-1] + 1 :] if len(starts) else records
        places = np.searchsorted(records["sequence"], sequences)
        found = np.full(len(sequences), _NEVER)
        known = places < len(records)
        found[known] = records["at_us"][places[known]]
        return found

    def _append(self, path: Path, before: int, until: int, at_us: int) -> None:
        records = [(until, at_us)]
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            records.insert(0, (before, int(_ALWAYS)))
        with path.open("ab") as file:
            whole = file.tell() // _RECORD.itemsize * _RECORD.itemsize
            if whole != file.tell():
                file.truncate(whole)  # a record that was cut off
            file.write(np.array(records, _RECORD).tobytes())
        if whole > _LARGEST_BYTES:
            self._halve(path)

    def _halve(self, path: Path) -> None:
        """Drop the older half of the records; their rows then count as always visible."""
        records = np.frombuffer(path.read_bytes(), _RECORD).copy()
        kept = records[len(records) // 2 :]
        kept["at_us"][0] = _ALWAYS
        write_whole(path, kept.tobytes())

    def _path(self, view: str) -> Path:
        return self._directory / f"{quote(view, safe='@')}.bin"
