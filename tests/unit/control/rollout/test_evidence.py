from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.control.rollout.evidence import Health, Losses, TrialScope, gather_evidence, gather_health
from raymlops.errors import DataError
from raymlops.testing.control_examples import DAY, START

SCOPE = TrialScope(candidate=2, champion=1, since=START, until=START + DAY)
EVENTS = pa.schema(
    [
        ("request_id", pa.string()),
        ("row", pa.int32()),
        ("served_at", pa.timestamp("us", tz="UTC")),
        ("version", pa.int32()),
        ("role", pa.string()),
        ("fallback", pa.string()),
        ("error", pa.string()),
        ("score", pa.float64()),
        ("label_predicted", pa.string()),
        ("x", pa.float64()),
    ]
)


def event(request_id: str, role: str = "champion", score: float | None = 0.5, **changes: Any) -> dict[str, Any]:
    version = {"champion": 1, "canary": 2, "shadow": 2, "backup": 9, "baseline": 1}[role]
    values = {"request_id": request_id, "row": 0, "served_at": START, "version": version, "role": role, "score": score}
    return {**values, "x": 0.0, **changes}


def table(*events: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(events), schema=EVENTS)


def labels(**of: Any) -> pa.Table:
    return pa.table(
        {
            "request_id": pa.array(of, pa.string()),
            "row": pa.array([0] * len(of), pa.int64()),
            "label": list(of.values()),
        }
    )


NO_LABELS = pa.table(
    {"request_id": pa.array([], pa.string()), "row": pa.array([], pa.int32()), "label": pa.array([], pa.int64())}
)


def test_counts_answers_and_faults() -> None:
    evidence = gather_evidence(
        table(
            event("a"),
            event("b"),
            event("c", "canary"),
            event("d", fallback="canary 2: timeout"),
            event("e", "canary", None, error="ValueError"),
            event("f", "backup", fallback="champion 1: raised"),
            event("g", "champion", None, error="nobody could"),
            event("h", "baseline", fallback="canary 2: timeout; champion 1: raised; backup 9: raised"),
            event("i", "backup", fallback="champion 1: blocked"),
            event("late", served_at=START + DAY),
            event("early", "canary", served_at=START - timedelta(microseconds=1)),
            event("older canary", "canary", version=7),
            event("older champion", version=8),
        ),
        NO_LABELS,
        SCOPE,
    )
    assert (evidence.candidate.rows, evidence.candidate.faults) == (4, 3)
    assert (evidence.champion.rows, evidence.champion.faults) == (5, 3)
    assert evidence.candidate.losses == evidence.champion.losses == Losses()
    assert evidence.paired is None


def test_log_loss_of_labelled_rows_and_the_last_label_wins() -> None:
    given_labels = pa.concat_tables([labels(a=0, c=1), labels(a=1)])
    evidence = gather_evidence(
        table(
            event("a", score=0.8),
            event("b", score=0.1),
            event("c", "canary", 0.25),
            event("d", score=0.9, fallback="canary 2: NaN"),
        ),
        pa.concat_tables([given_labels, labels(d=1, unknown=1)]),
        SCOPE,
    )
    assert evidence.champion.losses.rows == evidence.candidate.losses.rows == 1
    assert evidence.champion.losses.mean == pytest.approx(-math.log(0.8))
    assert evidence.candidate.losses.mean == pytest.approx(-math.log(0.25))


def test_rows_of_one_request_are_told_apart() -> None:
    given_labels = pa.table({"request_id": ["a", "a"], "row": [1, 0], "label": [1, 0]})
    evidence = gather_evidence(table(event("a", score=0.2), event("a", score=0.7, row=1)), given_labels, SCOPE)
    assert evidence.champion.losses.total == pytest.approx(-math.log(0.8) - math.log(0.7))


def test_losses_count_only_rows_old_enough() -> None:
    events = table(event("a", "canary"), event("b", "canary", served_at=START + DAY / 2))
    scope = SCOPE.model_copy(update={"labelled_until": START + DAY / 2})
    evidence = gather_evidence(events, labels(a=1, b=1), scope)
    assert (evidence.candidate.rows, evidence.candidate.losses.rows) == (2, 1)


@pytest.mark.parametrize(
    ("task", "positive", "given", "score", "label_predicted", "loss"),
    [
        ("binary", None, True, 0.75, None, -math.log(0.75)),
        ("binary", "late", "late", 0.75, None, -math.log(0.75)),
        ("binary", "late", "on time", 0.75, None, -math.log(0.25)),
        ("binary", None, 1.0, 0.0, None, -math.log(1e-6)),
        ("regressor", None, 3, 1.0, None, 4.0),
        ("multiclass", None, "a", 0.4, "a", 0.0),
        ("multiclass", None, "a", 0.4, "b", 1.0),
    ],
)
def test_losses_by_task(
    task: str, positive: str | None, given: object, score: float, label_predicted: str | None, loss: float
) -> None:
    scope = SCOPE.model_copy(update={"task": task, "positive": positive})
    events = table(event("a", "canary", score, label_predicted=label_predicted), event("b"))
    assert gather_evidence(events, labels(a=given), scope).candidate.losses.mean == pytest.approx(loss)


def test_an_answer_without_a_score_has_no_loss() -> None:
    assert gather_evidence(table(event("a", "canary", None)), labels(a=1), SCOPE).candidate.losses.rows == 0


@pytest.mark.parametrize("label", ["soon", 2, -1.0])
def test_labels_that_fit_no_binary_model(label: object) -> None:
    with pytest.raises(DataError, match="labels of a binary model must be"):
        gather_evidence(table(event("a")), labels(a=label), SCOPE)


def test_a_shadow_is_paired_with_the_champion_on_the_same_rows() -> None:
    events = table(
        event("a", score=0.8),
        event("a", "shadow", 0.4),
        event("b", score=0.6),
        event("c", "shadow", 0.6),
        event("d", "shadow", 0.6),
        event("d", "backup", 0.6, fallback="champion 1: raised"),
    )
    evidence = gather_evidence(events, labels(a=1, b=1, c=1, d=1), SCOPE)
    assert evidence.paired is not None
    assert evidence.paired.rows == 1
    assert evidence.paired.total == pytest.approx(math.log(0.8) - math.log(0.4))
    assert evidence.candidate.losses.rows == 3


def test_rescoring_pairs_every_row_that_either_answered() -> None:
    asked: list[tuple[int, list[str]]] = []

    def rescore(version: int, events: pa.Table) -> np.ndarray:
        asked.append((version, events["request_id"].to_pylist()))
        assert events["x"].null_count == 0
        return np.where(events["x"].to_numpy() > 0, 0.5, np.nan)

    events = table(
        event("a", score=0.8, x=1.0),
        event("b", "canary", 0.4, x=1.0),
        event("c", score=0.9, x=-1.0),
        event("unlabelled", x=1.0),
        event("fell back", fallback="canary 2: NaN", x=1.0),
    )
    evidence = gather_evidence(events, labels(a=1, b=1, c=1), SCOPE, rescore)
    assert asked == [(1, ["b"]), (2, ["a", "c"])]
    assert evidence.paired is not None
    assert evidence.paired.rows == 2
    expected = [-math.log(0.4) + math.log(0.5), -math.log(0.5) + math.log(0.8)]
    assert evidence.paired.total == pytest.approx(sum(expected))


def test_no_events_at_all() -> None:
    evidence = gather_evidence(table(), NO_LABELS, SCOPE, lambda _, __: np.empty(0))
    assert evidence.candidate.rows == evidence.champion.rows == 0
    assert evidence.paired == Losses()
    assert gather_health(table(), since=START, until=START + DAY) == Health(rows=0, faults=0)


def test_health_counts_backup_answers_and_errors() -> None:
    events = table(
        event("a"),
        event("b", "backup", fallback="champion 1: raised"),
        event("c", score=None, error="ValueError"),
        event("d", "canary"),
        event("e", "canary", None, error="late"),
        event("f", served_at=START + DAY),
        event("g", "baseline", fallback="champion 1: not asked after 5 failures in a row; backup 9: raised"),
    )
    assert gather_health(events, since=START, until=START + DAY) == Health(rows=4, faults=3)


def test_what_was_asked_while_the_champion_was_blocked_says_nothing_about_it() -> None:
    events = table(
        event("a"),
        event("b", "backup", fallback="champion 1: blocked"),
        event("c", "baseline", fallback="canary 2: timeout; champion 1: blocked; backup 9: raised"),
        event("d", score=None, error="champion 1: blocked; backup 9: raised"),
        event("e", "backup", fallback="champion 1: ValueError: blocked"),
    )
    assert gather_health(events, since=START, until=START + DAY) == Health(rows=2, faults=1)


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=50))
def test_sums_give_mean_and_variance(values: list[float]) -> None:
    losses = Losses.of(np.asarray(values))
    assert losses.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert losses.mean_variance == pytest.approx(np.var(values, ddof=1) / len(values), abs=1e-9)


def test_too_few_rows_have_no_variance() -> None:
    assert Losses.of(np.array([1.0])).mean_variance == math.inf
    assert Losses().mean == 0.0
