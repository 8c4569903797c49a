"""Whose code a process of the pool runs, in a file that outlives the process."""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import threading
from collections.abc import Collection
from pathlib import Path
from uuid import uuid4

__all__ = ["Mark", "RunningNote", "Suspects", "left_behind"]

_log = logging.getLogger(__name__)

_MOST_MODELS = 65_536
"""One byte of each note's head belongs to one model; the names follow, one a line."""
_SUFFIX = ".running"


class _Running:
    """Code of any model: how much of it runs, and how much ever began. Its lock guards the head of a note."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now = 0
        self.begun = 0


class Mark:
    """Notes that the code of one model runs: ``with mark: ...``. Thread-safe.

    Args:
        flags: The head of the note.
        place: The model's byte in it.
        running: Shared by all marks of the note.
    """

    def __init__(self, flags: mmap.mmap, place: int, running: _Running) -> None:
        self._flags = flags
        self._place = place
        self._all = running
        self._running = 0
        self._begun = 0

    def __enter__(self) -> None:
        with self._all.lock:
            self._running += 1
            self._begun += 1
            self._all.now += 1
            self._all.begun += 1
            self._flags[self._place] = 1

    def __exit__(self, *_: object) -> None:
        with self._all.lock:
            self._running -= 1
            self._all.now -= 1
            if not self._running:
                self._flags[self._place] = 0

    def alone(self) -> int | None:
        """A number that stays while the code that is marked now runs alone; ``None`` where other code runs, too."""
        with self._all.lock:
            return self._all.begun if self._all.now == self._running == 1 else None

    def others_begun(self) -> int | None:
        """How often code of other models ever began; ``None`` where some of it runs."""
        with self._all.lock:
            return self._all.begun - self._begun if self._all.now == self._running else None


class RunningNote:
    """The note of this process. The kernel keeps what is written whatever ends the process; a lock tells its death.

    Args:
        directory: Where the processes of the pool leave their notes on this node.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = uuid4().hex
        self._path, new = directory / f"{name}{_SUFFIX}", directory / f"{name}.new"
        self._file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(self._file, _MOST_MODELS)
        new.rename(self._path)  # seen by others only once it is locked: without a lock it is a dead process's
        self._flags = mmap.mmap(self._file, _MOST_MODELS)
        os.lseek(self._file, 0, os.SEEK_END)
        self._running = _Running()
        self._marks: dict[str, Mark] = {}

    def mark(self, model: str) -> Mark:
        """The mark of a model, the same at every call.

        Raises:
            ValueError: There are too many models.
        """
        if model not in self._marks:
            if len(self._marks) == _MOST_MODELS:
                raise ValueError(f"a process of the pool must hold at most {_MOST_MODELS} models, got one more")
            os.write(self._file, f"{model}\n".encode())
            self._marks[model] = Mark(self._flags, len(self._marks), self._running)
        return self._marks[model]

    def close(self) -> None:
        """Leave no note: the process ends as it should."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)  # the map has a descriptor of its own, and is let go with the last mark


def left_behind(directory: Path) -> dict[Path, frozenset[str]]:
    """The notes of processes that were killed or crashed -> the models whose code ran in that moment."""
    found = {}
    for path in sorted(directory.glob(f"*{_SUFFIX}")):
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                content = file.read()
        except BlockingIOError:
            continue  # its process lives
        except OSError as error:
            _log.warning("the note %s of a process of the pool cannot be read: %s", path, error)
            continue
        names = content[_MOST_MODELS:].decode(errors="replace").split("\n")[:-1]
        found[path] = frozenset(name for name, flag in zip(names, content, strict=False) if flag)
    return found


class Suspects:
    """The models whose code ran when processes of the pool died, until they have left the pool.

    Args:
        directory: Where the processes of the pool leave their notes on this node.

    Attributes:
        models: Their names.
    """

    def __init__(self, directory: Path) -> None:
        self._notes = left_behind(directory)
        self.models = frozenset[str]().union(*self._notes.values())
        if self.models:
            _log.error("a process of the pool ended while it ran the code of %s", sorted(self.models))
        self.keep(self.models)

    def keep(self, pooled: Collection[str]) -> None:
        """Suspect those no more that are in the pool no more; notes of which none is left are removed."""
        self.models = self.models.intersection(pooled)
        for path in [path for path, models in self._notes.items() if not models & self.models]:
            del self._notes[path]
            path.unlink(missing_ok=True)
