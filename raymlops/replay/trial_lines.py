"""How far the search of a run is, by the log of its step."""

from __future__ import annotations

from collections.abc import Callable

from raymlops.errors import NotFoundError
from raymlops.experiments.searching.search import TRIALS_LOG

__all__ = ["TrialLines"]

_MARK = f" {TRIALS_LOG}: "


class TrialLines:
    """Tells each line about a trial once, as it is written.

    Args:
        read: Gives the log of the search's step; raises ``NotFoundError`` until that has begun.
        tell: Called with each line.
    """

    def __init__(self, read: Callable[[], str], tell: Callable[[str], None]) -> None:
        self._read = read
        self._tell = tell
        self._told = 0

    def look(self) -> None:
        """Tell what was written since the last look."""
        try:
            written = self._read()
        except NotFoundError:
            return
        whole, _, _ = written.rpartition("\n")  # the last line may be half written
        lines = [line.partition(_MARK)[2] for line in whole.split("\n") if _MARK in line]
        for line in lines[self._told :]:
            self._tell(line)
        self._told = len(lines)
