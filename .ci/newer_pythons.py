"""Prints the Pythons of this machine that are newer than the one that runs this, newest first: version and path.

One line per minor version. Looks for ``pythonX.Y`` on the PATH and in the directories that pyenv keeps versions in. An
interpreter that cannot make an environment, or is no final release, is left out with a line on the standard error.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PROBE = """
import bz2, ctypes, ensurepip, lzma, sqlite3, ssl, sys, sysconfig, venv, zlib
free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
print(sys.implementation.name, sys.version_info.releaselevel, "free-threaded" if free_threaded else "usual")
"""
USUAL = "cpython final usual"


def candidates() -> Iterator[tuple[int, Path]]:
    """Minor versions of Python 3 and where they may be."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        for path in sorted(Path(folder).glob("python3.*")) if folder else ():
            if found := re.fullmatch(r"python3\.(\d+)", path.name):
                yield int(found[1]), path
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for path in sorted(root.glob("versions/3.*/bin/python")):
        if found := re.fullmatch(r"3\.(\d+)\.\w+", path.parts[-3]):
            yield int(found[1]), path


def problem(python: Path) -> str | None:
    """Why an environment of this interpreter would not do."""
    try:
        done = subprocess.run([python, "-c", PROBE], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode != 0:
        return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    said = done.stdout.strip()
    return None if said == USUAL else f"must be {USUAL!r}, is {said!r}"


def main() -> None:
    """Print what was found."""
    by_minor: dict[int, list[Path]] = {}
    for minor, path in candidates():
        if minor > sys.version_info.minor:
            by_minor.setdefault(minor, []).append(path)
    for minor in sorted(by_minor, reverse=True):
        problems = {path: problem(path) for path in by_minor[minor]}
        usable = [path for path, wrong in problems.items() if wrong is None]
        if usable:
            sys.stdout.write(f"3.{minor} {usable[-1]}\n")
        else:
            path, wrong = next(iter(problems.items()))
            sys.stderr.write(f"Python 3.{minor} is left out: {path}: {wrong}\n")


if __name__ == "__main__":
    main()
