"""Running a project's own tests."""

from __future__ import annotations

import importlib.util
import re
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from raymlops.delivery.programs import Account, foreign_environment, run_in_session
from raymlops.errors import ConfigError

__all__ = ["SuiteReport", "run_suite"]

_OUTCOMES = {"passed": "passed", "failed": "failed", "error": "failed", "errors": "failed", "skipped": "skipped"}
_SUMMARY = re.compile(r"\b\d+ (?:passed|failed|errors?|skipped)\b")


class SuiteReport(NamedTuple):
    """The result of a run of the tests."""

    green: bool
    """All tests passed, and there was at least one."""
    counts: dict[str, int]
    """``passed``, ``failed`` (errors included), ``skipped``."""
    output: str
    summary: str
    """One line."""


def run_suite(
    directory: Path, home: Path, *, timeout_s: float, report: Path | None = None, account: Account | None = None
) -> SuiteReport:
    """Run pytest in a project's directory, in a process group of its own that does not outlive the call.

    Args:
        directory: The project; first on the tests' import path.
        home: ``RAYMLOPS_HOME`` of the tests, so that they cannot touch the platform's.
        timeout_s: After this the tests are killed, and count as failed.
        report: File that pytest writes its results to, as JUnit XML.
        account: Whose process it is; ``None``: ours.

    Raises:
        ConfigError: pytest is not installed.
    """
    if importlib.util.find_spec("pytest") is None:
        raise ConfigError("building a bundle runs its tests: pytest must be installed")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--color=no"]
    if report is not None:
        command.append(f"--junitxml={report}")
    environment = foreign_environment(home, account)
    # A file, not a pipe: a stray child of a killed test would hold a pipe open for ever.
    with tempfile.TemporaryFile() as sink:
        exit_code = run_in_session(
            command, sink, timeout_s=timeout_s, directory=directory, environment=environment, account=account
        )
        sink.seek(0)
        output = sink.read().decode(errors="replace")
    if exit_code is None:
        return SuiteReport(False, _counts(""), output, f"killed after {timeout_s:g} s")
    lines = output.strip().splitlines() or ["no output"]
    # The project's code may print after pytest's last line.
    summary = next((line for line in reversed(lines) if _SUMMARY.search(line)), lines[-1])
    counts = _counts(summary)
    green = exit_code == 0 and counts["failed"] == 0 < counts["passed"]
    return SuiteReport(green, counts, output, f"{summary.strip('= ')} (exit code {exit_code})")


def _counts(summary: str) -> dict[str, int]:
    counts = dict.fromkeys(_OUTCOMES.values(), 0)
    for number, word in re.findall(r"(\d+) (\w+)", summary):
        if word in _OUTCOMES:
            counts[_OUTCOMES[word]] += int(number)
    return counts
