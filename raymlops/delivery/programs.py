"""Programs that a build runs, each in a session of its own that does not outlive the call."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

__all__ = ["Finished", "run_in_session", "run_program"]


class Finished(NamedTuple):
    """How a program ended."""

    code: int | None
    """Its exit code; ``None`` where its time was up."""
    output: str
    errors: str


def run_program(
    command: Sequence[str],
    *,
    timeout_s: float,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Finished:
    """Run a program to its end, or to that of its time, and keep what it said; arguments as of ``run_in_session``."""
    # files, not pipes: a stray child would hold a pipe open for ever
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        code = run_in_session(
            command, output, errors, timeout_s=timeout_s, directory=directory, environment=environment
        )
        return Finished(code, _said(output), _said(errors))


def run_in_session(
    command: Sequence[str],
    output: IO[bytes],
    errors: IO[bytes] | None = None,
    *,
    timeout_s: float,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> int | None:
    """The exit code of a program; ``None`` where its time was up. What it started is ended with it.

    Args:
        command: An interpreter or a program of a package that we depend on, and its arguments; no shell reads them.
        output: Where it writes to.
        errors: Where its standard error goes; ``None``: to ``output``.
        timeout_s: After this it is killed.
        directory: Where it runs; ``None``: here.
        environment: Its variables; ``None``: our own.
    """
    process = subprocess.Popen(  # noqa: S603 - see ``command``
        command,
        cwd=directory,
        env=None if environment is None else dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if errors is None else errors,
        start_new_session=True,
    )
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _said(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
