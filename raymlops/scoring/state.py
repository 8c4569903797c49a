"""What of a job is done: a plan, and a receipt for each part, on disk before anything is said about it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self, TypeVar

from pydantic import ValidationError

from raymlops.errors import ConflictError, DataError, StorageError
from raymlops.records.record import Record
from raymlops.records.scoring import Part, PartReceipt, ScoredFile, ScoringPlan, ScoringReceipt
from raymlops.tables.files import LocalFiles

__all__ = ["JobDirectory", "JobRecord", "JobState", "job_directory"]

_LOOK_S = 1.0
_POLL_S = 0.01

R = TypeVar("R", bound=Record)


class JobRecord(Record):
    """A job as it was begun."""

    run_id: str
    plan: ScoringPlan
    attempt: int = 1
    """How many runs it has had: one that failed is final, and the next one goes on from its parts."""


@dataclass(frozen=True)
class JobState:
    """Which parts of a job are done. Immutable."""

    parts: Sequence[Part]
    receipts: Mapping[int, PartReceipt] = field(default_factory=dict)

    @property
    def missing(self) -> list[Part]:
        """Parts still to be done, in order."""
        return [part for part in self.parts if part.number not in self.receipts]

    @property
    def done(self) -> list[PartReceipt]:
        """Receipts of the parts that are done, in order."""
        return [self.receipts[number] for number in sorted(self.receipts)]

    @property
    def files(self) -> list[ScoredFile]:
        """What the parts that are done have written, in the order of the rows."""
        return [file for receipt in self.done for file in receipt.files]

    @property
    def rows(self) -> int:
        """Rows of the parts that are done."""
        return sum(receipt.rows for receipt in self.receipts.values())

    def with_receipt(self, receipt: PartReceipt) -> Self:
        """The state once a part is done. The first receipt of a part stays: its files are the ones taken note of.

        Raises:
            DataError: It is not of a part of this job, or does not account for each of its rows.
        """
        parts = {part.number: part for part in self.parts}
        part = parts.get(receipt.part)
        if part is None:
            raise DataError(f"part {receipt.part} is none of the {len(self.parts)} parts of this job")
        written = sum(file.rows for file in receipt.files)
        if not part.rows == receipt.rows == written:
            raise DataError(f"part {part.number} has {part.rows} rows, scored {receipt.rows}, written {written}")
        return replace(self, receipts={receipt.part: receipt, **self.receipts})


class JobDirectory:
    """Where a job keeps what it needs to go on: ``job.json``, ``parts/``, and ``receipt.json`` when all is done.

    Args:
        path: Of this job alone; made when something is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = LocalFiles(path)

    @contextmanager
    def locked(self, wait_s: float = _LOOK_S) -> Iterator[None]:
        """Keep other processes from working on the same job; the lock of one that dies is free at once.

        Args:
            wait_s: How long to wait for a process that holds it; by default, long enough for one that only looks.

        Raises:
            ConflictError: Another process is at work.
        """
        deadline = time.monotonic() + wait_s
        self.path.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while not _taken(handle):
                if time.monotonic() >= deadline:
                    raise ConflictError(f"another process is at work on this job: {self.path}")
                time.sleep(_POLL_S)
            yield
        finally:
            os.close(handle)

    def find_record(self) -> JobRecord | None:
        """The job as it was begun, if it was."""
        return self._find("job.json", JobRecord)

    def put_record(self, record: JobRecord) -> None:
        """Note the job before anything of it is done."""
        self._put("job.json", record)

    def adopted(self, plan: ScoringPlan) -> ScoringPlan:
        """The plan to go by: that of the job as it was begun, where it has not ended.

        What was pinned when it was begun stays, so that all its rows see the same features.
        """
        record = self.find_record()
        if record is None or self.find_receipt() is not None or record.plan.key != plan.key:
            return plan
        return record.plan

    def find_receipt(self) -> ScoringReceipt | None:
        """What became of the job, if it ended."""
        return self._find("receipt.json", ScoringReceipt)

    def put_receipt(self, receipt: ScoringReceipt) -> None:
        """Note that all is done."""
        self._put("receipt.json", receipt)

    def put_part(self, receipt: PartReceipt) -> None:
        """Note that a part is done."""
        self._put(f"parts/{receipt.part:06d}.json", receipt)

    def state(self, parts: Sequence[Part]) -> JobState:
        """Which parts are done, as noted.

        Raises:
            DataError: A note is not of this job.
        """
        state = JobState(parts)
        for name in self._files.list("parts"):
            receipt = self._find(name, PartReceipt)
            if receipt is not None:
                state = state.with_receipt(receipt)
        return state

    def clear(self) -> None:
        """Forget the job: what is begun next begins from the start."""
        for name in [*self._files.list("parts"), "receipt.json", "job.json"]:
            (self.path / name).unlink(missing_ok=True)

    def _find(self, name: str, kind: type[R]) -> R | None:
        try:
            return kind.model_validate_json(self._files.read(name))
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise StorageError(f"{self.path / name} is not readable: {error}", path=str(self.path / name)) from error

    def _put(self, name: str, record: Record) -> None:
        try:
            self._files.write(name, record.model_dump_json().encode())
        except OSError as error:
            raise StorageError(f"{self.path / name} cannot be written: {error}", path=str(self.path / name)) from error


def job_directory(home: Path, plan: ScoringPlan) -> JobDirectory:
    """Where the job of a plan is noted."""
    return JobDirectory(home / "batch" / plan.key[:32])


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
