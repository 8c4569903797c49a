"""From prediction events and labels to the evidence of a trial. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.control.rollout.measuring.event_rows import Mask, blocked, is_value, mask_of, served_within, stands_in
from raymlops.control.rollout.measuring.evidence import (
    Arm,
    Counts,
    Floats,
    Health,
    Labelled,
    Losses,
    Step,
    TrialEvidence,
    TrialScope,
)
from raymlops.control.rollout.measuring.row_losses import RowLosses, log_losses, numbers_of

__all__ = ["Rescore", "Rescored", "gather_evidence", "gather_health"]

Positions = npt.NDArray[np.intp]


class Rescored(NamedTuple):
    """The answers that a version would have given, row by row, in the form of prediction events."""

    scores: Floats
    """NaN where it cannot."""
    labels: Sequence[str | None] | None = None
    """The class that it would have named; ``None`` of a regressor."""
    of_label: Floats | None = None
    """Of a classifier: the probability it would have given to the row's ``label``, 0 where that is none of its classes,
    NaN where there is no label; ``None`` where that is not known."""


Rescore = Callable[[int, pa.Table], Rescored]
"""``(version, events)``: what ``version`` would have answered to the same inputs."""


def gather_health(events: pa.Table, *, since: datetime, until: datetime) -> Health:
    """Count the champion's answers and faults: where it fails, another answers, or the row holds the error.

    What was asked while the champion was blocked says nothing about it.

    Args:
        events: Prediction events of the model: ``served_at``, ``role``, ``error``.
        since: Counts what was served from here on.
        until: Exclusive.
    """
    events = served_within(events, since, until)
    champion, stood_in = is_value(events, "role", "champion") & ~blocked(events["error"]), stands_in(events)
    broken = champion & mask_of(pc.is_valid(events["error"]))
    return Health(rows=int(np.sum(champion | stood_in)), faults=int(np.sum(broken | stood_in)))


def gather_evidence(
    events: pa.Table, labels: pa.Table, scope: TrialScope, rescore: Rescore | None = None
) -> TrialEvidence:
    """Sum up a trial, or a probation.

    A request the candidate failed on was answered by another and says so (``fallback``, or ``error`` where nobody
    could): it counts as the candidate's fault, and as nobody's answer. The last of several labels of a row counts, and
    the first of several events of one row.

    Args:
        events: Prediction events of the model: ``request_id``, ``row``, ``served_at``, ``version``, ``role``,
            ``fallback``, ``error``, ``score``, ``label_predicted``, the model's inputs for ``rescore``, and where the
            scope asks for them ``latency_us`` and ``entity``.
        labels: ``request_id``, ``row``, ``label``, in the order they came.
        scope: Which rows, and how.
        rescore: Where given, a labelled row is also scored by the version that did not answer it, so that the two
            are compared on the same rows, which takes far fewer of them.

    Raises:
        DataError: A label has no number where the task needs one.
    """
    table = _with_labels(served_within(events, scope.since, scope.until), labels)
    rows = _Rows.of(table, scope)
    mature = np.ones(table.num_rows, dtype=np.bool_)
    if scope.labelled_until is not None:
        mature = mask_of(pc.less(table["served_at"], pa.scalar(scope.labelled_until)))
    labelled = mature & ~np.isnan(rows.losses.own)
    tried = ("champion",) if scope.probation else ("canary", "shadow")
    by_candidate, own = rows.answered_by(scope.candidate, *tried), rows.answered_by(scope.champion, "champion")
    steps = () if scope.probation else tuple(_steps(rows, scope, by_candidate))
    pairs = _shadowed(rows, by_candidate & labelled, own & labelled) if rescore is None else None
    if rescore is not None:
        answered = (by_candidate & ~is_value(table, "role", "shadow")) | own
        pairs = _rescored(rows, _first_rows(rows, answered & labelled, scope), by_candidate, scope, rescore)
    paired = None if pairs is None else pairs.summed(rows, scope)
    candidate, champion = (
        _arm([getattr(step, whose) for step in steps], rows.losses.own[mask & labelled])
        for whose, mask in (("candidate", by_candidate), ("champion", own))
    )
    return TrialEvidence(
        candidate=candidate,
        champion=champion,
        paired=paired,
        paired_level=None if pairs is None or paired is None or not paired.rows else float(pairs.level.mean()),
        right_or_wrong=scope.task == "multiclass" and not (pairs is not None and pairs.by_probability),
        steps=steps,
        labelled=_labelled(rows, (by_candidate | own) & mature, labelled, scope),
    )


@dataclass(frozen=True)
class _Rows:
    """The events of a trial, joined with their labels; arrays of one length."""

    table: pa.Table
    requests: npt.NDArray[np.int64]
    """A number for each request, the same for its rows."""
    scores: Floats
    losses: RowLosses
    broken: Mask
    fell_back: Mask

    @classmethod
    def of(cls, table: pa.Table, scope: TrialScope) -> _Rows:
        return cls(
            table=table,
            requests=_codes(table["request_id"]),
            scores=numbers_of(table["score"]),
            losses=RowLosses.of(table, scope.task, scope.positive),
            broken=mask_of(pc.is_valid(table["error"])),
            fell_back=mask_of(pc.is_valid(table["fallback"])),
        )

    def answered_by(self, version: int, *roles: str) -> Mask:
        """The rows that ``version`` answered in one of ``roles`` by its turn, not for another that failed."""
        in_role = np.zeros(len(self.table), dtype=np.bool_)
        for role in roles:
            in_role |= is_value(self.table, "role", role)
        return in_role & is_value(self.table, "version", version) & ~self.broken & ~self.fell_back

    def slow(self, deadline_ms: float | None) -> Mask:
        """Rows whose answer took longer than a deadline."""
        if deadline_ms is None or "latency_us" not in self.table.column_names:
            return np.zeros(len(self.table), dtype=np.bool_)
        return mask_of(pc.greater(self.table["latency_us"], deadline_ms * 1000))

    def senseless(self, scope: TrialScope) -> Mask:
        """Rows whose score is no number, or one that no sound model of this task gives."""
        low, high = scope.answers_between or (-np.inf, np.inf)
        if scope.task != "regressor":
            low, high = 0.0, 1.0
        return ~np.isfinite(self.scores) | (self.scores < low) | (self.scores > high)


@dataclass(frozen=True)
class _Pairs:
    """Rows of which both losses are known."""

    at: Positions
    difference: Floats
    """Candidate's loss minus champion's."""
    level: Floats
    """Champion's loss."""
    by_probability: bool = False
    """Of several classes: whether losses are log losses, and not 0 or 1."""

    def summed(self, rows: _Rows, scope: TrialScope) -> Losses:
        within = scope.correlated_within
        if within is None or (within == "entity" and "entity" not in rows.table.column_names):
            return Losses.of(self.difference)
        if isinstance(within, timedelta):
            at_us = np.asarray(rows.table["served_at"].cast(pa.int64()).to_numpy(), dtype=np.int64)
            return Losses.of(self.difference, at_us[self.at] // (within // timedelta(microseconds=1)))
        entities = _codes(rows.table["entity"])
        alone = np.where(entities < 0, -1 - np.arange(len(entities)), entities)
        return Losses.of(self.difference, alone[self.at])


def _steps(rows: _Rows, scope: TrialScope, by_candidate: Mask) -> list[Step]:
    """The health of both versions, by the candidate's share."""
    table, version = rows.table, scope.candidate
    passed_on = mask_of(pc.starts_with(table["fallback"], f"canary {version}: "))
    passed_on |= mask_of(pc.starts_with(table["error"], f"canary {version}: "))
    in_role = (is_value(table, "role", "canary") | is_value(table, "role", "shadow")) & is_value(
        table, "version", version
    )
    champion = is_value(table, "role", "champion") & is_value(table, "version", scope.champion)
    champion = ((champion & ~blocked(table["error"])) | stands_in(table)) & ~passed_on
    own = champion & ~rows.broken & ~rows.fell_back
    said = [table["fallback"], table["error"]]
    in_vain = rf"^(canary {version}: )?(timeout|deadline)\b"
    too_late = np.logical_or.reduce([mask_of(pc.match_substring_regex(each, in_vain)) for each in said])
    slow, senseless = rows.slow(scope.deadline_ms), rows.senseless(scope)
    asked = {"candidate": in_role | passed_on, "champion": champion}
    answered = {"candidate": by_candidate, "champion": own}
    starts = np.array([share.since.timestamp() for share in scope.shares[1:]])
    at_s = numbers_of(table["served_at"].cast(pa.int64())) / 1e6
    step_of = np.searchsorted(starts, at_s, side="right")

    def count(mask: Mask) -> int:
        return int(np.unique(rows.requests[mask]).size)

    def counts(whose: str, within: Mask) -> Counts:
        late = asked[whose] & ((too_late & ~answered[whose]) | (slow & answered[whose]))
        faults = asked[whose] & ~late & np.where(answered[whose], senseless, True)
        return Counts(requests=count(asked[whose] & within), faults=count(faults & within), late=count(late & within))

    shares = [each.share for each in scope.shares] or [0.0]
    return [
        Step(share=share, candidate=counts("candidate", step_of == i), champion=counts("champion", step_of == i))
        for i, share in enumerate(shares)
    ]


def _arm(parts: Sequence[Counts], losses: Floats) -> Arm:
    total = Counts()
    for part in parts:
        total = total.plus(part)
    return Arm(**total.model_dump(), losses=Losses.of(losses))


def _shadowed(rows: _Rows, by_candidate: Mask, own: Mask) -> _Pairs | None:
    """Pairs of a shadow's answer and the champion's answer to the same row."""
    shadow = by_candidate & is_value(rows.table, "role", "shadow")
    if not shadow.any():
        return None
    keys = list(zip(rows.requests.tolist(), rows.table["row"].to_pylist(), strict=True))
    of_champion = {keys[i]: i for i in np.flatnonzero(own)}
    firsts = {keys[i]: i for i in reversed(np.flatnonzero(shadow)) if keys[i] in of_champion}
    at = np.array(sorted(firsts.values()), dtype=np.intp)
    level = rows.losses.own[np.array([of_champion[keys[i]] for i in at], dtype=np.intp)]
    return _Pairs(at, rows.losses.own[at] - level, level)


def _first_rows(rows: _Rows, chosen: Mask, scope: TrialScope) -> Positions:
    """The chosen rows in the order they were served, each of them once, and no more than the scope's limit."""
    at = np.flatnonzero(chosen)
    served = rows.table["served_at"].cast(pa.int64()).to_numpy()
    at = at[np.argsort(served[at], kind="stable")]
    row = rows.table["row"].to_numpy()
    _, first = np.unique(np.stack([rows.requests[at], row[at]]), axis=1, return_index=True)
    found: Positions = at[np.sort(first)][: scope.max_labelled_rows]
    return found


def _rescored(rows: _Rows, at: Positions, by_candidate: Mask, scope: TrialScope, rescore: Rescore) -> _Pairs:
    """Pairs of an answer given and the answer the other version gives to the same inputs.

    Of several classes both versions are asked again, since an event holds one class and no probabilities: log loss
    tells more per row than right or wrong.
    """
    if scope.task == "multiclass" and len(at):
        pairs = _by_probability(rows, at, scope, rescore)
        if pairs is not None:
            return pairs
    candidate, champion = rows.losses.own[at].copy(), rows.losses.own[at].copy()
    for version, unknown, theirs in (
        (scope.champion, champion, by_candidate[at]),
        (scope.candidate, candidate, ~by_candidate[at]),
    ):
        if theirs.any():
            found = rescore(version, rows.table.take(pa.array(at[theirs])))
            unknown[theirs] = rows.losses.of_answers(at[theirs], found.scores, found.labels)
    known = np.isfinite(candidate) & np.isfinite(champion)
    return _Pairs(at[known], (candidate - champion)[known], champion[known])


def _by_probability(rows: _Rows, at: Positions, scope: TrialScope, rescore: Rescore) -> _Pairs | None:
    """Pairs of log losses; ``None`` where a version does not tell what it gave to a row's label."""
    asked, losses = rows.table.take(pa.array(at)), list[Floats]()
    for version in (scope.candidate, scope.champion):
        found = rescore(version, asked).of_label
        if found is None:
            return None
        losses.append(log_losses(found))
    candidate, champion = losses
    known = np.isfinite(candidate) & np.isfinite(champion)
    return _Pairs(at[known], (candidate - champion)[known], champion[known], by_probability=True)


def _labelled(rows: _Rows, answered: Mask, labelled: Mask, scope: TrialScope) -> Labelled:
    scored = answered & np.isfinite(rows.scores)
    lean = None
    if scope.task != "multiclass" and (scored & labelled).any():
        lean = float(rows.scores[scored & labelled].mean() - rows.scores[scored].mean())
    return Labelled(rows=int(answered.sum()), labelled_rows=int((answered & labelled).sum()), lean=lean)


def _with_labels(events: pa.Table, labels: pa.Table) -> pa.Table:
    """``events`` in their order, with a column ``label``: the last one given, null where there is none."""
    keys = ["request_id", "row"]
    newest = labels.select([*keys, "label"]).group_by(keys, use_threads=False).aggregate([("label", "last")])
    newest = newest.rename_columns([*keys, "label"]) if newest.column_names[-1] == "label_last" else newest
    events = events.append_column("_position", pa.array(np.arange(len(events))))
    newest = newest.set_column(1, "row", newest["row"].cast(events.schema.field("row").type))
    return events.join(newest, keys=keys, join_type="left outer").sort_by("_position")


def _codes(values: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """A number for each distinct value; -1 for null."""
    encoded = values.combine_chunks().dictionary_encode()
    return np.asarray(pc.fill_null(encoded.indices.cast(pa.int64()), -1), dtype=np.int64)
