"""Stands in for the HAProxy binary: what Ray lets listen everywhere listens on loopback alone.

Ray 2.60 renders HAProxy's configuration with its metrics and its statistics on all interfaces, and offers no setting.
This runs as a script between Ray and the binary: it binds every listener but the two that serve callers to loopback,
gives the admin socket to its owner alone, and becomes HAProxy, with the same process id. What it does not understand
ends the start, so that no port is opened by mistake.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import sys
from pathlib import Path

__all__ = ["closed", "main", "write_wrapper"]

_SERVING = {"http_frontend", "grpc_frontend"}
"""What callers reach: Ray binds them to the configured host."""

_SECTION = re.compile(r"^(global|defaults|frontend|backend|listen|peers|resolvers)\b\s*(\S*)")
_BIND = re.compile(r"^(\s*bind\s+)(\S+)(.*)$")
_ADMIN = re.compile(r"^(\s*stats\s+socket\s+\S+\s+)(?:mode\s+\d+\s+)?(.*)$")
_ADDRESS = re.compile(r"(?:\*|\[[0-9a-fA-F:.]*\]|[0-9.]*):(\d+)")


def closed(config: str) -> str:
    """The configuration with every listener but the serving ones on 127.0.0.1.

    Raises:
        ValueError: A listener's address is none that we know.
    """
    section, lines = "", []
    for line in config.splitlines():
        header = _SECTION.match(line)
        section = section if header is None else header[2]
        lines.append(_closed_line(line, section))
    return "\n".join(lines) + "\n"


def _closed_line(line: str, section: str) -> str:
    if (admin := _ADMIN.match(line)) is not None:
        return f"{admin[1]}mode 600 {admin[2]}"
    bind = _BIND.match(line)
    if bind is None or section in _SERVING:
        return line
    address = _ADDRESS.fullmatch(bind[2])
    if address is None:
        raise ValueError(f"{section!r} must listen on an address and a port, got {bind[2]!r}")
    return f"{bind[1]}127.0.0.1:{address[1]}{bind[3]}"


def write_wrapper(path: Path, binary: str) -> None:
    """Write what Ray is to start in place of ``binary``."""
    command = [sys.executable, "-I", "-S", __file__, binary]
    path.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    path.chmod(0o700)


def main(binary: str, arguments: list[str]) -> None:
    """Become ``binary``, started on the closed form of the configuration that ``-f`` names."""
    place = arguments.index("-f") + 1
    original = arguments[place]
    # Ray writes under this lock, and may write again before HAProxy has read: so HAProxy reads a file of its own
    with open(f"{original}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        config = Path(original).read_text()
    draft, ours = Path(f"{original}.{os.getpid()}"), f"{original}.closed"
    draft.write_text(closed(config))
    draft.replace(ours)
    # Ray knows its HAProxy processes by the configuration's path among their arguments
    os.execv(binary, [original, *arguments[:place], ours, *arguments[place + 1 :]])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
