"""What a check says."""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["Finding", "does_not_apply", "failed", "passed"]


class Finding(NamedTuple):
    """What came of a check.

    Attributes:
        outcome: ``passed``, ``failed`` or ``not_applicable``.
        evidence: What was seen, or why the check does not apply.
        remedy: What to do where it failed.
    """

    outcome: Literal["passed", "failed", "not_applicable"]
    evidence: str
    remedy: str = ""


def passed(evidence: str) -> Finding:
    """All is well."""
    return Finding("passed", evidence)


def failed(evidence: str, remedy: str) -> Finding:
    """Something is wrong."""
    return Finding("failed", evidence, remedy)


def does_not_apply(reason: str) -> Finding:
    """There is nothing to check."""
    return Finding("not_applicable", reason)
