from __future__ import annotations

from raymlops.config import TrialConfig
from raymlops.control.rollout.guards import Standing, standing_of
from raymlops.control.rollout.judge import judge, judge_probation
from raymlops.control.rollout.measuring.evidence import Arm, TrialEvidence
from raymlops.testing.control_examples import DAY, START, example_arm, example_evidence

CONFIG = TrialConfig()
WHOSE = {"version": 5, "compared_with": 1, "since": START, "look_at": START + DAY}


def standing(evidence: TrialEvidence) -> Standing:
    judged = judge(evidence, started_at=START, look_at=START + DAY, config=CONFIG)
    return standing_of("trial", judged, CONFIG, **WHOSE)


def test_each_guard_tells_its_value_and_its_bar() -> None:
    evidence = example_evidence(example_arm(0.51, faults=3, requests=90), example_arm(requests=900, faults=20))
    told = standing(evidence)
    guards = {guard.name: guard for guard in told.guards}
    assert list(guards) == ["faults", "late", "worse", "as_good", "own_requests", "labelled_rows"]
    assert (guards["faults"].value, guards["faults"].bar) == (told.facts["fault_evidence"], told.facts["fault_bar"])
    assert "3 of 90 requests, the champion's 20 of 900; e-value" in guards["faults"].text
    assert (guards["worse"].value, guards["as_good"].value) == (told.facts["lower"], told.facts["upper"])
    assert guards["as_good"].bar == told.facts["allowed"]
    assert [name for name, guard in guards.items() if guard.reached] == ["as_good", "labelled_rows"]
    assert guards["own_requests"].text == "own requests at the present share: 90 of 100 before promotion"
    assert (told.labelled_share, told.label_lean) == (0.5, 0.0)


def test_what_says_its_word_is_what_the_verdict_rests_on() -> None:
    for mean, faults in ((0.3, 0), (0.9, 0), (0.5, 300)):
        told = standing(example_evidence(example_arm(mean, faults=faults)))
        reached = {guard.name for guard in told.guards if guard.reached}
        if told.verdict == "promote":
            assert reached == {"as_good", "own_requests", "labelled_rows"}
        else:
            assert told.verdict == "roll_back"
            assert reached & {"faults", "late", "worse"}


def test_without_rows_nothing_is_known_and_that_is_said() -> None:
    told = standing(TrialEvidence(candidate=Arm(), champion=Arm()))
    assert [guard.value for guard in told.guards] == [1.0, 1.0, None, None, 0, 0]
    assert not any(guard.reached for guard in told.guards)
    assert "no labelled row could be compared" in told.guards[2].text
    few = standing(example_evidence(example_arm(labelled=50)))
    assert "over 50 rows, no bounds before 100 rows" in few.guards[2].text


def test_a_probation_has_one_guard() -> None:
    judged = judge_probation(example_evidence(example_arm(0.6)), CONFIG)
    told = standing_of("probation", judged, CONFIG, **WHOSE)
    assert [(guard.name, guard.reached) for guard in told.guards] == [("worse", True)]
