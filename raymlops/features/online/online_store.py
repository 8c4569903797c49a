"""The online store: bytes per view and entity, replaced together with how far a view has been materialised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

__all__ = ["NOWHERE", "OnlineStore", "Snapshot", "ViewUpdate", "Watermark", "address"]


@dataclass(frozen=True)
class Watermark:
    """How far a view is materialised: all rows of its table up to here are in the online store."""

    table_version: int
    """The last version all of whose rows are there; -1 before the first."""
    sequence: int
    """``_seq`` of the last row; it may be ahead of the version while a large version is materialised in batches."""


@dataclass(frozen=True)
class ViewUpdate:
    """New runs of one view, and the watermark they bring it to."""

    view: str
    """``NAME@VERSION``."""
    watermark: Watermark
    runs: Mapping[bytes, bytes]
    """Encoded key -> run. A commit may have several updates of one view, with the same watermark."""


NOWHERE = b"\x00"
"""An address that no run has: a view's name starts with a letter."""


def address(view: str, key: bytes) -> bytes:
    """Where the run of a key in view ``NAME@VERSION`` is kept."""
    return b"%b\x00%b" % (view.encode(), key)


class Snapshot(Protocol):
    """One consistent state of the store. The memory it hands out is valid until the snapshot is closed."""

    def get_many(self, addresses: Sequence[bytes]) -> list[memoryview | None]:
        """Read runs.

        Args:
            addresses: N addresses, made by ``address``; duplicates allowed.

        Returns:
            N runs, in the order of ``addresses``; ``None`` where there is none.
        """
        ...


class OnlineStore(Protocol):
    """Runs by address. One writer; any number of readers, which see all of a commit or nothing of it.

    Thread-safe. A commit is on disk before it returns, where the store has a disk.
    """

    @property
    def remote(self) -> bool:
        """Whether a read asks a server, and so may wait for it."""
        ...

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Open the state of the last commit.

        Raises:
            StorageError: the store cannot be read.
        """
        ...

    def watermark(self, view: str) -> Watermark | None:
        """How far a view is materialised; ``None`` if it never was.

        Args:
            view: ``NAME@VERSION``.

        Raises:
            StorageError: the store cannot be read.
        """
        ...

    def commit(self, updates: Sequence[ViewUpdate]) -> None:
        """Replace runs and watermarks of several views, all or nothing.

        Raises:
            StorageError: nothing was written; the message names the file.
        """
        ...

    def remove(self) -> None:
        """Close the store of the one writer, and remove all that it holds.

        Raises:
            StorageError: something could not be removed.
        """
        ...

    def close(self) -> None:
        """Release what the store holds; it must not be used any more."""
        ...
