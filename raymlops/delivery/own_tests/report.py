"""The report of a build as JUnit XML: the project's own tests, and the checks that every project gets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from raymlops.errors import DeploymentError
from raymlops.records.bundles import CheckResult

__all__ = ["CHECKS_SUITE", "count_checks", "junit_report"]

CHECKS_SUITE = "raymlops.checks"
_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 does not have."""


def count_checks(checks: Sequence[CheckResult]) -> dict[str, int]:
    """How many checks passed, failed and did not apply; empty where there were none."""
    outcomes = [each.outcome for each in checks]
    return {kind: outcomes.count(kind) for kind in ("passed", "failed", "not_applicable")} if outcomes else {}


def junit_report(tests: bytes | None, checks: Sequence[CheckResult]) -> bytes:
    """One document of both.

    Args:
        tests: The JUnit XML that pytest wrote; ``None`` where there is none.
        checks: In their order.

    Raises:
        DeploymentError: The document of pytest is none, or declares entities.
    """
    root = ElementTree.Element("testsuites")
    if tests is not None:
        try:
            root.extend(fromstring(tests))
        except (ElementTree.ParseError, DefusedXmlException) as error:  # a project's tests can write into it, too
            raise DeploymentError(f"the report of the tests must be plain XML: {type(error).__name__}") from error
        for suite in root:
            suite.attrib.pop("hostname", None)
    if checks:
        counts = count_checks(checks)
        totals = {"tests": len(checks), "failures": counts["failed"], "skipped": counts["not_applicable"], "errors": 0}
        seconds = f"{sum(each.seconds for each in checks):.3f}"
        given = {"name": CHECKS_SUITE, **{key: str(value) for key, value in totals.items()}, "time": seconds}
        suite = ElementTree.SubElement(root, "testsuite", given)
        for each in checks:
            facts = {"classname": CHECKS_SUITE, "name": each.name, "time": f"{each.seconds:.3f}"}
            case = ElementTree.SubElement(suite, "testcase", facts)
            told = _UNPRINTABLE.sub("?", each.evidence)
            if each.outcome == "failed":
                ElementTree.SubElement(case, "failure", {"message": told}).text = _UNPRINTABLE.sub("?", each.remedy)
            elif each.outcome == "not_applicable":
                ElementTree.SubElement(case, "skipped", {"message": told})
            else:
                ElementTree.SubElement(case, "system-out").text = told
    ElementTree.indent(root)
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document
