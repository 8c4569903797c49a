"""The judge of a chaos campaign finds what must not be, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.chaos.judge import Deadlines, judge, measure
from benchmarks.chaos.trace import LABEL, PROMOTE, PUSH, Operation, Request, State, Trace, Trouble, operations_of

VERSIONS = {1: 0.25, 2: 0.75}


class _Answers:
    """Version 1 answers 0.25 and version 2 answers 0.75; ``keyed`` answers its generation."""

    def expected(self, model: str, version: int, item: int) -> float | None:
        return VERSIONS.get(version)

    def generation(self, model: str, version: int, item: int, value: float) -> int | None:
        return int(value) if value == int(value) else None

    def is_keyed(self, model: str) -> bool:
        return model == "keyed"

    def is_close(self, value: float, wanted: float) -> bool:
        return value == wanted


def _request(at: float = 1.0, **changes: Any) -> Request:
    base = Request(at, at, at + 0.01, "sums", 0, 200, 1, 0.25, "champion")
    return base._replace(**changes)


def _push(generation: int, t0: float, t1: float | None, *, ok: bool = True, **told: Any) -> Operation:
    return Operation(PUSH, f"push-{generation}", t0, t1, ok, {"generation": generation, **told})


PROMOTED = Operation(PROMOTE, "chaos-1", 2.0, 2.1, True, {"model": "sums", "plan": 2})
LABELLED = Operation(LABEL, "r-1", 3.0, 3.1, True, {})
STATE = State(
    rows={0: 2, 1: 2},
    online={0: 1, 1: 1},
    labels=frozenset({"r-1"}),
    plans={"sums": [(1, "on demand"), (2, "chaos-1")]},
    reasons={"sums": frozenset({"on demand", "chaos-1"})},
)
GOOD = Trace([_request()], [_push(1, 1.0, 1.1), PROMOTED, LABELLED], [], STATE)


def _faults(trace: Trace) -> dict[str, list[str]]:
    verdict = judge(trace, _Answers())
    faults = {name: found for name, found in vars(verdict).items() if found}
    assert verdict.passed is not bool(faults)
    return faults


def test_a_trace_in_which_all_is_right_passes() -> None:
    assert _faults(GOOD) == {}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 2}, "sums row 0, version 2: got 0.25, not 0.75"),
        ({"value": 0.5}, "not 0.25"),
        ({"version": 3}, "there is no such version"),
        ({"version": None, "value": None, "note": "unreadable"}, "unreadable"),
        ({"value": None}, "got None"),
    ],
)
def test_an_answer_that_its_version_does_not_give_is_wrong(changes: dict[str, Any], said: str) -> None:
    faults = _faults(replace(GOOD, requests=[_request(), _request(**changes)]))
    assert list(faults) == ["wrong"]
    assert said in faults["wrong"][0]


def test_an_error_is_no_wrong_answer() -> None:
    refused = _request(status=503, version=None, value=None, note="no replica is up")
    assert _faults(replace(GOOD, requests=[_request(), refused, refused._replace(status=0)])) == {}


@pytest.mark.parametrize(
    ("sent", "done", "generation", "right"),
    [
        (0.5, 0.6, 0, True),  # nothing was pushed yet
        (0.5, 0.6, 1, False),  # from the future
        (1.05, 1.06, 0, True),  # the push is under way: either
        (1.05, 1.06, 1, True),
        (1.05, 1.3, 1, True),
        (1.2, 1.3, 0, False),  # acknowledged before the request was sent
        (1.2, 1.3, 1, True),
        (1.2, 1.3, 7, False),
        (1.2, 1.3, 0.5, False),  # no features give that
    ],
)
def test_an_answer_by_key_shows_every_acknowledged_push(
    sent: float, done: float, generation: float, right: bool
) -> None:
    asked = Request(sent, sent, done, "keyed", 0, 200, 1, generation, "champion")
    faults = _faults(replace(GOOD, requests=[asked]))
    assert (faults == {}) is right
    assert set(faults) <= {"wrong"}


def test_a_push_that_failed_may_show_or_not() -> None:
    failed = [_push(1, 1.0, 1.1), _push(2, 2.0, 2.5, ok=False)]
    for generation in (1, 2):
        asked = Request(3.0, 3.0, 3.1, "keyed", 0, 200, 1, generation, "champion")
        assert _faults(replace(GOOD, requests=[asked], operations=[*failed, PROMOTED, LABELLED])) == {}


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"rows": {0: 2}}, "push of generation 1: 0 of 2 rows"),
        ({"rows": {0: 2, 1: 1}}, "push of generation 1: 1 of 2 rows"),
        ({"online": {0: 1, 1: 0}}, "the online store has 0 of key 1"),
        ({"labels": frozenset()}, "label of r-1"),
        ({"plans": {"sums": [(1, "on demand")]}}, "chaos-1: plan 2 of sums"),
        ({"ledger": "entry 7 was altered"}, "entry 7 was altered"),
    ],
)
def test_an_acknowledged_write_that_is_not_there_is_lost(state: dict[str, Any], said: str) -> None:
    faults = _faults(replace(GOOD, state=replace(STATE, **state)))
    assert list(faults) == ["lost"]
    assert said in faults["lost"][0]


def test_a_write_that_was_not_acknowledged_need_not_be_there() -> None:
    refused = [replace(each, ok=False) for each in (_push(2, 4.0, 4.1), replace(LABELLED, id="r-2"))]
    assert _faults(replace(GOOD, operations=[*GOOD.operations, *refused])) == {}


def test_a_promotion_without_an_entry_is_lost_and_its_plan_unexplained() -> None:
    silent = replace(STATE, reasons={"sums": frozenset({"on demand"})})
    faults = _faults(replace(GOOD, state=silent))
    assert faults == {
        "lost": ["chaos-1: no entry in the ledger about sums"],
        "unexplained": ["plan 2 of sums: 'chaos-1' is not in the ledger"],
    }


def test_rows_that_are_there_twice_are_found() -> None:
    assert list(_faults(replace(GOOD, state=replace(STATE, rows={0: 2, 1: 4})))) == ["twice"]


def test_what_does_not_return_hangs() -> None:
    late = _request(done=1.0 + Deadlines().request_s + 1)
    assert list(_faults(replace(GOOD, requests=[late]))) == ["hung"]
    open_end = replace(PROMOTED, id="chaos-2", t1=None, ok=False)
    last = _request(at=2.0 + Deadlines().operation_s + 1)
    assert list(_faults(replace(GOOD, requests=[last], operations=[*GOOD.operations, open_end]))) == ["hung"]
    assert list(_faults(replace(GOOD, state=replace(STATE, unfinished_runs=["run-1"])))) == ["hung"]
    abandoned = replace(open_end, told={"abandoned": True})
    assert _faults(replace(GOOD, requests=[last], operations=[*GOOD.operations, abandoned])) == {}


def test_what_a_person_had_to_do_is_counted() -> None:
    mended = Trouble("raylet", "kill", 1.0, 2.0, False, None, ("up", "down and up"), ("up: no return within 240 s",))
    faults = _faults(replace(GOOD, troubles=[mended]))
    assert faults == {
        "interventions": ["raylet: up", "raylet: down and up"],
        "hung": ["raylet: up: no return within 240 s"],
    }


def test_an_operation_that_ends_is_one_operation() -> None:
    begun = {"op": PUSH, "id": "push-1", "t0": 1.0, "generation": 1}
    (open_end,) = operations_of([begun])
    assert (open_end.t1, open_end.ok) == (None, False)
    (done,) = operations_of([begun, {**begun, "t1": 2.0, "ok": True}])
    assert (done.t1, done.ok, done.told["generation"]) == (2.0, True, 1)
    again = operations_of([begun, {**begun, "t1": 2.0, "ok": False}, {**begun, "t0": 3.0}])
    assert [each.t0 for each in again] == [1.0, 3.0]


# --- outages


def _steady(model: str, start: float, end: float, *, every: float = 0.2, **changes: Any) -> list[Request]:
    count = round((end - start) / every)
    return [_request(start + number * every, model=model, **changes) for number in range(count)]


def _kill(at: float, kind: str = "metadata", **changes: Any) -> Trouble:
    return replace(Trouble(kind, "kill", at, at + 5.0, True), **changes)


def test_the_outage_is_the_longest_time_without_a_right_answer_of_any_model() -> None:
    asked = [
        *_steady("sums", 0.0, 20.0),
        *_steady("pairs", 0.0, 10.0),
        *_steady("pairs", 10.0, 13.0, status=503, value=None, version=None),
        *_steady("pairs", 13.0, 20.0),
    ]
    (found,) = measure(replace(GOOD, requests=asked, troubles=[_kill(10.0)]), _Answers())
    assert found.outages_s == {"pairs": pytest.approx(3.0, abs=0.25), "sums": 0.0}
    assert found.outage_s == found.outages_s["pairs"]
    assert (found.failed, found.statuses) == (15, {200: 85, 503: 15})


def test_a_wrong_answer_ends_no_outage() -> None:
    asked = [*_steady("sums", 0.0, 10.0), *_steady("sums", 10.0, 14.0, value=0.6), *_steady("sums", 14.0, 20.0)]
    (found,) = measure(replace(GOOD, requests=asked, troubles=[_kill(10.0)]), _Answers())
    assert found.outage_s == pytest.approx(4.0, abs=0.25)


def test_answers_that_come_late_are_an_outage_though_none_failed() -> None:
    held = [each._replace(done=16.0) for each in _steady("sums", 10.0, 16.0)]
    asked = [*_steady("sums", 0.0, 10.0), *held, *_steady("sums", 16.0, 20.0)]
    (found,) = measure(replace(GOOD, requests=asked, troubles=[_kill(10.0)]), _Answers())
    assert found.outage_s == pytest.approx(6.0, abs=0.25)
    assert found.failed == 0


def test_a_platform_that_never_answers_again_is_out_until_the_end() -> None:
    asked = [*_steady("sums", 0.0, 10.0), *_steady("sums", 10.0, 40.0, status=0, value=None, version=None)]
    (found,) = measure(replace(GOOD, requests=asked, troubles=[_kill(10.0, repaired=False)]), _Answers())
    assert found.outage_s == pytest.approx(29.8, abs=0.3)
    assert found.repair_s is None


def test_each_kill_has_its_own_outage() -> None:
    down = {"status": 0, "value": None, "version": None}
    asked = [
        *_steady("sums", 0.0, 10.0),
        *_steady("sums", 10.0, 11.0, **down),
        *_steady("sums", 11.0, 20.0),
        *_steady("sums", 20.0, 24.0, **down),
        *_steady("sums", 24.0, 30.0),
    ]
    first, second = measure(replace(GOOD, requests=asked, troubles=[_kill(10.0), _kill(20.0)]), _Answers())
    assert (first.outage_s, second.outage_s) == (pytest.approx(1.0, abs=0.25), pytest.approx(4.0, abs=0.25))
