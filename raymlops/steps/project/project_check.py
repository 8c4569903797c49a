"""Looks for faults of a project in a process of its own, which imports the project's modules.

``python -m raymlops.steps.project.project_check ANSWER`` runs in the project's directory, reads the applied
definitions from standard input and writes the faults, a JSON list of texts, to the file ``ANSWER``.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson
import yaml

from raymlops.delivery.programs import Account, as_account, foreign_environment, foreign_room, read_foreign
from raymlops.features.catalog.applied import CatalogState
from raymlops.steps.project.project_faults import project_faults

__all__ = ["check_project", "main"]

_FILE = "project.yaml"


def check_project(
    directory: Path, applied: CatalogState, *, timeout_s: float = 120.0, account: Account | None = None
) -> list[str]:
    """Every fault of the project in a directory.

    Args:
        directory: Holds ``project.yaml`` and the modules that it names.
        applied: The definitions that the platform has.
        timeout_s: After this the process is ended, which is a fault.
        account: Whose process it is; ``None``: ours.

    Returns:
        ``project.yaml: KEY: what is wrong``, one line per fault.
    """
    with foreign_room("check", account) as room:
        answer = room / "answer.json"
        try:
            done = subprocess.run(  # noqa: S603 - our own interpreter and arguments
                [sys.executable, "-m", "raymlops.steps.project.project_check", str(answer)],
                cwd=directory,
                env=foreign_environment(room / "home", account),
                input=applied.model_dump_json().encode(),
                capture_output=True,
                timeout=timeout_s,
                check=False,
                **as_account(account),
            )
        except subprocess.TimeoutExpired:
            return [f"{_FILE}: document: importing what it names took longer than {timeout_s:g} s"]
        if done.returncode != 0:
            last = (done.stderr.decode(errors="replace").strip().splitlines() or ["no output"])[-1]
            return [f"{_FILE}: document: importing what it names ended the process ({done.returncode}): {last}"]
        return [
            f"{_FILE}: {fault}" for fault in orjson.loads(read_foreign(answer) or b'["document: nothing was told"]')
        ]


def main(arguments: Sequence[str]) -> int:
    """Check the project in the working directory.

    Returns:
        The exit code.
    """
    (answer,) = arguments
    applied = CatalogState.model_validate_json(sys.stdin.buffer.read())
    try:
        faults = project_faults(yaml.safe_load(Path(_FILE).read_bytes()), applied)
    except yaml.YAMLError as error:
        faults = [f"document: must be YAML: {' '.join(str(error).split())}"]
    Path(answer).write_bytes(orjson.dumps(faults))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
