"""Group commit: several writers share one transaction, and the last of them commits it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Connection

__all__ = ["WriteGroup", "WriteQueue"]

_LARGEST = 64
"""Blocks in one commit: bounds how long the first waits for the last, and other processes for the database."""


@dataclass
class WriteGroup:
    """Blocks that share one transaction, run one after the other by their own threads."""

    connection: Connection | None = None
    """Opened by the first block."""
    blocks: int = 0
    error: BaseException | None = None
    """Why none of the blocks was written."""
    ended: threading.Event = field(default_factory=threading.Event)


class WriteQueue:
    """Gives threads the writer's place one at a time, and tells the last of those in line to commit.

    A group is committed as soon as no writer waits for the place, so that a lone writer never waits.

    Args:
        commit: Ends a group's transaction; sets the group's ``error`` instead of raising.
        timeout_s: How long a thread waits for its turn.
    """

    def __init__(self, commit: Callable[[WriteGroup], None], timeout_s: float) -> None:
        self._commit = commit
        self._timeout_s = timeout_s
        self._turn = threading.Condition()
        self._busy = False
        self._waiting = 0
        self._group: WriteGroup | None = None

    def enter(self) -> WriteGroup | None:
        """Wait for the writer's place; ``None`` if the wait timed out. Each place must be given back once."""
        with self._turn:
            self._waiting += 1
            try:
                free = self._turn.wait_for(lambda: not self._busy, self._timeout_s)
            except BaseException:
                self._waiting -= 1
                self._take_over()
                raise
            self._waiting -= 1
            if not free:
                return None  # the writer at work will see the shorter queue when it leaves
            self._busy = True
            if self._group is None:
                self._group = WriteGroup()
            self._group.blocks += 1
            return self._group

    def leave(self, group: WriteGroup) -> None:
        """Give the place to the next in line, after a commit where there is none or the group is full or lost."""
        with self._turn:
            if self._waiting and group.blocks < _LARGEST and group.error is None:
                self._busy = False
                self._turn.notify()
                return
            self._group = None
        self._end(group)

    def _end(self, group: WriteGroup) -> None:
        try:
            self._commit(group)
        finally:
            group.ended.set()
            with self._turn:
                self._busy = False
                self._turn.notify()

    def _take_over(self) -> None:
        """Commit for a group that counted on a thread that was interrupted in the line."""
        group = self._group
        if group is not None and not self._busy and not self._waiting:
            self._group = None
            self._end(group)
