"""The journal of a replay: its steps so far in a file, from which a killed replay goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from raymlops.errors import StorageError
from raymlops.replay.client import Answer, Tally

__all__ = ["JOURNAL", "Journal", "Progress"]

JOURNAL = "replay.jsonl"
"""Name of the file in the replay's home."""


@dataclass
class Progress:
    """The progress of a replay, by its journal.

    Attributes:
        begun: The note about the replay's start, made once the first model was served; ``None`` before that.
        answers: Request id -> answer.
        tally: Requests so far.
        steps: Steps that are done.
        seconds: Seconds that the steps took.
    """

    begun: Mapping[str, Any] | None = None
    answers: dict[str, Answer] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    steps: int = 0
    seconds: float = 0.0


class Journal:
    """One line of JSON for each thing that was done. A line that a kill cut short is left out when it is read.

    Args:
        path: The file; made where it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        self._file.write(b"\n" if path.stat().st_size else b"")  # ends a line that was cut short

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Note that the first model is served, and what the replay was begun with."""
        self._write({"begun": dict(facts)})

    def hear(self, what: Answer | str | None) -> None:
        """Note a request that ended, as ``PredictionClient`` tells it."""
        match what:
            case Answer():
                self._write({"answer": [what.request_id, what.prediction, what.version, what.role]})
            case str():
                self._write({"failed": what})
            case None:
                self._write({"labels": 1})

    def end_step(self, step: int, seconds: float) -> None:
        """Note that a step is over, the loop's turn included."""
        self._write({"step": step, "seconds": seconds})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        try:
            self._file.write(orjson.dumps(line) + b"\n")
            self._file.flush()
        except OSError as error:
            raise StorageError(f"{self._path} cannot be written: {error}", path=str(self._path)) from error

    @staticmethod
    def read(path: Path) -> Progress:
        """The progress by a journal; empty where there is none."""
        found = Progress()
        if not path.exists():
            return found
        for line in path.read_bytes().splitlines():
            try:
                entry = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            _take(found, entry)
        return found


def _take(found: Progress, entry: Mapping[str, Any]) -> None:
    match entry:
        case {"begun": facts}:
            found.begun = facts
        case {"answer": [request_id, prediction, version, role]}:
            found.tally.requests += 1
            found.answers[request_id] = Answer(request_id, tuple(prediction), version, role)
        case {"failed": message}:
            found.tally.requests += 1
            found.tally.fail(message)
        case {"labels": count}:
            found.tally.requests += count
        case {"step": step, "seconds": seconds}:
            found.steps, found.seconds = step, found.seconds + seconds
