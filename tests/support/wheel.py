"""The product as a stranger has it: a wheel in an environment of its own, which sees what we depend on and no clone."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Installed", "install_wheel"]

ROOT = Path(__file__).parents[2]
_BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"


@dataclass(frozen=True)
class Installed:
    """An environment that holds the wheel.

    Attributes:
        environment: Directory of the virtual environment.
        wheel: The file that was installed.
    """

    environment: Path
    wheel: Path

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables of a shell in which it is activated."""
        plain = {name: os.environ[name] for name in ("HOME", "TMPDIR", "LANG") if name in os.environ}
        return plain | {"PATH": f"{self.environment / 'bin'}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "200"}

    def run(
        self, *command: str, cwd: Path, timeout_s: float = 120, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment's ``bin``, with more environment variables if given."""
        program = str(self.environment / "bin" / command[0])
        return subprocess.run(
            [program, *command[1:]],
            cwd=cwd,
            env=self.variables | variables,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


def install_wheel(place: Path) -> Installed:
    """Build the wheel and install it, without its dependencies, into a new environment below ``place``."""
    environment = place / "venv"
    build = [sys.executable, "-c", _BUILD, str(place)]
    built = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert built.returncode == 0, built.stderr
    wheel = place / built.stdout.split()[-1]
    pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "install", "--quiet"]
    steps = [
        [sys.executable, "-m", "venv", "--without-pip", str(environment)],
        [*pip, "--disable-pip-version-check", "--no-index", "--no-deps", "--no-compile", str(wheel)],
    ]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
    # a path that a .pth file adds is no site directory: the .pth file in it that leads to the clone is not read
    site = next((environment / "lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Installed(environment, wheel)
