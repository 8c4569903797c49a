"""Journals: one JSON document a line, appended by one process, followed by another."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

__all__ = ["Journal", "Tail", "now", "read_journal"]


def now() -> float:
    """Seconds on the clock that all processes of the machine share and nobody sets."""
    return time.monotonic()


class Journal:
    """Appends documents; a line is one write, so that several processes and threads may append to one file."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, document: Any) -> None:
        """Append one document."""
        os.write(self._handle, orjson.dumps(document) + b"\n")


class Tail:
    """Reads what was appended since it last looked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> Iterator[Any]:
        """The new documents; a line that is not whole yet waits."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                yield orjson.loads(line)


def read_journal(path: Path) -> list[Any]:
    """All documents of a journal; none where there is no file."""
    return list(Tail(path).read())
