from __future__ import annotations

import pytest

from raymlops.config.monitoring import FeatureAuditConfig
from raymlops.monitoring.data_quality.served_features import ServedFeatures, join_quality, judge_served_features
from raymlops.monitoring.data_quality.verdict import Quality
from raymlops.records.features import ConsistencyReport, FeatureConsistency

CONFIG = FeatureAuditConfig(warn_share=0.01, block_share=0.1)


def report(rows: int, service: str = "s@1", **wrong: float) -> ConsistencyReport:
    features = {
        name: FeatureConsistency(mismatch=share / 2, missing=share / 2, extra=0.0, late=0.3)
        for name, share in wrong.items()
    }
    return ConsistencyReport(service=service, rows=rows, features=features)


@pytest.mark.parametrize(
    ("share", "verdict"), [(0.0, "ok"), (0.01, "ok"), (0.02, "warn"), (0.1, "warn"), (0.11, "block"), (1.0, "block")]
)
def test_the_worst_feature_decides(share: float, verdict: str) -> None:
    found = judge_served_features(ServedFeatures([report(200, fine=0.0, bad=share)]), CONFIG)
    assert found.verdict == verdict
    assert bool(found.reasons) == (verdict != "ok")


def test_the_reason_names_the_worst_features_and_how_many_more() -> None:
    served = ServedFeatures([report(100, a=0.2, b=0.05, c=0.9, d=0.04, e=0.0), report(50, "s@2", a=0.5, f=0.02)])
    assert served.rows == 150
    assert served.wrong == {"c": 0.9, "a": 0.5, "b": 0.05, "d": 0.04, "f": 0.02}
    assert served.wrong_share == pytest.approx((100 * (0.2 + 0.05 + 0.9 + 0.04) + 50 * 0.52) / (100 * 5 + 50 * 2))
    assert judge_served_features(served, CONFIG) == Quality(
        "block",
        ("features served differ from the tables: c in 90.0%, a in 50.0%, b in 5.0% of 150 audited rows and 2 more",),
    )


def test_late_data_is_no_fault_and_no_audit_is_no_verdict() -> None:
    assert judge_served_features(ServedFeatures([report(100, late_only=0.0)]), CONFIG) == Quality()
    assert judge_served_features(ServedFeatures(), CONFIG) == Quality()
    assert (ServedFeatures().wrong_share, ServedFeatures().rows) == (0.0, 0)


def test_an_audit_that_failed_warns() -> None:
    found = judge_served_features(ServedFeatures(problem="the table is gone"), CONFIG)
    assert found == Quality("warn", ("features served were not audited: the table is gone",))


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [
        (Quality("warn", ("a",)), Quality("block", ("b",)), Quality("block", ("b", "a"))),
        (Quality("block", ("a",)), Quality("warn", ("b",)), Quality("block", ("a", "b"))),
        (Quality("warn", ("a",)), Quality("warn", ("b",)), Quality("warn", ("a", "b"))),
        (Quality(), Quality("warn", ("b",)), Quality("warn", ("b",))),
        (Quality("warn", ("a",)), Quality(), Quality("warn", ("a",))),
    ],
)
def test_the_worse_verdict_stands_with_its_reasons_in_front(first: Quality, second: Quality, joined: Quality) -> None:
    assert join_quality(first, second) == joined


def test_late_features_are_shown_and_judged_by_nobody() -> None:
    served = ServedFeatures([report(100, a=0.0, b=0.0)])
    assert served.late == {"a": 0.3, "b": 0.3}
    assert (served.wrong, judge_served_features(served, CONFIG)) == ({}, Quality())
