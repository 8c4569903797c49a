"""Processes that stand in for those of a platform."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

__all__ = ["stand_in"]

_WAITS = "import sys; print('there', flush=True); sys.stdin.read()"


@contextmanager
def stand_in(
    title: str = sys.executable,
    code: str = _WAITS,
    *arguments: str,
    session: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """A process of Python that runs until the block ends; it has printed ``there`` before the block begins.

    Args:
        title: How its command line begins.
        code: What it runs.
        arguments: Of the code.
        session: Whether it leads a session of its own.
        environment: Variables that it has beside this process's.
    """
    started = subprocess.Popen(
        [title, "-c", code, *arguments],
        executable=sys.executable,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **(environment or {})},
        start_new_session=session,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert started.stdout is not None
        assert started.stdout.readline() == "there\n"
        yield started
    finally:
        started.kill()
        started.communicate(timeout=30)
