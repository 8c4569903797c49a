"""The output and log of a step, written to a file as they come, so that a kill loses none of them."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from raymlops.errors import NotFoundError, StorageError

__all__ = ["StepLogs", "read_end"]

_FORMAT = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")


class StepLogs:
    """The logs of one run, a file per attempt of a step.

    Output is captured for the whole process: one run at a time in a process has logs of its own.

    Args:
        directory: Made where it is not there and something is written.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @contextmanager
    def capture(self, place: int, step: str, attempt: int) -> Iterator[None]:
        """Keep all that is printed and logged in the block, and the error that ends it, if one does.

        Args:
            place: The step's place in the run, which orders the files.
            step: Its name.
            attempt: Its attempt.

        Raises:
            StorageError: The file cannot be written.
        """
        file = self._open(place, step, attempt)
        handler = logging.StreamHandler(file)
        handler.setFormatter(_FORMAT)
        root = logging.getLogger()
        root.addHandler(handler)
        try:
            with redirect_stdout(_Tee(sys.stdout, file)), redirect_stderr(_Tee(sys.stderr, file)):
                try:
                    yield
                except BaseException:
                    file.write(traceback.format_exc())
                    raise
        finally:
            root.removeHandler(handler)
            file.close()

    def note(self, place: int, step: str, attempt: int, text: str) -> None:
        """Keep a line about a step that is not executed."""
        with self._open(place, step, attempt) as file:
            file.write(f"{text}\n")

    def read(self, step: str | None = None, *, last_bytes: int | None = None) -> str:
        """The logs, of one step or of all in order, each attempt under a line that names it.

        Args:
            step: Its name; all steps, if left out.
            last_bytes: Of each attempt, no more than so many bytes of the end.

        Raises:
            NotFoundError: There are none of this step.
            StorageError: They cannot be read.
        """
        try:
            files = sorted(self._directory.glob("*.log"))
            wanted = [file for file in files if step is None or _step_of(file) == step]
            if step is not None and not wanted:
                known = list(dict.fromkeys(_step_of(file) for file in files))
                raise NotFoundError(f"no log of step {step!r}: there are logs of {known}", step=step)
            return "".join(f"==> {file.stem.partition('-')[2]} <==\n{read_end(file, last_bytes)}" for file in wanted)
        except OSError as error:
            raise StorageError(f"logs {self._directory}: {error}", path=str(self._directory)) from error

    def _open(self, place: int, step: str, attempt: int) -> TextIO:
        path = self._directory / f"{place:02d}-{step}.{attempt}.log"
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            return path.open("a", buffering=1, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise StorageError(f"log {path}: {error}", path=str(path)) from error


def read_end(path: Path, last_bytes: int | None = None) -> str:
    """The text of a file, or no more of it than so many bytes of the end; what is no UTF-8 is replaced.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file, TextIOWrapper(file, "utf-8", "replace") as text:
        if last_bytes is not None:
            file.seek(max(file.seek(0, os.SEEK_END) - last_bytes, 0))
        return text.read()


def _step_of(file: Path) -> str:
    return file.stem.partition("-")[2].rpartition(".")[0]


class _Tee:
    """A stream that goes to where it went, and to a file."""

    def __init__(self, stream: TextIO, file: TextIO) -> None:
        self._stream = stream
        self._file = file

    def write(self, text: str) -> int:
        if not self._file.closed:
            self._file.write(text)
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)
