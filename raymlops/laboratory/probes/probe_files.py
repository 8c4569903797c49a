"""Files of probes, in one folder: rows, fitted probes, and their results. No code is in the files."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import Field, ValidationError

from raymlops.errors import StorageError
from raymlops.laboratory.probed import ProbedWindow
from raymlops.records.record import Record, canonical_json

__all__ = ["SHOWN", "Codes", "ProbeFolder", "Rows", "read_shown"]

SHOWN = "shown.json"
"""File of the windows that were probed."""


@dataclass(frozen=True)
class Rows:
    """Labelled rows as numbers, in the order of their event times.

    Attributes:
        inputs: ``[rows, inputs]`` single precision; a value that is missing is NaN.
        labels: Class numbers, or values.
        at_us: Event times, in microseconds since 1970.
        known_us: When each label came.
        total: Rows that they were drawn from.
    """

    inputs: npt.NDArray[np.float32]
    labels: npt.NDArray[np.float64]
    at_us: npt.NDArray[np.int64]
    known_us: npt.NDArray[np.int64]
    total: int

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, kept: npt.NDArray[np.bool_]) -> Rows:
        """Some of the rows; each stands for as many as before."""
        share = float(kept.mean()) if len(kept) else 0.0
        parts = self.inputs[kept], self.labels[kept], self.at_us[kept], self.known_us[kept]
        return Rows(*parts, total=round(self.total * share))

    def drawn(self, most: int, seed: Iterable[int]) -> Rows:
        """At most so many rows, each as likely as the others."""
        if len(self) <= most:
            return self
        picked = np.zeros(len(self), dtype=bool)
        picked[np.random.default_rng(list(seed)).choice(len(self), most, replace=False)] = True
        parts = self.inputs[picked], self.labels[picked], self.at_us[picked], self.known_us[picked]
        return Rows(*parts, total=self.total)


class Codes(Record):
    """The number of each text, by the order in which texts first came: what comes later changes no number."""

    inputs: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Text input -> its texts."""
    labels: tuple[str, ...] = ()
    """Texts of the classes."""


class ProbeFolder:
    """Reads and writes one folder; a file is written whole, or not at all. One process writes.

    Args:
        path: Of the folder.

    Raises:
        StorageError: (any method) a file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def made(cls, path: Path) -> Self:
        """The folder, which is made where it is not there."""
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StorageError(f"{path} cannot be made: {error}", path=str(path)) from error
        return cls(path)

    def windows(self) -> list[int]:
        """Starts of the windows whose rows are kept, in microseconds since 1970, oldest first."""
        return sorted(int(file.stem.removeprefix("rows-")) for file in self._path.glob("rows-*.npz"))

    def probes(self) -> list[int]:
        """Starts of the windows that probes were fitted at, likewise."""
        return sorted(int(file.stem.removeprefix("probe-")) for file in self._path.glob("probe-*.npz"))

    def rows(self, name: str) -> Rows | None:
        """Rows that were kept under a name."""
        found = self._load(f"rows-{name}.npz")
        return None if found is None else Rows(**{**found, "total": int(found["total"])})

    def keep_rows(self, name: str, rows: Rows) -> None:
        """Keep rows under a name."""
        self._save(f"rows-{name}.npz", vars(rows))

    def probe(self, start_us: int) -> dict[str, Any] | None:
        """The arrays of a fitted probe."""
        return self._load(f"probe-{start_us}.npz")

    def keep_probe(self, start_us: int, arrays: dict[str, Any]) -> None:
        """Keep a fitted probe."""
        self._save(f"probe-{start_us}.npz", arrays)

    def note(self) -> dict[str, Any]:
        """The note that was kept with the history's rows."""
        return dict(orjson.loads(self._text("history.json") or b"{}"))

    def keep_history(self, rows: Rows, note: dict[str, Any]) -> None:
        """Keep the rows of a training set, and what they are made of."""
        self._save("history.npz", vars(rows))
        self._write("history.json", lambda file: file.write(canonical_json(note)))

    def history(self) -> Rows | None:
        """Rows of the training set that was kept last."""
        found = self._load("history.npz")
        return None if found is None else Rows(**{**found, "total": int(found["total"])})

    def codes(self) -> Codes:
        """The numbers of texts."""
        text = self._text("codes.json")
        return Codes() if text is None else Codes.model_validate_json(text)

    def keep_codes(self, codes: Codes) -> None:
        """Keep the numbers of texts."""
        self._write("codes.json", lambda file: file.write(canonical_json(codes)))

    def shown(self) -> tuple[ProbedWindow, ...]:
        """The windows that were probed, oldest first."""
        return read_shown(self._path / SHOWN)

    def keep_shown(self, windows: Iterable[ProbedWindow]) -> None:
        """Keep the windows that were probed."""
        ordered = sorted(windows, key=lambda window: window.start)
        self._write(SHOWN, lambda file: file.write(canonical_json(ordered)))

    def forget(self, before_us: int) -> None:
        """Remove rows and probes of windows that start before an instant."""
        for kind, starts in (("rows", self.windows()), ("probe", self.probes())):
            for start in starts:
                if start < before_us:
                    (self._path / f"{kind}-{start}.npz").unlink(missing_ok=True)

    def _text(self, name: str) -> bytes | None:
        try:
            return (self._path / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{self._path / name} cannot be read: {error}") from error

    def _load(self, name: str) -> dict[str, Any] | None:
        path = self._path / name
        try:
            with np.load(path, allow_pickle=False) as found:
                return {each: found[each] for each in found.files}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise StorageError(f"{path} cannot be read: {error}", path=str(path)) from error

    def _save(self, name: str, arrays: dict[str, Any]) -> None:
        self._write(name, lambda file: np.savez(file, **arrays))

    def _write(self, name: str, write: Callable[[IO[bytes]], object]) -> None:
        path, draft = self._path / name, self._path / f".{name}.draft"
        try:
            with draft.open("wb") as file:
                os.fchmod(file.fileno(), 0o600)
                write(file)
            draft.replace(path)
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error}", path=str(path)) from error
        finally:
            draft.unlink(missing_ok=True)


def read_shown(path: Path) -> tuple[ProbedWindow, ...]:
    """The windows of a file that ``keep_shown`` wrote; none where there is no file.

    Raises:
        StorageError: It cannot be read.
    """
    try:
        return tuple(ProbedWindow.model_validate(each) for each in json.loads(path.read_bytes()))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, ValidationError) as error:
        raise StorageError(f"{path} cannot be read: {error}", path=str(path)) from error
