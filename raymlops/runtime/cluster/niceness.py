"""Training, and control that no answer waits for, give way to serving where they want the same cores."""

from __future__ import annotations

import os
import shlex
import shutil
import sys

__all__ = ["TRAINING_NICENESS", "behind_answers", "give_way"]

TRAINING_NICENESS = 15
"""Ray's niceness of every worker; here only the workers that train keep it."""

_CONTROL_NICENESS = 5
"""A third of a replica's weight: an actor that starts again costs the replicas beside it little."""


def give_way() -> None:
    """Let everything else on the machine go before this process; a repeat changes nothing."""
    os.setpriority(os.PRIO_PROCESS, 0, max(TRAINING_NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))


def behind_answers(niceness: int = _CONTROL_NICENESS) -> dict[str, str]:
    """The part of a ``runtime_env`` by which an actor or a task starts, and works, behind the replicas that answer.

    Ray hands a worker on to whatever has the same ``runtime_env``, and a process cannot raise its priority again: a
    task that gives way must have this, or the next replica may get its worker.

    Args:
        niceness: Of the worker.

    Returns:
        Nothing where the machine has no ``nice``.
    """
    nice = shutil.which("nice")
    return {} if nice is None else {"py_executable": shlex.join([nice, "-n", str(niceness), sys.executable])}
