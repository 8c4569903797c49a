"""An environment of its own for the programs of ``conformance/requirements.txt``.

``python -m tests.support.conformance_environment`` makes it beforehand; else the first test that needs it does.
"""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

__all__ = ["NotMadeError", "made_environment"]

_TESTS = Path(__file__).parents[1]


class NotMadeError(Exception):
    """What is to be installed cannot be."""


def made_environment() -> Path:
    """Made once for these pins, by whoever is first.

    Raises:
        NotMadeError: A step failed; the last line that it said.
    """
    requirements = _TESTS / "conformance" / "requirements.txt"
    root = _TESTS.parent / "out" / "conformance"
    root.mkdir(parents=True, exist_ok=True)
    environment = root / hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    python = str(environment / "bin" / "python")
    install = ["-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    steps = [
        [sys.executable, "-m", "venv", "--clear", "--without-pip", str(environment)],
        [sys.executable, *install, "--no-compile", "-r", str(requirements)],
    ]
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (environment / "made").exists():
            for step in steps:
                done = subprocess.run(step, capture_output=True, text=True, timeout=200, check=False)
                if done.returncode != 0:
                    said = done.stderr.strip().splitlines()[-1:]
                    raise NotMadeError(f"the environment of the clients cannot be made: {said}")
            (environment / "made").touch()
    return environment


if __name__ == "__main__":
    made_environment()
