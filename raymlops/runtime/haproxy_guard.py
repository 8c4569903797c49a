"""Stands in for the HAProxy binary: what Ray lets listen everywhere listens on loopback alone, and errors are JSON.

Ray 2.60 renders HAProxy's configuration with its metrics and its statistics on all interfaces, and offers no setting.
This runs as a script between Ray and the binary: it binds every listener but the two that serve callers to loopback,
gives the admin socket to its owner alone, and becomes HAProxy, with the same process id. What it does not understand
ends the start, so that no port is opened by mistake. What HAProxy answers by itself, as where no replica is left, Ray
makes a 500 in plain text; here it is what every other error of the interface is.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import sys
from pathlib import Path

__all__ = ["closed", "main", "told_in_json", "write_wrapper"]

_SERVING = {"http_frontend", "grpc_frontend"}
"""What callers reach: Ray binds them to the configured host."""

_SECTION = re.compile(r"^(global|defaults|frontend|backend|listen|peers|resolvers)\b\s*(\S*)")
_BIND = re.compile(r"^(\s*bind\s+)(\S+)(.*)$")
_ADMIN = re.compile(r"^(\s*stats\s+socket\s+\S+\s+)(?:mode\s+\d+\s+)?(.*)$")
_ADDRESS = re.compile(r"(?:\*|\[[0-9a-fA-F:.]*\]|[0-9.]*):(\d+)")


_ROUTES = re.compile(r"^(\s*http-request\s+return\s).*\bif\s+routes\s*$")
"""Where HAProxy would tell anybody which models there are; whoever has a key asks ``GET /v2/models``."""

_ERROR_FILE = re.compile(r"^\s*errorfile\s")
_NO_ROUTES = json.dumps({"error": "there is no such path: GET /v2/models lists models"})
_REPLIES = {
    500: ("500 Internal Server Error", "internal error"),
    502: ("503 Service Unavailable", "the replica that was asked is gone: try again"),
    503: ("503 Service Unavailable", "no replica is up: try again"),
    504: ("504 Gateway Timeout", "no replica answered in time"),
}
"""What HAProxy would say of a replica -> what is said. A prediction may be asked for again, so a lost one is a 503.

Of bytes that are no HTTP request, HAProxy says so in words that no configuration changes.
"""


def told_in_json(config: str, directory: Path) -> tuple[str, dict[Path, bytes]]:
    """The configuration with error files of ours in place of any other, and those files.

    Args:
        config: As Ray writes it.
        directory: Where the files will lie.
    """
    replies = {directory / f"error-{code}.http": _reply(status, text) for code, (status, text) in _REPLIES.items()}
    ours = [f"    errorfile {code} {directory / f'error-{code}.http'}" for code in _REPLIES]
    lines = []
    for line in config.splitlines():
        if (routes := _ROUTES.match(line)) is not None:
            lines.append(f"{routes[1]}status 404 content-type application/json string '{_NO_ROUTES}' if routes")
        elif _ERROR_FILE.match(line) is None:
            lines.append(line)
        if (header := _SECTION.match(line)) is not None and header[1] == "defaults":
            lines.extend(ours)
    return "\n".join(lines) + "\n", replies


def _reply(status: str, text: str) -> bytes:
    body = json.dumps({"error": text}).encode()
    retry = "Retry-After: 1\r\n" if status.startswith("503") else ""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{retry}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


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
    config, replies = told_in_json(config, Path(original).parent)
    ours = f"{original}.closed"
    for path, content in {**replies, Path(ours): closed(config).encode()}.items():
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.write_bytes(content)
        draft.replace(path)
    # Ray knows its HAProxy processes by the configuration's path among their arguments
    os.execv(binary, [original, *arguments[:place], ours, *arguments[place + 1 :]])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
