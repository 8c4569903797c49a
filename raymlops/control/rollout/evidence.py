"""What a trial has shown so far, computed from prediction events and labels. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.errors import DataError
from raymlops.records.plans import BLOCKED
from raymlops.records.record import Instant, Record

__all__ = [
    "Arm",
    "Health",
    "Losses",
    "Rescore",
    "Task",
    "TrialEvidence",
    "TrialScope",
    "gather_evidence",
    "gather_health",
]

Task = Literal["binary", "multiclass", "regressor"]
"""Decides the loss per row: log loss, 0-1 loss, squared error."""

_Floats = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]

Rescore = Callable[[int, pa.Table], _Floats]
"""``(version, events) -> scores``: what ``version`` would have answered to the same inputs; NaN where it cannot."""

_CLIP = 1e-6
"""Bounds a single row's log loss, so that one confident error does not decide a trial."""


class Losses(Record):
    """Sums over the losses of some rows; enough for their mean and its error."""

    rows: int = 0
    total: float = 0.0
    square_total: float = 0.0

    @classmethod
    def of(cls, losses: _Floats) -> Losses:
        """Sum up ``losses``."""
        return cls(rows=len(losses), total=float(losses.sum()), square_total=float((losses**2).sum()))

    @property
    def mean(self) -> float:
        """Mean loss; 0 without rows."""
        return self.total / self.rows if self.rows else 0.0

    @property
    def mean_variance(self) -> float:
        """Estimated variance of ``mean``; infinite below two rows."""
        if self.rows < 2:
            return float("inf")
        spread = max(self.square_total - self.rows * self.mean**2, 0.0)
        return spread / (self.rows - 1) / self.rows


class Arm(Record):
    """One version's part in a trial."""

    rows: int = 0
    """Rows it was asked for."""
    faults: int = 0
    """Of these, the ones it raised on, answered late, or answered NaN."""
    losses: Losses = Losses()
    """Over its labelled answers."""


class TrialEvidence(Record):
    """Candidate and champion, over one stretch of time."""

    candidate: Arm
    champion: Arm
    paired: Losses | None = None
    """Candidate's loss minus champion's, over labelled rows for which both are known."""


class Health(Record):
    """How often the champion failed."""

    rows: int
    faults: int


def gather_health(events: pa.Table, *, since: datetime, until: datetime) -> Health:
    """Count the champion's answers and faults: where it fails, another answers, or the row holds the error.

    What was asked while the champion was blocked says nothing about it.

    Args:
        events: Prediction events of the model: ``served_at``, ``role``, ``error``.
        since: Counts what was served from here on.
        until: Exclusive.
    """
    events = _served_within(events, since, until)
    champion, stood_in = _is(events, "role", "champion") & ~_blocked(events["error"]), _stood_in(events)
    broken = champion & _mask(pc.is_valid(events["error"]))
    return Health(rows=int(np.sum(champion | stood_in)), faults=int(np.sum(broken | stood_in)))


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
    task: Task = "binary"
    """Decides the loss."""
    positive: str | None = None
    """The label that a binary ``score`` is the probability of; ``None``: labels are numbers, 0 or 1."""


def gather_evidence(
    events: pa.Table, labels: pa.Table, scope: TrialScope, rescore: Rescore | None = None
) -> TrialEvidence:
    """Sum up a trial.

    A row the candidate failed on was answered by the champion and says so (``fallback``): it counts as the
    candidate's fault, and as nobody's answer. The last of several labels of a row counts.

    Args:
        events: Prediction events of the model: ``request_id``, ``row``, ``served_at``, ``version``, ``role``,
            ``fallback``, ``error``, ``score``, ``label_predicted``, and the model's inputs for ``rescore``.
        labels: ``request_id``, ``row``, ``label``, in the order they came.
        scope: Which rows, and how.
        rescore: Where given, a labelled row is also scored by the version that did not answer it, so that the two
            are compared on the same rows, which takes far fewer of them. Not for ``multiclass``.

    Raises:
        DataError: A label has no number where the task needs one.
    """
    candidate, champion = scope.candidate, scope.champion
    served = _served_within(events, scope.since, scope.until)
    rows = _Rows.of(_with_labels(served, labels), scope.task, scope.positive)
    labelled = ~np.isnan(rows.losses)
    if scope.labelled_until is not None:
        labelled &= _mask(pc.less(rows.table["served_at"], pa.scalar(scope.labelled_until)))
    by_candidate = rows.answered_by(candidate, "canary", "shadow")
    own = rows.answered_by(champion, "champion")
    faults = rows.candidate_faults()
    broken = _stood_in(rows.table) | (_is(rows.table, "role", "champion") & rows.broken & ~rows.fell_back)
    return TrialEvidence(
        candidate=Arm(
            rows=int(np.sum(by_candidate | faults)),
            faults=int(np.sum(faults)),
            losses=Losses.of(rows.losses[by_candidate & labelled]),
        ),
        champion=Arm(
            rows=int(np.sum(own | broken)), faults=int(np.sum(broken)), losses=Losses.of(rows.losses[own & labelled])
        ),
        paired=(
            _shadowed(rows, by_candidate & labelled, own & labelled)
            if rescore is None
            else _rescored(rows, labelled, candidate, champion, rescore)
        ),
    )


@dataclass(frozen=True)
class _Rows:
    """The events of a trial, joined with their labels; arrays of one length."""

    table: pa.Table
    task: Task
    labels: _Floats
    """As numbers, NaN where there is none; empty for ``multiclass``."""
    losses: _Floats
    """NaN where there is no label or no score."""
    broken: _Mask
    fell_back: _Mask

    @classmethod
    def of(cls, table: pa.Table, task: Task, positive: str | None) -> _Rows:
        if task == "multiclass":
            labels = np.empty(0)
            right = pc.equal(table["label"].cast(pa.string()), table["label_predicted"])
            losses = 1.0 - _floats(right.cast(pa.float64()))
        else:
            labels = _label_numbers(table["label"], task, positive)
            losses = _loss(task, labels, _floats(table["score"]))
        broken, fell_back = _mask(pc.is_valid(table["error"])), _mask(pc.is_valid(table["fallback"]))
        return cls(table, task, labels, losses, broken, fell_back)

    def answered_by(self, version: int, *roles: str) -> _Mask:
        """The rows that ``version`` answered in one of ``roles`` by its turn, not for another that failed."""
        in_role = np.zeros(len(self.table), dtype=np.bool_)
        for role in roles:
            in_role |= _is(self.table, "role", role)
        return in_role & _is(self.table, "version", version) & ~self.broken & ~self.fell_back

    def candidate_faults(self) -> _Mask:
        tried = _is(self.table, "role", "canary") | _is(self.table, "role", "shadow")
        passed_on = _mask(pc.starts_with(self.table["fallback"], "canary "))
        return (tried & self.broken) | (~tried & passed_on)


def _shadowed(rows: _Rows, by_candidate: _Mask, own: _Mask) -> Losses | None:
    """Pairs of a shadow's answer and the champion's answer to the same row."""
    shadow = by_candidate & _is(rows.table, "role", "shadow")
    if not shadow.any():
        return None
    keys = list(zip(rows.table["request_id"].to_pylist(), rows.table["row"].to_pylist(), strict=True))
    champion = {keys[i]: rows.losses[i] for i in np.flatnonzero(own)}
    pairs = [rows.losses[i] - champion[keys[i]] for i in np.flatnonzero(shadow) if keys[i] in champion]
    return Losses.of(np.asarray(pairs, dtype=np.float64))


def _rescored(rows: _Rows, labelled: _Mask, candidate: int, champion: int, rescore: Rescore) -> Losses:
    """Pairs of an answer given and the answer the other version gives to the same inputs."""
    differences = []
    turns: tuple[tuple[int, str, int, float], ...] = (
        (candidate, "canary", champion, 1.0),
        (champion, "champion", candidate, -1.0),
    )
    for version, role, other, sign in turns:
        answered = rows.answered_by(version, role) & labelled
        if not answered.any():
            continue
        scores = np.asarray(rescore(other, rows.table.filter(pa.array(answered))), dtype=np.float64)
        difference = sign * (rows.losses[answered] - _loss(rows.task, rows.labels[answered], scores))
        differences.append(difference[~np.isnan(difference)])
    return Losses.of(np.concatenate([np.empty(0), *differences]))


def _loss(task: Task, labels: _Floats, scores: _Floats) -> _Floats:
    if task == "regressor":
        return (labels - scores) ** 2
    chance = np.clip(scores, _CLIP, 1 - _CLIP)
    return -np.log(np.where(labels == 1.0, chance, 1 - chance)) + 0.0 * labels


def _label_numbers(labels: pa.ChunkedArray, task: Task, positive: str | None) -> _Floats:
    if positive is not None:
        return _floats(pc.equal(labels.cast(pa.string()), positive).cast(pa.float64()))
    try:
        numbers = _floats(labels.cast(pa.float64()))
    except pa.ArrowInvalid as error:
        raise DataError(f"labels of a {task} model must be numbers: {error}") from error
    if task == "binary" and not np.isin(numbers[~np.isnan(numbers)], (0.0, 1.0)).all():
        raise DataError(f"labels of a binary model must be 0 or 1, got {np.unique(numbers)[:5].tolist()}")
    return numbers


def _with_labels(events: pa.Table, labels: pa.Table) -> pa.Table:
    """``events`` in their order, with a column ``label``: the last one given, null where there is none."""
    keys = ["request_id", "row"]
    newest = labels.select([*keys, "label"]).group_by(keys, use_threads=False).aggregate([("label", "last")])
    newest = newest.rename_columns([*keys, "label"]) if newest.column_names[-1] == "label_last" else newest
    events = events.append_column("_position", pa.array(np.arange(len(events))))
    newest = newest.set_column(1, "row", newest["row"].cast(events.schema.field("row").type))
    return events.join(newest, keys=keys, join_type="left outer").sort_by("_position")


def _served_within(events: pa.Table, since: datetime, until: datetime) -> pa.Table:
    at = events["served_at"]
    return events.filter(pc.and_(pc.greater_equal(at, pa.scalar(since)), pc.less(at, pa.scalar(until))))


def _is(table: pa.Table, column: str, value: str | int) -> _Mask:
    return _mask(pc.equal(table[column], value))


def _stood_in(events: pa.Table) -> _Mask:
    """Rows that the backup or the baseline answered because the champion failed."""
    others = _is(events, "role", "backup") | _is(events, "role", "baseline")
    return others & ~_blocked(events["fallback"])


def _blocked(reasons: pa.ChunkedArray) -> _Mask:
    """Where the champion was not asked because somebody blocked it."""
    return _mask(pc.match_substring_regex(reasons, rf"(^|; )champion \d+: {BLOCKED}(;|$)"))


def _mask(values: Any) -> _Mask:
    return np.asarray(pc.fill_null(values, False), dtype=np.bool_)


def _floats(values: pa.ChunkedArray) -> _Floats:
    return np.asarray(values.cast(pa.float64()).to_numpy(), dtype=np.float64)
