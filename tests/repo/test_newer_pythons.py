"""CI finds the newer Pythons of a machine, and a broken one fails nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / ".ci" / "newer_pythons.py"
NEXT = sys.version_info.minor + 1


def interpreter(path: Path, says: str = "cpython final usual", *, fails: str = "") -> Path:
    """A program in an interpreter's place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{fails}' >&2\nexit 1\n" if fails else f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


def found(home: Path) -> tuple[list[str], list[str]]:
    """What is printed, and what is said about those that are left out."""
    environment = {"PATH": str(home / "bin"), "PYENV_ROOT": str(home / "pyenv")}
    command = [sys.executable, str(SCRIPT)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines(), done.stderr.splitlines()


def test_a_machine_without_a_newer_one(tmp_path: Path) -> None:
    interpreter(tmp_path / "bin" / f"python3.{sys.version_info.minor}")
    interpreter(tmp_path / "bin" / "python3.6")
    interpreter(tmp_path / "bin" / f"python3.{NEXT}-config")
    assert found(tmp_path) == ([], [])


def test_the_newest_comes_first_wherever_it_is(tmp_path: Path) -> None:
    on_path = interpreter(tmp_path / "bin" / f"python3.{NEXT}")
    newest = interpreter(tmp_path / "pyenv" / "versions" / f"3.{NEXT + 1}.2" / "bin" / "python")
    assert found(tmp_path) == ([f"3.{NEXT + 1} {newest}", f"3.{NEXT} {on_path}"], [])


def test_a_shim_that_finds_no_version_is_passed_over_for_the_version_itself(tmp_path: Path) -> None:
    interpreter(tmp_path / "bin" / f"python3.{NEXT}", fails=f"pyenv: python3.{NEXT}: command not found")
    real = interpreter(tmp_path / "pyenv" / "versions" / f"3.{NEXT}.0" / "bin" / "python")
    assert found(tmp_path) == ([f"3.{NEXT} {real}"], [])


def test_what_cannot_make_an_environment_is_left_out_with_one_line(tmp_path: Path) -> None:
    missing = "ModuleNotFoundError: No module named '_ssl'"
    broken = interpreter(tmp_path / "bin" / f"python3.{NEXT}", fails=missing.replace("'", '"'))
    early = interpreter(tmp_path / "bin" / f"python3.{NEXT + 1}", "cpython alpha usual")
    no_program = tmp_path / "bin" / f"python3.{NEXT + 2}"
    no_program.mkdir()
    pythons, said = found(tmp_path)
    assert pythons == []
    assert [line.partition(": ")[0] for line in said] == [
        f"Python 3.{minor} is left out" for minor in (NEXT + 2, NEXT + 1, NEXT)
    ]
    assert said[1].endswith(f"{early}: must be 'cpython final usual', is 'cpython alpha usual'")
    assert said[2].endswith(f"{broken}: " + missing.replace("'", '"'))


def test_this_python_would_do(tmp_path: Path) -> None:
    """The probe holds for a real interpreter: were it wrong, CI would quietly test on none."""
    real = tmp_path / "bin" / f"python3.{NEXT}"
    real.parent.mkdir()
    real.symlink_to(Path(sys.executable).resolve())
    assert found(tmp_path) == ([f"3.{NEXT} {real}"], [])
