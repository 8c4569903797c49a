"""The report of a build, as other tools read it."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from raymlops.delivery.own_tests.report import count_checks, junit_report
from raymlops.errors import DeploymentError
from raymlops.records.bundles import CheckResult

RESULTS = (
    CheckResult(name="one", outcome="passed", seconds=1.5, evidence="3 rows & more"),
    CheckResult(name="two", outcome="failed", seconds=0.25, evidence="a \x1b[31m<colour>", remedy="mend it"),
    CheckResult(name="three", outcome="not_applicable", seconds=0.0, evidence="no sample"),
)


def test_tests_and_checks_stand_in_one_document() -> None:
    tests = (
        b'<testsuites><testsuite name="pytest" hostname="box" tests="1"><testcase name="t"/></testsuite></testsuites>'
    )
    own, checks = ElementTree.fromstring(junit_report(tests, RESULTS))
    assert (own.attrib, [case.get("name") for case in own]) == ({"name": "pytest", "tests": "1"}, ["t"])
    counted = {name: checks.get(name) for name in ("name", "tests", "failures", "skipped", "time")}
    assert counted == {"name": "raymlops.checks", "tests": "3", "failures": "1", "skipped": "1", "time": "1.750"}
    passed, failed, skipped = checks
    assert (passed.get("name"), passed.findtext("system-out")) == ("one", "3 rows & more")
    failure, reason = failed.find("failure"), skipped.find("skipped")
    assert failure is not None
    assert reason is not None
    assert (failure.get("message"), failure.text) == ("a ?[31m<colour>", "mend it")
    assert reason.get("message") == "no sample"


def test_without_either_it_is_empty() -> None:
    assert len(ElementTree.fromstring(junit_report(None, ()))) == 0
    assert count_checks(()) == {}
    assert count_checks(RESULTS) == {"passed": 1, "failed": 1, "not_applicable": 1}


@pytest.mark.parametrize("written", [b'<!DOCTYPE a [<!ENTITY b "cc">]><a>&b;</a>', b"<a>", b""])
def test_a_report_that_the_tests_tampered_with_is_refused(written: bytes) -> None:
    with pytest.raises(DeploymentError, match="must be plain XML"):
        junit_report(written, [])
