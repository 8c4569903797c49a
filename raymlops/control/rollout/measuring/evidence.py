"""The evidence of a trial so far, as sums, so that a judgement needs no rows. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

import numpy as np
import numpy.typing as npt

from raymlops.records.record import Instant, Record

__all__ = [
    "Arm",
    "Counts",
    "Health",
    "Labelled",
    "Losses",
    "ShareSince",
    "Step",
    "Task",
    "TrialEvidence",
    "TrialScope",
]

Task = Literal["binary", "multiclass", "regressor"]
"""Decides the loss per row: log loss, 0-1 loss (pairs: log loss where versions tell probabilities), squared error."""

Floats = npt.NDArray[np.float64]


class Losses(Record):
    """Sums over the losses of some rows; enough for their mean and its error."""

    rows: int = 0
    total: float = 0.0
    square_total: float = 0.0
    blocks: int = 0
    """Groups of rows that may err together; 0: rows are independent."""
    block_square_total: float = 0.0
    """Over the blocks: the square of the sum of what lies above the mean."""

    @classmethod
    def of(cls, losses: Floats, blocks: npt.NDArray[np.int64] | None = None) -> Losses:
        """Sum up ``losses``; ``blocks`` has the number of each row's block."""
        sums = {"rows": len(losses), "total": float(losses.sum()), "square_total": float((losses**2).sum())}
        if blocks is None or not len(losses):
            return cls.model_validate(sums)
        _, places = np.unique(blocks, return_inverse=True)
        within = np.bincount(places, weights=losses - losses.mean())
        return cls(**sums, blocks=len(within), block_square_total=float((within**2).sum()))

    @property
    def mean(self) -> float:
        """Mean loss; 0 without rows."""
        return self.total / self.rows if self.rows else 0.0

    @property
    def mean_variance(self) -> float:
        """Estimated variance of ``mean``; infinite below two rows, or below two blocks."""
        if self.rows < 2 or self.blocks == 1:
            return float("inf")
        if self.blocks:
            return self.block_square_total * self.blocks / (self.blocks - 1) / self.rows**2
        spread = max(self.square_total - self.rows * self.mean**2, 0.0)
        return spread / (self.rows - 1) / self.rows

    @property
    def sd(self) -> float:
        """Standard deviation of a row; of correlated rows, the one that independent ones would need."""
        return float(np.sqrt(self.rows * self.mean_variance))


class Counts(Record):
    """Answers, errors and latencies of one version over the requests that it received."""

    requests: int = 0
    faults: int = 0
    """Requests it raised on, or answered with NaN, or out of range."""
    late: int = 0
    """Requests it answered after the trial's deadline, or not at all within it."""

    def plus(self, other: Counts) -> Counts:
        """The sum of both."""
        return Counts(
            requests=self.requests + other.requests, faults=self.faults + other.faults, late=self.late + other.late
        )


class Arm(Counts):
    """One version's part in a trial."""

    losses: Losses = Losses()
    """Over its labelled answers."""


class Step(Record):
    """The part of a trial in which the candidate had one share of the traffic."""

    share: float
    """The candidate's planned share of the requests to both versions; 0 to 1."""
    candidate: Counts = Counts()
    champion: Counts = Counts()


class Labelled(Record):
    """How many of the rows that are old enough have a label, and which way these lean."""

    rows: int = 0
    labelled_rows: int = 0
    lean: float | None = None
    """Mean score of the labelled rows less that of all; ``None`` without any, or of several classes."""


class TrialEvidence(Record):
    """Candidate and champion, over one stretch of time."""

    candidate: Arm
    champion: Arm
    paired: Losses | None = None
    """Candidate's loss minus champion's, over labelled rows for which both are known."""
    paired_level: float | None = None
    """The champion's mean loss over the same rows."""
    right_or_wrong: bool = False
    """Whether a row's loss is 0 or 1."""
    steps: tuple[Step, ...] = ()
    """The steps in order; a trial without steps counts as one step, at the share that was seen."""
    labelled: Labelled = Labelled()

    @classmethod
    def nothing(cls) -> TrialEvidence:
        """Of a trial that has shown nothing."""
        return cls(candidate=Arm(), champion=Arm())


class Health(Record):
    """How often the champion failed."""

    rows: int
    faults: int


class ShareSince(Record):
    """The candidate's share from an instant on."""

    since: Instant
    share: float


class TrialScope(Record):
    """Which rows a trial is summed up over, and how."""

    candidate: int
    """Version on trial."""
    champion: int
    """Version it is compared with."""
    since: Instant
    """Start of the trial."""
    until: Instant
    """Counts what was served before this."""
    labelled_until: Instant | None = None
    """Losses count only what was served before this; ``None`` is ``until``."""
    probation: bool = False
    """Whether the candidate is champion by now, and the version it is compared with answers no more."""
    shares: tuple[ShareSince, ...] = ()
    """The shares that the candidate had, in order."""
    deadline_ms: float | None = None
    """An answer that took longer is late, whichever version gave it."""
    answers_between: tuple[float, float] | None = None
    """A score outside of this is a fault."""
    correlated_within: timedelta | Literal["entity"] | None = None
    """What rows may err together."""
    max_labelled_rows: int | None = None
    """Only so many rows are compared, those served first."""
    task: Task = "binary"
    """Decides the loss."""
    positive: str | None = None
    """The label that a binary ``score`` is the probability of; ``None``: labels are numbers, 0 or 1."""
