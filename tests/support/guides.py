"""Guides as programs: their Python and bash blocks run in order, in one directory, as a reader would type them."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from unittest import SkipTest

from sybil import Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser, SkipParser

__all__ = ["GUIDES", "environment_in", "run_guide", "run_lines"]

ROOT = Path(__file__).parents[2]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
_EXPORTED = 'printenv -0 > "$HOME/.environment"'


def environment_in(directory: Path, **variables: str) -> dict[str, str]:
    """A shell's environment in which ``raymlops`` is this tree's, and ``directory`` the home of the user."""
    programs = directory / "bin"
    programs.mkdir(exist_ok=True)
    command = programs / "raymlops"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -W ignore -m raymlops.cli.main "$@"\n')
    command.chmod(0o755)
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYMLOPS_"))}
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**plain, "PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(directory), "COLUMNS": "200", **variables}


def run_guide(
    guide: Path, directory: Path, environment: dict[str, str], *, cluster: bool, words: Mapping[str, str] | None = None
) -> int:
    """Run a guide's blocks in ``directory``; returns how many ran.

    Args:
        guide: The page.
        directory: Where the reader is.
        environment: Of the shell; what a block exports is kept in it.
        cluster: Whether blocks that need a platform run, too.
        words: Places and ports in the guide's shell blocks -> those that are used instead.
    """
    ran = 0

    def shell(example: Example) -> None:
        nonlocal ran
        ran += 1
        lines = str(example.parsed)
        for word, used in (words or {}).items():
            lines = lines.replace(word, used)
        run_lines(lines, directory, environment)

    def python(example: Example) -> None:
        nonlocal ran
        ran += 1
        with contextlib.chdir(directory):
            PythonEvaluator()(example)

    blocks = [CodeBlockParser("bash", shell), CodeBlockParser("python", python), SkipParser()]
    document = Sybil(blocks, path=str(guide.parent), patterns=[guide.name]).parse(guide)
    document.namespace["cluster"] = cluster
    for example in document.examples():
        with contextlib.suppress(SkipTest):  # how a block that needs a platform is left out
            example.evaluate()
    return ran


def run_lines(lines: str, directory: Path, environment: dict[str, str]) -> str:
    """Run lines of bash, which must succeed; what they export is kept in ``environment``. Returns what they print."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{lines}\n{_EXPORTED}"],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, f"{lines}\n{done.stdout}\n{done.stderr}"
    exported = Path(environment["HOME"], ".environment").read_text().rstrip("\0").split("\0")
    environment.update(dict(each.partition("=")[::2] for each in exported))
    return done.stdout
