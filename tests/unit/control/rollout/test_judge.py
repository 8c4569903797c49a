from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.config import HealthConfig, TrialConfig
from raymlops.control.rollout.judge import Verdict, exceeds_share, find_health_fault, judge, judge_probation
from raymlops.control.rollout.measuring.evidence import Arm, Counts, Health, Labelled, Losses, Step, TrialEvidence
from raymlops.sequential import bounded_bounds, fault_evidence, mean_bounds
from raymlops.testing.control_examples import DAY, START, example_arm, example_evidence, example_losses

CONFIG = TrialConfig(max_duration=7 * DAY)
ASKING = CONFIG.model_copy(update={"inconclusive": "ask", "ask_for": 2 * DAY})
LENIENT = CONFIG.model_copy(update={"inconclusive": "promote_if_not_worse"})


def verdict_of(
    evidence: TrialEvidence, age: timedelta = DAY, config: TrialConfig = CONFIG, **more: Any
) -> tuple[Verdict, str]:
    judgement = judge(evidence, started_at=START, look_at=START + age, config=config, **more)
    return judgement.verdict, judgement.reason


@pytest.mark.parametrize(
    ("candidate", "age", "verdict", "reason"),
    [
        (example_arm(0.50), DAY, Verdict.PROMOTE, "as good as the champion, to 0.05"),
        (example_arm(0.30), DAY, Verdict.PROMOTE, "loss differs by -0.2, at most"),
        (example_arm(0.54), DAY, Verdict.ROLL_BACK, "loss is worse by 0.04, at least"),
        (example_arm(0.51), DAY, Verdict.PROMOTE, "loss differs by +0.01, at most"),
        (example_arm(0.53, labelled=300), DAY, Verdict.WAIT, "not enough"),
        (example_arm(0.30, labelled=99), DAY, Verdict.WAIT, "not enough"),
        (example_arm(0.30, labelled=99), 7 * DAY, Verdict.ROLL_BACK, "99 labelled rows were compared of 100"),
        (example_arm(0.30, labelled=0), 7 * DAY, Verdict.ROLL_BACK, "0 labelled rows were compared of 100"),
        (example_arm(0.30, requests=99), DAY, Verdict.WAIT, "not enough"),
        (example_arm(0.30, requests=99), 7 * DAY, Verdict.ROLL_BACK, "answered 99 requests of 100"),
        (example_arm(0.30, faults=100), DAY, Verdict.ROLL_BACK, "failed on 100 of 1000 requests, the champion on 0 of"),
        (example_arm(0.30, late=100), DAY, Verdict.ROLL_BACK, "was late on 100 of 1000 requests, the champion on 0 of"),
        (example_arm(0.50, faults=2), DAY, Verdict.PROMOTE, "as good"),
        (example_arm(0.53, labelled=300), 7 * DAY, Verdict.ROLL_BACK, "neither worse nor as good"),
    ],
)
def test_judge(candidate: Arm, age: timedelta, verdict: Verdict, reason: str) -> None:
    found, why = verdict_of(example_evidence(candidate), age)
    assert (found, reason in why) == (verdict, True), why


def test_the_figures_are_those_of_the_sequences() -> None:
    evidence = example_evidence(example_arm(0.51, faults=3, late=1), example_arm(requests=9000, faults=20, late=4))
    facts = judge(evidence, started_at=START, look_at=START + DAY, config=CONFIG).facts
    assert facts["lower"] == pytest.approx(mean_bounds(1000, facts["difference"], 0.2, alpha=0.02)[0])
    assert facts["upper"] == pytest.approx(mean_bounds(1000, facts["difference"], 0.2, alpha=0.05)[1])
    assert facts["fault_evidence"] == fault_evidence([(0.1, 3, 20)])
    assert facts["late_evidence"] == fault_evidence([(0.1, 1, 4)])
    assert (facts["fault_bar"], facts["late_bar"]) == pytest.approx((50, 100))
    assert (facts["allowed"], facts["champion_loss"]) == pytest.approx((0.05, 0.5))
    assert (facts["labelled_share"], facts["label_lean"]) == (0.5, 0.0)


@pytest.mark.parametrize("unit", [1e-3, 1000.0, 1e6])
@pytest.mark.parametrize("mean", [0.3, 0.5, 0.53, 0.56, 0.9])
def test_no_unit_of_the_loss_matters(unit: float, mean: float) -> None:
    def in_unit(losses: Losses) -> Losses:
        changes = {"total": losses.total * unit, "square_total": losses.square_total * unit**2}
        return losses.model_copy(update=changes)

    for rows in (100, 200, 500, 1000):
        plain = example_evidence(example_arm(mean, labelled=rows))
        assert plain.paired is not None
        scaled = plain.model_copy(update={"paired": in_unit(plain.paired), "paired_level": 0.5 * unit})
        for age in (DAY, 7 * DAY):
            assert verdict_of(scaled, age)[0] is verdict_of(plain, age)[0]


class TestFaults:
    """They are judged against the champion's: a candidate that fails as often as the champion is none the worse."""

    @pytest.mark.parametrize("rate", [0.0, 0.01, 0.05, 0.5])
    def test_as_often_as_the_champion(self, rate: float) -> None:
        candidate = example_arm(0.5, requests=1000, faults=int(1000 * rate), late=int(1000 * rate))
        champion = example_arm(0.5, requests=9000, faults=int(9000 * rate), late=int(9000 * rate))
        assert verdict_of(example_evidence(candidate, champion))[0] is Verdict.PROMOTE

    def test_a_margin_may_be_given(self) -> None:
        evidence = example_evidence(example_arm(faults=80), example_arm(requests=9000, faults=360))
        assert verdict_of(evidence)[0] is Verdict.ROLL_BACK
        assert verdict_of(evidence, config=TrialConfig(fault_margin=2.0))[0] is Verdict.PROMOTE

    def test_each_share_of_a_ramp_is_compared_with_itself(self) -> None:
        """Failures that came with the traffic: most of the candidate's requests fell into a time when all failed."""
        calm = Step(
            share=0.1,
            candidate=Counts(requests=100, faults=1),
            champion=Counts(requests=900, faults=9),
        )
        storm = Step(
            share=0.5,
            candidate=Counts(requests=900, faults=270),
            champion=Counts(requests=900, faults=270),
        )
        evidence = example_evidence(example_arm(faults=271), example_arm(requests=1800, faults=279))
        assert verdict_of(evidence)[0] is Verdict.ROLL_BACK
        assert verdict_of(evidence.model_copy(update={"steps": (calm, storm)}))[0] is Verdict.PROMOTE

    def test_callers_that_stick_to_the_candidate_do_not_condemn_it(self) -> None:
        """A tenth was planned, all traffic came to it: that it has all failures, too, says nothing."""
        step = Step(share=0.1, candidate=Counts(requests=500, faults=25), champion=Counts(requests=2))
        evidence = example_evidence(example_arm(requests=500, faults=25), example_arm(requests=2))
        assert verdict_of(evidence.model_copy(update={"steps": (step,)}))[0] is Verdict.PROMOTE

    def test_only_requests_of_the_present_share_count_as_own(self) -> None:
        steps = (
            Step(share=0.1, candidate=Counts(requests=900), champion=Counts(requests=8000)),
            Step(share=0.5, candidate=Counts(requests=99), champion=Counts(requests=100)),
        )
        evidence = example_evidence().model_copy(update={"steps": steps})
        assert verdict_of(evidence)[0] is Verdict.WAIT
        more = steps[1].model_copy(update={"candidate": Counts(requests=100)})
        assert verdict_of(evidence.model_copy(update={"steps": (steps[0], more)}))[0] is Verdict.PROMOTE


class TestComparison:
    def test_without_pairs_the_answers_of_both_are_compared(self) -> None:
        both = example_evidence(example_arm(0.3, labelled=3000), example_arm(0.5, labelled=3000))
        apart = both.model_copy(update={"paired": None, "paired_level": None})
        assert verdict_of(apart)[0] is Verdict.PROMOTE
        worse = example_evidence(example_arm(0.7, labelled=3000), example_arm(0.5, labelled=3000))
        assert verdict_of(worse.model_copy(update={"paired": None}))[0] is Verdict.ROLL_BACK

    def test_without_answers_of_the_champion_there_is_no_comparison(self) -> None:
        evidence = TrialEvidence(candidate=example_arm(0.1), champion=example_arm(labelled=99))
        assert verdict_of(evidence)[0] is Verdict.WAIT
        assert verdict_of(evidence, 7 * DAY)[0] is Verdict.ROLL_BACK

    def test_few_pairs_are_not_used_where_the_answers_of_both_are_many(self) -> None:
        evidence = example_evidence(example_arm(0.3, labelled=3000), example_arm(0.5, labelled=3000))
        odd = evidence.model_copy(update={"paired": example_losses(9.0, rows=50)})
        assert verdict_of(odd)[0] is Verdict.PROMOTE

    def test_equal_answers_are_equal_from_the_first_bounds_on(self) -> None:
        equal = example_evidence().model_copy(update={"paired": Losses.of(np.zeros(100))})
        assert verdict_of(equal)[0] is Verdict.PROMOTE
        assert verdict_of(equal.model_copy(update={"paired": Losses.of(np.zeros(99))}))[0] is Verdict.WAIT

    def test_a_champion_without_any_loss_is_matched_by_its_equal_alone(self) -> None:
        perfect = example_evidence().model_copy(update={"paired_level": 0.0})
        assert verdict_of(perfect.model_copy(update={"paired": Losses.of(np.zeros(500))}))[0] is Verdict.PROMOTE
        unsure = example_losses(0.0, rows=500, spread=0.1)
        assert verdict_of(perfect.model_copy(update={"paired": unsure}))[0] is Verdict.WAIT

    def test_the_champion_may_answer_nothing_where_pairs_are_known(self) -> None:
        evidence = TrialEvidence(
            candidate=example_arm(0.5), champion=Arm(), paired=example_losses(0.001, spread=0.1), paired_level=0.5
        )
        assert verdict_of(evidence)[0] is Verdict.PROMOTE

    def test_right_or_wrong_has_exact_bounds(self) -> None:
        paired = Losses.of(np.repeat([-1.0, 0.0, 1.0], [10, 280, 10]))
        evidence = example_evidence().model_copy(update={"paired": paired, "paired_level": 0.6, "right_or_wrong": True})
        facts = judge(evidence, started_at=START, look_at=START + DAY, config=CONFIG).facts
        values = np.array([-1.0, 0.0, 1.0]), np.array([10.0, 280.0, 10.0])
        assert facts["upper"] == bounded_bounds(*values, low=-1.0, high=1.0, alpha=0.05)[1]
        assert facts["lower"] == bounded_bounds(*values, low=-1.0, high=1.0, alpha=0.02)[0]
        assert verdict_of(evidence)[0] is Verdict.PROMOTE

    def test_right_or_wrong_condemns_below_100_rows_where_it_is_sure(self) -> None:
        paired = Losses.of(np.ones(20))
        evidence = example_evidence().model_copy(update={"paired": paired, "paired_level": 0.1, "right_or_wrong": True})
        assert verdict_of(evidence)[0] is Verdict.ROLL_BACK

    def test_rows_that_err_together_count_as_one(self) -> None:
        """50 storms of 20 flights each: taken as 1,000 rows a chance difference condemns; as 50 blocks it does not."""
        storms = np.random.default_rng(3).normal(0.04, 0.4, 50)
        storms += 0.1 - storms.mean()
        losses = np.repeat(storms, 20)
        as_rows = example_evidence().model_copy(update={"paired": Losses.of(losses)})
        as_blocks = example_evidence().model_copy(update={"paired": Losses.of(losses, np.repeat(np.arange(50), 20))})
        assert verdict_of(as_rows)[0] is Verdict.ROLL_BACK
        assert verdict_of(as_blocks)[0] is Verdict.WAIT

    def test_few_blocks_have_no_bounds(self) -> None:
        equal = Losses.of(np.zeros(1000), np.repeat(np.arange(19), [1000 - 18, *[1] * 18]))
        assert verdict_of(example_evidence().model_copy(update={"paired": equal}))[0] is Verdict.WAIT


class TestInconclusive:
    def test_it_may_be_promoted_if_it_is_no_worse(self) -> None:
        better, worse = (example_evidence(example_arm(mean, labelled=300), spread=0.9) for mean in (0.49, 0.51))
        assert verdict_of(better, 7 * DAY)[0] is Verdict.ROLL_BACK
        judged = judge(better, started_at=START, look_at=START + 7 * DAY, config=LENIENT)
        assert (judged.verdict, judged.whole) == (Verdict.PROMOTE, True)
        assert verdict_of(worse, 7 * DAY, LENIENT)[0] is Verdict.ROLL_BACK

    @pytest.mark.parametrize(
        "evidence",
        [
            TrialEvidence(candidate=Arm(), champion=Arm()),
            example_evidence(example_arm(0.1, labelled=0)),
            example_evidence(example_arm(0.1, requests=0)),
            example_evidence(example_arm(0.1, labelled=99)),
        ],
        ids=["nothing", "no labels", "no traffic", "few labels"],
    )
    def test_no_traffic_and_no_labels_are_never_success(self, evidence: TrialEvidence) -> None:
        for config in (CONFIG, LENIENT):
            assert verdict_of(evidence, DAY, config)[0] is Verdict.WAIT
            assert verdict_of(evidence, 100 * DAY, config)[0] is Verdict.ROLL_BACK

    def test_a_person_may_be_asked_and_is_not_waited_for_for_ever(self) -> None:
        unclear = example_evidence(example_arm(0.51, labelled=300), spread=0.9)
        assert verdict_of(unclear, 7 * DAY, ASKING)[0] is Verdict.ASK
        asked_at = START + 7 * DAY
        assert verdict_of(unclear, 8 * DAY, ASKING, asked_at=asked_at)[0] is Verdict.WAIT
        verdict, reason = verdict_of(unclear, 9 * DAY, ASKING, asked_at=asked_at)
        assert verdict is Verdict.ROLL_BACK
        assert "nobody who was asked has answered" in reason

    def test_while_a_person_is_asked_the_guards_go_on(self) -> None:
        broken = example_evidence(example_arm(0.51, labelled=300, faults=300), spread=0.9)
        assert verdict_of(broken, 8 * DAY, ASKING, asked_at=START + 7 * DAY)[0] is Verdict.ROLL_BACK

    def test_a_trial_may_end_by_its_rows(self) -> None:
        unclear = example_evidence(example_arm(0.51, labelled=300), spread=0.9)
        assert verdict_of(unclear, DAY, CONFIG.model_copy(update={"max_labelled_rows": 300}))[0] is Verdict.ROLL_BACK
        assert verdict_of(unclear, DAY, CONFIG.model_copy(update={"max_labelled_rows": 301}))[0] is Verdict.WAIT


def test_a_version_that_served_lately_needs_no_requests_of_its_own() -> None:
    evidence = example_evidence(example_arm(requests=0))
    assert verdict_of(evidence)[0] is Verdict.WAIT
    judged = judge(evidence, started_at=START, look_at=START + DAY, config=CONFIG, served_lately=True)
    assert (judged.verdict, judged.whole) == (Verdict.PROMOTE, True)
    unlabelled = example_evidence(example_arm(requests=0, labelled=0))
    assert verdict_of(unlabelled, served_lately=True)[0] is Verdict.WAIT


@pytest.mark.parametrize(("mean", "verdict"), [(0.4, Verdict.WAIT), (0.5, Verdict.WAIT), (0.6, Verdict.ROLL_BACK)])
def test_a_new_champion_goes_once_it_is_surely_worse_than_the_former(mean: float, verdict: Verdict) -> None:
    assert judge_probation(example_evidence(example_arm(mean)), CONFIG).verdict is verdict


def test_a_probation_without_labels_ends_nothing() -> None:
    assert judge_probation(TrialEvidence(candidate=Arm(), champion=Arm()), CONFIG).verdict is Verdict.WAIT


@pytest.mark.parametrize(
    ("rows", "faults", "sick"), [(0, 0, False), (19, 19, False), (20, 20, True), (100, 5, False), (100, 30, True)]
)
def test_health(rows: int, faults: int, sick: bool) -> None:
    reason = find_health_fault(Health(rows=rows, faults=faults), HealthConfig())
    assert reason == (f"champion failed on {faults} of {rows} rows" if sick else None)


@pytest.mark.parametrize(("share", "faults", "found"), [(0.0, 1, True), (0.0, 0, False), (1.0, 50, False)])
def test_extreme_shares(share: float, faults: int, found: bool) -> None:
    assert exceeds_share(50, faults, share, 0.05) is found


@given(st.integers(1, 10**7), st.floats(0, 1), st.floats(0.001, 0.5))
def test_a_share_at_or_below_the_limit_is_never_exceeded(rows: int, part: float, limit: float) -> None:
    assert not exceeds_share(rows, int(rows * limit * part), limit, 0.05)


def test_looking_often_at_a_healthy_champion_rarely_condemns_it() -> None:
    generator, alarms = np.random.default_rng(1), 0
    looks = np.arange(40, 4001, 40)
    for _ in range(300):
        faults = (generator.random(4000) < 0.02).cumsum()[looks - 1]
        alarms += any(exceeds_share(n, k, 0.02, 0.05) for n, k in zip(looks.tolist(), faults.tolist(), strict=True))
    assert alarms <= 0.05 * 300


def test_looking_often_at_equal_candidates_rarely_condemns_one() -> None:
    """The law behind the judge, whole: faults, late answers and losses, looked at together every 25 rows."""
    generator, condemned = np.random.default_rng(5), 0
    for _ in range(100):
        differences = generator.standard_t(4, 2000) * 40.0
        failed, late, own = (generator.random(2000) < share for share in (0.05, 0.02, 0.1))
        for n in range(25, 2001, 25):
            arms = [
                Arm(requests=int(of.sum()), faults=int((failed[:n] & of).sum()), late=int((late[:n] & of).sum()))
                for of in (own[:n], ~own[:n])
            ]
            evidence = TrialEvidence(
                candidate=arms[0], champion=arms[1], paired=Losses.of(differences[:n]), paired_level=0.0
            )
            if verdict_of(evidence)[0] is Verdict.ROLL_BACK:
                condemned += 1
                break
    assert condemned <= 0.05 * 100 + 3 * math.sqrt(100 * 0.05 * 0.95)


@settings(max_examples=50)
@given(
    labelled=st.integers(0, 2000),
    of_champion=st.integers(0, 2000),
    faults=st.integers(0, 2000),
    mean=st.floats(0, 3),
    other=st.floats(0, 3),
    spread=st.floats(0, 3),
    inconclusive=st.sampled_from(["keep", "promote_if_not_worse", "ask"]),
)
def test_every_trial_ends(
    labelled: int, of_champion: int, faults: int, mean: float, other: float, spread: float, inconclusive: str
) -> None:
    candidate = example_arm(mean, requests=labelled + faults, labelled=labelled, faults=faults)
    evidence = example_evidence(candidate, example_arm(other, labelled=of_champion), spread=spread)
    config = CONFIG.model_copy(update={"inconclusive": inconclusive})
    found = verdict_of(evidence, config.max_duration, config)[0]
    assert found is not Verdict.WAIT
    if found is Verdict.ASK:
        later = config.max_duration + config.ask_for
        asked_at = START + config.max_duration
        assert verdict_of(evidence, later, config, asked_at=asked_at)[0] is Verdict.ROLL_BACK


@given(st.integers(100, 5000), st.floats(0, 2), st.floats(0.01, 2), st.floats(0, 0.5))
def test_whatever_is_promoted_is_not_worse_by_more_than_the_margin(
    rows: int, mean: float, spread: float, margin: float
) -> None:
    config = CONFIG.model_copy(update={"margin": margin})
    evidence = example_evidence(example_arm(mean, labelled=rows), spread=spread)
    judged = judge(evidence, started_at=START, look_at=START + DAY, config=config)
    if judged.verdict is Verdict.PROMOTE:
        assert judged.facts["upper"] <= margin * 0.5
        wider = config.model_copy(update={"margin": margin + 0.1})
        assert verdict_of(evidence, config=wider)[0] is Verdict.PROMOTE


def test_how_much_is_labelled_is_among_the_figures() -> None:
    evidence = example_evidence().model_copy(update={"labelled": Labelled(rows=400, labelled_rows=100, lean=-0.2)})
    facts = judge(evidence, started_at=START, look_at=START + DAY, config=CONFIG).facts
    assert (facts["labelled_share"], facts["label_lean"]) == (0.25, -0.2)
