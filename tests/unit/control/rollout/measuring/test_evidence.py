from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.config import TrialConfig
from raymlops.control.rollout.judge import Verdict, judge
from raymlops.control.rollout.measuring.evidence import Counts, Health, Labelled, Losses, ShareSince, TrialScope
from raymlops.control.rollout.measuring.gathering import Rescored, gather_evidence, gather_health
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
        ("latency_us", pa.int64()),
        ("entity", pa.string()),
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


def test_counts_requests_and_faults() -> None:
    """A request that the candidate failed on is its own, whoever failed on it after that."""
    evidence = gather_evidence(
        table(
            event("a"),
            event("b"),
            event("c", "canary"),
            event("c", "canary", row=1),
            event("d", fallback="canary 2: raised ValueError"),
            event("d", fallback="canary 2: raised ValueError", row=1),
            event("e", "canary", None, error="ValueError"),
            event("f", "backup", fallback="champion 1: raised"),
            event("g", "champion", None, error="nobody could"),
            event("h", "baseline", fallback="canary 2: raised; champion 1: raised; backup 9: raised"),
            event("i", "backup", fallback="champion 1: blocked"),
            event("j", score=None, error="canary 2: raised; champion 1: raised"),
            event("of an older candidate", fallback="canary 7: raised"),
            event("late", served_at=START + DAY),
            event("early", "canary", served_at=START - timedelta(microseconds=1)),
            event("older canary", "canary", version=7),
            event("older champion", version=8),
        ),
        NO_LABELS,
        SCOPE,
    )
    (step,) = evidence.steps
    assert step.candidate == Counts(requests=5, faults=4)
    assert step.champion == Counts(requests=5, faults=3)
    assert (evidence.candidate.requests, evidence.candidate.faults) == (5, 4)
    assert (evidence.champion.requests, evidence.champion.faults) == (5, 3)
    assert evidence.candidate.losses == evidence.champion.losses == Losses()
    assert evidence.paired is None


def test_late_answers_are_no_faults_and_are_late_by_one_bar_for_both() -> None:
    evidence = gather_evidence(
        table(
            event("a", latency_us=50_001),
            event("b", latency_us=50_000),
            event("c", "canary", latency_us=60_000),
            event("d", fallback="canary 2: timeout: no answer within 50 ms", latency_us=51_000),
            event("e", "shadow", None, error="timeout: no answer within 50 ms"),
            event("f", score=None, error="deadline: no answer within 10 s"),
            event("g", "canary", None, error="deadline: no answer within 10 s"),
            event("h", fallback="canary 2: raised TimeoutError: x"),
        ),
        NO_LABELS,
        SCOPE.model_copy(update={"deadline_ms": 50.0}),
    )
    (step,) = evidence.steps
    assert step.candidate == Counts(requests=5, faults=1, late=4)
    assert step.champion == Counts(requests=3, late=2)


@pytest.mark.parametrize(
    ("task", "score", "faults"),
    [
        ("binary", math.nan, 1),
        ("binary", None, 1),
        ("binary", 1.5, 1),
        ("binary", -0.1, 1),
        ("binary", 1.0, 0),
        ("multiclass", math.inf, 1),
        ("regressor", 1.5, 0),
        ("regressor", math.inf, 1),
        ("regressor", 99.0, 1),
    ],
)
def test_answers_that_make_no_sense_are_faults_of_whoever_gave_them(
    task: str, score: float | None, faults: int
) -> None:
    scope = SCOPE.model_copy(update={"task": task, "answers_between": (0.0, 10.0)})
    evidence = gather_evidence(table(event("a", score=score), event("b", "canary", score)), NO_LABELS, scope)
    assert (evidence.champion.faults, evidence.candidate.faults) == (faults, faults)


def test_each_share_of_a_ramp_is_counted_by_itself() -> None:
    shares = (ShareSince(since=START, share=0.1), ShareSince(since=START + DAY / 2, share=0.5))
    later = {"served_at": START + DAY / 2}
    evidence = gather_evidence(
        table(
            event("a"),
            event("b", "canary"),
            event("c", fallback="canary 2: raised", **later),
            event("d", "canary", **later),
            event("e", score=None, error="x", **later),
        ),
        NO_LABELS,
        SCOPE.model_copy(update={"shares": shares}),
    )
    assert [step.share for step in evidence.steps] == [0.1, 0.5]
    assert [step.candidate for step in evidence.steps] == [Counts(requests=1), Counts(requests=2, faults=1)]
    assert [step.champion for step in evidence.steps] == [Counts(requests=1), Counts(requests=1, faults=1)]


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
    assert (evidence.candidate.requests, evidence.candidate.losses.rows) == (2, 1)
    assert evidence.labelled == Labelled(rows=1, labelled_rows=1, lean=0.0)


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

    def rescore(version: int, events: pa.Table) -> Rescored:
        asked.append((version, events["request_id"].to_pylist()))
        assert events["x"].null_count == 0
        return Rescored(np.where(events["x"].to_numpy() > 0, 0.5, np.nan))

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
    assert evidence.paired_level == pytest.approx((-math.log(0.5) - math.log(0.8)) / 2)


def by_half(version: int, events: pa.Table) -> Rescored:
    return Rescored(np.full(len(events), 0.5), ["a"] * len(events))


def test_several_classes_are_paired_by_right_or_wrong() -> None:
    events = table(
        event("1", label_predicted="a"),
        event("2", label_predicted="b"),
        event("3", "canary", label_predicted="b"),
        event("4", "canary", label_predicted="2"),
        event("5", label_predicted="a"),
    )
    scope = SCOPE.model_copy(update={"task": "multiclass"})
    evidence = gather_evidence(events, labels(**{"1": "a", "2": "a", "3": "a", "4": "2"}), scope, by_half)
    assert evidence.paired == Losses(rows=4, total=-1.0 + 1.0 - 1.0, square_total=3.0)
    assert evidence.paired_level == pytest.approx((0 + 1 + 0 + 1) / 4)
    assert evidence.right_or_wrong


@pytest.mark.parametrize("wild", [1e200, -1e300, 1e160])
def test_an_absurd_answer_counts_and_its_figures_are_numbers(wild: float) -> None:
    """A squared error beyond what a float holds is no reason to leave the row out."""
    events = table(*(event(str(i), "canary", wild) for i in range(200)))
    scope = SCOPE.model_copy(update={"task": "regressor"})
    evidence = gather_evidence(events, labels(**{str(i): 1.0 for i in range(200)}), scope, by_half)
    judged = judge(evidence, started_at=START, look_at=START + DAY, config=TrialConfig())
    assert judged.verdict is Verdict.ROLL_BACK
    assert all(math.isfinite(value) for value in judged.facts.values() if isinstance(value, float))


def test_without_a_column_of_entities_rows_are_independent() -> None:
    scope = SCOPE.model_copy(update={"correlated_within": "entity"})
    evidence = gather_evidence(table(event("a")).drop_columns(["entity"]), labels(a=1), scope, by_half)
    assert evidence.paired is not None
    assert (evidence.paired.rows, evidence.paired.blocks) == (1, 0)


def test_a_probation_pairs_the_new_champion_with_the_former_one() -> None:
    events = table(
        event("a", version=2, score=0.8),
        event("b", version=2, score=0.6, fallback="canary 3: raised"),
        event("c", "backup", version=1, fallback="champion 2: raised"),
        event("d", "canary", version=3),
        event("e", version=2, score=0.4),
    )
    scope = SCOPE.model_copy(update={"probation": True})
    evidence = gather_evidence(events, labels(a=1, b=1, c=1, d=1, e=0), scope, by_half)
    assert evidence.paired is not None
    assert evidence.paired.total == pytest.approx(2 * math.log(0.5) - math.log(0.8) - math.log(0.6))
    assert evidence.paired.rows == 2
    assert evidence.steps == ()


def test_a_row_counts_once_however_often_its_event_came() -> None:
    twice = [event("a", score=0.8), event("a", score=0.8), event("a", score=0.8, row=1)]
    evidence = gather_evidence(table(*twice), labels(a=1), SCOPE, by_half)
    assert evidence.paired is not None
    assert evidence.paired.rows == 1


def test_the_order_in_which_events_came_makes_no_difference() -> None:
    events = [
        event(str(i), "canary" if i % 3 else "champion", 0.1 + i / 20, served_at=START + i * DAY / 20)
        for i in range(15)
    ]
    given_labels = labels(**{str(i): i % 2 for i in range(15)})
    scope = SCOPE.model_copy(update={"max_labelled_rows": 9})
    one = gather_evidence(table(*events), given_labels, scope, by_half)
    assert one.paired is not None
    assert one.paired.rows == 9
    other = gather_evidence(table(*events[::-1]), given_labels, scope, by_half)
    assert other.paired is not None
    assert other.paired.total == pytest.approx(one.paired.total)
    assert other.steps == one.steps


def test_labels_that_contradict_or_come_for_rows_before_the_trial() -> None:
    """The last label of a row counts, also where it comes after a look; rows of before the trial have no say."""
    events = table(event("a", score=0.8), event("before", score=0.9, served_at=START - DAY))
    first = gather_evidence(events, labels(a=1, before=0), SCOPE, by_half)
    later = gather_evidence(events, pa.concat_tables([labels(a=1, before=0), labels(a=0)]), SCOPE, by_half)
    assert first.paired is not None
    assert later.paired is not None
    assert first.paired.total == pytest.approx(-math.log(0.5) + math.log(0.8))
    assert later.paired.total == pytest.approx(-math.log(0.5) + math.log(0.2))
    assert first.paired.rows == later.paired.rows == 1


def test_how_much_is_labelled_and_which_way_it_leans() -> None:
    events = table(event("a", score=0.9), event("b", score=0.1), event("c", "canary", 0.5), event("d", score=0.5))
    found = gather_evidence(events, labels(a=1), SCOPE).labelled
    assert (found.rows, found.labelled_rows) == (4, 1)
    assert found.lean == pytest.approx(0.9 - 0.5)


@pytest.mark.parametrize(("within", "blocks"), [(timedelta(hours=1), 2), ("entity", 3), (None, 0)])
def test_rows_that_may_err_together_are_blocks(within: object, blocks: int) -> None:
    of = [("a", "x", 0), ("b", "x", 0), ("c", "y", 2), ("d", None, 2)]
    events = table(*(event(key, entity=entity, served_at=START + h * DAY / 24) for key, entity, h in of))
    scope = SCOPE.model_copy(update={"correlated_within": within})
    evidence = gather_evidence(events, labels(a=1, b=1, c=0, d=0), scope, by_half)
    assert evidence.paired is not None
    assert (evidence.paired.rows, evidence.paired.blocks) == (4, blocks)


def test_versions_of_several_classes_are_compared_on_the_same_rows() -> None:
    named = {"a": "x", "b": "y", "c": "z"}

    def rescore(version: int, events: pa.Table) -> Rescored:
        return Rescored(np.full(len(events), 0.5), [named[request] for request in events["request_id"].to_pylist()])

    events = table(
        event("a", score=0.8, label_predicted="x", x=1.0),
        event("b", "canary", 0.4, label_predicted="x", x=1.0),
        event("c", score=0.9, label_predicted="x", x=1.0),
    )
    scope = SCOPE.model_copy(update={"task": "multiclass"})
    evidence = gather_evidence(events, labels(a="x", b="y", c="z"), scope, rescore)
    assert (evidence.candidate.losses.total, evidence.champion.losses.total) == (1.0, 1.0)
    assert evidence.paired is not None
    # the candidate was wrong about b, where the champion is right; right about c, where the champion was wrong
    assert (evidence.paired.rows, evidence.paired.total, evidence.paired.square_total) == (3, 0.0, 2.0)


def test_versions_of_several_classes_that_tell_probabilities_are_compared_by_log_loss() -> None:
    """Both are asked again about every row, since an event holds no probabilities."""
    given = {1: {"a": 0.5, "b": 0.5, "c": 0.0}, 2: {"a": 0.8, "b": 0.6, "c": 0.2}}
    asked: list[tuple[int, list[str]]] = []

    def rescore(version: int, events: pa.Table) -> Rescored:
        keys, known = events["request_id"].to_pylist(), events["label"].to_pylist()
        asked.append((version, keys))
        assert known == ["x", "y", "z"]
        of_label = np.array([given[version][key] for key in keys])
        return Rescored(np.full(len(keys), 0.5), ["x"] * len(keys), of_label)

    events = table(
        event("a", label_predicted="x", x=1.0),
        event("b", "canary", label_predicted="y", x=1.0),
        event("c", label_predicted="y", x=1.0),
        event("unlabelled", label_predicted="y", x=1.0),
    )
    scope = SCOPE.model_copy(update={"task": "multiclass"})
    evidence = gather_evidence(events, labels(a="x", b="y", c="z"), scope, rescore)
    assert asked == [(2, ["a", "b", "c"]), (1, ["a", "b", "c"])]
    assert evidence.paired is not None
    assert not evidence.right_or_wrong
    expected = math.log(0.5 / 0.8) + math.log(0.5 / 0.6) + math.log(1e-6 / 0.2)
    assert evidence.paired.total == pytest.approx(expected)
    assert evidence.paired_level == pytest.approx((2 * math.log(2) - math.log(1e-6)) / 3)


def test_a_version_that_cannot_name_classes_is_not_paired() -> None:
    scope = SCOPE.model_copy(update={"task": "multiclass"})
    events = table(event("a", "canary", 0.4, label_predicted="x", x=1.0))
    evidence = gather_evidence(events, labels(a="x"), scope, lambda _, rows: Rescored(np.full(len(rows), np.nan)))
    assert evidence.paired == Losses()


def test_no_events_at_all() -> None:
    evidence = gather_evidence(table(), NO_LABELS, SCOPE, by_half)
    assert evidence.candidate.requests == evidence.champion.requests == 0
    assert evidence.labelled == Labelled()
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


def test_blocks_of_one_row_say_the_same_as_no_blocks() -> None:
    values = np.random.default_rng(1).normal(size=200)
    apart = Losses.of(values, np.arange(200))
    assert apart.sd == pytest.approx(Losses.of(values).sd)
    assert Losses.of(np.repeat(values, 5), np.repeat(np.arange(200), 5)).mean_variance == pytest.approx(
        Losses.of(values).mean_variance
    )
    assert Losses.of(values, np.zeros(200, dtype=np.int64)).sd == math.inf


def test_too_few_rows_have_no_variance() -> None:
    assert Losses.of(np.array([1.0])).mean_variance == math.inf
    assert Losses().mean == 0.0
