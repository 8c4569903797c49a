"""The systems we are measured against: an environment with their pins, and processes in it that time one call each."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Self

__all__ = ["PEERS", "Peer", "interpreter"]

PEERS = Path(__file__).parent / "peers"
_ROOT = Path(__file__).parents[1] / "out" / "peers"


class Peer:
    """A script of ``benchmarks/peers``, ready to be timed; a context manager, at whose end it has written its answer.

    Args:
        script: Name of the script.
        folder: What it reads and where it writes.
        pins: File of ``benchmarks/peers`` with the pins of its environment.
    """

    def __init__(self, script: str, folder: Path, pins: str = "requirements.txt") -> None:
        command = [interpreter(pins), str(PEERS / script), str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        if self._process.wait(timeout=300.0) and failure[0] is None:
            raise subprocess.CalledProcessError(self._process.returncode, self._process.args)

    def seconds(self) -> float:
        """Have it do its work once."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        while (line := self._process.stdout.readline()) and not line[0].isdigit():
            sys.stderr.write(line)
        return float(line)


def interpreter(pins: str) -> Path:
    """Interpreter of the environment of a file of ``PEERS``, which is made where there is none with these pins."""
    requirements = PEERS / pins
    environment = _ROOT / hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    python = environment / "bin" / "python"
    made = environment / ".made"
    if not made.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]
        subprocess.run([*install, str(requirements)], check=True, stdout=sys.stderr)
        made.touch()
    return python
