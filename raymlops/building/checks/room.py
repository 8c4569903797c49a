"""Runs the checks of a project in a process of its own, which imports the project's modules.

``python -m raymlops.building.checks.room ANSWER SCRATCH`` runs in the project's directory and writes one JSON line to
the file ``ANSWER`` when a check starts, and one when it is done.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from raymlops.delivery.programs import Account, foreign_environment, foreign_room, read_foreign, run_in_session
from raymlops.records.bundles import CheckResult

__all__ = ["check_behaviour", "main"]


def check_behaviour(directory: Path, *, timeout_s: float = 180.0, account: Account | None = None) -> list[CheckResult]:
    """What came of every check that a project gets.

    Args:
        directory: Holds ``project.yaml`` and the modules that it names.
        timeout_s: After this the process is ended; the check that was running counts as failed.
        account: Whose process it is; ``None``: ours.

    Returns:
        One result for each check that was reached, in their order.
    """
    with foreign_room("checks", account) as room, tempfile.TemporaryFile() as sink:
        answer = room / "answer.jsonl"
        command = [sys.executable, "-m", "raymlops.building.checks.room", str(answer), str(room)]
        environment = foreign_environment(room / "home", account)
        code = run_in_session(
            command, sink, timeout_s=timeout_s, directory=directory, environment=environment, account=account
        )
        ended = f"was not done after {timeout_s:g} s in all" if code is None else f"ended the process with code {code}"
        lines: list[dict[str, Any]] = [orjson.loads(line) for line in (read_foreign(answer) or b"").splitlines()]
        results = [CheckResult.model_validate(line["result"]) for line in lines if "result" in line]
        if lines and "end" in lines[-1]:
            return results
        sink.seek(0)
        told = (sink.read().decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        running = next((line["start"] for line in reversed(lines) if "start" in line), "project_can_be_read")
        evidence, remedy = f"{ended}: {told}"[:500], "mend the project's code, or look at what it waits for"
        return [*results, CheckResult(name=running, outcome="failed", seconds=0.0, evidence=evidence, remedy=remedy)]


def main(arguments: Sequence[str]) -> int:
    """Check the project in the working directory.

    Returns:
        The exit code.
    """
    from raymlops.building.checks.suite import run_checks

    answer, scratch = map(Path, arguments)
    with answer.open("ab", buffering=0) as sink:

        def started(name: str) -> None:
            sink.write(orjson.dumps({"start": name}) + b"\n")

        for result in run_checks(Path.cwd(), scratch / "work", started):
            sink.write(orjson.dumps({"result": result.model_dump(mode="json")}) + b"\n")
        sink.write(b'{"end": true}\n')
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
