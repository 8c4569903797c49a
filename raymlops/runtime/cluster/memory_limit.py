"""A bound on what a process may take, kept by the kernel."""

from __future__ import annotations

import resource
from pathlib import Path

__all__ = ["limit_growth"]


def limit_growth(more_bytes: int) -> int:
    """Let this process take so much memory beyond what it holds now, and no more.

    A request for more fails: in Python as ``MemoryError``, in a library maybe as the end of the process. Mapped files
    and the object store do not count.

    Returns:
        The limit, in bytes of private memory.
    """
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    held_bytes = int(status["VmData"].split()[0]) << 10
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = held_bytes + more_bytes
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    return limit
